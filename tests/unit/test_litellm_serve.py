"""litellm_serve.py lets strangers get at the models, and at nothing else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from script import load

serve = load("roles/litellm/files/litellm_serve.py")


def answer(path: str, client: Any, kind: str = "http") -> list[dict[str, Any]]:
    """What a client gets to see; the application behind answers 200."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    middleware = serve.Management(app, "127.0.0.0/8 ::1 192.0.2.7 10.0.0.0/8", lambda route: route == "/v1/messages")
    asyncio.run(middleware({"type": kind, "path": path, "client": client}, receive, send))
    return sent


@pytest.mark.parametrize(
    "client", [("127.0.0.1", 1), ("::1", 1), ("192.0.2.7", 1), ("10.9.8.7", 1), ("::ffff:10.9.8.7", 1)]
)
def test_named_clients_manage(client: tuple[str, int]) -> None:
    assert answer("/key/generate", client)[0]["status"] == 200


@pytest.mark.parametrize("client", [("192.0.2.8", 1), ("2001:db8::1", 1), None, ("", 0), ("a socket", 0)])
def test_strangers_get_at_the_models_only(client: Any) -> None:
    assert answer("/v1/messages", client)[0]["status"] == 200
    assert answer("/health/readiness", client)[0]["status"] == 200
    for path in ("/key/generate", "/ui/", "/health", "/health/readiness/details", "/V1/messages", ""):
        start, body = answer(path, client)
        assert start["status"] == 403
        assert json.loads(body["body"])["error"]["type"] == "management_closed"


def test_a_strangers_websocket_is_closed() -> None:
    assert answer("/events", ("192.0.2.8", 1), "websocket") == [{"type": "websocket.close", "code": 1008}]


def test_the_start_of_the_application_is_not_touched() -> None:
    assert answer("", None, "lifespan")[0]["status"] == 200
