"""gateway.toolkit.rotation: a rotation that is killed after any step is taken up again, and no value shows."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import rotation_store
from ansible_collections.gateway.toolkit.plugins.module_utils.one_time_pad import reveal
from ansible_collections.gateway.toolkit.plugins.module_utils.rotation_state import (
    Files,
    Ledger,
    Rotation,
    fingerprint,
    seconds_left,
    to_moment,
)
from ansible_collections.gateway.toolkit.plugins.modules import rotation
from module_harness import run_main

OLD = "sk-the-old-value-0123456789abcdef"
GIVEN = "sk-given-by-the-operator-fedcba98"
DAY = 86400
KEY = "k" * 64


class Host:
    """A gateway's host: the three files, the ledger and the log, and the module run on them."""

    def __init__(self, root: Path) -> None:
        self.secrets, self.state = root / "secrets", root / "toolkit" / "rotation"
        self.log = root / "log" / "toolkit" / "rotation.log"
        self.secrets.mkdir(mode=0o700)
        self.file().write_text(OLD + "\n")
        self.seen = {OLD, GIVEN}

    def file(self, suffix: str = "") -> Path:
        return self.secrets / f"virtual_key{suffix}"

    def value(self, suffix: str = "") -> str:
        return self.file(suffix).read_text().strip() if self.file(suffix).exists() else ""

    def values(self) -> tuple[str, str, str]:
        """In use, next, old."""
        found = self.value(), self.value(".next"), self.value(".old")
        self.seen.update(value for value in found if value)
        return found

    def run(self, action: str, check: bool = False, **params: Any) -> dict[str, Any]:
        """The module's result, as the controller reveals it. Nothing that travels or is logged may hold a value."""
        common = {
            "name": "virtual_key",
            "subject": "openclaw-gateway1",
            "directory": str(self.secrets),
            "state_directory": str(self.state),
            "log": str(self.log),
            "prefix": "sk-",
            "variable": "litellm_virtual_key",
            "max_age_variable": "litellm_virtual_key_max_age",
            "transport_key": KEY,
        }
        ran = run_main(rotation, {**common, "action": action, **params}, check)
        self.values()
        shown = ran.text + ran.log
        for path in (self.state / "virtual_key.json", self.log):
            shown += path.read_text() if path.exists() else ""
        assert not [value for value in self.seen if value in shown]
        result: dict[str, Any] = ran.result
        if "secrets" in result:
            result["secrets"] = {name: reveal(KEY, name, value) for name, value in result["secrets"].items()}
        return result

    def grow_old(self, days: float) -> None:
        then = time.time() - days * DAY
        os.utime(self.file(), (then, then))

    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def to_the_end(host: Host, **finish: Any) -> dict[str, Any]:
    """What the tasks do from wherever the rotation is."""
    begun = host.run("begin")
    if begun["direction"] == "back":
        return host.run("finish", **finish)
    host.run("record", step="registered")
    host.run("switch")
    host.run("record", step="proved", proofs=[{"proof": "a prompt through OpenClaw", "result": "ok"}])
    host.run("record", step="retired", proofs=[{"proof": "old key is refused", "result": "401"}])
    return host.run("finish", **finish)


# When


def test_nothing_is_due_and_nothing_is_written(host: Host) -> None:
    result = host.run("begin", max_age=30)
    assert (result["changed"], result["due"], result["active"], result["secrets"]) == (False, False, False, {})
    assert not host.state.exists()
    assert not host.log.exists()


def test_a_host_without_a_key_has_nothing_to_rotate(host: Host) -> None:
    host.file().unlink()
    assert host.run("begin", requested=True, value=GIVEN)["due"] is False


def test_a_generated_key_is_rotated_when_it_is_too_old(host: Host) -> None:
    host.grow_old(31)
    result = host.run("begin", max_age=30)
    assert result["due"]
    assert result["reason"] == "it is 31 days old and litellm_virtual_key_max_age is 30"


@pytest.mark.parametrize(("days", "max_age"), [(29, 30), (4000, 0), (-5, 30)])
def test_a_young_key_and_max_age_0_and_a_wrong_clock_rotate_nothing(host: Host, days: float, max_age: float) -> None:
    host.grow_old(days)
    assert host.run("begin", max_age=max_age)["due"] is False


