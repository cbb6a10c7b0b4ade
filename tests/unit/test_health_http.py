"""Checks of kind http, against real servers on this machine."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Censor, CheckError
from ansible_collections.gateway.toolkit.plugins.module_utils.health_http import check_http, error_message

SECRET = "sk-virtual-key-0123456789"
MODELS = {"data": [{"id": "small"}, {"id": "large"}]}


class Handler(BaseHTTPRequestHandler):
    """Answers as LiteLLM does in a few cases, and keeps what it was asked."""

    asked: ClassVar[list[dict]] = []

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        type(self).asked.append(
            {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
        )
        getattr(self, f"answer{self.path.split('?')[0].replace('/', '_')}")()

    do_POST = do_GET

    def send(self, status: int, body: object, **headers: str) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer_ready(self) -> None:
        self.send(200, {"status": "healthy", "db": "connected"})

    def answer_no_database(self) -> None:
        self.send(503, {"status": "healthy", "db": "disconnected"})

    def answer_models(self) -> None:
        if self.headers.get("Authorization") == f"Bearer {SECRET}":
            self.send(200, MODELS)
            return
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        message = f"Authentication Error, Invalid proxy server token passed. Received API Key = {key}"
        self.send(401, {"error": {"message": message, "type": "token_not_found_in_db", "code": "401"}})

    def answer_page(self) -> None:
        self.send(200, "<html>hello</html>")

    def answer_elsewhere(self) -> None:
        self.send(302, "", Location="/ready")

    def answer_slow(self) -> None:
        time.sleep(1.5)

    def answer_drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for _ in range(40):
                self.wfile.write(b".")
                time.sleep(0.1)
        except OSError:
            return  # the client has hung up, as it should

    def log_message(self, *_: object) -> None:
        """Keep the test output clean."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def closed() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    return str(path)


def ask(url: str, **check: object):
    return check_http({"url": url, **check}, Censor())


def test_a_good_answer_passes(server: str) -> None:
    assert ask(f"{server}/ready", json={"db": "connected"}).ok


def test_an_answer_with_other_content_fails(server: str) -> None:
    outcome = ask(f"{server}/ready", json={"db": "stalled"})
    assert not outcome.ok
    assert outcome.detail == 'HTTP 200, but db is "connected", expected "stalled"'


def test_another_status_fails_and_quotes_the_answer(server: str) -> None:
    outcome = ask(f"{server}/no/database", json={"db": "connected"})
    assert not outcome.ok
    assert outcome.detail == 'HTTP 503: {"status": "healthy", "db": "disconnected"}'


def test_the_right_key_from_a_file_is_accepted_and_a_wrong_one_refused(server: str, key_file: str) -> None:
    sources = [{"header": "Authorization", "path": key_file, "prefix": "Bearer "}]
    url = f"{server}/models"
    assert ask(url, header_files=sources, json_exactly={"data[].id": ["large", "small"]}).ok
    wrong = {"Authorization": "Bearer sk-wrong-key"}
    assert ask(url, headers=wrong, status=[401]).ok
    accepted = ask(url, header_files=sources, status=[401])
    assert not accepted.ok
    assert accepted.detail == "HTTP 200, expected 401"


def test_the_error_message_and_its_type_are_quoted(server: str) -> None:
    outcome = ask(f"{server}/models")
    assert outcome.detail.startswith("HTTP 401: Authentication Error, Invalid proxy server token passed.")
    assert outcome.detail.endswith("[token_not_found_in_db]")


def test_the_censor_learns_the_secrets_of_files_and_headers(server: str, key_file: str) -> None:
    censor = Censor()
    sources = [{"header": "x-api-key", "path": key_file}]
    check_http(
        {"url": f"{server}/ready", "header_files": sources, "headers": {"Authorization": "Bearer abcdef"}}, censor
    )
    assert {SECRET, "abcdef"} <= censor.secrets


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot read"), ("\n", "is empty"), ("a\nb", "more than one line")]
)
def test_an_unusable_key_file_fails_without_its_content(
    server: str, tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckError, match=words):
        ask(f"{server}/ready", header_files=[{"header": "x-api-key", "path": str(path)}])


