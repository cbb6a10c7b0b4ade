# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A small client for LiteLLM's key management, made of primitives that are safe to repeat.

Written against LiteLLM 1.106.2 (litellm/proxy/management_endpoints/key_management_endpoints.py).
Facts that shape this file, read in that source and observed:

* A key's identity is the sha256 hex of its value. Requests here carry the hash; the value travels only in the body
  of /key/generate and as bearer of a probe, never in a URL, because URLs end in access logs.
* /key/info answers 200 with status "deleted" for a key that no longer works.
* /key/generate with a value that exists answers 200 and changes nothing; with the alias that the value already
  holds it answers 400. So a lost answer is settled by looking, not by sending again.
* /key/update writes only the fields that are sent; null clears max_budget and budget_duration, [] clears models.
  It ignores key_type without a word: routes are changed by allowed_routes.
* LiteLLM's error texts carry the tail and the hash of keys: every text that leaves this file is censored.

Only the standard library is used: this runs on hosts with Python >= 3.10.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, NoReturn

ROUTES_OF_KEY_TYPE: dict[str, tuple[str, ...]] = {
    "llm_api": ("llm_api_routes",),
    "management": ("management_routes",),
    "read_only": ("info_routes",),
    "default": (),
}
"""allowed_routes that LiteLLM derives from key_type (handle_key_type); () means every route."""

PAGE_SIZE = 100
"""Largest page of /key/list."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024

CACHE_SECONDS = 90.0
"""Each LiteLLM process may keep a key as it was for 60 s (user_api_key_cache_ttl); 30 s on top for a slow host."""

REJECTIONS = 5
"""So many refusals in a row count as rejected: each connection may reach another worker of LiteLLM."""

DATABASE_AWAY = re.compile(
    r"can't reach database server|all connection attempts failed|closed the connection|terminating connection"
    r"|the database system is|timed out fetching a new connection",
    re.IGNORECASE,
)
"""LiteLLM passes on what Prisma, its query engine or PostgreSQL say, with status 500 (/key/update: 400). Observed: the
first while PostgreSQL is away, the second for some seconds after it is back."""

NO_DATABASE = re.compile(r"not connected|no connected db|connect proxy to database", re.IGNORECASE)

ErrorKind = Literal[
    "master_key_missing",  # the file is not there, empty or not one line
    "unreachable",  # the request was never sent: nothing listens, name unknown, TLS refused
    "answer_lost",  # the request may have been carried out: connection broken or timeout
    "master_key_rejected",
    "no_database",  # LiteLLM runs without a database
    "database_away",  # it has one, which does not answer
    "alias_taken",
    "not_found",
    "refused",  # 400, 403, 422: LiteLLM does not accept these values
    "server_error",
    "not_litellm",
]

Verdict = Literal[
    "accepted",
    "unknown_key",
    "blocked",
    "expired",
    "over_budget",
    "model_denied",
    "forbidden",
    "rate_limited",
    "upstream_failed",  # LiteLLM accepted the key, the model's provider did not answer well
    "unavailable",  # LiteLLM cannot look the key up at the moment
    "error",
]


class LiteLLMError(Exception):
    """One failed call.

    ``kind`` says what failed, ``status`` is the HTTP status (0 if there was no answer), ``reply`` is LiteLLM's own
    text, censored. ``str()`` is one sentence for an operator that names cause, variable and remedy, without secrets.
    """

    def __init__(self, kind: ErrorKind, message: str, status: int = 0, reply: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.reply = reply


@dataclass(frozen=True)
class KeyLimits:
    """What a key may do. ``max_budget`` in USD, None = no limit; ``budget_duration`` like "30d", None = never reset;
    ``models`` () = all; ``key_type`` one of ROUTES_OF_KEY_TYPE; ``metadata`` holds the entries that have to be there
    with these values, further entries of the key are left alone."""

    alias: str
    max_budget: float | None = None
    budget_duration: str | None = None
    models: tuple[str, ...] = ()
    key_type: str = "llm_api"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def allowed_routes(self) -> tuple[str, ...]:
        return ROUTES_OF_KEY_TYPE[self.key_type]


@dataclass(frozen=True)
class KeyRecord:
    """One key as LiteLLM stores it. ``spend`` in USD; ``status`` is active, expired, revoked (blocked) or deleted;
    ``created_at`` is ISO 8601 text, comparable between keys of one LiteLLM."""

    hash: str
    alias: str | None
    status: str
    spend: float
    max_budget: float | None
    budget_duration: str | None
    models: tuple[str, ...]
    allowed_routes: tuple[str, ...]
    metadata: Mapping[str, Any]
    created_at: str

    @classmethod
    def from_row(cls, token_hash: str, row: Mapping[str, Any]) -> KeyRecord:
        """``row``: the ``info`` object of /key/info or one object of /key/list."""
        budget = row.get("max_budget")
        return cls(
            hash=token_hash,
            alias=row.get("key_alias"),
            status=row.get("status") or status_of(row, datetime.now(timezone.utc)),
            spend=float(row.get("spend") or 0.0),
            max_budget=None if budget is None else float(budget),
            budget_duration=row.get("budget_duration"),
            models=tuple(row.get("models") or ()),
            allowed_routes=tuple(row.get("allowed_routes") or ()),
            metadata=row.get("metadata") or {},
            created_at=str(row.get("created_at") or "").replace("Z", "+00:00"),
        )

    @property
    def fingerprint(self) -> str:
        return self.hash[:12]


@dataclass(frozen=True)
class Probe:
    """What LiteLLM said to one request made with a virtual key. ``models``: names listed by /v1/models;
    ``message``: LiteLLM's text, censored, empty when accepted."""

    verdict: Verdict
    status: int
    models: tuple[str, ...] = ()
    message: str = ""


