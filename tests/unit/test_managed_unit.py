"""gateway.toolkit.managed_unit: the unit runs what was deployed, whoever was killed in between.

systemctl and journalctl are doubles here (small scripts, see SYSTEMCTL_DOUBLE); HTTP goes to a real local server.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import systemd_unit
from ansible_collections.gateway.toolkit.plugins.module_utils.readiness import body_problem, not_ready
from ansible_collections.gateway.toolkit.plugins.module_utils.systemd_unit import (
    Clocks,
    Plan,
    Stamp,
    changed_since_start,
    decide,
    hopeless,
    identity,
    parse_show,
    read_stamp,
    started_at,
    watched_paths,
    write_stamp,
)
from ansible_collections.gateway.toolkit.plugins.modules import managed_unit
from module_harness import Ran, run_main

NAME = "proxy.service"
SECRET = "sk-header-value-0001"
SECOND = 10**9


def unit(**changes: str) -> dict[str, str]:
    """The properties of a healthy unit, started 100 seconds after boot, with changes."""
    healthy = {
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "Result": "success",
        "UnitFileState": "enabled",
        "NeedDaemonReload": "no",
        "FragmentPath": "",
        "DropInPaths": "",
        "InvocationID": "first",
        "ExecMainStatus": "0",
        "NRestarts": "0",
        "InactiveExitTimestampMonotonic": "100000000",
        "ExecMainStartTimestampMonotonic": "100500000",
    }
    return {**parse_show(""), **healthy, **changes}


def plan(changed: tuple[str, ...] = (), *, enabled: bool = True, started: bool = True, **changes: str) -> Plan:
    """The decision for a unit with these changed properties."""
    return decide(NAME, unit(**changes), changed, enabled=enabled, started=started, restart=False)


# When did it start, and what changed since


def test_start_is_the_earlier_of_the_two_times_by_todays_clock() -> None:
    assert started_at(unit(), Clocks(real=5000 * SECOND, monotonic=150 * SECOND)) == 4950 * SECOND


def test_unit_that_never_ran_has_no_start() -> None:
    never = unit(InactiveExitTimestampMonotonic="0", ExecMainStartTimestampMonotonic="0")
    assert started_at(never, Clocks(0, 0)) is None


@pytest.mark.parametrize(
    ("times", "is_changed"),
    [((4949, 4949), False), ((4951, 4951), True), ((1, 4951), True), ((4951, 1), True)],
)
def test_file_counts_as_changed_when_either_of_its_times_is_after_the_start(times: tuple, is_changed: bool) -> None:
    files = {"/f": (1, times[0] * SECOND, times[1] * SECOND)}
    changed = changed_since_start(unit(), files, Stamp(), Clocks(5000 * SECOND, 150 * SECOND))
    assert changed == (["/f"] if is_changed else [])


def test_own_start_is_compared_without_any_clock() -> None:
    """The clock was set back an hour after the start: by times alone every file would look new, run after run."""
    files = {"/same": (1, 9000, 9000), "/new": (2, 9000, 9001), "/gone": None, "/never": None}
    stamp = Stamp("first", {"/same": (1, 9000, 9000), "/new": (2, 9000, 9000), "/gone": (3, 1, 1), "/never": None})
    set_back = Clocks(real=0, monotonic=150 * SECOND)
    assert changed_since_start(unit(), files, stamp, set_back) == ["/new", "/gone"]


def test_memory_of_another_start_is_not_used() -> None:
    files = {"/f": (1, 4951 * SECOND, 0)}
    stamp = Stamp("another", dict(files))
    assert changed_since_start(unit(), files, stamp, Clocks(5000 * SECOND, 150 * SECOND)) == ["/f"]


def test_missing_file_is_no_change_for_a_start_by_others() -> None:
    assert changed_since_start(unit(), {"/f": None}, Stamp(), Clocks(5000 * SECOND, 150 * SECOND)) == []


def test_units_own_files_are_watched_too() -> None:
    paths = watched_paths(unit(FragmentPath="/u", DropInPaths="/d1 /d2"), ["/f", "/u"])
    assert paths == ["/f", "/u", "/d1", "/d2"]


def test_link_counts_itself_not_its_target(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.touch()
    link.symlink_to(target)
    before = identity(str(link))
    target.write_text("changed")
    assert identity(str(link)) == before
    link.unlink()
    link.symlink_to("elsewhere")
    assert identity(str(link)) != before
    assert identity(str(tmp_path / "missing")) is None


def test_stamp_is_read_back_and_a_broken_one_is_forgotten(tmp_path: Path) -> None:
    path = str(tmp_path / "units" / "x.json")
    stamp = Stamp("id", {"/a": (1, 2, 3), "/b": None}, confirmed=False)
    write_stamp(path, stamp)
    assert read_stamp(path) == stamp
    for broken in ("", "[]", "{}", '{"invocation": 1, "files": [], "confirmed": true}'):
        Path(path).write_text(broken)
        assert read_stamp(path) == Stamp()


# Decisions


def test_nothing_to_do() -> None:
    assert plan() == Plan(False, None, "", [])


@pytest.mark.parametrize(
    ("changes", "reload", "enable", "verb", "reason"),
    [
        ({"ActiveState": "inactive"}, False, None, "start", "not running (inactive)"),
        ({"ActiveState": "failed"}, False, None, "start", "not running (failed)"),
        ({"ActiveState": "deactivating"}, False, None, "start", "not running (deactivating)"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, False, None, "restart", "restarting in a loop"),
        ({"ActiveState": "activating", "SubState": "start"}, False, None, "start", "still starting"),
        ({"NeedDaemonReload": "yes"}, True, None, "restart", "unit file of proxy.service changed"),
        ({"UnitFileState": "disabled"}, False, True, "", "was not enabled"),
        ({"UnitFileState": "enabled-runtime"}, False, True, "", "was not enabled"),
        ({"UnitFileState": "static"}, False, None, "", None),
        ({"ActiveState": "reloading"}, False, None, "", None),
    ],
)
def test_plan_for_a_unit_that_shall_run(
    changes: dict, reload: bool, enable: bool | None, verb: str, reason: str | None
) -> None:
    made = plan(**changes)
    assert (made.reload, made.enable, made.verb) == (reload, enable, verb)
    assert bool(made.reasons) == bool(reason)
    assert reason is None or reason in made.reasons[0]


@pytest.mark.parametrize(
    ("changes", "enable", "verb"),
    [
        ({}, False, "stop"),
        ({"ActiveState": "activating"}, False, "stop"),
        ({"ActiveState": "inactive", "UnitFileState": "disabled"}, None, ""),
        ({"ActiveState": "failed", "UnitFileState": "static"}, None, ""),
    ],
)
def test_plan_for_a_unit_that_shall_not_run(changes: dict, enable: bool | None, verb: str) -> None:
    made = plan(enabled=False, started=False, **changes)
    assert (made.enable, made.verb) == (enable, verb)
    assert bool(made.reasons) == bool(verb or enable is not None)


def test_changed_files_restart_and_are_all_named() -> None:
    made = plan(("/a", "/b"))
    assert made.verb == "restart"
    assert made.reasons == [f"{path} changed after proxy.service was started." for path in ("/a", "/b")]


def test_changed_files_of_a_unit_that_is_down_only_start_it() -> None:
    assert plan(("/a",), ActiveState="inactive").verb == "start"


def test_demanded_restart() -> None:
    made = decide(NAME, unit(), [], enabled=True, started=True, restart=True)
    assert (made.verb, made.reasons) == ("restart", ["A restart was asked for."])


@pytest.mark.parametrize(
    ("changes", "before", "verdict"),
    [
        ({}, 0, ""),
        ({"ActiveState": "failed"}, 0, "it failed"),
        ({"ActiveState": "inactive"}, 0, "it ended"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "1"}, 0, ""),
        ({"NRestarts": "2"}, 0, "it was restarted 2 times"),
        ({"NRestarts": "7"}, 7, ""),
    ],
)
def test_waiting_ends_early_only_when_it_is_hopeless(changes: dict, before: int, verdict: str) -> None:
    assert hopeless(unit(**changes), before) == verdict


# Readiness over HTTP


class Service(BaseHTTPRequestHandler):
    """Answers the first GETs with the server's `first` answers, later ones with `answer`; remembers the headers."""

    def do_GET(self) -> None:
        """Answer."""
        self.server.seen.append((self.path, dict(self.headers)))
        status, body = self.server.first.pop(0) if self.server.first else self.server.answer
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: Any) -> None:
        """Stay silent."""