def test_a_list_that_lacks_a_model_fails(server: str, key_file: str) -> None:
    sources = [{"header": "Authorization", "path": key_file, "prefix": "Bearer "}]
    outcome = ask(f"{server}/models", header_files=sources, json_contains={"data[].id": ["small", "huge"]})
    assert outcome.detail == 'HTTP 200, but data[].id lacks ["huge"] (it is ["small", "large"])'


def test_a_page_instead_of_json_fails(server: str) -> None:
    with pytest.raises(CheckError, match="HTTP 200, but not JSON: <html>"):
        ask(f"{server}/page", json={"ok": True})


def test_the_body_can_be_matched(server: str) -> None:
    assert ask(f"{server}/page", body_matches="hello").ok
    assert not ask(f"{server}/page", body_matches="good bye").ok


def test_redirects_are_not_followed(server: str) -> None:
    outcome = ask(f"{server}/elsewhere")
    assert not outcome.ok
    assert outcome.detail == "HTTP 302, expected 200"
    assert [item["path"] for item in Handler.asked] == ["/elsewhere"]


def test_proxies_of_the_environment_are_not_used(server: str, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, closed)
    assert ask(f"{server}/ready").ok


def test_a_body_is_posted_as_json_with_the_query(server: str) -> None:
    assert ask(f"{server}/ready?a=b", body={"x": [1]}).ok
    asked = Handler.asked[0]
    assert (asked["method"], asked["path"], json.loads(asked["body"])) == ("POST", "/ready?a=b", {"x": [1]})
    assert asked["headers"]["Content-Type"] == "application/json"


def test_a_refused_connection_is_told_apart_and_may_be_expected(closed: str) -> None:
    outcome = ask(f"{closed}/ready")
    assert not outcome.ok
    assert outcome.detail.startswith("connection refused")
    assert ask(f"{closed}/ready", expect_refused=True).ok


def test_an_answer_where_refusal_is_expected_fails(server: str) -> None:
    outcome = ask(f"{server}/ready", expect_refused=True)
    assert not outcome.ok
    assert "a server answered HTTP 200" in outcome.detail


@pytest.mark.parametrize("path", ["slow", "drip"])
def test_a_server_that_takes_too_long_times_out(server: str, path: str) -> None:
    start = time.monotonic()
    with pytest.raises(CheckError, match=r"timed out after 0\.4 s"):
        ask(f"{server}/{path}", timeout=0.4)
    assert time.monotonic() - start < 1.4


def test_a_name_that_does_not_resolve_is_told_apart() -> None:
    with pytest.raises(CheckError, match="cannot resolve the name"):
        ask("http://host.invalid/ready", timeout=20)


def test_values_are_handed_back(server: str) -> None:
    assert ask(f"{server}/ready", capture={"database": "db"}).captured == {"database": "connected"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error": {"message": "no", "type": "auth_error"}}', "no [auth_error]"),
        ('{"type": "error", "error": {"message": "no"}}', "no"),
        ('{"error": "plain"}', "plain"),
        ('{"detail": "not found"}', "not found"),
        ('{"error": {"message": "' + "x" * 300 + '", "type": "t"}}', "x" * 197 + "... [t]"),
        ("just\n text", "just text"),
        ("", ""),
        ("[1]", "[1]"),
        ("<html><head><title>Not\nfound</title></head>long</html>", "a web page, 'Not found'"),
    ],
)
def test_error_messages_of_the_usual_shapes(body: str, message: str) -> None:
    assert error_message(body) == message


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_tls_is_verified_against_the_given_ca(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=gateway", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
    thread.start()
    port = httpd.server_address[1]
    try:
        assert ask(f"https://127.0.0.1:{port}/ready", ca_file=str(certificate)).ok
        with pytest.raises(CheckError, match=r"TLS: certificate of 127\.0\.0\.1"):
            ask(f"https://127.0.0.1:{port}/ready")
        with pytest.raises(CheckError, match="TLS: certificate of localhost"):
            ask(f"https://localhost:{port}/ready", ca_file=str(certificate))
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