def key_hash(key: str) -> str:
    """sha256 hex of the key: what LiteLLM calls its token."""
    return hashlib.sha256(key.encode()).hexdigest()


def fingerprint(key: str) -> str:
    """The first 12 hex digits of the hash: enough to tell keys apart in output."""
    return key_hash(key)[:12]


def status_of(row: Mapping[str, Any], now: datetime) -> str:
    """active, expired or revoked, as LiteLLM's _derive_key_status: objects of /key/list carry no status."""
    if row.get("blocked") is True:
        return "revoked"
    if not row.get("expires"):
        return "active"
    expires = datetime.fromisoformat(str(row["expires"]).replace("Z", "+00:00"))
    return "expired" if expires.replace(tzinfo=expires.tzinfo or timezone.utc) < now else "active"


def censor(text: str, secrets: Sequence[str] = ()) -> str:
    """``text`` on one line, at most 300 characters, without the given secrets and without anything that looks like a
    key, a part of a key, or a hash."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "<secret>")
    text = re.sub(r"sk-[^\s,;\"'()\[\]{}]+", "<key>", text)
    text = re.sub(r"[0-9a-fA-F]{32,}", "<hash>", text)
    text = re.sub(r"[^\s,;\"'()\[\]{}]*\*{2,}[^\s,;\"'()\[\]{}]*", "<key>", text)  # masked: abcd****wxyz
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:297] + "..."


def reply_of(body: Any) -> tuple[str, str]:
    """(error type, text) of an error answer: {"error": {...}} from LiteLLM, {"detail": ...} from FastAPI, whose
    items also repeat the input, which may be a key: only place and reason are taken."""
    if not isinstance(body, Mapping):
        return "", ""
    error = body.get("error")
    if isinstance(error, Mapping):
        return str(error.get("type") or ""), str(error.get("message") or "")
    detail = body.get("detail", error if isinstance(error, str) else "")
    if isinstance(detail, list):
        items = [item for item in detail if isinstance(item, Mapping)]
        return "", "; ".join(f"{'.'.join(map(str, i.get('loc', ())))}: {i.get('msg', '')}" for i in items)
    return "", detail if isinstance(detail, str) else json.dumps(detail)


def verdict_of(status: int, error_type: str, text: str) -> Verdict:
    """What an answer to a request with a virtual key means for that key."""
    if 200 <= status < 300:
        return "accepted"
    if error_type == "budget_exceeded":
        return "over_budget"
    if error_type == "no_db_connection" or status == 503 or DATABASE_AWAY.search(text):
        return "unavailable"
    # A provider's refusal has the same status as a bad virtual key; its text starts with LiteLLM's exception class.
    if text.startswith("litellm.") or error_type == "api_error":
        return "rate_limited" if status == 429 else "upstream_failed"
    if status == 401:
        if error_type == "expired_key" or "Expired Key" in text:
            return "expired"
        return "blocked" if "Key is blocked" in text else "unknown_key"
    if status == 403:
        return "model_denied" if error_type == "key_model_access_denied" else "forbidden"
    return "rate_limited" if status == 429 else "error"


def read_master_key(path: str) -> str:
    """The master key from a root-only file. LiteLLMError "master_key_missing" if there is none."""
    try:
        with open(path, encoding="ascii") as stream:
            key = stream.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not plain text"
        raise LiteLLMError(
            "master_key_missing",
            f"The master key file {path} cannot be read ({reason}): deploy LiteLLM on this host first "
            "(playbooks/site.yml), it writes that file; or correct master_key_file.",
        ) from None
    if not key or len(key.split()) != 1:
        raise LiteLLMError(
            "master_key_missing",
            f"The master key file {path} has to hold one word: put litellm_master_key there, or remove the file and "
            "deploy LiteLLM again.",
        )
    return key


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the bearer to another place."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class LiteLLMClient:
    """Key management of one LiteLLM.

    ``url``: like http://127.0.0.1:4000; ``timeout``: seconds for one request; ``retries``: how often a request that is
    safe to repeat is sent again, ``pause`` seconds apart, when it got no answer or LiteLLM's database was away;
    ``patience``: seconds to wait until every process of LiteLLM has noticed a change.
    Every method raises LiteLLMError.
    """

    patience: float = CACHE_SECONDS

    def __init__(
        self,
        url: str,
        master_key: str,
        *,
        timeout: float = 30.0,
        ca_file: str | None = None,
        retries: int = 2,
        pause: float = 1.0,
    ) -> None:
        self._url = url.rstrip("/")
        self._master_key = master_key
        self._timeout = timeout
        self._retries = retries
        self._pause = pause
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise LiteLLMError(
                "unreachable", f"ca_file {ca_file} cannot be used ({error.strerror or error}): put a PEM file there."
            ) from None
        # An http_proxy in the environment must never see the master key.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
        )

    @classmethod
    def from_file(cls, url: str, master_key_file: str, **options: Any) -> LiteLLMClient:
        return cls(url, read_master_key(master_key_file), **options)

    # --- reading ---------------------------------------------------------------------------------------------------

    def find_by_hash(self, token_hash: str) -> KeyRecord | None:
        """The key with this hash, None if LiteLLM never had it. Look at ``status``: it may be "deleted"."""
        try:
            answer = self._admin("GET", "/key/info", query={"key": token_hash})
        except LiteLLMError as error:
            if error.kind == "not_found":
                return None
            raise
        return KeyRecord.from_row(token_hash, answer.get("info") or {})

    def info(self, token_hash: str) -> KeyRecord:
        """The key with this hash; LiteLLMError "not_found" if it is unknown or deleted."""
        record = self.find_by_hash(token_hash)
        if record is None or record.status == "deleted":
            raise LiteLLMError("not_found", f"LiteLLM has no live key {token_hash[:12]}.", 404)
        return record

    def spend(self, token_hash: str) -> float:
        """USD in the current budget window; LiteLLM writes it about every 10 s, so it may lag."""
        return self.info(token_hash).spend

    def list_by_alias(self, alias: str) -> list[KeyRecord]:
        """Live keys with exactly this alias, blocked and expired ones included: those hold the alias too."""
        return [record for record in self._list({"key_alias": alias}) if record.alias == alias]

    def list_by_alias_part(self, part: str) -> list[KeyRecord]:
        """Live keys whose alias contains ``part``; LiteLLM ignores upper and lower case here, so check the result."""
        return self._list({"key_alias": part, "substring_matching": "true"})

    def models(self) -> tuple[str, ...]:
        """Every model name that LiteLLM serves."""
        return _model_names(self._admin("GET", "/v1/models"))

    # --- writing: each one leads to the same end when it is repeated ------------------------------------------------

    def generate(self, key: str, limits: KeyLimits, spend: float = 0.0) -> KeyRecord:
        """Register ``key`` (made beforehand: "sk-" and at least 16 characters in all) and return it as stored.

        ``spend``: USD to start with. A lost answer is settled by looking for the hash. A value that LiteLLM already
        has is returned as it is, unchanged: compare the record.
        """
        token_hash = key_hash(key)
        body = {
            "key": key,
            "key_alias": limits.alias,
            "max_budget": limits.max_budget,
            "budget_duration": limits.budget_duration,
            "models": list(limits.models),
            "key_type": limits.key_type,
            "metadata": dict(limits.metadata),
            "spend": spend,
        }
        for attempt in range(self._retries + 1):
            try:
                self._admin("POST", "/key/generate", body=body, repeat=False, secrets=(key,))
                return self.info(token_hash)
            except LiteLLMError as error:
                if error.kind not in ("answer_lost", "alias_taken"):
                    raise
                record = self.find_by_hash(token_hash)
                if record is not None and record.status != "deleted":
                    return record
                if error.kind == "alias_taken" or attempt == self._retries:
                    raise
                self.wait()
        raise AssertionError("unreachable")

    def update(self, token_hash: str, changes: Mapping[str, Any]) -> None:
        """Write these fields of /key/update and no other. LiteLLM ignores names it does not know: read back."""
        self._admin("POST", "/key/update", body={"key": token_hash, **changes})

    def rename(self, token_hash: str, alias: str) -> None:
        self.update(token_hash, {"key_alias": alias})

    def block(self, token_hash: str) -> None:
        """The key answers 401 until unblock; its alias, limits and spend stay."""
        self._admin("POST", "/key/block", body={"key": token_hash})

    def unblock(self, token_hash: str) -> None:
        self._admin("POST", "/key/unblock", body={"key": token_hash})

    def delete_by_hash(self, token_hash: str) -> bool:
        """False if there was no such live key (also when an earlier request, whose answer was lost, deleted it)."""
        try:
            self._admin("POST", "/key/delete", body={"keys": [token_hash]})
        except LiteLLMError as error:
            if error.kind == "not_found":
                return False
            raise
        return True

    # --- asking as the key's owner -----------------------------------------------------------------------------------

    def probe(self, key: str) -> Probe:
        """GET /v1/models with this key: is it accepted, and which models does it see. Costs nothing, but a key over its
        budget is refused here too. Connection problems raise, a refusal is a verdict."""
        status, body = self._send("GET", "/v1/models", bearer=key, repeat=True)
        return self._judge(key, status, body, _model_names(body) if status == 200 else ())

    def probe_message(self, key: str, model: str, timeout: float | None = None) -> Probe:
        """One /v1/messages call of at most one token with this key: a real call to the provider, which may cost a
        fraction of a cent. Not repeated. ``timeout``: seconds, default that of the client."""
        body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "ping"}]}
        status, answer = self._send("POST", "/v1/messages", bearer=key, body=body, repeat=False, timeout=timeout)
        return self._judge(key, status, answer)

    def wait_rejected(self, key: str) -> Probe:
        """Probe until LiteLLM rejects the key REJECTIONS times in a row, at most ``patience`` seconds; the last probe
        is returned, so compare its verdict. Needed after a deletion or block: other processes keep keys for a while."""
        end = time.monotonic() + self.patience
        in_a_row = 0
        while True:
            last = self.probe(key)
            rejected = last.verdict in ("unknown_key", "blocked", "expired")
            in_a_row = in_a_row + 1 if rejected else 0
            if in_a_row == REJECTIONS or (not rejected and time.monotonic() >= end):
                return last
            if not rejected:
                self.wait()

    def wait(self) -> None:
        """One pause between two looks."""
        time.sleep(self._pause)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _judge(self, key: str, status: int, body: Any, models: tuple[str, ...] = ()) -> Probe:
        error_type, text = reply_of(body)
        verdict = verdict_of(status, error_type, text)
        message = "" if verdict == "accepted" else censor(text, (key, self._master_key))
        return Probe(verdict, status, models, message)

    def _list(self, query: Mapping[str, str]) -> list[KeyRecord]:
        records: list[KeyRecord] = []
        page, pages = 1, 1
        while page <= pages:
            parameters = {**query, "return_full_object": "true", "size": str(PAGE_SIZE), "page": str(page)}
            answer = self._admin("GET", "/key/list", query=parameters)
            records += [KeyRecord.from_row(row["token"], row) for row in answer.get("keys") or ()]
            page, pages = page + 1, int(answer.get("total_pages") or 0)
        return records

    def _admin(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        repeat: bool = True,
        secrets: Sequence[str] = (),
    ) -> Mapping[str, Any]:
        """One call with the master key; the answer's JSON object, or LiteLLMError."""
        status, answer = self._send(method, path, bearer=self._master_key, query=query, body=body, repeat=repeat)
        if not 200 <= status < 300:
            self._fail(path, status, answer, secrets)
        if not isinstance(answer, Mapping):
            raise LiteLLMError("not_litellm", self._not_litellm(path, status), status)
        return answer

    def _send(
        self,
        method: str,
        path: str,
        *,
        bearer: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        repeat: bool,
        timeout: float | None = None,
    ) -> tuple[int, Any]:
        """(status, parsed JSON or None). With ``repeat``, sent again after no answer, or when the database was away."""
        attempts = self._retries + 1 if repeat else 1
        for attempt in range(attempts):
            last = attempt == attempts - 1
            try:
                status, answer = self._exchange(method, path, bearer, query, body, timeout or self._timeout)
            except LiteLLMError:
                if last:
                    raise
            else:
                if last or not (status == 503 or (status >= 400 and DATABASE_AWAY.search(reply_of(answer)[1]))):
                    return status, answer
            self.wait()
        raise AssertionError("unreachable")

    def _exchange(
        self,
        method: str,
        path: str,
        bearer: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        timeout: float,
    ) -> tuple[int, Any]:
        address = self._url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        request = urllib.request.Request(
            address,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {bearer}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        try:
            with self._opener.open(request, timeout=timeout) as response:
                return response.status, _parsed(response.read(MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read(MAX_ANSWER_BYTES))
        except urllib.error.URLError as error:
            self._no_answer(path, error.reason, timeout)
        except (OSError, http.client.HTTPException) as error:
            self._no_answer(path, error, timeout)

    def _no_answer(self, path: str, reason: object, timeout: float) -> NoReturn:
        broken_tls = isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLEOFError)
        never_sent = isinstance(reason, (ConnectionRefusedError, socket.gaierror)) or broken_tls
        if never_sent or (isinstance(reason, OSError) and reason.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)):
            what = getattr(reason, "strerror", None) or reason
            raise LiteLLMError(
                "unreachable",
                f"LiteLLM cannot be reached at {self._url} ({what}): see that litellm.service runs (systemctl status "
                "litellm; journalctl -u litellm) and that url matches litellm_port and litellm_bind_address; for https "
                "check ca_file.",
            ) from None
        what = f"no answer within {timeout:g} s" if isinstance(reason, TimeoutError) else "the connection broke"
        raise LiteLLMError(
            "answer_lost",
            f"LiteLLM's answer to {path} at {self._url} was lost ({what}): look at journalctl -u litellm, raise "
            "timeout if the host is slow, and run the playbook again, which is safe.",
        ) from None

    def _not_litellm(self, path: str, status: int) -> str:
        return (
            f"{self._url}{path} answered {status} but not as LiteLLM does: another program listens there, or a proxy "
            "is in between; check url, litellm_port and litellm_bind_address."
        )

    def _fail(self, path: str, status: int, body: Any, secrets: Sequence[str]) -> NoReturn:
        error_type, text = reply_of(body)
        reply = censor(text, (*secrets, self._master_key))
        kind, sentence = explain(status, error_type, text)
        message = self._not_litellm(path, status) if kind == "not_litellm" else sentence.format(url=self._url)
        if kind in ("refused", "server_error", "alias_taken"):
            message += f" LiteLLM's words: {reply or 'none'}"
        raise LiteLLMError(kind, message, status, reply)


