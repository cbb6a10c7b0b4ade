"""A small gateway that answers as OpenClaw 2026.9.6 does, for unit tests."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NEW = "new-gateway-token-0123456789abcdef"
OLD = "old-gateway-token-fedcba9876543210"


class Gateway:
    """``http`` and ``websocket`` are the tokens that each way accepts; ``late`` answers are given with the old one.

    ``answers`` are those to requests over WebSocket, by method, without type and id.
    """

    def __init__(self) -> None:
        self.http = self.websocket = NEW
        self.late = 0
        self.mute = False
        self.answers: dict[str, dict[str, Any]] = {}
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
            assert request["params"]["scopes"] == ["operator.read"]
            say(handler.wfile, {"type": "res", "id": "1", "ok": True, "payload": {"text": "x" * 70_000}})
            if self.answers:
                asked = hear(handler.rfile)
                say(handler.wfile, {"type": "event", "event": "tick"})
                say(handler.wfile, {"type": "res", "id": asked["id"], **self.answers[asked["method"]]})
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
