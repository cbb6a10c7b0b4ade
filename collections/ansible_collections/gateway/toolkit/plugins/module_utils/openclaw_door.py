# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Does an OpenClaw gateway let the holder of a token in? Asked over HTTP and over WebSocket, each by itself.

OpenClaw's own command takes a token as an argument, which every user of the host can read; here it travels on the
socket only. Observed with OpenClaw 2026.9.6: GET /api/channels/x is 401 for a wrong token and 404 for the right one,
because there is no such channel; a WebSocket client gets the event connect.challenge, sends the request "connect"
(protocol 4) and is answered ok, or an error with details.code AUTH_TOKEN_MISMATCH. Each wrong token makes the answer
to the next one from the same address slower, up to 5 s. Over loopback a client named cli keeps the scopes that it asks
for, as OpenClaw's own command does.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PROTOCOL = 4
MAX_FRAME = 4 * 1024 * 1024
# The gateway looks at these only after it has accepted the token.
AFTER_THE_TOKEN = ("DEVICE_IDENTITY_REQUIRED", "PAIRING_REQUIRED", "AUTH_SCOPE_MISMATCH")
REFUSED = ("AUTH_TOKEN_MISMATCH", "AUTH_UNAUTHORIZED", "AUTH_REQUIRED", "AUTH_TOKEN_MISSING")


@dataclass(frozen=True)
class Trust:
    """How an https gateway proves itself: a file of CAs (empty for the host's own), the name in its certificate."""

    ca_file: str = ""
    server_name: str = ""


NO_TRUST = Trust()


@dataclass(frozen=True)
class Answer:
    """``let_in`` is None when the gateway gave no clear answer; ``words`` say what it did and hold no token."""

    let_in: bool | None
    words: str


def open_socket(url: str, timeout: float, trust: Trust) -> socket.socket:
    """Connect; for https with a certificate that is trusted and has the right name. OSError when not."""
    place = urlsplit(url)
    plain = socket.create_connection((place.hostname, place.port), timeout=timeout)
    if place.scheme != "https":
        return plain
    try:
        context = ssl.create_default_context(cafile=trust.ca_file or None)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as clients do: see tls_context of health_http
        return context.wrap_socket(plain, server_hostname=trust.server_name or place.hostname)
    except BaseException:
        plain.close()
        raise


def ask_http(url: str, token: str, timeout: float, trust: Trust = NO_TRUST) -> Answer:
    """Over HTTP; ``url`` like http://127.0.0.1:4321."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
    try:
        connection.sock = open_socket(url, timeout, trust)
        connection.request("GET", "/api/channels/health", headers={"Authorization": f"Bearer {token}"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, f"no answer ({type(error).__name__})")
    finally:
        connection.close()
    return Answer({401: False, 404: True}.get(status), f"HTTP {status}")


def ask_websocket(url: str, token: str, timeout: float, trust: Trust = NO_TRUST) -> Answer:
    """Over WebSocket, at the same address."""
    try:
        return converse(url, token, "", timeout, trust)[0]
    except (OSError, ValueError) as error:
        return Answer(None, f"no answer ({type(error).__name__})")


def converse(
    url: str, token: str, method: str, timeout: float, trust: Trust = NO_TRUST
) -> tuple[Answer, dict[str, Any]]:
    """Connect over WebSocket and, once let in, send one request that only reads; without a method none.

    Returns what the gateway says to the token, and its whole answer to the request. Raises OSError, and ValueError when
    the other side is no gateway.
    """
    place = urlsplit(url)
    with open_socket(url, timeout, trust) as connection:
        stream = connection.makefile("rb")
        _upgrade(connection, stream, f"{place.hostname}:{place.port}")
        _wait_for(stream, "event", "connect.challenge")
        connection.sendall(text_frame(json.dumps(connect_request(token)).encode()))
        answer = judge(_wait_for(stream, "res", "1"))
        if not (answer.let_in and method):
            return answer, {}
        request = {"type": "req", "id": "2", "method": method, "params": {}}
        connection.sendall(text_frame(json.dumps(request).encode()))
        return answer, _wait_for(stream, "res", "2")


def connect_request(token: str) -> dict[str, Any]:
    """The first request of a client that wants to read, with no more than it takes to be judged."""
    client = {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}
    wish = {"role": "operator", "scopes": ["operator.read"], "auth": {"token": token}}
    params = {"minProtocol": PROTOCOL, "maxProtocol": PROTOCOL, "client": client, **wish}
    return {"type": "req", "id": "1", "method": "connect", "params": params}


def judge(answer: dict[str, Any]) -> Answer:
    """What the gateway's answer to "connect" says about the token."""
    if answer.get("ok") is True:
        return Answer(True, "connected")
    error = answer.get("error") or {}
    code = str((error.get("details") or {}).get("code") or error.get("code") or "no code")
    return Answer(True if code in AFTER_THE_TOKEN else False if code in REFUSED else None, code[:60])


def text_frame(payload: bytes) -> bytes:
    """A masked text frame, as clients have to send (RFC 6455, 5.2)."""
    size = len(payload)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, size)
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def read_frame(stream: Any) -> tuple[int, bytes]:
    """(opcode, payload) of one frame of the server; ValueError when it ends or is absurd."""
    first, second = _exactly(stream, 2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", _exactly(stream, 2))
    elif size == 127:
        (size,) = struct.unpack("!Q", _exactly(stream, 8))
    if size > MAX_FRAME or second & 0x80:
        raise ValueError("not a frame of a server")
    return first & 0x0F, _exactly(stream, size)


def _exactly(stream: Any, size: int) -> bytes:
    data: bytes = stream.read(size)
    if len(data) != size:
        raise ValueError("the connection ended")
    return data


def _upgrade(connection: socket.socket, stream: Any, host: str) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET / HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    if b" 101 " not in stream.readline(1000):
        raise ValueError("no WebSocket")
    while stream.readline(10_000).strip():
        pass


def _wait_for(stream: Any, kind: str, name: str) -> dict[str, Any]:
    """The first message of this type whose event or id is ``name``."""
    for _frame in range(50):
        opcode, payload = read_frame(stream)
        if opcode == 0x8:
            raise ValueError("closed")
        message = json.loads(payload) if opcode == 0x1 else None
        if (
            isinstance(message, dict)
            and message.get("type") == kind
            and name in (message.get("event"), message.get("id"))
        ):
            return message
    raise ValueError("other messages only")
