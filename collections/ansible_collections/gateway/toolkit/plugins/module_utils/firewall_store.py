"""Loading the toolkit's table so that a wrong one undoes itself.

New rules are loaded on probation: a timer of systemd puts the previous ones back, unless an SSH connection that was
made after the loading confirms them. Only confirmed rules are kept on disk for the next boot. What is on probation is
in /run, so nothing of it outlives a reboot. Whoever changes something holds the lock, the timer too.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import Access, write_atomic
from ansible_collections.gateway.toolkit.plugins.module_utils.firewall_rules import RESET, TABLE

RUN = "/run/gateway-toolkit/firewall"
RULES_FILE = "/etc/gateway-toolkit/firewall.nft"
UNIT = "gateway-toolkit-firewall.service"
UNDO = "gateway-toolkit-firewall-undo"
ROOT_ONLY = Access(0, 0, 0o600)
# Until conntrack has seen a packet of a connection that is older than the first rule, its answers count as new.
LEARN_SECONDS = 2
LEARN = (
    f"{RESET}table {TABLE} {{\n\tchain input {{\n\t\ttype filter hook input priority filter; policy accept;\n"
    "\t\tct state new,established accept\n\t}\n}\n"
)
# $0 is the folder. Without the previous rules the table goes: an open host can be repaired, a locked one cannot.
UNDO_SCRIPT = f"""
cd "$0" || exit
exec 9>lock
flock 9
[ -e pending.json ] || exit 0
nft -f previous.nft || nft delete table {TABLE}
rm -f pending.json armed.nft
echo "Nobody logged in afresh to confirm the new firewall rules: the previous ones are back."
"""


class FirewallProblem(Exception):
    """Something that stops the work; the text is for the operator."""


def call(*command: str, stdin: str = "") -> str:
    """Run a program and return what it prints; FirewallProblem with what it said when it fails."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        raise FirewallProblem(f"{command[0]} is not installed on this host.") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[:2000]
        raise FirewallProblem(f"{' '.join(command[:4])} failed with exit status {done.returncode}: {said}")
    return done.stdout


def loaded() -> str:
    """Return the toolkit's table as the kernel has it, or "" without it; counters left out."""
    try:
        return call("nft", "-ns", "list", "table", *TABLE.split())
    except FirewallProblem as problem:
        if "No such file or directory" in str(problem):
            return ""
        raise


def as_loaded(rules: str) -> str:
    """Return what `loaded` would say of these rules. They are loaded into a network namespace that nobody else has.

    Rules that this kernel or this nft does not take raise FirewallProblem here, before anything changes.
    """
    script = f"nft -f - && nft -ns list table {TABLE}"
    try:
        return call("unshare", "--net", "sh", "-c", script, stdin=rules)
    except FirewallProblem as problem:
        raise FirewallProblem(f"The rules cannot be loaded, nothing was changed: {problem}") from None


@dataclass(frozen=True)
class Pending:
    """Rules on probation: their text, and the TCP connections (address, port) that were there before them."""

    rules: str
    connections: frozenset[tuple[str, int]]


