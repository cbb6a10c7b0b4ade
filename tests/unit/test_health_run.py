"""Definition, order, retries and results of health checks."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Censor, Outcome
from ansible_collections.gateway.toolkit.plugins.module_utils.health_define import errors_in
from ansible_collections.gateway.toolkit.plugins.module_utils.health_run import attempt, persist, run_checks

PASS = Outcome(True, "fine")
FAIL = Outcome(False, "connection refused: nothing accepts connections at 127.0.0.1:4000")


def check(name: str, **fields: object) -> dict:
    return {"name": name, "kind": "command", "argv": ["/bin/true"], **fields}


def statuses(checks: list[dict], outcomes: dict[str, Outcome]) -> list[str]:
    results = run_checks(checks, Censor(), try_once=lambda item, _: outcomes.get(item["name"], PASS))
    return [result["status"] for result in results]


def test_results_come_in_the_given_order() -> None:
    results = run_checks([check("c"), check("a", needs=["b"]), check("b")], Censor())
    assert [result["name"] for result in results] == ["c", "a", "b"]
    assert {result["status"] for result in results} == {"ok"}


def test_a_check_whose_need_failed_is_not_run_and_so_are_those_that_need_it() -> None:
    asked = []

    def try_once(item, _):
        asked.append(item["name"])
        return FAIL

    checks = [check("turn", needs=["ready"]), check("ready", needs=["unit"]), check("unit")]
    results = run_checks(checks, Censor(), try_once=try_once)
    assert [result["status"] for result in results] == ["not run", "not run", "failed"]
    assert results[0]["detail"] == "needs ready, which did not pass"
    assert asked == ["unit"]


def test_independent_checks_go_on_after_a_failure() -> None:
    assert statuses([check("a"), check("b"), check("c", needs=["b"])], {"a": FAIL}) == ["failed", "ok", "ok"]


def test_independent_checks_run_at_the_same_time() -> None:
    barrier = threading.Barrier(5, timeout=5)

    def try_once(*_):
        barrier.wait()
        return PASS

    results = run_checks([check(str(number)) for number in range(5)], Censor(), try_once=try_once)
    assert all(result["status"] == "ok" for result in results)


def test_a_check_starts_only_after_its_needs() -> None:
    order = []

    def try_once(item, _):
        order.append(item["name"])
        return PASS

    run_checks([check("b", needs=["a"]), check("c", needs=["b"]), check("a")], Censor(), try_once=try_once)
    assert order == ["a", "b", "c"]


def polled(outcomes: list[Outcome], **retries: float) -> tuple[Outcome, list[float]]:
    """Poll with a clock that only sleeping moves; also return the naps."""
    naps: list[float] = []
    left = list(outcomes)
    outcome = persist(
        check("x", retries=retries or None),
        lambda _: left.pop(0) if len(left) > 1 else left[0],
        clock=lambda: sum(naps),
        sleep=naps.append,
    )
    return outcome, naps


def test_polling_ends_with_the_first_success() -> None:
    outcome, naps = polled([FAIL, FAIL, PASS], timeout=60, delay=2)
    assert outcome == PASS
    assert naps == [2, 2]


def test_polling_gives_up_when_the_time_is_over_and_says_so() -> None:
    outcome, naps = polled([FAIL], timeout=5, delay=2)
    assert not outcome.ok
    assert naps == [2, 2]
    assert outcome.detail.endswith("(still after 3 tries in 4 s)")


def test_without_retries_there_is_one_try() -> None:
    assert polled([FAIL, PASS]) == (FAIL, [])


def test_an_unexpected_error_fails_one_check_only() -> None:
    outcome = attempt({"name": "x", "kind": "listen", "port": "no number", "addresses": ["not an address"]}, Censor())
    assert not outcome.ok
    assert outcome.detail.startswith("this check broke: ValueError")


def test_secrets_are_in_no_part_of_a_result() -> None:
    censor = Censor()
    censor.add("gateway-token-1", "sk-abc+/=def")
    text = "gateway-token-1 sk-abc+/=def sk-other-key-99 postgresql://litellm:pa55@db/litellm"
    outcome = Outcome(False, text, text, {"key": text})
    explain = [{"match": "sk-", "cause": text, "remedy": text}]
    result = run_checks([check("x", explain=explain)], censor, try_once=lambda *_: outcome)[0]
    for secret in ("gateway-token-1", "sk-abc", "def", "other", "pa55"):
        assert secret not in str(result)
    for part in ("detail", "cause", "remedy"):
        assert "sk-****" in result[part]


def test_cause_and_remedy_come_with_a_failure_only() -> None:
    fields = {"explain": [{"match": "refused", "cause": "why", "remedy": "what"}], "cause": "c", "remedy": "r"}
    failed = run_checks([check("x", **fields)], Censor(), try_once=lambda *_: FAIL)[0]
    assert (failed["cause"], failed["remedy"]) == ("why", "what")
    passed = run_checks([check("x", **fields)], Censor(), try_once=lambda *_: PASS)[0]
    assert (passed["cause"], passed["remedy"]) == ("", "")


def test_the_remedy_names_the_unit() -> None:
    item = {"name": "x", "kind": "unit", "unit": "litellm.service"}
    outcome = Outcome(False, "unit litellm.service is failed (failed), result exit-code, exit status 3")
    result = run_checks([item], Censor(), try_once=lambda *_: outcome)[0]
    assert "journalctl -u litellm.service -n 50" in result["remedy"]


@pytest.mark.parametrize(
    ("checks", "sentence"),
    [
        ([], "the list of checks is empty"),
        ([check("a"), check("a")], "two checks are named 'a'"),
        ([check("a", needs=["z"])], "check 'a': needs the unknown check 'z'"),
        ([check("a", needs=["b"]), check("b", needs=["a"])], "check 'a' needs itself in the end"),
        ([check("a", needs=["a"])], "check 'a' needs itself in the end"),
        ([check("a", port=1)], "check 'a': kind command has no port"),
        ([check("a", argv=None)], "kind command needs argv"),
        ([check("a", argv=[])], "argv is empty"),
        ([check("a", explain=[{"match": "("}])], "'(' is not a regular expression"),
        ([check("a", stdout_matches="[")], "'[' is not a regular expression"),
        ([check("a", json_matches={"x": "["})], "'[' is not a regular expression"),
        ([check("a", json={"a..b": 1})], "'a..b' is not a path"),
        ([check("a", capture={"x": ""})], "'' is not a path"),
        ([check("a", json_contains={"x": "text"})], "json_contains of 'x' must be a list"),
        ([check("a", json_at_least={"x": "many"})], "json_at_least of 'x' must be a number"),
        ([{"name": "a", "kind": "http", "url": "127.0.0.1:4000"}], "is not a http:// or https:// address"),
        ([{"name": "a", "kind": "http", "url": "http://h:99999/"}], "is not a http:// or https:// address"),
        ([{"name": "a", "kind": "listen", "port": 0, "addresses": []}], "port 0 is not between 1 and 65535"),
        ([{"name": "a", "kind": "listen", "port": 1, "addresses": ["*"]}], "'*' is not an IP address"),
        ([{"name": "a", "kind": "listen", "port": 1}], "kind listen needs addresses"),
        ([{"name": "a", "kind": "unit"}], "kind unit needs unit"),
    ],
)
def test_a_wrong_definition_is_told(checks: list[dict], sentence: str) -> None:
    assert any(sentence in error for error in errors_in(checks))


def test_a_right_definition_has_no_errors() -> None:
    assert errors_in([check("a"), check("b", needs=["a"], json={"data[].id": ["x"]}, timeout=3.0)]) == []
