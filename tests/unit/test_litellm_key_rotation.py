"""gateway.toolkit.litellm_key_rotation: each step against the double, killed at each request, and repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import KeyLimits, LiteLLMClient
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_keys import ensure_present
from ansible_collections.gateway.toolkit.plugins.modules import litellm_key_rotation
from module_harness import run_main
from test_litellm_virtual_key import LiteLLMDouble, add_key, error

from tests.support.litellm_double import sha256

MASTER = "sk-master-0123456789abcdef"
OLD = "sk-old-0123456789abcdefABCDEF"
NEW = "sk-new-fedcba9876543210FEDCBA"
OTHER = "sk-other-11112222333344445555"
ALIAS = "openclaw-gateway1"
BESIDE = f"{ALIAS}-next-{sha256(NEW)[:8]}"


class Killed(Exception):
    """The process ended here."""


class Double(LiteLLMDouble):
    """With the booked calls, whose days must be given, and a number of requests after which the client is dead."""

    calls: list[tuple[str, str]]  # hash and client of each booked call

    def _answer(self, path: str, bearer: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        if path == "/spend/logs/v2" and bearer == self.master_key:
            assert query["start_date"] < query["end_date"]
            clients = [client for token, client in self.calls if token == query["api_key"]]
            return 200, {"data": [{"request_tags": [f"User-Agent: {client}"]} for client in clients]}
        answer = super()._answer(path, bearer, query, body)
        if path == "/v1/messages" and answer[0] == 200:
            self.calls.append((sha256(bearer), "Python-urllib/3.11"))
        return answer


@pytest.fixture
def double() -> Iterator[Double]:
    with Double(MASTER) as running:
        running.calls = []
        add_key(running, OLD, ALIAS, max_budget=5, budget_duration="30d", spend=1.5)
        yield running


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiteLLMClient, "wait", lambda self: None)


class Step:
    """The module, run with what every step needs. No key may show in anything that leaves it."""

    def __init__(self, double: Double, folder: Path) -> None:
        self.double = double
        self.master_key_file = folder / "master_key"
        self.master_key_file.write_text(MASTER + "\n")

    def __call__(self, state: str, **params: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "url": self.double.url,
            "master_key_file": str(self.master_key_file),
            "old_key": OLD,
            "new_key": NEW,
            "alias": ALIAS,
            "patience": 0,
            "timeout": 5,
        }
        if state == "registered":
            base |= {"max_budget": 5, "budget_duration": "30d"}
        ran = run_main(litellm_key_rotation, {**base, "state": state, **params})
        shown = ran.text + ran.log
        assert not [key for key in (MASTER, OLD, NEW, OTHER) if key in shown or sha256(key) in shown]
        result: dict[str, Any] = ran.result
        return result


@pytest.fixture
def step(double: Double, tmp_path: Path) -> Step:
    return Step(double, tmp_path)


def aliases(double: Double) -> dict[str, str]:
    names = {sha256(OLD): "old", sha256(NEW): "new", sha256(OTHER): "other"}
    return {names[token]: row["key_alias"] for token, row in double.keys.items()}


def test_the_new_key_lives_beside_the_old_one_with_its_limits_and_spend(step: Step, double: Double) -> None:
    result = step("registered")
    assert (result["changed"], result["usable"]) == (True, True)
    assert aliases(double) == {"old": ALIAS, "new": BESIDE}
    row = double.keys[sha256(NEW)]
    assert (row["spend"], row["max_budget"], row["budget_duration"]) == (1.5, 5.0, "30d")
    assert row["allowed_routes"] == ["llm_api_routes"]
    again = step("registered")
    assert (again["changed"], again["usable"]) == (False, True)


def test_a_whole_rotation_leaves_the_new_key_with_the_alias_and_all_the_spend(step: Step, double: Double) -> None:
    step("registered")
    assert step("proved", model="model-a")["proofs"][1]["result"] == "200"
    double.keys[sha256(OLD)]["spend"] += 0.25
    double.keys[sha256(NEW)]["spend"] += 0.5
    result = step("retired")
    assert aliases(double) == {"new": ALIAS}
    assert double.keys[sha256(NEW)]["spend"] == 2.25
    assert [proof["result"] for proof in result["proofs"]] == ["401", "200"]
    step("retired")
    assert double.keys[sha256(NEW)]["spend"] == 2.25


def test_the_run_after_a_rotation_changes_nothing(step: Step, double: Double) -> None:
    step("registered")
    step("retired")
    client = LiteLLMClient(double.url, MASTER)
    outcome = ensure_present(client, NEW, KeyLimits(ALIAS, 5.0, "30d"))
    assert outcome.action == "unchanged"


def test_the_key_of_an_unfinished_rotation_replaces_nothing(step: Step, double: Double) -> None:
    step("registered")
    client = LiteLLMClient(double.url, MASTER)
    assert ensure_present(client, NEW, KeyLimits(ALIAS, 5.0, "30d")).action == "unchanged"
    assert ensure_present(client, OLD, KeyLimits(ALIAS, 5.0, "30d")).action == "unchanged"
    assert ensure_present(client, NEW, KeyLimits(ALIAS, 7.0, "30d")).action == "updated"
    assert aliases(double) == {"old": ALIAS, "new": BESIDE}


def test_undo_proves_the_old_key_and_revokes_the_new_one(step: Step, double: Double) -> None:
    step("registered")
    result = step("revoked")
    assert aliases(double) == {"old": ALIAS}
    assert [proof["result"] for proof in result["proofs"]] == ["200", "401"]
    assert step("revoked")["proofs"][0]["result"] == "200"


def test_undo_keeps_the_new_key_when_the_old_one_is_dead(step: Step, double: Double) -> None:
    step("registered")
    double._delete({"keys": [sha256(OLD)]})
    result = step("revoked")
    assert "The old key" in result["msg"]
    assert "was kept too" in result["msg"]
    assert aliases(double) == {"new": BESIDE}


def test_undo_before_the_new_key_was_registered_revokes_nothing(step: Step, double: Double) -> None:
    assert step("revoked")["changed"] is False
    assert step("revoked", new_key="")["changed"] is False


def test_an_emergency_deletes_the_old_key_first(step: Step, double: Double) -> None:
    step("registered", emergency=True)
    assert double.writes()[:2] == ["/key/delete", "/key/generate"]
    assert aliases(double) == {"new": BESIDE}
    assert double.keys[sha256(NEW)]["spend"] == 1.5
    step("registered", emergency=True)
    step("retired")
    assert aliases(double) == {"new": ALIAS}


@pytest.mark.parametrize("path", ["/key/generate", "/key/update", "/key/delete", "/key/info", "/key/list"])
@pytest.mark.parametrize("way", ["retired", "revoked"])
def test_a_lost_answer_is_made_up_for(step: Step, double: Double, path: str, way: str) -> None:
    double.lose_answers = [path]
    results = [step("registered"), step(way)]
    assert not [result for result in results if result.get("failed")]
    assert aliases(double) == ({"new": ALIAS} if way == "retired" else {"old": ALIAS})


@pytest.mark.parametrize("way", ["retired", "revoked"])
@pytest.mark.parametrize("number", range(1, 16))
def test_a_run_killed_at_any_request_is_finished_by_the_next(
    step: Step, double: Double, monkeypatch: pytest.MonkeyPatch, way: str, number: int
) -> None:
    real, sent = LiteLLMClient._exchange, [0]

    def exchange(self: LiteLLMClient, *args: Any) -> Any:
        sent[0] += 1
        if sent[0] == number:
            raise Killed
        return real(self, *args)

    with monkeypatch.context() as context:
        context.setattr(LiteLLMClient, "_exchange", exchange)
        for state in ("registered", way):
            try:
                step(state)
            except Killed:
                break
    working = {"old", "new"} & set(aliases(double))
    assert working, "a working key exists at every moment"
    if way == "retired" and sha256(OLD) in double.keys:
        step("registered")
    if sha256(NEW) in double.keys or way == "revoked":
        assert not step(way).get("failed")
    assert aliases(double) == ({"new": ALIAS} if way == "retired" else {"old": ALIAS})
    assert way == "revoked" or double.keys[sha256(NEW)]["spend"] == 1.5


def test_forgotten_keys_of_earlier_rotations_are_deleted_and_those_of_others_are_not(
    step: Step, double: Double
) -> None:
    add_key(double, OTHER, f"{ALIAS}-next-01234567")
    stranger = f"{OTHER}2"
    add_key(double, stranger, f"{ALIAS}2-next-01234567")
    step("registered")
    step("retired")
    assert set(double.keys) == {sha256(NEW), sha256(stranger)}


def test_the_key_of_another_gateway_is_neither_taken_nor_revoked(step: Step, double: Double) -> None:
    add_key(double, NEW, "openclaw-gateway2")
    for state in ("registered", "retired", "revoked"):
        assert "is in use as 'openclaw-gateway2'" in step(state)["msg"]
    assert double.keys[sha256(NEW)]["key_alias"] == "openclaw-gateway2"
    assert sha256(OLD) in double.keys


def test_a_key_that_was_revoked_before_is_refused(step: Step, double: Double) -> None:
    step("registered")
    step("revoked")
    assert "give litellm_virtual_key a value that was never used" in step("registered")["msg"]


# Failures


def test_a_worker_that_still_accepts_the_old_key_fails_the_proof(step: Step, double: Double) -> None:
    step("registered")
    double.accepts_after_deletion = [True] * 50
    result = step("retired")
    assert "still answers 200 (accepted) to the deleted old key" in result["msg"]
    double.accepts_after_deletion = []
    assert not step("retired").get("failed")
    assert aliases(double) == {"new": ALIAS}


def test_a_worker_with_an_old_cache_is_waited_for(step: Step, double: Double) -> None:
    step("registered")
    double.accepts_after_deletion = [True, False, False, True]
    assert not step("retired", patience=10).get("failed")


def test_a_key_over_its_budget_is_known_but_cannot_be_asked(step: Step, double: Double) -> None:
    double.keys[sha256(OLD)]["spend"] = 6.0
    assert step("registered")["usable"] is False
    assert step("proved", model="model-a")["usable"] is False


def test_a_model_that_does_not_answer_fails_the_direct_proof(step: Step, double: Double) -> None:
    step("registered")
    double.fixed["/v1/messages"] = error(500, "litellm.InternalServerError: provider is down", "api_error")
    assert "gets no answer of model-a" in step("proved", model="model-a")["msg"]


def test_an_unknown_key_fails_the_direct_proof(step: Step) -> None:
    assert "is not accepted" in step("proved", model="model-a")["msg"]


def test_the_direct_proof_needs_no_master_key(step: Step, double: Double) -> None:
    step("registered")
    step.master_key_file.unlink()
    double.requests.clear()
    assert not step("proved", model="model-a").get("failed")
    assert [path for _method, path, _body in double.requests] == ["/v1/models", "/v1/messages"]


def test_the_prompt_through_openclaw_must_be_booked_on_the_new_key(step: Step, double: Double) -> None:
    step("registered")
    step("proved", model="model-a")
    double.calls.append((sha256(OLD), "undici"))
    assert "booked no call of it on the new key" in step("used")["msg"]
    double.calls.append((sha256(NEW), "undici"))
    assert step("used")["proofs"] == [{"proof": "calls of the gateway booked on the new key", "result": "1"}]


def test_spend_or_limits_that_litellm_does_not_take_are_an_error(step: Step, double: Double) -> None:
    double.ignored_fields = {"spend"}
    assert "did not take spend of the new key" in step("registered")["msg"]


@pytest.mark.parametrize("state", ["registered", "used", "retired", "revoked"])
def test_a_database_that_is_away_fails_every_step_with_the_cause(step: Step, double: Double, state: str) -> None:
    step("registered")
    double.database = "away"
    result = step(state)
    assert result["failed"]
    assert "database" in json.dumps(result)
    double.database = "connected"
    double.calls.append((sha256(NEW), "undici"))
    assert not step(state).get("failed")


@pytest.mark.parametrize(("state", "name"), [("registered", "new_key"), ("retired", "alias"), ("revoked", "old_key")])
def test_an_empty_parameter_is_refused(step: Step, state: str, name: str) -> None:
    assert name in step(state, **{name: ""})["msg"]


def test_another_proxy_with_an_old_cache_is_waited_for_and_named(step: Step, double: Double) -> None:
    double.keys.clear()
    double.accepts_after_deletion = [True, True, False]
    (found,) = step("refused", proxy="proxy2", patience=10)["proofs"]
    assert found == {"proof": "key at proxy2 is refused, after 0 s", "result": "401"}


def test_another_proxy_that_still_accepts_the_old_key_fails_the_proof(step: Step, double: Double) -> None:
    double.keys.clear()
    double.accepts_after_deletion = [True] * 50
    assert "still answers 200 (accepted) to the deleted key at proxy2" in step("refused", proxy="proxy2")["msg"]


def test_another_proxy_is_asked_without_the_master_key(step: Step, double: Double) -> None:
    double.keys.clear()
    step.master_key_file.unlink()
    assert not step("refused", proxy="proxy2").get("failed")
