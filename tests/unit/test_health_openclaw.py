"""Checks of kind openclaw, against a small gateway that answers as OpenClaw does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Censor, CheckError, Outcome
from ansible_collections.gateway.toolkit.plugins.module_utils.health_openclaw import check_openclaw
from gateway_double import NEW, OLD, Gateway

HEALTHY = {"ok": True, "payload": {"ok": True, "defaultAgentId": "main"}}
HASHES = '"appliedConfigHash": "([^"]+)".*"configRevisionHash": "\\1"'


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    running = Gateway()
    running.answers = {"health": HEALTHY}
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def ask(gateway: Gateway, tmp_path: Path) -> Any:
    (tmp_path / "token").write_text(f"{NEW}\n")

    def run(**check: Any) -> Outcome:
        return check_openclaw({"url": gateway.url, "token_file": str(tmp_path / "token"), **check}, Censor())

    return run


def test_the_right_token_is_let_in_and_the_request_answered(ask: Any) -> None:
    assert ask(method="health", json={"ok": True}) == Outcome(True, "health was answered")


def test_without_a_request_being_let_in_is_enough(ask: Any, gateway: Gateway) -> None:
    gateway.answers = {}
    assert ask() == Outcome(True, "connected")


def test_a_token_that_is_not_let_in_fails(ask: Any, gateway: Gateway) -> None:
    gateway.websocket = OLD
    outcome = ask(method="health")
    assert not outcome.ok
    assert outcome.detail == "the gateway did not let the token in: AUTH_TOKEN_MISMATCH"


def test_an_answer_that_is_not_as_expected_fails(ask: Any, gateway: Gateway) -> None:
    gateway.answers = {"health": {"ok": True, "payload": {"ok": False}}}
    outcome = ask(method="health", json={"ok": True})
    assert not outcome.ok
    assert outcome.detail == "health was answered, but ok is false, expected true"


def test_a_refused_request_fails_with_the_gateways_words(ask: Any, gateway: Gateway) -> None:
    gateway.answers = {"health": {"ok": False, "error": {"code": "X", "message": "missing scope: operator.read"}}}
    outcome = ask(method="health")
    assert not outcome.ok
    assert outcome.detail == "health was refused: missing scope: operator.read"


@pytest.mark.parametrize(("applied", "ok"), [("one", True), ("two", False)])
def test_the_answer_is_matched_as_json_with_sorted_keys(ask: Any, gateway: Gateway, applied: str, ok: bool) -> None:
    payload = {"configRevisionHash": "one", "path": "x", "appliedConfigHash": applied}
    gateway.answers = {"config.get": {"ok": True, "payload": payload}}
    assert ask(method="config.get", body_matches=HASHES).ok is ok


def test_a_wrong_token_has_to_be_refused(ask: Any, gateway: Gateway) -> None:
    assert ask(token_file=None) == Outcome(True, "a wrong token was refused: AUTH_TOKEN_MISMATCH")
    gateway.websocket = "this-gateway-token-is-wrong"
    gateway.answers = {}
    assert ask(token_file=None) == Outcome(False, "a wrong token was let in: connected")


def test_a_gateway_that_does_not_answer_has_not_refused_a_wrong_token(ask: Any, gateway: Gateway) -> None:
    gateway.mute = True
    with pytest.raises(CheckError, match=r"cannot talk to 127\.0\.0\.1:"):
        ask(token_file=None)


def test_a_stopped_gateway_is_a_refused_connection(ask: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(CheckError, match=r"connection refused: nothing accepts connections at 127\.0\.0\.1:"):
        ask(url=url)


def test_a_server_that_is_silent_times_out(ask: Any) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(CheckError, match=r"timed out after 0\.1 s: no answer from 127\.0\.0\.1:"):
            ask(url=url, timeout=0.1)


def test_a_missing_token_file_is_named(ask: Any) -> None:
    with pytest.raises(CheckError, match="cannot read /nonexistent/token"):
        ask(token_file="/nonexistent/token")