def explain(status: int, error_type: str, text: str) -> tuple[ErrorKind, str]:
    """(kind, sentence with a {url} place) for an error answer to a call with the master key."""
    if status == 503 or DATABASE_AWAY.search(text):
        return "database_away", (
            "LiteLLM at {url} has lost its database (" + str(status) + "): start PostgreSQL, check that this host "
            "reaches it, and look at litellm_database_url and journalctl -u litellm."
        )
    no_database = error_type == "no_db_connection" or NO_DATABASE.search(text)
    if no_database and status == 400:
        return "no_database", (
            "LiteLLM at {url} runs without a database and does not know this master key (400): check that "
            "litellm_database_url is set, that master_key_file holds litellm_master_key, and restart litellm."
        )
    if no_database:
        return "no_database", (
            "LiteLLM at {url} runs without a database, so it has no virtual keys (" + str(status) + "): set "
            "litellm_database_url or deploy the role postgresql, and restart litellm."
        )
    if status == 401:
        return "master_key_rejected", (
            "LiteLLM at {url} does not accept the master key (401): the running service has another one than "
            "master_key_file; deploy litellm_master_key again and restart litellm."
        )
    if "already exists" in text and "alias" in text:
        return "alias_taken", (
            "The alias is held by another key in LiteLLM at {url}: give each gateway its own "
            "litellm_virtual_key_alias, or run again if another run was at work."
        )
    if status == 404 and re.search(r"no keys? found|key not found", text, re.IGNORECASE):
        return "not_found", "LiteLLM at {url} has no such key (404)."
    if status == 403 and "Custom API key" in text:
        return "refused", (
            "LiteLLM at {url} does not take key values made elsewhere (403): remove disable_custom_api_keys from "
            "general_settings in litellm_config_extra."
        )
    if status in (400, 403, 422):
        return "refused", (
            "LiteLLM at {url} refused these values (" + str(status) + "): check litellm_virtual_key_alias, "
            "litellm_virtual_key_max_budget (USD, not negative), litellm_virtual_key_budget_duration (like 30d) and "
            "litellm_virtual_key_models."
        )
    if status >= 500:
        return "server_error", (
            "LiteLLM at {url} failed (" + str(status) + "): look at journalctl -u litellm on that host."
        )
    return "not_litellm", ""


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _model_names(body: Any) -> tuple[str, ...]:
    rows = body.get("data") if isinstance(body, Mapping) else None
    return tuple(str(row["id"]) for row in rows or () if isinstance(row, Mapping) and "id" in row)
