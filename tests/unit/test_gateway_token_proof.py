"""gateway.toolkit.gateway_token_proof against a small gateway that answers as OpenClaw 2026.9.6 does."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import openclaw_door
from ansible_collections.gateway.toolkit.plugins.module_utils.openclaw_door import judge, read_frame, text_frame
from ansible_collections.gateway.toolkit.plugins.modules import gateway_token_proof
from module_harness import run_main

NEW = "new-gateway-token-0123456789abcdef"
OLD = "old-gateway-token-fedcba9876543210"


class Gateway:
    """``http`` and ``websocket`` are the tokens that each way accepts; ``late`` answers are given with the old one."""

    def __init__(self) -> None:
        self.http = self.websocket = NEW
        self.late = 0
        self.mute = False
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_args: Any) -> None:
                pass

            def do_GET(self) -> None:
                if self.headers.get("Upgrade") == "websocket":
                    gateway.talk(self)
                    return
                right = self.headers["Authorization"] == f"Bearer {gateway.accepted(gateway.http)}"
                self.send_response(404 if right and self.path.startswith("/api/channels/") else 401)
                self.end_headers()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def accepted(self, token: str) -> str:
        if self.late:
            self.late -= 1
            return OLD
        return token

    def talk(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        if self.mute:
            return
        say(handler.wfile, {"type": "event", "event": "connect.challenge", "payload": {"nonce": "n"}})
        request = hear(handler.rfile)
        assert (request["method"], request["params"]["minProtocol"]) == ("connect", 4)
        say(handler.wfile, {"type": "event", "event": "tick"})
        if request["params"]["auth"]["token"] == self.accepted(self.websocket):
            say(handler.wfile, {"type": "res", "id": "1", "ok": True, "payload": {"text": "x" * 70_000}})
        else:
            error = {"code": "INVALID_REQUEST", "details": {"code": "AUTH_TOKEN_MISMATCH"}}
            say(handler.wfile, {"type": "res", "id": "1", "ok": False, "error": error})


def say(stream: Any, message: dict[str, Any]) -> None:
    """A server's frame: not masked."""
    data = json.dumps(message).encode()
    size = len(data)
    head = (
        bytes([0x81, size])
        if size < 126
        else b"\x81\x7e" + size.to_bytes(2, "big")
        if size < 65536
        else b"\x81\x7f" + size.to_bytes(8, "big")
    )
    stream.write(head + data)
    stream.flush()


def hear(stream: Any) -> dict[str, Any]:
    """A client's frame: masked."""
    first, second = stream.read(2)
    assert first == 0x81
    assert second & 0x80
    size = second & 0x7F
    if size == 126:
        size = int.from_bytes(stream.read(2), "big")
    mask = stream.read(4)
    data = bytes(byte ^ mask[place % 4] for place, byte in enumerate(stream.read(size)))
    message: dict[str, Any] = json.loads(data)
    return message


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
