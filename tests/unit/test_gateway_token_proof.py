"""gateway.toolkit.gateway_token_proof against a small gateway that answers as OpenClaw 2026.9.6 does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import openclaw_door
from ansible_collections.gateway.toolkit.plugins.module_utils.openclaw_door import judge, read_frame, text_frame
from ansible_collections.gateway.toolkit.plugins.modules import gateway_token_proof
from gateway_double import NEW, OLD, Gateway
from module_harness import run_main


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(gateway_token_proof, "PAUSE", 0.01)
    running = Gateway()
    yield running
    running.server.shutdown()
    running.server.server_close()


def ask(gateway: Gateway, **params: Any) -> dict[str, Any]:
    """The module's result, in which no token may show."""
    base = {"url": gateway.url, "accepted": NEW, "refused": OLD, "patience": 0, "timeout": 5}
    ran = run_main(gateway_token_proof, {**base, **params})
    assert not [token for token in (NEW, OLD) if token in ran.text + ran.log]
    result: dict[str, Any] = ran.result
    return result


def test_both_tokens_are_judged_on_both_ways(gateway: Gateway) -> None:
    result = ask(gateway)
    assert [proof["result"] for proof in result["proofs"]] == [
        "HTTP 404",
        "HTTP 401",
        "connected",
        "AUTH_TOKEN_MISMATCH",
    ]
    assert result["changed"] is False


@pytest.mark.parametrize("way", ["http", "websocket"])
def test_an_old_token_that_lives_on_one_way_is_found(gateway: Gateway, way: str) -> None:
    setattr(gateway, way, OLD)
    result = ask(gateway)
    name = {"http": "HTTP", "websocket": "WebSocket"}[way]
    assert f"gateway accepts its token over {name}: no" in result["msg"]
    assert f"gateway refuses the other over {name}: no" in result["msg"]


def test_a_gateway_that_takes_over_late_is_waited_for(gateway: Gateway) -> None:
    gateway.late = 3
    assert not ask(gateway, patience=20).get("failed")


def test_without_an_old_token_only_the_new_one_is_proved(gateway: Gateway) -> None:
    assert len(ask(gateway, refused="")["proofs"]) == 2


def test_a_gateway_that_does_not_run_is_no_proof_of_refusal(gateway: Gateway) -> None:
    result = ask(gateway, url="http://127.0.0.1:9")
    assert result["msg"].count("no answer") == 4


def test_a_gateway_that_says_nothing_is_no_proof_of_refusal(gateway: Gateway) -> None:
    gateway.mute = True
    assert result_words(ask(gateway)) == ["HTTP 404", "HTTP 401", "no answer (ValueError)", "no answer (ValueError)"]


def result_words(result: dict[str, Any]) -> list[str]:
    return [proof["result"] for proof in result["proofs"]]


def test_the_same_token_twice_is_refused(gateway: Gateway) -> None:
    assert ask(gateway, refused=NEW)["failed"]


@pytest.mark.parametrize(
    ("code", "let_in"),
    [
        ("AUTH_TOKEN_MISMATCH", False),
        ("DEVICE_IDENTITY_REQUIRED", True),
        ("PROTOCOL_MISMATCH", None),
        ("AUTH_RATE_LIMITED", None),
        (None, None),
    ],
)
def test_only_a_clear_answer_counts(code: str | None, let_in: bool | None) -> None:
    assert judge({"ok": False, "error": {"code": "INVALID_REQUEST", "details": {"code": code}}}).let_in is let_in


@pytest.mark.parametrize("size", [0, 125, 126, 60_000])
def test_a_frame_is_masked_and_whole(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[1] & 0x80
    with pytest.raises(ValueError, match="not a frame of a server"):
        read_frame(io.BytesIO(frame))


def test_a_broken_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="ended"):
        read_frame(io.BytesIO(b"\x81\x05ab"))
    assert openclaw_door.MAX_FRAME < 2**32
