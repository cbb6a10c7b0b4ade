"""Start LiteLLM's proxy; takes the arguments of the `litellm` command.

Two things differ from that command, everything else is LiteLLM's own.

At every start LiteLLM (1.106.2, proxy_cli.py) runs `prisma migrate diff --from-url <DATABASE_URL>`, although migrations
are disabled for the service. Every user of the host could then read the database password in the process list, and the
comparison never succeeds, for lack of a schema file. Here it is left out.

Whoever reaches the port reaches all of LiteLLM. Here the clients in TOOLKIT_MANAGEMENT_CLIENTS (IP addresses and
networks, separated by blanks) do; all others reach the models and the probes of readiness, and get 403 for keys, users,
spend, settings and the web interface, whatever key they have. It holds for the one process that LiteLLM is here.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PROBES = ("/health/liveliness", "/health/liveness", "/health/readiness")
REFUSAL = {
    "error": {
        "message": "This address may use the models only. Management is open to those in litellm_management_clients.",
        "type": "management_closed",
        "code": "403",
    }
}


class Management:
    """ASGI middleware that answers 403 to strangers who want more than the models."""

    def __init__(self, app: App, clients: str, is_model_route: Callable[[str], bool]) -> None:
        """Take who may manage, as text, and what tells a model's route from the others."""
        self.app, self.is_model_route = app, is_model_route
        self.networks = [ipaddress.ip_network(text) for text in clients.split()]

    def lets_in(self, scope: Scope) -> bool:
        """Tell whether this request may go on; one without a client's address may not."""
        path = str(scope.get("path", ""))
        if path in PROBES or self.is_model_route(path):
            return True
        try:
            address = ipaddress.ip_address(str((scope.get("client") or ("",))[0]))
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket") or self.lets_in(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = json.dumps(REFUSAL).encode()
            head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": head})
            await send({"type": "http.response.body", "body": body})


def close_management() -> None:
    """Put the middleware before LiteLLM's application in this process."""
    from litellm.proxy.auth.route_checks import RouteChecks
    from litellm.proxy.proxy_server import app

    clients = os.environ["TOOLKIT_MANAGEMENT_CLIENTS"]
    app.add_middleware(
        Management, clients=clients, is_model_route=lambda path: RouteChecks.is_llm_api_route(route=path)
    )


def main() -> int:
    """Leave the comparison out, close the management and hand over to LiteLLM; returns the exit code."""
    from litellm import run_server
    from litellm.proxy.db import check_migration

    if not callable(getattr(check_migration, "check_prisma_schema_diff", None)):
        sys.stderr.write("This LiteLLM compares schemas in another way: see litellm_serve.py before you start it.\n")
        return 1
    check_migration.check_prisma_schema_diff = lambda db_url=None: None
    close_management()
    return run_server()


if __name__ == "__main__":
    sys.exit(main())
