"""Checks of kind unit, with texts as systemctl prints them."""

from __future__ import annotations

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import CheckError
from ansible_collections.gateway.toolkit.plugins.module_utils.health_unit import (
    check_unit,
    judge_state,
    parse_show,
    show_unit,
)

RUNNING = """\
MainPID=812
NRestarts=0
ActiveEnterTimestampMonotonic=7300000
ExecMainStartTimestampMonotonic=7216504
ExecMainStatus=0
Result=success
ControlGroup=/system.slice/litellm.service
LoadState=loaded
ActiveState=active
SubState=running
"""
NAME = "litellm.service"


def state(**changes: str) -> dict[str, str]:
    return {**parse_show(RUNNING), **changes}


def watch(*states: dict[str, str], **check: object) -> tuple[bool, str, list[float]]:
    """Check a unit that has only just started, with these successive states; also return how long was slept."""
    return watch_at(7.3, *states, **check)


def watch_at(now: float, *states: dict[str, str], **check: object) -> tuple[bool, str, list[float]]:
    """The same, at `now` seconds after the host's boot; the unit became active at 7.3 s."""
    answers, slept = list(states), list[float]()
    outcome = check_unit({"unit": NAME, **check}, show=lambda _: answers.pop(0), sleep=slept.append, clock=lambda: now)
    assert not answers, "it did not look again"
    return outcome.ok, outcome.detail, [round(seconds, 6) for seconds in slept]


def test_a_running_unit_that_keeps_still_passes() -> None:
    ok, detail, slept = watch(state(), state())
    assert ok
    assert detail == "active (running), no restart in 2 s (restart counter 0)"
    assert slept == [2.0]


def test_a_unit_that_has_been_active_for_longer_than_the_window_is_not_waited_for() -> None:
    ok, detail, slept = watch_at(127.9, state(NRestarts="3"))
    assert ok
    assert detail == "active (running), no restart in 120 s (restart counter 3)"
    assert slept == []


def test_only_the_rest_of_the_window_is_waited_for() -> None:
    ok, detail, slept = watch_at(8.0, state(), state())
    assert ok
    assert detail == "active (running), no restart in 2 s (restart counter 0)"
    assert slept == [1.3]


def test_a_main_process_that_is_younger_than_its_unit_counts_from_its_own_start() -> None:
    replaced = state(ExecMainStartTimestampMonotonic="9000000")
    assert watch_at(10.0, replaced, replaced)[2] == [1.0]


@pytest.mark.parametrize("stamp", ["", "0", "n/a"])
@pytest.mark.parametrize("name", ["ActiveEnterTimestampMonotonic", "ExecMainStartTimestampMonotonic"])
def test_without_a_record_of_systemd_the_whole_window_is_waited_for(name: str, stamp: str) -> None:
    unknown = state(**{name: stamp})
    assert watch_at(900.0, unknown, unknown)[2] == [2.0]


def test_a_restart_in_what_is_left_of_the_window_fails() -> None:
    again = state(MainPID="999", ActiveEnterTimestampMonotonic="9200000", ExecMainStartTimestampMonotonic="9100000")
    ok, detail, _ = watch_at(9.0, state(), again)
    assert not ok
    assert "main process went from 812 to 999" in detail


def test_a_restart_by_systemd_within_the_window_fails() -> None:
    ok, detail, _ = watch(state(), state(NRestarts="1"))
    assert not ok
    assert detail == f"unit {NAME} restarted within 2 s (restart counter went from 0 to 1)"


def test_a_new_main_process_within_the_window_fails() -> None:
    ok, detail, slept = watch(state(), state(MainPID="999"), still_seconds=0.5)
    assert not ok
    assert "main process went from 812 to 999" in detail
    assert slept == [0.5]


def test_a_unit_that_dies_within_the_window_fails() -> None:
    ok, detail, _ = watch(state(), state(ActiveState="failed", SubState="failed", Result="exit-code"))
    assert not ok
    assert "failed (failed), result exit-code" in detail


def test_a_unit_that_waits_for_its_next_try_fails_at_once_and_says_how_often_it_came_back() -> None:
    crashed = state(ActiveState="activating", SubState="auto-restart", NRestarts="4", ExecMainStatus="3")
    ok, detail, slept = watch(crashed)
    assert not ok
    assert detail == (
        f"unit {NAME} is activating (auto-restart), result success, exit status 3, automatic restarts so far: 4"
    )
    assert slept == []


@pytest.mark.parametrize("pair", [("inactive", "dead"), ("active", "exited"), ("failed", "failed"), ("active", "x")])
def test_only_active_and_running_passes(pair: tuple[str, str]) -> None:
    assert not judge_state(NAME, state(ActiveState=pair[0], SubState=pair[1]), oneshot=False).ok


def test_a_unit_that_does_not_exist_is_named() -> None:
    ok, detail, _ = watch(state(LoadState="not-found", ActiveState="inactive", SubState="dead"))
    assert not ok
    assert detail == f"unit {NAME} is not installed (not-found)"


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({"ActiveState": "inactive", "SubState": "dead"}, True),
        ({"ActiveState": "active", "SubState": "exited"}, True),
        ({"ActiveState": "inactive", "SubState": "dead", "ExecMainStartTimestampMonotonic": "0"}, True),
        ({"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}, False),
        ({"ActiveState": "inactive", "SubState": "dead", "Result": "timeout"}, False),
        ({"ActiveState": "activating", "SubState": "start"}, False),
    ],
)
def test_a_oneshot_unit_is_judged_by_its_last_run(changes: dict[str, str], ok: bool) -> None:
    seen, _, slept = watch(state(**changes), oneshot=True)
    assert seen is ok
    assert slept == []


def test_a_host_without_systemctl_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CheckError, match="no systemctl"):
        show_unit(NAME)


def test_systemctl_is_asked_for_the_unit(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    program = tmp_path / "systemctl"
    program.write_text('#!/bin/sh\n[ "$1 $4 $5" = "show -- a.service" ] || exit 9\necho "ActiveState=active"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert show_unit("a.service") == {"ActiveState": "active"}
    with pytest.raises(CheckError, match="systemctl show failed"):
        show_unit("b.service")
