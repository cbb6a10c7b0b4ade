"""Certificates: refused before they are deployed, watched afterwards, and checked by name over loopback."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.filter.health_report import health_report, health_table
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Censor
from ansible_collections.gateway.toolkit.plugins.module_utils.health_run import run_checks
from ansible_collections.gateway.toolkit.plugins.module_utils.input_openclaw import openclaw_gateway_input_errors
from ansible_collections.gateway.toolkit.plugins.module_utils.input_tls import tls_errors
from ansible_collections.gateway.toolkit.plugins.module_utils.openclaw_door import Trust, ask_http, ask_websocket
from ansible_collections.gateway.toolkit.plugins.module_utils.readiness import not_ready
from certificates import Pair, pair

NAME = "gateway.example.com"
GOOD = pair(NAME, "192.0.2.7")


class Handler(BaseHTTPRequestHandler):
    """A gateway that is alive and knows one token."""

    def do_GET(self) -> None:
        right = self.headers.get("Authorization") == "Bearer right"
        body = b'{"ok": true, "status": "live", "ready": true}'
        self.send_response(200 if self.path.startswith("/healthz") else 404 if right else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(folder: Path, shown: Pair) -> ThreadingHTTPServer:
    certificate, key = shown.write(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(params=[90])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A TLS server on loopback, and what a check needs to trust it."""
    running = serve(tmp_path, pair(NAME, days=request.param))
    url = f"https://127.0.0.1:{running.server_port}"
    yield {"url": url, "ca_file": str(tmp_path / "test.crt"), "server_name": NAME}
    running.shutdown()
    running.server_close()


def check(**fields: Any) -> dict[str, Any]:
    (result,) = run_checks([{"name": "one", **fields}], Censor())
    return result


@pytest.mark.parametrize(
    ("certificate", "key", "name", "words"),
    [
        (GOOD.certificate, GOOD.key, NAME, ""),
        (GOOD.certificate, GOOD.key, "192.0.2.7", ""),
        (pair("*.example.com").certificate, "same", NAME, "does not belong"),
        (GOOD.certificate, pair(NAME).key, NAME, "does not belong"),
        (GOOD.certificate, GOOD.key, "other.example.com", "is for gateway.example.com, 192.0.2.7, not for other"),
        (GOOD.certificate, GOOD.key, "192.0.2.8", "not for 192.0.2.8"),
        ("nonsense", GOOD.key, NAME, "is no certificate"),
        (GOOD.key, GOOD.key, NAME, "is no certificate"),
        (GOOD.certificate, "nonsense", NAME, "is no private key"),
        (GOOD.certificate, pair(NAME, password="hush").key, NAME, "protected by a password"),
    ],
)
def test_what_clients_would_refuse_is_refused(certificate: str, key: str, name: str, words: str) -> None:
    found = tls_errors(certificate, GOOD.key if key == "same" else key, name)
    assert len(found) == bool(words), found
    assert words in "".join(found)
    assert "PRIVATE" not in "".join(found).replace("-----BEGIN PRIVATE KEY-----", "")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (pair("*.example.com"), ""),
        (pair(NAME, days=-1), "ended on"),
        (pair(NAME, days=30, begins_in=2), "begins only on"),
        (pair(), "for no name at all"),
        (pair("*.com"), "not for gateway.example.com"),
    ],
)
def test_dates_and_names_are_judged(made: Pair, words: str) -> None:
    found = tls_errors(made.certificate, made.key, NAME)
    assert len(found) == bool(words), found
    assert words in "".join(found)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"tls": "off"}, ""),
        ({"tls": "files", "tls_certificate": "a.crt", "tls_key": "a.key"}, ""),
        ({"tls": "host", "tls_certificate": "/etc/a.crt", "tls_key": "/etc/a.key"}, ""),
        ({"tls": "tailscale", "address": "gateway.tail1234.ts.net"}, ""),
        ({"tls": "files", "tls_certificate": "a.crt"}, "openclaw_gateway_tls_key is empty"),
        ({"tls": "host", "tls_certificate": "a.crt", "tls_key": "/etc/a.key"}, "absolute path"),
        ({"tls": "off", "tls_key": "a.key"}, "empty it"),
        ({"tls": "files", "tls_certificate": "a", "tls_key": "-----BEGIN PRIVATE KEY-----hush"}, "not shown"),
        ({"tls": "tailscale", "address": "192.0.2.7"}, ".ts.net"),
        (
            {"tls": "tailscale", "address": "a.b.ts.net", "tailnet_login_server": "https://hs.example.com"},
            "makes no certificates",
        ),
        ({"tls": True}, "quotes"),
    ],
)
def test_each_choice_needs_its_files(variables: dict[str, Any], words: str) -> None:
    named = {f"openclaw_gateway_{name}": value for name, value in variables.items()}
    found = openclaw_gateway_input_errors(named)
    assert len(found) == bool(words), found
    assert words in "".join(found)
    assert "hush" not in "".join(found)