@pytest.fixture
def service() -> Iterator[ThreadingHTTPServer]:
    """A local HTTP service that says it is ready."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.first, server.answer, server.seen = [], (200, '{"db": "connected"}'), []
    server.url = f"http://127.0.0.1:{server.server_port}/ready?x=1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("body", "expected", "problem"),
    [
        ('{"a": {"b": [1, {"c": true}]}}', {"a.b.1.c": True, "a.b.0": 1}, ""),
        ('{"a": 1}', {"a": True}, "a is 1 instead of true"),
        ('{"db": "Not connected"}', {"db": "connected"}, 'db is "Not connected" instead of "connected"'),
        ('{"a": 1}', {"a.b": 1}, "a.b is missing in the answer"),
        ('{"a": []}', {"a.0": 1}, "a.0 is missing in the answer"),
        ("<html>", {"a": 1}, "the answer is not JSON"),
        ("<html>", {}, ""),
    ],
)
def test_body_must_hold_the_expected_values(body: str, expected: dict, problem: str) -> None:
    assert body_problem(body.encode(), expected) == problem


def test_request_carries_headers_and_ignores_proxies(
    service: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert not_ready(service.url, {"Authorization": "Bearer x"}, 200, {"db": "connected"}, 5) == ""
    path, headers = service.seen[0]
    assert path == "/ready?x=1"
    assert headers["Authorization"] == "Bearer x"


def test_wrong_status_and_redirect_are_not_ready(service: ThreadingHTTPServer) -> None:
    for status in (302, 503):
        service.answer = (status, "")
        assert not_ready(service.url, {}, 200, {}, 5) == f"status {status} instead of 200"


def test_no_listener_is_said_in_plain_words() -> None:
    assert not_ready("http://127.0.0.1:1/", {}, 200, {}, 5) == "connection refused"


def test_unusable_header_is_not_repeated(service: ThreadingHTTPServer) -> None:
    assert not_ready(service.url, {"A": f"{SECRET}\nB: c"}, 200, {}, 5) == "the URL or a request header is not valid"


# The whole module, with doubles of systemctl and journalctl

SYSTEMCTL_DOUBLE = """#!{python} -SE
import json, os, sys
state = json.load(open({state!r}))
with open({calls!r}, "a") as calls:
    calls.write(" ".join(word for word in sys.argv[1:] if not word.startswith("--property")) + "\\n")
