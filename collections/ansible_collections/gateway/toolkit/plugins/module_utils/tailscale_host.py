"""Asks the Tailscale daemon of this host, and the kernel, how things are; runs one step of the command-line program."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.tailscale_state import (
    Node,
    Prefs,
    TailscaleProblem,
    node_of,
    prefs_of,
)

PROGRAM = "/usr/bin/tailscale"
STATE_FILE = "/var/lib/tailscale/tailscaled.state"
INTERFACE = "tailscale0"
QUESTION_SECONDS = 15.0


class DaemonAway(Exception):
    """The daemon does not answer; the text is what the program said."""


def run(arguments: list[str], seconds: float, key: str = "") -> subprocess.CompletedProcess[str]:
    """Run `tailscale` with these arguments; `{key}` in one stands for the path of a file that holds `key`.

    That file is in memory and belongs to this process alone, so nothing is left of it, however the run ends. Raises
    TailscaleProblem when the program takes longer than `seconds`.
    """
    descriptor = os.memfd_create("tailscale-key", 0) if key else -1
    try:
        if key:
            os.write(descriptor, key.encode())
        path = f"/proc/self/fd/{descriptor}"
        return subprocess.run(
            [PROGRAM, *(argument.replace("{key}", path) for argument in arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            pass_fds=[descriptor] if key else [],
        )
    except subprocess.TimeoutExpired:
        raise TailscaleProblem(f"`tailscale {arguments[0]}` did not end within {seconds:g} s.") from None
    finally:
        if key:
            os.close(descriptor)


def ask(*arguments: str) -> Any:
    """The JSON that `tailscale` answers. Raises DaemonAway with the program's words if there is none."""
    try:
        done = run([*arguments], QUESTION_SECONDS)
        return json.loads(done.stdout)
    except (TailscaleProblem, OSError) as error:
        raise DaemonAway(str(error)) from None
    except ValueError:
        raise DaemonAway(" ".join((done.stderr or done.stdout).split()) or "no answer") from None


def look() -> tuple[Node, Prefs]:
    """What the daemon says. Raises DaemonAway."""
    return node_of(ask("status", "--json", "--peers=false")), prefs_of(ask("debug", "prefs"))


def interface_addresses(name: str = INTERFACE) -> set[str]:
    """The addresses that the kernel has on an interface; none if it is not there."""
    done = subprocess.run(["ip", "-j", "addr", "show", "dev", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return set()
    return {info["local"] for link in json.loads(done.stdout) for info in link.get("addr_info", []) if "local" in info}


def ssh_connection() -> str:
    """SSH_CONNECTION of the session that this process runs in; sudo takes it out of the environment.

    The processes above this one still have it: their environment is read from /proc, up to the SSH server's.
    """
    pid = os.getpid()
    while pid > 1:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        for item in environment.split(b"\0"):
            if item.startswith(b"SSH_CONNECTION="):
                return item.split(b"=", 1)[1].decode("utf-8", "replace")
        pid = int(status.split("\nPPid:")[1].split()[0])
    return ""
