"""The table for people and the report for machines."""

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gateway.toolkit.plugins.filter.health_report import FilterModule, health_report, health_table

UNIT = {"name": "unit", "group": "litellm", "status": "ok", "detail": "active (running)", "cause": "", "remedy": ""}
READY = {
    "name": "readiness",
    "group": "litellm",
    "status": "failed",
    "detail": 'HTTP 200, but db is "disconnected", expected "connected"',
    "cause": "LiteLLM has no database.",
    "remedy": "Start PostgreSQL.",
    "seconds": 1.5,
    "captured": {"version": "1"},
}
TURN = {"name": "model turn", "group": "", "status": "not run", "detail": "needs readiness, which did not pass"}
HOSTS = {"proxy1": [UNIT, READY], "gateway-long-name": [TURN]}


def test_the_table_is_aligned_and_explains_failures() -> None:
    assert health_table(HOSTS) == [
        "HOST               CHECK               STATUS   DETAIL",
        "proxy1             litellm: unit       ok       active (running)",
        'proxy1             litellm: readiness  FAILED   HTTP 200, but db is "disconnected", expected "connected"',
        "                   cause: LiteLLM has no database.",
        "                   remedy: Start PostgreSQL.",
        "gateway-long-name  model turn          NOT RUN  needs readiness, which did not pass",
        "3 checks: 1 ok, 1 failed, 1 not run",
    ]


def test_a_detail_with_line_breaks_stays_on_one_line() -> None:
    assert health_table({"h": [{**UNIT, "detail": "a\nb"}]})[1].endswith("a b")


def test_one_check_is_counted_in_the_singular() -> None:
    assert health_table({"h": [UNIT]})[-1] == "1 check: 1 ok, 0 failed, 0 not run"


def test_the_report_has_all_results_and_the_counts() -> None:
    report = health_report(HOSTS, time="2026-01-01T00:00:00Z")
    assert report == {
        "ok": False,
        "time": "2026-01-01T00:00:00Z",
        "hosts": HOSTS,
        "summary": {"checks": 3, "ok": 1, "failed": 1, "not_run": 1},
    }
    assert json.loads(json.dumps(report)) == report


def test_the_report_is_ok_only_if_every_check_is() -> None:
    assert health_report({"h": [UNIT]})["ok"] is True
    assert health_report({"h": [UNIT, TURN]})["ok"] is False
    assert health_report({"h": [UNIT], "i": [READY]})["ok"] is False


def test_no_hosts_at_all_are_not_ok() -> None:
    assert health_report({})["ok"] is False
    assert health_table({})[-1] == "0 checks: 0 ok, 0 failed, 0 not run"


@pytest.mark.parametrize(
    "given", [None, [], {"results": []}, {"unreachable": True, "msg": "no route"}, {"failed": True}]
)
def test_a_host_without_results_counts_as_failed(given: object) -> None:
    report = health_report({"h": [UNIT], "lost": given})
    assert report["ok"] is False
    assert report["summary"] == {"checks": 2, "ok": 1, "failed": 1, "not_run": 0}
    assert "lost" in "\n".join(health_table({"lost": given}))


def test_registered_results_and_lists_of_them_are_accepted() -> None:
    registered = {"ok": True, "changed": False, "results": [UNIT]}
    assert health_report({"h": registered})["hosts"] == {"h": [UNIT]}
    assert health_report({"h": [registered, [TURN]]})["hosts"] == {"h": [UNIT, TURN]}


def test_a_failed_probe_among_good_ones_counts_and_a_skipped_one_does_not() -> None:
    registered = {"ok": True, "results": [UNIT]}
    assert health_report({"h": [registered, {"failed": True, "msg": "bad parameter"}]})["ok"] is False
    assert health_report({"h": [registered, {"skipped": True, "changed": False}]})["ok"] is True


@pytest.mark.parametrize("given", ["text", [1], [{"name": "x", "status": "fine"}]])
def test_other_data_is_refused(given: object) -> None:
    with pytest.raises(AnsibleFilterError, match="health results of h"):
        health_report({"h": given})


def test_something_else_than_a_mapping_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="expected a mapping"):
        health_table([UNIT])


def test_both_filters_are_offered() -> None:
    assert set(FilterModule().filters()) == {"health_report", "health_table"}