def test_the_operators_own_key_has_no_age(host: Host) -> None:
    host.grow_old(400)
    assert host.run("begin", max_age=30, value=OLD)["due"] is False


def test_the_age_counts_from_the_last_rotation(host: Host) -> None:
    host.grow_old(31)
    host.run("begin", max_age=30)
    to_the_end(host)
    host.grow_old(400)
    assert host.run("begin", max_age=30)["due"] is False


def test_the_operators_new_value_is_rotated_to(host: Host) -> None:
    result = host.run("begin", value=GIVEN)
    assert result["reason"] == "litellm_virtual_key has another value"
    assert host.values() == (OLD, GIVEN, "")
    to_the_end(host)
    assert host.values() == (GIVEN, "", "")
    assert host.run("begin", value=GIVEN)["due"] is False


def test_a_request_with_the_operators_same_value_is_refused_with_the_reason(host: Host) -> None:
    result = host.run("begin", requested=True, value=OLD)
    assert result["failed"]
    assert "give litellm_virtual_key a new value" in result["msg"]
    assert host.values() == (OLD, "", "")


def test_check_mode_says_what_and_why_and_writes_nothing(host: Host) -> None:
    result = host.run("begin", check=True, requested=True)
    assert (result["changed"], result["due"], result["active"], result["secrets"]) == (True, True, False, {})
    assert result["message"] == (
        f"virtual key of openclaw-gateway1: {fingerprint(OLD)} -> a new one, because it was asked for."
    )
    assert os.listdir(host.secrets) == ["virtual_key"]
    assert not host.state.exists()


def test_an_emergency_says_so_before_it_starts(host: Host) -> None:
    result = host.run("begin", check=True, requested=True, emergency=True)
    assert "the old one is revoked first; nothing is served until" in result["message"]


# The whole way


def test_a_rotation_leaves_one_value_and_one_receipt(host: Host) -> None:
    result = to_the_end_requested(host)
    new, following, old = host.values()
    assert (following, old) == ("", "")
    assert new.startswith("sk-")
    assert len(new) == 67
    (receipt,) = host.receipts()
    assert receipt == result["receipt"]
    assert (receipt["old"], receipt["new"]) == (fingerprint(OLD), fingerprint(new))
    assert (receipt["kind"], receipt["alias"]) == ("virtual_key", "openclaw-gateway1")
    assert (receipt["result"], receipt["reason"]) == ("rotated", "it was asked for")
    assert [proof["proof"] for proof in receipt["proofs"]] == ["a prompt through OpenClaw", "old key is refused"]
    assert 0 <= receipt["seconds"] < 60


def to_the_end_requested(host: Host) -> dict[str, Any]:
    host.run("begin", requested=True)
    return to_the_end(host)


