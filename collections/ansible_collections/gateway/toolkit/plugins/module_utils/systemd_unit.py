"""What must be done so that a systemd unit is what was deployed: decisions on plain data, and the calls behind them.

A handler that restarts a service is lost when the run is killed before it. These decisions therefore look only at the
host: when the running process was started, and when the files it was started from last changed.

Sources: systemctl(1), org.freedesktop.systemd1(5). Timestamps ending in Monotonic are microseconds of CLOCK_MONOTONIC;
0 means never.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import Access, FileProblem, write_atomic

PROPERTIES = (
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "InvocationID",
    "ExecMainStatus",
    "NRestarts",
    "InactiveExitTimestampMonotonic",
    "ExecMainStartTimestampMonotonic",
)
RUNNING = ("active", "reloading", "refreshing")
SHOWN = ("ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")
LOOP_RESTARTS = 2

Identity = tuple[int, int, int]


@dataclass(frozen=True)
class Clocks:
    """The two clocks at one moment, in nanoseconds."""

    real: int
    monotonic: int


@dataclass(frozen=True)
class Stamp:
    """What this toolkit remembers (until the next boot) of its last start of a unit.

    files: the identity of each watched path just before that start, None for a missing one. Comparing these needs no
    clock. confirmed: whether the unit was seen ready after it; a killed or failed run leaves False.
    """

    invocation: str = ""
    files: dict[str, Identity | None] = field(default_factory=dict)
    confirmed: bool = True


@dataclass(frozen=True)
class Plan:
    """What to do: daemon-reload; enable (True), disable (False) or neither (None); start, restart, stop or nothing."""

    reload: bool
    enable: bool | None
    verb: str
    reasons: list[str]


def parse_show(output: str) -> dict[str, str]:
    """The output of `systemctl show` as a dictionary with every property of PROPERTIES (empty when not printed)."""
    printed = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    return {name: printed.get(name, "") for name in PROPERTIES}


def number(text: str) -> int:
    """A property as a number; 0 when systemd printed none."""
    return int(text) if text.isdigit() else 0


def identity(path: str) -> Identity | None:
    """Inode and times (nanoseconds) of a file or of a symbolic link itself; None when it is missing."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def watched_paths(unit: Mapping[str, str], restart_on: Iterable[str]) -> list[str]:
    """The caller's paths and the unit's own files: a daemon-reload by somebody else does not hide a change of those."""
    own = [unit["FragmentPath"], *unit["DropInPaths"].split()]
    return list(dict.fromkeys(path for path in [*restart_on, *own] if path))


def started_at(unit: Mapping[str, str], now: Clocks) -> int | None:
    """Wall-clock time (nanoseconds since the epoch) of the unit's start, by today's clock; None when it never started.

    The monotonic age is subtracted from the present: systemd's own wall-clock times are wrong after the clock was set.
    """
    names = ("InactiveExitTimestampMonotonic", "ExecMainStartTimestampMonotonic")
    starts = [number(unit[name]) for name in names if number(unit[name])]
    return now.real - (now.monotonic - min(starts) * 1000) if starts else None


def changed_since_start(
    unit: Mapping[str, str], files: Mapping[str, Identity | None], stamp: Stamp, now: Clocks
) -> list[str]:
    """The watched paths that changed after the running process was started.

    If this toolkit started it, by comparing with what it remembers; otherwise (boot, crash, operator) by the clock.
    """
    start = started_at(unit, now)
    ours = bool(unit["InvocationID"]) and stamp.invocation == unit["InvocationID"]
    changed = []
    for path, found in files.items():
        if ours and path in stamp.files:
            if found != stamp.files[path]:
                changed.append(path)
        elif found and start is not None and max(found[1:]) > start:
            changed.append(path)
    return changed


