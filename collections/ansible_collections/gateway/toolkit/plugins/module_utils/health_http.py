"""Health check of kind `http`: one request, without proxies and without following redirects."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import (
    EVIDENCE_LIMIT,
    Censor,
    CheckError,
    Outcome,
    one_line,
    read_secret,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.health_expect import pick, unmet, wants_json
from ansible_collections.gateway.toolkit.plugins.module_utils.https_connection import NamedConnection

TIMEOUT = 10.0  # seconds for the whole exchange, if a check gives none
BODY_LIMIT = 4 * 1024 * 1024  # bytes; no health answer is larger
_TITLE = re.compile(r"<title>(.*?)</title>", re.IGNORECASE | re.DOTALL)
SECRET_HEADERS = ("authorization", "proxy-authorization", "x-api-key", "cookie")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status, and its body as text (undecodable bytes replaced)."""

    status: int
    body: str

    def document(self) -> Any:
        """Return the body's JSON document. Raises CheckError "HTTP <status>, but not JSON: ..."."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise CheckError(f"HTTP {self.status}, but not JSON: {one_line(self.body) or 'empty'}") from None


def request_headers(check: Mapping[str, Any], censor: Censor) -> dict[str, str]:
    """Return the headers of a check, with the secrets read from their files. The censor learns each secret."""
    headers = {"Accept": "application/json", "Connection": "close", "User-Agent": "gateway-toolkit-health"}
    headers.update({str(name): str(value) for name, value in (check.get("headers") or {}).items()})
    censor.add(*(value.split()[-1] for name, value in headers.items() if name.lower() in SECRET_HEADERS and value))
    for source in check.get("header_files") or []:
        secret = read_secret(source["path"])
        censor.add(secret)
        if not re.fullmatch(r"[\x20-\x7e]+", secret):
            raise CheckError(f"{source['path']} holds more than one line, or characters that a header cannot carry")
        headers[source["header"]] = f"{source.get('prefix') or ''}{secret}"
    return headers


class _Deadline:
    """Cuts the connection when the time is up, also if the server sends a byte now and then."""

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self.passed = False
        self._connection = connection
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def connected(self) -> None:
        """Remember the socket: http.client lets go of it before the body is read."""
        if self.passed:
            raise TimeoutError
        self._socket = self._connection.sock

    def _cut(self) -> None:
        self.passed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the exchange may end in this very moment
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._connection.close()


def exchange(check: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """Send the request of a check and return the answer.

    Raises ConnectionRefusedError, or CheckError: "timed out ...", "cannot resolve ...", "TLS: ...",
    "cannot talk to ...".
    """
    url, seconds = urlsplit(check["url"]), TIMEOUT if check.get("timeout") is None else check["timeout"]
    place = f"{url.hostname}:{url.port or (443 if url.scheme == 'https' else 80)}"
    body = None if check.get("body") is None else json.dumps(check["body"]).encode()
    sent = {"Content-Type": "application/json", **headers} if body is not None else dict(headers)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection = _connection(url, seconds, check)
    with _Deadline(connection, seconds) as deadline:
        try:
            connection.connect()
            deadline.connected()
            connection.request(check.get("method") or ("GET" if body is None else "POST"), target, body, sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.read(BODY_LIMIT).decode("utf-8", "replace"))
        except ConnectionRefusedError:
            raise
        except TimeoutError:
            raise CheckError(f"timed out after {seconds:g} s: no answer from {place}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            if deadline.passed:
                raise CheckError(f"timed out after {seconds:g} s: no complete answer from {place}") from None
            raise CheckError(_reason(error, place)) from None
    if deadline.passed:
        raise CheckError(f"timed out after {seconds:g} s: no complete answer from {place}")
    return answer


def _connection(url: SplitResult, seconds: float, check: Mapping[str, Any]) -> http.client.HTTPConnection:
    if url.scheme == "http":
        return http.client.HTTPConnection(str(url.hostname), url.port, timeout=seconds)
    context = tls_context(check.get("ca_file"))
    return NamedConnection(
        str(url.hostname), url.port, timeout=seconds, context=context, name=check.get("server_name") or ""
    )


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the settings of a client that trusts a CA file, or the host's own CAs. Raises CheckError."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        # From Python 3.13 on it wants more of a private authority's certificates than browsers and Node.js do.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context
    except OSError as error:
        raise CheckError(f"TLS: cannot read the CA file {ca_file}: {error.strerror or error}") from None


def _reason(error: Exception, place: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"cannot resolve the name in {place}: {error.strerror}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: certificate of {place} refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {place} does not speak TLS as expected: {error.reason}"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot talk to {place}: {one_line(words)}"


def error_message(body: str) -> str:
    """Return what an error's body says: message and type of the usual JSON shapes, a web page's title, or the text.

    Shapes: {"error": {"message", "type"}} (LiteLLM, Anthropic, OpenAI), {"error": "text"}, {"message"}, {"detail"}.
    """
    try:
        document = json.loads(body)
    except ValueError:
        title = _TITLE.search(body)
        return f"a web page, {one_line(title.group(1))!r}" if title else one_line(body)
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, str):
        return one_line(error)
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail")
        if isinstance(message, str):
            kind = error.get("type") or error.get("code")
            return one_line(message) + (f" [{kind}]" if isinstance(kind, str) else "")
    return one_line(body)


def judge_answer(answer: Answer, check: Mapping[str, Any]) -> Outcome:
    """Compare an answer with what the check expects."""
    wanted = check.get("status") or [200]
    if answer.status not in wanted:
        expected = " or ".join(map(str, wanted))
        if answer.status < 400:
            return Outcome(False, f"HTTP {answer.status}, expected {expected}")
        expected = "" if wanted == [200] else f" (expected {expected})"
        return Outcome(
            False, f"HTTP {answer.status}{expected}: {error_message(answer.body) or 'no message'}", answer.body
        )
    captured: dict[str, Any] = {}
    if wants_json(check):
        document = answer.document()
        sentences, captured = unmet(document, check), pick(document, check.get("capture") or {})
        if sentences:
            return Outcome(False, f"HTTP {answer.status}, but {'; '.join(sentences)}", answer.body, captured)
    pattern = check.get("body_matches")
    if pattern and not re.search(pattern, answer.body):
        seen = one_line(answer.body) or "empty"
        return Outcome(False, f"HTTP {answer.status}, but the body does not match {pattern!r}: {seen}", answer.body)
    return Outcome(True, f"HTTP {answer.status}", captured=captured)


def check_http(check: Mapping[str, Any], censor: Censor) -> Outcome:
    """Send the request once and judge the answer."""
    try:
        answer = exchange(check, request_headers(check, censor))
    except ConnectionRefusedError:
        place = urlsplit(check["url"]).netloc.rpartition("@")[2]
        detail = f"connection refused: nothing accepts connections at {place}"
        return Outcome(bool(check.get("expect_refused")), detail)
    if check.get("expect_refused"):
        return Outcome(False, f"a server answered HTTP {answer.status}, expected the connection to be refused")
    outcome = judge_answer(answer, check)
    return Outcome(outcome.ok, outcome.detail, outcome.evidence[:EVIDENCE_LIMIT], outcome.captured)