def test_everything_is_for_root_only(host: Host) -> None:
    host.run("begin", requested=True)
    host.run("switch")
    paths = [host.state / "virtual_key.json", host.file(), host.file(".old")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600] * 3
    assert stat.S_IMODE(host.state.stat().st_mode) == 0o700
    to_the_end(host)
    assert stat.S_IMODE(host.log.stat().st_mode) == 0o600
    assert stat.S_IMODE(host.log.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(host.state.parent.stat().st_mode) == 0o755


def test_the_values_are_returned_while_the_rotation_is_active(host: Host) -> None:
    begun = host.run("begin", requested=True)
    assert begun["secrets"] == {"old": OLD, "new": host.value(".next")}
    switched = host.run("switch")
    assert switched["secrets"] == begun["secrets"]


@pytest.mark.parametrize("steps", range(5))
def test_a_run_killed_after_any_step_is_finished_by_the_next(host: Host, steps: int) -> None:
    sequence: list[tuple[str, dict[str, Any]]] = [
        ("begin", {"requested": True}),
        ("record", {"step": "registered"}),
        ("switch", {}),
        ("record", {"step": "proved"}),
        ("record", {"step": "retired"}),
    ]
    for action, params in sequence[: steps + 1]:
        new = host.run(action, **params)["new"]
    again = host.run("begin")
    assert (again["due"], again["new"], again["direction"]) == (True, new, "forward")
    assert "and finished now" in again["message"]
    to_the_end(host)
    assert fingerprint(host.value()) == new
    assert host.values()[1:] == ("", "")
    assert host.run("begin")["due"] is False


class Killed(BaseException):
    """The process ended here."""


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the process end at the number-th write or removal, before it happens."""
    left = [number]

    def counted(real: Any) -> Any:
        def call(*args: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*args)

        return call

    monkeypatch.setattr(rotation_store.Store, "_write", staticmethod(counted(rotation_store.Store._write)))
    monkeypatch.setattr(rotation_store.Store, "_remove", staticmethod(counted(rotation_store.Store._remove)))


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("number", range(1, 16))
def test_a_process_killed_at_any_write_leaves_a_state_that_ends_well(
    host: Host, monkeypatch: pytest.MonkeyPatch, number: int, back: bool
) -> None:
    registered = False
    try:
        with monkeypatch.context() as context:
            kill_at(context, number)
            host.run("begin", requested=True)
            registered = True
            host.run("record", step="registered")
            host.run("switch")
            host.run("back") if back else host.run("record", step="retired")
            registered = False
            host.run("finish")
    except Killed:
        pass
    assert host.value(), "a value is in use at every moment"
    if registered:
        assert len(set(host.values()) - {""}) == 2, "neither of two values that LiteLLM knows is forgotten"
    begun = host.run("begin")
    if begun["due"]:
        to_the_end(host)
    assert host.values()[1:] == ("", "")
    assert host.run("begin")["due"] is False
    results = [(receipt["result"], receipt["new"]) for receipt in host.receipts()]
    assert len(results) == len(set(results)), "a receipt is not written twice"


# Back


def test_a_failed_proof_puts_the_old_value_back_and_keeps_the_new_one_to_be_revoked(host: Host) -> None:
    host.run("begin", requested=True)
    host.run("switch")
    new = host.value()
    result = host.run("back", cause="OpenClaw did not answer", proofs=[{"proof": "a prompt", "result": "failed"}])
    assert host.values() == (OLD, new, "")
    assert result["secrets"] == {"old": OLD, "new": new}
    assert host.run("begin")["message"].endswith("is undone, because OpenClaw did not answer.")
    host.run("finish")
    assert host.values() == (OLD, "", "")
    (receipt,) = host.receipts()
    assert (receipt["result"], receipt["cause"]) == ("undone", "OpenClaw did not answer")
    assert receipt["proofs"] == [{"proof": "a prompt", "result": "failed"}]


def test_an_undone_rotation_is_not_switched_again(host: Host) -> None:
    host.run("begin", requested=True)
    host.run("back")
    assert host.run("switch")["failed"]
    assert host.value() == OLD


def test_an_undone_rotation_by_age_is_due_again(host: Host) -> None:
    host.grow_old(31)
    host.run("begin", max_age=30)
    host.run("back")
    host.run("finish")
    assert host.run("begin", max_age=30)["due"] is True


def test_another_wish_before_the_switch_turns_the_rotation_round(host: Host) -> None:
    host.run("begin", requested=True)
    host.run("record", step="registered")
    result = host.run("begin", value=GIVEN)
    assert result["direction"] == "back"
    host.run("finish")
    assert host.run("begin", value=GIVEN)["new"] == fingerprint(GIVEN)


def test_another_wish_after_the_switch_waits(host: Host) -> None:
    host.run("begin", requested=True)
    host.run("switch")
    assert host.run("begin", value=GIVEN)["direction"] == "forward"
    to_the_end(host)
    assert host.run("begin", value=GIVEN)["new"] == fingerprint(GIVEN)


@pytest.mark.parametrize("params", [{"requested": True, "emergency": True}])
def test_an_emergency_never_goes_back(host: Host, params: dict[str, Any]) -> None:
    host.run("begin", **params)
    host.run("switch")
    result = host.run("back")
    assert result["failed"]
    assert host.value() != OLD


def test_an_unfinished_rotation_becomes_an_emergency(host: Host) -> None:
    host.run("begin", requested=True)
    assert host.run("begin", emergency=True, requested=True)["emergency"] is True
    assert host.run("record", step="registered")["emergency"] is True


def test_a_rotation_is_not_over_before_the_old_value_is_revoked(host: Host) -> None:
    host.run("begin", requested=True)
    host.run("switch")
    result = host.run("finish")
    assert "still has to be revoked" in result["msg"]
    assert host.value(".old") == OLD
    assert host.receipts() == []


# What people do to files


def test_a_lost_ledger_is_found_again_by_the_old_value(host: Host) -> None:
    host.run("begin", requested=True)
    new = host.run("switch")["new"]
    (host.state / "virtual_key.json").unlink()
    result = host.run("begin")
    assert (result["due"], result["old"], result["new"], result["step"]) == (True, fingerprint(OLD), new, "switched")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"current": "x", "since": "", "rotation": {"step": "odd"}}'])
def test_a_damaged_ledger_is_refused_with_what_to_do(host: Host, content: str) -> None:
    host.state.mkdir(parents=True)
    (host.state / "virtual_key.json").write_text(content)
    result = host.run("begin", requested=True)
    assert content == "" or "Remove it" in result["msg"]


def test_a_value_changed_by_hand_during_a_rotation_is_refused(host: Host) -> None:
    host.run("begin", requested=True)
    host.run("switch")
    host.file().write_text(GIVEN + "\n")
    result = host.run("begin")
    assert "The value in use is not the one that the unfinished rotation" in result["msg"]


def test_a_link_in_place_of_a_file_is_refused(host: Host, tmp_path: Path) -> None:
    host.file(".next").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in host.run("begin", requested=True)["msg"]


def test_steps_without_a_rotation_are_refused(host: Host) -> None:
    for action in ("record", "switch", "back", "finish"):
        assert host.run(action)["msg"] == "No rotation has begun."


# The time that both values live


@pytest.mark.parametrize(
    ("switched", "emergency", "left"),
    [
        ("2026-01-01T00:00:00Z", False, 20),
        ("2025-12-31T23:00:00Z", False, 0),
        ("2026-01-01T00:00:00Z", True, 0),
        ("2026-01-02T00:00:00Z", False, 30),
        ("", False, 0),
    ],
)
def test_the_old_value_lives_on_for_the_overlap(switched: str, emergency: bool, left: int) -> None:
    state = Rotation("a", "b", "", "2026-01-01T00:00:00Z", switched=switched, emergency=emergency)
    assert seconds_left(state, 30, to_moment("2026-01-01T00:00:10Z")) == left


def test_the_ledger_survives_its_file() -> None:
    state = Rotation("a", "b", "r", "2026-01-01T00:00:00Z", "proved", proofs=({"proof": "p", "result": "1"},))
    ledger = Ledger("a", "2026-01-01T00:00:00Z", state)
    assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger


def test_values_do_not_show_in_the_representation() -> None:
    assert OLD not in repr(Files(OLD, OLD, OLD))


# A set of keys


def keys(**values: str) -> str:
    return json.dumps(values, sort_keys=True)


def begin_set(host: Host, stored: str, given: str, **params: Any) -> dict[str, Any]:
    host.file().write_text(stored + "\n")
    host.seen |= {*json.loads(stored).values(), *json.loads(given).values()}
    return host.run("begin", keyed=True, value=given, variable="litellm_provider_keys", **params)


def test_the_same_keys_in_another_order_are_no_change(host: Host) -> None:
    result = begin_set(host, keys(A="first-value", B="second-value"), '{"B": "second-value", "A": "first-value"}')
    assert (result["due"], result["changed"]) == (False, False)


def test_a_name_that_came_or_went_is_taken_over_without_a_rotation(host: Host) -> None:
    result = begin_set(host, keys(A="first-value", GONE="gone-value"), keys(A="first-value", B="second-value"))
    assert (result["due"], result["changed"]) == (False, True)
    assert host.values() == (keys(A="first-value", B="second-value"), "", "")


def test_another_value_of_a_name_is_rotated_to_and_the_receipt_names_it(host: Host) -> None:
    old, new = keys(A="first-value", B="second-value"), keys(A="first-value", B="another-value", C="third-value")
    result = begin_set(host, old, new)
    assert result["members"] == ["B"]
    assert f"B {fingerprint('second-value')} -> {fingerprint('another-value')}" in result["message"]
    carried = keys(A="first-value", B="second-value", C="third-value")
    assert host.values() == (carried, new, "")
    to_the_end(host)
    assert host.values() == (new, "", "")
    (receipt,) = host.receipts()
    assert receipt["keys"] == [{"name": "B", "old": fingerprint("second-value"), "new": fingerprint("another-value")}]


def test_a_set_is_taken_back_as_a_whole(host: Host) -> None:
    old, new = keys(A="first-value", B="second-value"), keys(A="other-value", B="another-value")
    begin_set(host, old, new)
    host.run("switch")
    host.run("back", cause="B was refused")
    assert host.values() == (old, new, "")
    assert host.run("finish")["receipt"]["result"] == "undone"
    assert host.values() == (old, "", "")


def test_a_damaged_set_is_one_sentence(host: Host) -> None:
    result = host.run("begin", keyed=True, value=keys(A="first-value"))
    assert "not a set of keys" in result["msg"]


def test_the_longest_interruption_is_in_the_receipt_and_none_when_none_was_measured(host: Host) -> None:
    host.run("begin", requested=True)
    host.run("switch")
    host.run("record", interruption=4.5)
    host.run("record", interruption=2.0)
    host.run("record", step="retired")
    assert host.run("finish")["receipt"]["interruption"] == 4.5
    assert "interruption" not in to_the_end_requested(host)["receipt"]


def test_the_kind_is_what_the_caller_calls_it(host: Host) -> None:
    result = host.run("begin", requested=True, kind="database_password")
    assert result["message"].startswith("database password of ")


def test_a_cause_that_is_a_sentence_gets_no_second_full_stop(host: Host) -> None:
    host.run("begin", requested=True)
    assert host.run("back", cause="It was refused.")["message"].endswith("is undone, because It was refused.")


# Copies of a dead value


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(rotation.AnsibleModule, "warn", lambda _self, sentence: found.append(sentence))
    return found


def test_a_copy_of_the_dead_value_is_named_and_left_alone(host: Host, tmp_path: Path, warned: list[str]) -> None:
    unit = tmp_path / "etc" / "litellm.service.d" / "override.conf"
    unit.parent.mkdir(parents=True)
    unit.write_text(f"[Service]\nEnvironment=KEY={OLD}\n")
    host.run("begin", requested=True)
    to_the_end(host, search=[str(tmp_path)])
    (receipt,) = host.receipts()
    assert (receipt["copies"], receipt["searched"]) == ([str(unit)], True)
    assert f"is still written in {unit}: remove it there" in warned[0]
    assert OLD in unit.read_text()


def test_the_copies_that_the_rotation_itself_keeps_do_not_count(host: Host, tmp_path: Path, warned: list[str]) -> None:
    host.run("begin", requested=True)
    to_the_end(host, search=[str(tmp_path)])
    assert host.receipts()[0]["copies"] == []
    assert warned == []


def test_an_undone_rotation_looks_for_the_new_value(host: Host, tmp_path: Path) -> None:
    host.run("begin", requested=True, value=GIVEN)
    host.run("back")
    (tmp_path / "notes").write_text(f"{OLD} {GIVEN}")
    (tmp_path / "old").write_text(OLD)
    to_the_end(host, search=[str(tmp_path)])
    assert host.receipts()[0]["copies"] == [str(tmp_path / "notes")]


def test_a_receipt_does_not_speak_of_a_search_that_nobody_made(host: Host, warned: list[str]) -> None:
    host.run("begin", requested=True)
    to_the_end(host)
    assert {"copies", "searched"} & host.receipts()[0].keys() == set()
    assert warned == []


def test_a_search_that_ran_out_of_time_says_so(host: Host, tmp_path: Path, warned: list[str]) -> None:
    host.run("begin", requested=True)
    to_the_end(host, search=[str(tmp_path)], search_seconds=0)
    assert host.receipts()[0]["searched"] is False
    assert "is not complete" in warned[0]
