"""A rotation that is killed after a step is finished by the next plain run."""

from __future__ import annotations

import pytest
from conftest import Playbooks
from gateway_keys import ROTATE, TOKEN, VIRTUAL_KEY, Gateway
from testinfra.host import Host

ONE = "--limit=gateway1"
# Steps, and the task that begins right after each was noted. tests/unit/test_rotation.py has all of them.
OF_A_VIRTUAL_KEY = {
    "registered": "register_virtual_key | Refuse a key",
    "switched": "secrets | Keep the gateway token",
    "proved": "retire_virtual_key | Let the old key",
}
OF_A_TOKEN = {
    "switched": "secrets | Keep the gateway token",
}


@pytest.fixture
def gateway(hosts: dict[str, Host]) -> Gateway:
    return Gateway.of(hosts, "gateway1")


@pytest.mark.parametrize("step", OF_A_VIRTUAL_KEY)
def test_a_virtual_key_after_a_kill(playbooks: Playbooks, gateway: Gateway, step: str) -> None:
    old = gateway.copy(VIRTUAL_KEY)
    playbooks.run_killed(ROTATE, OF_A_VIRTUAL_KEY[step], ONE, variables={"rotate": "virtual_keys"})
    assert gateway.step("virtual_key") == step
    assert gateway.key_in_use() == 200, "a working key exists at every moment"
    finished = playbooks.run(ROTATE, ONE)
    assert finished.rc == 0, finished.output
    assert gateway.value(VIRTUAL_KEY) != gateway.value(old)
    assert (gateway.key_in_use(), gateway.models(VIRTUAL_KEY), gateway.models(old)) == (200, 200, 401)
    assert gateway.live_keys() == [gateway.alias]
    assert gateway.unfinished() == []
    assert gateway.set_aside() == {}, "no request of OpenClaw was refused"


@pytest.mark.parametrize("step", OF_A_TOKEN)
def test_a_gateway_token_after_a_kill(playbooks: Playbooks, gateway: Gateway, step: str) -> None:
    old, pid = gateway.copy(TOKEN), gateway.pid
    playbooks.run_killed(ROTATE, OF_A_TOKEN[step], ONE, variables={"rotate": "gateway_token"})
    assert gateway.step("gateway_token") == step
    assert 404 in (gateway.door(TOKEN), gateway.door(old)), "a working token exists at every moment"
    finished = playbooks.run(ROTATE, ONE)
    assert finished.rc == 0, finished.output
    assert gateway.value(TOKEN) != gateway.value(old)
    assert (gateway.door(TOKEN), gateway.door(old)) == (404, 401)
    assert (gateway.websocket(TOKEN), gateway.websocket(old)) == ("connected", "refused")
    assert gateway.unfinished() == []
    assert gateway.pid == pid
