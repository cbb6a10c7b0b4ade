"""What is true of every gateway's secrets before a rotation and after it: those in use work, others are dead."""

from __future__ import annotations

import pytest
from gateway_keys import SECRETS, TOKEN, VIRTUAL_KEY, Gateway
from testinfra.host import Host


@pytest.fixture(params=["gateway1", "proxy1"])
def gateway(request: pytest.FixtureRequest, hosts: dict[str, Host]) -> Gateway:
    return Gateway.of(hosts, request.param)


def test_there_is_one_key_and_it_works(gateway: Gateway) -> None:
    assert gateway.live_keys() == [gateway.alias]
    assert gateway.models(VIRTUAL_KEY) == 200
    assert gateway.prompt()


def test_the_token_works_over_http_and_websocket(gateway: Gateway) -> None:
    assert gateway.door(TOKEN) == 404
    assert gateway.websocket(TOKEN) == "connected"


def test_no_rotation_is_unfinished(gateway: Gateway) -> None:
    assert gateway.unfinished() == []


def test_what_was_in_use_at_the_last_verification_is_dead(gateway: Gateway) -> None:
    """Before the first one nothing was, and values that nobody ever had stand for it."""
    for path, made_up in ((VIRTUAL_KEY, "sk-nobody-ever-had-this-key"), (TOKEN, "nobody-ever-had-this-token")):
        last = f"{path.replace(SECRETS, '/srv')}.verified"
        gateway.host.run_expect([0], f"test -e {last} || echo {made_up} > {last}")
        assert gateway.value(path) != gateway.value(last)
        if path == VIRTUAL_KEY:
            assert gateway.models(last) == 401
        else:
            assert (gateway.door(last), gateway.websocket(last)) == (401, "refused")
        gateway.host.run_expect([0], f"cp -p {path} {last}")