def test_a_certificate_that_is_good_for_long_is_ok(server: dict[str, Any]) -> None:
    result = check(kind="certificate", **server)
    assert (result["status"], result["cause"]) == ("ok", "")
    assert "ends in 90 days" in result["detail"]


@pytest.mark.parametrize("server", [10], indirect=True)
def test_one_that_ends_soon_is_a_warning_which_does_not_fail_the_run(server: dict[str, Any]) -> None:
    result = check(kind="certificate", explain=[{"match": "ends in", "cause": "soon", "remedy": "renew"}], **server)
    assert (result["status"], result["cause"], result["remedy"]) == ("warning", "soon", "renew")
    report = health_report({"h": [result]})
    assert report["ok"]
    assert report["summary"] == {"checks": 1, "ok": 0, "failed": 0, "not_run": 0, "warning": 1}
    table = health_table({"h": [result]})
    assert "WARNING" in table[1]
    assert "cause: soon" in table[2]
    assert table[-1] == "1 check: 0 ok, 0 failed, 0 not run, 1 with a warning"


@pytest.mark.parametrize("server", [-1], indirect=True)
def test_one_that_has_ended_fails(server: dict[str, Any]) -> None:
    result = check(kind="certificate", **server)
    assert (result["status"], "expired" in result["detail"]) == ("failed", True)


@pytest.mark.parametrize("change", [{"server_name": "other.example.com"}, {"ca_file": None}])
def test_one_for_another_name_or_of_an_unknown_ca_fails(server: dict[str, Any], change: dict[str, Any]) -> None:
    result = check(kind="certificate", **{**server, **change})
    assert (result["status"], "refused" in result["detail"]) == ("failed", True)


def test_a_server_without_tls_is_no_certificate(tmp_path: Path) -> None:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    result = check(kind="certificate", url=f"https://127.0.0.1:{running.server_port}")
    running.shutdown()
    assert (result["status"], "TLS" in result["detail"]) == ("failed", True)


def test_requests_over_loopback_check_the_certificate_by_its_name(server: dict[str, Any]) -> None:
    asked = {**server, "url": f"{server['url']}/healthz", "kind": "http", "json": {"ok": True}}
    assert check(**asked)["status"] == "ok"
    assert "refused" in check(**{**asked, "server_name": None})["detail"]


def test_the_gateways_door_is_asked_over_tls(server: dict[str, Any]) -> None:
    trust = Trust(server["ca_file"], NAME)
    assert ask_http(server["url"], "right", 5, trust).let_in is True
    assert ask_http(server["url"], "wrong", 5, trust).let_in is False
    assert ask_websocket(server["url"], "right", 5, trust).words == "no answer (ValueError)"
    # A token is not sent to somebody else.
    assert ask_http(server["url"], "right", 5, Trust(server["ca_file"], "other.example.com")).let_in is None
    assert ask_http(server["url"], "right", 5).let_in is None


def test_readiness_sends_no_secret_to_a_certificate_of_nobody(server: dict[str, Any]) -> None:
    assert not_ready(f"{server['url']}/healthz", {}, 200, {"ok": True}, 5) == ""
    assert not_ready(f"{server['url']}/healthz", {"Authorization": "Bearer right"}, 200, {}, 5) != ""