verb = sys.argv[1]
if verb == "show":
    shown = state["show"].pop(0) if len(state["show"]) > 1 else state["show"][0]
    print("\\n".join(f"{{name}}={{value}}" for name, value in shown.items()))
elif verb in state["after"]:
    state["show"] = state["after"][verb]
json.dump(state, open({state!r}, "w"))
if verb in state["refuse"]:
    sys.exit(state["refuse"][verb])
"""

JOURNALCTL_DOUBLE = """#!/bin/sh
case "$*" in *--unit*) echo "args: $*"; echo "listening with {secret}"; echo "port in use";; esac
"""


class Host:
    """A host whose systemd is a double: `show` answers in turn, and what follows each verb."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the doubles first on PATH."""
        self.root, self.state, self.calls_file = root, root / "state.json", root / "calls"
        programs = root / "bin"
        programs.mkdir()
        double = SYSTEMCTL_DOUBLE.format(python=sys.executable, state=str(self.state), calls=str(self.calls_file))
        for name, text in (("systemctl", double), ("journalctl", JOURNALCTL_DOUBLE.format(secret=SECRET))):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        monkeypatch.setattr(managed_unit, "INTERVAL", 0.01)
        self.set(unit())

    def set(self, *show: dict[str, str], after: dict[str, list] | None = None, refuse: dict | None = None) -> None:
        """What systemctl shows now, what it shows after a verb, and the exit statuses of refused verbs."""
        self.state.write_text(json.dumps({"show": show, "after": after or {}, "refuse": refuse or {}}))
        self.calls_file.write_text("")

    def run(self, check_mode: bool = False, **params: Any) -> Ran:
        """A run of the module."""
        base = {"name": NAME, "settle": 0, "state_directory": str(self.root / "units")}
        return run_main(managed_unit, {**base, **params}, check_mode)

    def calls(self) -> list[str]:
        """Verbs that were called, without the reading ones."""
        return [line for line in self.calls_file.read_text().splitlines() if not line.startswith("show")]

    def shows(self) -> int:
        """How often the unit was looked at."""
        return sum(line.startswith("show") for line in self.calls_file.read_text().splitlines())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with a healthy unit."""
    return Host(tmp_path, monkeypatch)


def fresh(**changes: str) -> dict[str, str]:
    """The unit after a new start, just now."""
    now = str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
    times = {"InactiveExitTimestampMonotonic": now, "ExecMainStartTimestampMonotonic": now}
    return unit(**{"InvocationID": "second", **times, **changes})


def test_nothing_to_do_is_one_look(host: Host) -> None:
    ran = host.run()
    assert (ran.result["changed"], ran.result["reasons"], ran.result["started"]) == (False, [], False)
    assert (host.shows(), host.calls()) == (1, [])


def test_changed_file_restarts_once(host: Host, tmp_path: Path) -> None:
    config = tmp_path / "config"
    host.set(fresh(InvocationID="first"), after={"restart": [fresh()]})
    time.sleep(0.02)
    config.touch()
    ran = host.run(restart_on=[str(config)])
    assert ran.result["reasons"] == [f"{config} changed after {NAME} was started."]
    assert ran.result["started"]
    assert host.calls() == [f"reset-failed {NAME}", f"restart {NAME}"]
    assert not host.run(restart_on=[str(config)]).result["changed"]


def test_file_dated_in_the_future_does_not_restart_forever(host: Host, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.touch()
    os.utime(config, (time.time() + 3600,) * 2)
    host.set(fresh(InvocationID="first"), after={"restart": [fresh()]})
    assert host.run(restart_on=[str(config)]).result["changed"]
    assert not host.run(restart_on=[str(config)]).result["changed"]


def test_new_unit_is_reloaded_enabled_and_started_in_order(host: Host) -> None:
    new = unit(ActiveState="inactive", SubState="dead", UnitFileState="disabled", InvocationID="")
    host.set(unit(LoadState="not-found"), after={"daemon-reload": [new], "start": [fresh()]})
    ran = host.run()
    assert ran.result["changed"]
    assert host.calls() == ["daemon-reload", f"enable {NAME}", f"reset-failed {NAME}", f"start {NAME}"]
    assert len(ran.result["reasons"]) == 2


def test_changed_unit_file_is_loaded_before_the_restart(host: Host) -> None:
    host.set(unit(NeedDaemonReload="yes"), after={"restart": [fresh()]})
    host.run()
    assert host.calls() == ["daemon-reload", f"reset-failed {NAME}", f"restart {NAME}"]


def test_unit_file_changed_before_somebody_elses_reload_restarts(host: Host, tmp_path: Path) -> None:
    fragment = tmp_path / NAME
    fragment.touch()
    old = str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 - 1_000_000)
    host.set(fresh(InactiveExitTimestampMonotonic=old, FragmentPath=str(fragment)), after={"restart": [fresh()]})
    assert host.run().result["reasons"] == [f"{fragment} changed after {NAME} was started."]


def test_stopping_and_disabling(host: Host) -> None:
    host.set(unit(), after={"stop": [unit(ActiveState="inactive")]})
    assert host.run(state="stopped", enabled=False).result["changed"]
    assert host.calls() == [f"disable {NAME}", f"stop {NAME}"]


def test_missing_unit_that_is_not_wanted_is_fine(host: Host) -> None:
    host.set(unit(LoadState="not-found"))
    assert not host.run(state="stopped", enabled=False).result["changed"]
    assert host.calls() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"LoadState": "not-found"}, "must be installed first"),
        ({"LoadState": "masked"}, "systemctl unmask"),
        ({"LoadState": "bad-setting", "LoadError": "Missing '='"}, "bad-setting"),
    ],
)
def test_unusable_unit_is_one_sentence(host: Host, changes: dict, words: str) -> None:
    host.set(unit(**changes))
    assert words in host.run().result["msg"]


@pytest.mark.parametrize("name", ["proxy", "../x.service", "a b.service", "-x;.service"])
def test_odd_unit_names_are_refused(host: Host, name: str) -> None:
    assert "not the name of a service unit" in host.run(name=name).result["msg"]


# Waiting


def test_start_waits_until_the_service_is_ready(host: Host, service: ThreadingHTTPServer) -> None:
    service.first = [(503, ""), (200, '{"db": "Not connected"}')]
    host.set(unit(ActiveState="inactive"), after={"start": [fresh()]})
    ran = host.run(ready={"url": service.url, "json": {"db": "connected"}, "timeout": 20})
    assert ran.result["started"], ran.result
    assert len(service.seen) == 3


def test_the_interruption_is_the_time_between_two_good_answers() -> None:
    bad = iter(["", "down", "down", "down", ""])

    def probe(_timeout: float) -> str:
        return next(bad, "")

    with managed_unit.Watch(probe) as watch:
        time.sleep(0.6)
    assert 0.3 <= watch.longest <= 1.5


def test_a_service_that_was_not_there_before_is_not_interrupted() -> None:
    bad = iter(["down", "down"])
    with managed_unit.Watch(lambda _timeout: next(bad, "")) as watch:
        time.sleep(0.1)
    assert watch.longest < 0.3


def test_failed_unit_ends_the_waiting_at_once_with_its_journal(host: Host) -> None:
    dead = fresh(ActiveState="failed", SubState="failed", Result="exit-code", ExecMainStatus="78")
    host.set(unit(ActiveState="inactive"), after={"start": [fresh(), dead]})
    begin = time.monotonic()
    ran = host.run(ready={"url": "http://127.0.0.1:1/", "timeout": 60}, redact=[SECRET])
    assert time.monotonic() - begin < 10
    assert ran.result["failed"]
    for words in ("it failed; connection refused", "ExecMainStatus=78", "NRestarts=0", "port in use", "--since=@"):
        assert words in ran.result["msg"]
    assert ran.result["unit"]["Result"] == "exit-code"
    assert SECRET not in ran.text


def test_restart_loop_ends_the_waiting(host: Host) -> None:
    loop = [
        fresh(ActiveState="activating", SubState="auto-restart", NRestarts="1"),
        fresh(),
        fresh(ActiveState="activating", SubState="auto-restart", NRestarts="2"),
    ]
    host.set(unit(ActiveState="inactive"), after={"start": loop})
    ran = host.run(ready={"url": "http://127.0.0.1:1/", "timeout": 60})
    assert "it was restarted 2 times" in ran.result["msg"]


def test_answer_of_a_stranger_on_the_port_does_not_count(host: Host, service: ThreadingHTTPServer) -> None:
    looping = fresh(ActiveState="activating", SubState="auto-restart", NRestarts="1")
    host.set(unit(ActiveState="inactive"), after={"start": [looping]})
    ran = host.run(ready={"url": service.url, "timeout": 1})
    assert "not ready after 1 seconds: activating" in ran.result["msg"]


def test_start_that_systemd_refuses_says_why(host: Host) -> None:
    host.set(unit(ActiveState="failed"), after={"start": [unit(ActiveState="failed")]}, refuse={"start": 1})
    assert "exit status 1" in host.run().result["msg"]


def test_without_ready_the_unit_must_stay_up(host: Host) -> None:
    host.set(unit(ActiveState="inactive"), after={"start": [fresh()] * 3 + [fresh(ActiveState="failed")]})
    assert "it failed" in host.run(settle=5).result["msg"]


def test_failed_waiting_is_made_up_for_by_the_next_run(host: Host, service: ThreadingHTTPServer) -> None:
    service.answer = (503, "")
    ready = {"url": service.url, "timeout": 1}
    host.set(unit(ActiveState="inactive"), after={"start": [fresh()]})
    assert host.run(ready=ready).result["failed"]
    again = host.run(ready=ready)
    assert again.result["failed"], "the second run must not call a service fine that was never ready"
    service.answer = (200, "")
    third = host.run(ready=ready)
    assert not third.result["changed"]
    asked = len(service.seen)
    assert not host.run(ready=ready).result["changed"]
    assert len(service.seen) == asked
    assert host.calls() == [f"reset-failed {NAME}", f"start {NAME}"]


def test_ready_is_asked_without_a_start_only_on_demand(host: Host, service: ThreadingHTTPServer) -> None:
    host.run(ready={"url": service.url})
    assert service.seen == []
    service.answer = (503, "")
    ran = host.run(ready={"url": service.url, "timeout": 1}, ready_always=True)
    assert "status 503 instead of 200" in ran.result["msg"]


# Check mode and secrets


def test_check_mode_says_what_would_happen_and_does_nothing(host: Host) -> None:
    host.set(unit(ActiveState="inactive", UnitFileState="disabled", NeedDaemonReload="yes"))
    ran = host.run(check_mode=True)
    assert ran.result["changed"]
    assert len(ran.result["reasons"]) == 3
    assert not ran.result["started"]
    assert host.calls() == []
    assert not (host.root / "units").exists()


def test_check_mode_accepts_a_unit_that_does_not_exist_yet(host: Host) -> None:
    host.set(unit(LoadState="not-found"))
    ran = host.run(check_mode=True)
    assert (ran.result["changed"], ran.result["reasons"]) == (True, [f"{NAME} does not exist yet."])
    assert ran.result["diff"] == {"prepared": f"{NAME} does not exist yet.\n"}
    assert host.calls() == []


def test_headers_and_redacted_strings_show_nowhere(host: Host, service: ThreadingHTTPServer) -> None:
    service.answer = (200, json.dumps({"echo": SECRET}))
    headers = {"Authorization": f"Bearer {SECRET}", "X-Odd": "quote'\"back\\slash-0003"}
    ready = {"url": service.url, "headers": headers, "json": {"echo": "x"}, "timeout": 1}
    host.set(unit(ActiveState="inactive"), after={"start": [fresh()]})
    ran = host.run(ready=ready, redact=["quoted'\"value\\0002"])
    assert "echo is" in ran.result["msg"]
    assert service.seen[0][1]["Authorization"] == f"Bearer {SECRET}"
    assert "Invoked with" in ran.log
    assert SECRET not in ran.text + ran.log
    assert "slash-0003" not in ran.log
    assert "0002" not in ran.log


def test_every_property_the_decisions_read_is_asked_for() -> None:
    assert set(unit()) == set(systemd_unit.PROPERTIES)
