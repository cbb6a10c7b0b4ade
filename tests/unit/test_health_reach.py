"""Checks of kind reach tell an open port, a closed one, a silent one and a missing way apart."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.filter.reach_checks import reach_checks
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Censor
from ansible_collections.gateway.toolkit.plugins.module_utils.health_define import errors_in
from ansible_collections.gateway.toolkit.plugins.module_utils.health_reach import check_reach
from ansible_collections.gateway.toolkit.plugins.module_utils.health_run import run_checks

PROBE = {
    "from": "localhost",
    "reachable": True,
    "group": "openclaw_gateway",
    "what": "gateway at 192.0.2.7",
    "service": "openclaw-gateway",
    "setting": "openclaw_gateway_bind",
    "list": "openclaw_gateway_health_reachable_from",
    "url": "http://192.0.2.7:4321/healthz",
    "body_matches": "live",
}


class Handler(BaseHTTPRequestHandler):
    """A gateway that is alive."""

    def do_GET(self) -> None:
        body = b'{"ok":true,"status":"live"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port
        running.shutdown()


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose queue of connections is full, so that the kernel drops what comes, as a firewall does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _number in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        yield port
        for filler in fillers:
            filler.close()


def outcome(port: int, reachable: bool, **more: Any) -> tuple[bool, str]:
    found = check_reach({"url": f"http://127.0.0.1:{port}/healthz", "reachable": reachable, "timeout": 1, **more})
    return found.ok, found.detail


def test_an_open_port_is_reached(server: int) -> None:
    assert outcome(server, True, body_matches="live")[0]
    assert outcome(server, False) == (False, f"127.0.0.1 port {server} is open to this host, expected that it is not")


def test_another_server_at_the_port_is_noticed(server: int, closed: int) -> None:
    ok, detail = outcome(server, True, body_matches="alive and well")
    assert not ok
    assert "another server" in detail
    ok, detail = outcome(server, True, body_matches="live", url=f"https://127.0.0.1:{server}/healthz")
    assert not ok
    assert "does not answer as expected" in detail


def test_a_closed_port_is_refused(closed: int) -> None:
    assert outcome(closed, False) == (True, f"connection refused by 127.0.0.1 port {closed}")
    assert not outcome(closed, True)[0]


def test_dropped_packets_are_no_answer(silent: int) -> None:
    assert outcome(silent, False) == (True, f"no answer from 127.0.0.1 port {silent} in 1 s")
    assert not outcome(silent, True)[0]


def test_a_name_that_does_not_resolve_proves_nothing() -> None:
    found = check_reach({"url": "http://no-such-name.invalid:1/", "reachable": False})
    assert (found.ok, "cannot resolve" in found.detail) == (False, True)


def test_a_missing_way_is_told_apart() -> None:
    found = check_reach({"url": "http://255.255.255.255:1/", "reachable": True})
    assert not found.ok
    assert "255.255.255.255" in found.detail


def test_each_host_makes_its_own_checks() -> None:
    probes = [PROBE, {**PROBE, "from": "other", "reachable": False, "body_matches": None}, {**PROBE, "what": "proxy"}]
    first, second = reach_checks(probes)
    assert (first["from"], second["from"]) == ("localhost", "other")
    assert [check["name"] for check in first["checks"]] == [
        "gateway at 192.0.2.7 is reached from the controller",
        "proxy is reached from the controller",
    ]
    assert second["checks"][0]["name"] == "gateway at 192.0.2.7 is out of reach from other"
    assert errors_in(first["checks"]) == errors_in(second["checks"]) == []
    assert "body_matches" not in second["checks"][0]
    assert reach_checks([]) == []


@pytest.mark.parametrize(
    ("reachable", "port", "words"),
    [
        (True, "closed", ["Nothing listens there", "openclaw_gateway_bind"]),
        (True, "silent", ["drops the packets", "openclaw_gateway_health_reachable_from"]),
        (False, "server", ["is open to the controller", "firewall"]),
    ],
)
def test_each_failure_names_cause_and_remedy(
    reachable: bool, port: str, words: list[str], request: pytest.FixtureRequest
) -> None:
    number = request.getfixturevalue(port)
    probe = {**PROBE, "reachable": reachable, "url": f"http://127.0.0.1:{number}/", "body_matches": None}
    (check,) = reach_checks([probe])[0]["checks"]
    (result,) = run_checks([{**check, "timeout": 1}], Censor())
    assert result["status"] == "failed"
    for word in words:
        assert word in result["cause"] + result["remedy"]
