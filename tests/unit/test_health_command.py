"""Checks of kind command, with real programs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.health_command import check_command
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import CheckError


def sh(script: str, **check: object):
    return check_command({"argv": ["/bin/sh", "-c", script], **check})


def test_a_program_that_ends_well_passes() -> None:
    assert sh("exit 0").ok


def test_a_program_that_fails_is_quoted() -> None:
    outcome = sh("echo starting >&2; echo 'Unknown model: litellm/x' >&2; exit 1")
    assert not outcome.ok
    assert outcome.detail == "exit status 1: Unknown model: litellm/x"


def test_the_error_in_json_output_is_quoted_first() -> None:
    outcome = sh("""echo warning >&2; echo '{"ok": false, "error": {"message": "token mismatch"}}'; exit 1""")
    assert outcome.detail == "exit status 1: token mismatch"


def test_other_exit_statuses_can_be_the_expected_ones() -> None:
    assert sh("exit 2", rc=[1, 2]).ok
    refused = sh("exit 0", rc=[1])
    assert not refused.ok
    assert refused.detail == "exit status 0 (expected 1): no output"


def test_json_expectations_are_applied_to_the_output() -> None:
    script = """echo '[gateway] hello'; echo '{"summary": {"critical": 1}}'"""
    assert sh(script, json_at_most={"summary.critical": 1}).ok
    outcome = sh(script, json_at_most={"summary.critical": 0})
    assert not outcome.ok
    assert outcome.detail == "summary.critical is 1, expected at most 0"


def test_output_that_should_be_json_and_is_not_fails() -> None:
    with pytest.raises(CheckError, match="not JSON: hello"):
        sh("echo hello", json={"ok": True})


def test_the_output_can_be_matched() -> None:
    assert sh("echo hello world", stdout_matches="^hello").ok
    assert not sh("echo hello world", stdout_matches="^world").ok


def test_stdin_and_environment_reach_the_program() -> None:
    assert sh('read line; test "$line $NAME" = "one two"', stdin="one\n", environment={"NAME": "two"}).ok


def test_stdin_is_empty_otherwise() -> None:
    assert sh('test -z "$(cat)"').ok


def test_values_are_handed_back() -> None:
    script = """echo '{"spend": 1.5}'"""
    assert sh(script, capture={"spend": "spend", "none": "no.such"}).captured == {"spend": 1.5, "none": None}


def test_a_program_out_of_time_is_killed_with_its_children(tmp_path: Path) -> None:
    sign = tmp_path / "alive"
    start = time.monotonic()
    outcome = sh(f"(sleep 2; touch {sign}) & echo waiting; sleep 60", timeout=0.3)
    assert time.monotonic() - start < 3
    assert not outcome.ok
    assert outcome.detail == "timed out after 0.3 s and was killed; last words: waiting"
    time.sleep(2.2)
    assert not sign.exists()


def test_a_program_that_ignores_the_polite_signal_is_killed_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start = time.monotonic()
    outcome = sh(f"echo $$ > {pid}; trap '' TERM; while :; do sleep 0.1; done", timeout=0.2)
    assert time.monotonic() - start < 8
    assert "timed out" in outcome.detail
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_child_that_keeps_the_output_open_does_not_hold_up_the_check() -> None:
    start = time.monotonic()
    assert sh("sleep 5 & echo done", stdout_matches="done").ok
    assert time.monotonic() - start < 3


def test_a_program_killed_by_a_signal_fails() -> None:
    assert sh("kill -9 $$").detail == "killed by signal 9: no output"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CheckError, match="cannot run /nonexistent/program: No such file"):
        check_command({"argv": ["/nonexistent/program"]})


def test_no_shell_reads_the_arguments() -> None:
    assert check_command({"argv": ["/bin/echo", "$(id)"], "stdout_matches": r"^\$\(id\)"}).ok