class Store:
    """The places of the rules: `run` for those on probation, `rules_file` for the next boot, `unit` loads that one."""

    def __init__(self, run: str = RUN, rules_file: str = RULES_FILE, unit: str = UNIT) -> None:
        self.run, self.rules_file, self.unit = run, rules_file, unit

    def path(self, name: str) -> str:
        """Return the path of a file of the probation."""
        return os.path.join(self.run, name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others out, the timer's script among them."""
        os.makedirs(self.run, mode=0o700, exist_ok=True)
        with open(self.path("lock"), "w", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def kept(self) -> str:
        """Return the rules for the next boot, or "" without any."""
        try:
            with open(self.rules_file, encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""

    def pending(self) -> Pending | None:
        """Return what is on probation."""
        try:
            with open(self.path("pending.json"), encoding="utf-8") as stream:
                content: dict[str, Any] = json.load(stream)
        except FileNotFoundError:
            return None
        return Pending(content["rules"], frozenset((address, port) for address, port in content["connections"]))

    def _write(self, name: str, text: str) -> str:
        write_atomic(self.path(name), text.encode(), ROOT_ONLY)
        return self.path(name)

    def _forget(self) -> None:
        for name in ("pending.json", "armed.nft"):
            with suppress(FileNotFoundError):
                os.unlink(self.path(name))

    def _stop_timer(self) -> None:
        with suppress(FirewallProblem):  # it is not there
            call("systemctl", "stop", f"{UNDO}.timer")

    def undo(self) -> bool:
        """Put the previous rules back, if there are any on probation. Call it without the lock."""
        if self.pending() is None:
            return False
        call("/bin/sh", "-c", UNDO_SCRIPT, self.run)
        self._stop_timer()
        return True

    def arm(self, rules: str, armed: str, connections: list[tuple[str, int]], seconds: int) -> None:
        """Load rules on probation for so many seconds.

        armed: the rules with what is let through until they are confirmed. connections: those that confirm nothing.
        """
        self.undo()
        with self.lock():
            before = loaded()
            previous = self._write("previous.nft", RESET + before)
            call("nft", "--check", "-f", previous)
            self._write("armed.nft", armed)
            self._write("pending.json", json.dumps({"rules": rules, "connections": connections}))
            try:
                call(
                    *("systemd-run", "--quiet", "--collect", f"--unit={UNDO}", f"--on-active={seconds}s"),
                    *("--timer-property=AccuracySec=100ms", "/bin/sh", "-c", UNDO_SCRIPT, self.run),
                )
                if not before:
                    call("nft", "-f", "-", stdin=LEARN)
                    time.sleep(LEARN_SECONDS)
                call("nft", "-f", self.path("armed.nft"))
            except FirewallProblem:
                with suppress(FirewallProblem):
                    call("nft", "-f", previous)
                self._forget()
                self._stop_timer()
                raise

    def confirm(self) -> None:
        """Keep what is on probation, for good and for the next boot. The caller has seen a fresh login."""
        with self.lock():
            pending = self.pending()
            if pending is None:
                raise FirewallProblem("Nothing is on probation: the new rules have undone themselves already.")
            call("nft", "-f", "-", stdin=pending.rules)
            os.makedirs(os.path.dirname(self.rules_file), mode=0o755, exist_ok=True)
            write_atomic(self.rules_file, pending.rules.encode(), ROOT_ONLY)
            self._forget()
        self._stop_timer()
        self.enable()

    def boot_problem(self) -> str:
        """Say why the kept rules would not be there after a reboot, or ""."""
        shown = call("systemctl", "show", "--property=LoadState,ActiveState,UnitFileState,NeedDaemonReload", self.unit)
        state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        wanted = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
        wrong = [f"{name} is {state.get(name)}" for name, value in wanted.items() if state.get(name) != value]
        return f"{self.unit}: {', '.join(wrong)}" if wrong else ""

    def enable(self) -> None:
        """Have the kept rules loaded at boot. Starting the unit loads them once more, in one step."""
        call("systemctl", "daemon-reload")
        call("systemctl", "enable", "--quiet", self.unit)
        call("systemctl", "start", self.unit)

    def drift(self) -> str:
        """Say in what the loaded table differs from the kept rules, or ""."""
        kept, live = self.kept(), loaded()
        if not kept:
            return f"there are no confirmed rules in {self.rules_file}"
        if not live:
            return f"the table {TABLE} is not loaded"
        if live != as_loaded(kept):
            return f"the table {TABLE} is not the one in {self.rules_file}"
        return self.boot_problem()

    def remove(self) -> bool:
        """Remove the table and the kept rules; others' rules stay. Returns whether anything was there."""
        with self.lock():
            was_pending = self.pending() is not None
            self._forget()
            there = os.path.exists("/usr/sbin/nft") and bool(loaded())
            if there:
                call("nft", "-f", "-", stdin=RESET)
            kept = os.path.exists(self.rules_file)
            if kept:
                os.unlink(self.rules_file)
        self._stop_timer()
        return was_pending or there or kept
