"""Health check of kind `unit`: a systemd unit runs, and stays up."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import CheckError, Outcome, one_line

STILL_SECONDS = 2.0  # default window in which nothing may restart
PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "NRestarts",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
    "ControlGroup",
)


def parse_show(text: str) -> dict[str, str]:
    """Return the properties in the output of `systemctl show` (lines `Name=value`)."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def show_unit(unit: str) -> dict[str, str]:
    """Return what systemd says about a unit now. Raises CheckError if systemd does not answer."""
    argv = ["systemctl", "show", "--property", ",".join(PROPERTIES), "--", unit]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=15, check=False)
    except FileNotFoundError:
        raise CheckError("this host has no systemctl") from None
    except subprocess.TimeoutExpired:
        raise CheckError("systemd did not answer: systemctl show timed out after 15 s") from None
    if done.returncode:
        raise CheckError(f"systemctl show failed: {one_line(done.stderr)}")
    return parse_show(done.stdout)


def judge_state(unit: str, state: Mapping[str, str], oneshot: bool) -> Outcome:
    """Judge one snapshot. A oneshot unit passes unless its last run failed or goes on.

    systemd forgets a successful run of a oneshot unit that nothing refers to, so "has never run" cannot be told.
    """
    active, sub = state.get("ActiveState", "unknown"), state.get("SubState", "unknown")
    if state.get("LoadState") != "loaded":
        return Outcome(False, f"unit {unit} is not installed ({state.get('LoadState', 'unknown')})")
    seen = f"{active} ({sub}), result {state.get('Result', 'unknown')}, exit status {state.get('ExecMainStatus', '?')}"
    if oneshot:
        done = active in ("active", "inactive") and state.get("Result") == "success"
        if done and state.get("ExecMainStartTimestampMonotonic", "0") == "0":
            return Outcome(True, "not running, and no failed run is known")
        return Outcome(done, f"last run succeeded, {active} ({sub})" if done else f"unit {unit} is {seen}")
    if (active, sub) != ("active", "running"):
        restarts = int(state.get("NRestarts") or 0)
        again = f", automatic restarts so far: {restarts}" if restarts else ""
        return Outcome(False, f"unit {unit} is {seen}{again}")
    return Outcome(True, f"{active} ({sub})")


def undisturbed_seconds(state: Mapping[str, str], now: float) -> float:
    """How long a running unit has been active with this main process, by systemd's own record; 0 where it has none."""
    stamps = [state.get(name, "") for name in ("ActiveEnterTimestampMonotonic", "ExecMainStartTimestampMonotonic")]
    if not all(stamp.isdecimal() and int(stamp) > 0 for stamp in stamps):
        return 0.0
    return max(0.0, now - max(map(int, stamps)) / 1e6)


def still(now: Outcome, state: Mapping[str, str], seconds: float) -> Outcome:
    """The outcome for a running unit that did not restart for `seconds`."""
    return Outcome(True, f"{now.detail}, no restart in {seconds:g} s (restart counter {state.get('NRestarts')})")


def judge_window(unit: str, before: Mapping[str, str], after: Mapping[str, str], seconds: float) -> Outcome:
    """Judge two snapshots of a long-running unit, in a window of `seconds`: same process, same restart counter."""
    now = judge_state(unit, after, oneshot=False)
    if not now.ok:
        return now
    for name, words in (("NRestarts", "restart counter"), ("MainPID", "main process")):
        if before.get(name) != after.get(name):
            moved = f"{words} went from {before.get(name)} to {after.get(name)}"
            return Outcome(False, f"unit {unit} restarted within {seconds:g} s ({moved})")
    return still(now, after, seconds)


def check_unit(
    check: Mapping[str, Any],
    show: Callable[[str], Mapping[str, str]] = show_unit,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Look at the unit; again at the end of the window, unless systemd shows that it has run undisturbed that long."""
    unit, oneshot = check["unit"], bool(check.get("oneshot"))
    window = STILL_SECONDS if check.get("still_seconds") is None else check["still_seconds"]
    before = show(unit)
    first = judge_state(unit, before, oneshot)
    if not first.ok or oneshot or window <= 0:
        return first
    so_far = undisturbed_seconds(before, clock())
    if so_far >= window:
        return still(first, before, max(window, int(so_far)))
    sleep(window - so_far)
    return judge_window(unit, before, show(unit), window)
