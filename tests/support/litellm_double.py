"""A double of LiteLLM's key endpoints on 127.0.0.1, for tests without LiteLLM and PostgreSQL.

It answers as LiteLLM 1.106.2 does; tests/contract/test_litellm_keys.py runs the same tests against both, so a
difference between them shows. What a real LiteLLM cannot be asked to do is set on the double: lose an answer, ignore
a field, be without a database.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, Any]]
ROUTES = {"llm_api": ["llm_api_routes"], "management": ["management_routes"], "read_only": ["info_routes"]}
COLUMNS = (
    "key_alias",
    "spend",
    "max_budget",
    "budget_duration",
    "models",
    "allowed_routes",
    "metadata",
    "blocked",
    "expires",
)


def error(status: int, message: str, kind: str = "internal_server_error") -> Answer:
    return status, {"error": {"message": message, "type": kind, "param": "None", "code": str(status)}}


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class LiteLLMDouble:
    """Use as a context manager. ``url``; ``keys`` and ``deleted``: hash -> row, open to tests; ``requests``: (method,
    path, body) of each request; the other attributes are faults, off at first."""

    def __init__(self, master_key: str, models: tuple[str, ...] = ("model-a", "model-b")) -> None:
        self.master_key = master_key
        self.models = list(models)
        self.keys: dict[str, dict[str, Any]] = {}
        self.deleted: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.lose_answers: list[str] = []  # paths; each loses one answer after the request was carried out
        self.ignored_fields: set[str] = set()  # /key/update, and /key/generate for spend, answer 200 and leave them
        self.default_max_budget: float | None = None  # litellm_settings.default_key_generate_params
        self.database: str = "connected"  # or "none", "away"
        self.fixed: dict[str, Answer] = {}  # path -> answer, instead of the real work
        self.stale_probes = 0  # so many /v1/models answers with a virtual key come from an old cache
        self.accepts_after_deletion: list[bool] = []  # what the next workers say to an unknown key, from an old cache
        self._lock = threading.Lock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_args: Any) -> None:
                pass

            def do_GET(self) -> None:
                double._handle(self, "GET")

            def do_POST(self) -> None:
                double._handle(self, "POST")

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LiteLLMDouble:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def writes(self) -> list[str]:
        return [path for method, path, _body in self.requests if method == "POST"]

    def _handle(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else {}
        bearer = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            self.requests.append((method, parts.path, body))
            status, answer = self._answer(parts.path, bearer, query, body)
            if parts.path in self.lose_answers:
                self.lose_answers.remove(parts.path)
                handler.close_connection = True
                handler.connection.close()
                return
        data = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _answer(self, path: str, bearer: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        if path in self.fixed:
            return self.fixed[path]
        admin = bearer == self.master_key
        row = self.keys.get(sha256(bearer))
        refusal = None if admin else self._refusal(path, bearer, row, body)
        if refusal:
            return refusal
        if path == "/v1/models":
            names = self.models if admin or row is None else row["models"] or self.models
            if not admin and self.stale_probes:
                self.stale_probes -= 1
                names = ["as-it-was"]
            return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
        if path == "/v1/messages":
            return 200, {"type": "message", "content": [{"type": "text", "text": "."}]}
        if self.database == "none":
            return error(500, "Database not connected. Connect a database to your proxy")
        if self.database == "away":
            return error(400 if path == "/key/update" else 500, "Can't reach database server at `127.0.0.1:5432`")
        work: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "/key/generate": self._generate,
            "/key/update": self._update,
            "/key/delete": self._delete,
            "/key/block": lambda b: self._set_blocked(b, True),
            "/key/unblock": lambda b: self._set_blocked(b, False),
        }
        if path in work:
            return work[path](body)
        if path == "/key/info":
            return self._info(query["key"])
        if path == "/key/list":
            return self._list(query)
        return 404, {"detail": "Not Found"}

    def _refusal(self, path: str, bearer: str, row: dict[str, Any] | None, body: dict[str, Any]) -> Answer | None:
        if self.database == "none":
            return error(400, "No connected db.", "no_db_connection")
        if self.database == "away":
            return error(503, "Service Unavailable, the authentication database is temporarily unreachable.")
        if row is None and self.accepts_after_deletion and self.accepts_after_deletion.pop(0):
            return 200, {"object": "list", "data": []}
        if row is None:
            return error(
                401,
                f"Authentication Error, Invalid proxy server token passed. Received API Key = sk-...{bearer[-4:]}, Key "
                f"Hash (Token) ={sha256(bearer)}. Unable to find token in cache or `LiteLLM_VerificationTokenTable`",
                "token_not_found_in_db",
            )
        if row["blocked"]:
            return error(
                401,
                "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin.",
                "auth_error",
            )
        if self._status(row) == "expired":
            return error(401, f"Authentication Error - Expired Key. Key Expiry time {row['expires']}", "expired_key")
        if row["allowed_routes"] == ["llm_api_routes"] and not path.startswith("/v1/"):
            return error(403, "Virtual key is not allowed to call this route.", "auth_error")
        if row["models"] and body.get("model", row["models"][0]) not in row["models"]:
            return error(
                403,
                f"The requested model '{body['model']}' is not available for this API key",
                "key_model_access_denied",
            )
        if row["max_budget"] is not None and row["spend"] >= row["max_budget"]:
            text = (
                f"Budget has been exceeded! Key={row['key_alias']} (sk-...{bearer[-4:]}) Current cost: {row['spend']}"
            )
            return error(422, text, "budget_exceeded")
        return None

    def _alias_holder(self, alias: str | None, other_than: str) -> bool:
        return alias is not None and any(
            row["key_alias"] == alias and token != other_than for token, row in self.keys.items()
        )

    def _alias_taken(self, alias: str) -> Answer:
        text = f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
        return error(400, text, "bad_request_error")

    def _generate(self, body: dict[str, Any]) -> Answer:
        alias, key = body.get("key_alias"), body["key"]
        if self._alias_holder(alias, other_than=""):
            return self._alias_taken(str(alias))
        if not key.startswith("sk-"):
            text = f"Invalid key format. LiteLLM Virtual Key must start with 'sk-'. Received: {key[:4]}****{key[-4:]}"
            return error(400, str({"error": text}))
        row = {
            "key_alias": alias,
            "spend": 0.0 if "spend" in self.ignored_fields else body.get("spend") or 0.0,
            "max_budget": body.get("max_budget") if body.get("max_budget") is not None else self.default_max_budget,
            "budget_duration": body.get("budget_duration"),
            "models": body.get("models") or [],
            "allowed_routes": ROUTES.get(body.get("key_type") or "", []),
            "metadata": body.get("metadata") or {},
            "blocked": None,
            "expires": None,
            "created_at": datetime.now(timezone.utc).isoformat(),
        }
        # A value that exists keeps its row, and the answer is 200 all the same.
        self.keys.setdefault(sha256(key), row)
        return 200, {**row, "key": key, "token": sha256(key), "token_id": sha256(key)}

    def _update(self, body: dict[str, Any]) -> Answer:
        row = self.keys.get(body["key"])
        if row is None:
            return error(404, "Key not found.", "not_found_error")
        if self._alias_holder(body.get("key_alias"), other_than=body["key"]):
            return self._alias_taken(body["key_alias"])
        row.update({name: value for name, value in body.items() if name in COLUMNS and name not in self.ignored_fields})
        return 200, {**row, "key": body["key"], "token": body["key"]}

    def _delete(self, body: dict[str, Any]) -> Answer:
        found = [token for token in body["keys"] if token in self.keys]
        if not found:
            return error(404, "{'error': 'No keys found'}")
        for token in found:
            self.deleted[token] = self.keys.pop(token)
        return 200, {"deleted_keys": body["keys"]}

    def _set_blocked(self, body: dict[str, Any], blocked: bool) -> Answer:
        row = self.keys.get(body["key"])
        if row is None:
            return error(404, "Key not found.", "not_found_error")
        row["blocked"] = blocked
        return 200, {**row, "token": body["key"]}

    @staticmethod
    def _status(row: dict[str, Any]) -> str:
        if row["blocked"]:
            return "revoked"
        expired = row["expires"] and datetime.fromisoformat(row["expires"]) < datetime.now(timezone.utc)
        return "expired" if expired else "active"

    def _info(self, token: str) -> Answer:
        if token in self.keys:
            return 200, {"key": token, "info": {**self.keys[token], "status": self._status(self.keys[token])}}
        if token in self.deleted:
            return 200, {"key": token, "info": {**self.deleted[token], "status": "deleted"}}
        return error(404, "Key not found in database", "not_found_error")

    def _list(self, query: dict[str, str]) -> Answer:
        wanted, part = query["key_alias"], query.get("substring_matching") == "true"

        def matches(alias: str) -> bool:
            return wanted.lower() in alias.lower() if part else wanted == alias

        found = [{**row, "token": token} for token, row in self.keys.items() if matches(row["key_alias"] or "")]
        size, page = int(query["size"]), int(query["page"])
        shown = found[(page - 1) * size : page * size]
        pages = -(-len(found) // size)
        return 200, {"keys": shown, "total_count": len(found), "current_page": page, "total_pages": pages}
