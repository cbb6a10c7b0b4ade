"""What the tests of the tailnet share: the node of a host, the control server's view of it, a reboot."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from conftest import ROOT
from testinfra.host import Host


def node(host: Host) -> dict[str, Any]:
    """What the daemon says of this host; empty when it is away."""
    done = host.run("tailscale status --json --peers=false")
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    return found


def on_interface(host: Host) -> str:
    """The IPv4 address that the kernel has on tailscale0, or nothing."""
    shown = host.run("ip -4 -j addr show dev tailscale0").stdout
    return next((info["local"] for link in json.loads(shown or "[]") for info in link.get("addr_info", [])), "")


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Wait until `condition` returns something, and return it."""
    end = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)


def registered(control: Host, name: str) -> dict[str, Any]:
    """The control server's record of a node, by its name."""
    nodes = json.loads(control.run("headscale nodes list --output json").stdout) or []
    found: dict[str, Any] = next((item for item in nodes if item["given_name"] == name or item["name"] == name), {})
    return found


def booted_at(state: Path, name: str) -> str:
    """When the first process of a host was started, over a connection of its own; nothing while it is away."""
    command = ["ssh", "-F", str(state / "ssh_config"), "-o", "ConnectTimeout=5", name, "cut -d' ' -f22 /proc/1/stat"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout.strip()
    except subprocess.TimeoutExpired:
        return ""


@contextlib.contextmanager
def reboot(host: Host, name: str, state: Path) -> Iterator[None]:
    """Shut a host down and start it again. The body runs once it answers; in the end all of it has been started."""
    before = booted_at(state, name)
    command = [str(ROOT / "tests/support/testbed"), "restart", name, "--net", state.name]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as restart:
        wait_for(lambda: booted_at(state, name) not in ("", before), f"{name} boots", 240)
        # The connection of before.
        host.backend.__dict__.pop("client", None)
        yield
        # What it returns says nothing: it waits for all units, and only for a while.
        restart.wait()
    up = "systemctl is-system-running"
    wait_for(lambda: host.run(up).stdout.strip() == "running", f"{name} has started all its units", 240)


@contextlib.contextmanager
def without_cached_map(host: Host) -> Iterator[None]:
    """From its next start on, tailscaled knows nothing until it has asked the control server.

    By itself it sometimes has its address at once: 1.102.3 writes a map to the disk when it chooses another relay, and
    the next map from the server removes it (onHomeDERPUpdateLocked in ipn/ipnlocal/local.go of tailscale.com).
    """
    folder = "/etc/systemd/system/tailscaled.service.d"
    setting = r"[Service]\nEnvironment=TS_USE_CACHED_NETMAP=false\n"
    host.run_expect([0], f"mkdir {folder} && printf '{setting}' > {folder}/no_map.conf")
    try:
        yield
    finally:
        host.run_expect([0], f"rm -r {folder} && systemctl daemon-reload")