def decide(
    name: str, unit: Mapping[str, str], changed: Iterable[str], *, enabled: bool, started: bool, restart: bool
) -> Plan:
    """The plan for a loaded unit. `changed` are paths that changed since its start, `restart` the caller's demand."""
    reasons = []
    reload = unit["NeedDaemonReload"] == "yes"
    if reload:
        reasons.append(f"The unit file of {name} changed.")
    enable = enablement(unit["UnitFileState"], enabled)
    if enable is not None:
        reasons.append(f"{name} was {'not ' if enable else ''}enabled.")
    state, sub = unit["ActiveState"], unit["SubState"]
    if not started:
        verb = "" if state in ("inactive", "failed") else "stop"
        return Plan(reload, enable, verb, reasons + ([f"{name} was {state}."] if verb else []))
    if state not in RUNNING and (state != "activating" or sub == "auto-restart"):
        word = "restarting in a loop" if sub == "auto-restart" else f"not running ({state})"
        return Plan(reload, enable, "restart" if sub == "auto-restart" else "start", [*reasons, f"{name} was {word}."])
    why = [f"{path} changed after {name} was started." for path in changed]
    why += ["A restart was asked for."] if restart else []
    if why or reload:
        return Plan(reload, enable, "restart", reasons + why)
    if state == "activating":
        return Plan(reload, enable, "start", [*reasons, f"{name} was still starting."])
    return Plan(reload, enable, "", reasons)


def enablement(state: str, enabled: bool) -> bool | None:
    """Whether to enable (True), disable (False) or leave a unit with this UnitFileState."""
    if enabled:
        return True if state in ("disabled", "enabled-runtime", "linked", "linked-runtime", "") else None
    return False if state in ("enabled", "enabled-runtime") else None


def hopeless(unit: Mapping[str, str], restarts_before: int) -> str:
    """Why waiting longer makes no sense, as a short phrase; empty while there is hope.

    One failed start may be bad luck (a database that comes up a second later), the second in a row is a loop.
    """
    if unit["ActiveState"] == "failed":
        return "it failed"
    if unit["ActiveState"] == "inactive":
        return "it ended"
    restarts = number(unit["NRestarts"]) - restarts_before
    return f"it was restarted {restarts} times" if restarts >= LOOP_RESTARTS else ""


def summary(unit: Mapping[str, str]) -> str:
    """The unit's state in one line."""
    return " ".join(f"{name}={unit[name]}" for name in SHOWN)


def read_stamp(path: str) -> Stamp:
    """What is remembered; an unusable file counts as nothing remembered."""
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
        files = {name: tuple(value) if value else None for name, value in data["files"].items()}
        return Stamp(str(data["invocation"]), files, data["confirmed"] is True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Stamp()


def write_stamp(path: str, stamp: Stamp) -> None:
    """Remember; root-only. FileProblem or OSError when that is not possible."""
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    write_atomic(path, json.dumps(asdict(stamp)).encode(), Access(os.geteuid(), os.getegid(), 0o600))


class Systemd:
    """The calls of systemctl and journalctl; FileProblem with their own words when one fails."""

    def __init__(self, systemctl: str, journalctl: str | None, timeout: float = 600) -> None:
        """Paths of the programs (journalctl may be missing) and the seconds a call may take."""
        self.systemctl = systemctl
        self.journalctl = journalctl
        self.timeout = timeout

    def _run(self, argv: list[str]) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a command."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "cat"}
        try:
            done = subprocess.run(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 124, "", f"{' '.join(argv)} did not end within {self.timeout:g} seconds."
        return done.returncode, done.stdout, done.stderr

    def show(self, name: str) -> dict[str, str]:
        """The unit's properties."""
        status, output, error = self._run([self.systemctl, "show", name, "--property=" + ",".join(PROPERTIES)])
        if status:
            raise FileProblem(f"systemctl show {name} failed: {error.strip()}")
        return parse_show(output)

    def call(self, *words: str) -> None:
        """A systemctl command that must succeed."""
        status, _output, error = self._run([self.systemctl, *words])
        if status:
            raise FileProblem(f"systemctl {' '.join(words)} failed: {error.strip()}")

    def attempt(self, *words: str) -> str:
        """A systemctl command that may fail: what it said then, or empty."""
        status, _output, error = self._run([self.systemctl, *words])
        return error.strip() or f"exit status {status}" if status else ""

    def journal(self, name: str, since: float | None) -> str:
        """The unit's last 20 journal lines, from a time (seconds since the epoch) on."""
        if not self.journalctl:
            return ""
        self._run([self.journalctl, "--sync"])
        limits = [f"--since=@{int(since)}"] if since else []
        layout = ["--lines=20", "--no-pager", "--quiet", "--output=short-iso"]
        return self._run([self.journalctl, "--unit", name, *limits, *layout])[1]


def clocks() -> Clocks:
    """Both clocks now."""
    return Clocks(time.time_ns(), time.clock_gettime_ns(time.CLOCK_MONOTONIC))
