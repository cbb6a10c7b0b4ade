"""A proof that fails puts the old key back, revokes the new one, and fails the run with the cause."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from conftest import Playbooks, psql
from gateway_keys import ROTATE, TOKEN, UNIT, VIRTUAL_KEY, Gateway, all_run
from testinfra.host import Host

ONE = "--limit=gateway1"
BLOCK = """
create function refuse() returns trigger language plpgsql as 'begin new.blocked := true; return new; end';
create trigger refuse before insert on "LiteLLM_VerificationToken" for each row execute function refuse();
"""
DEAF = {"openclaw_gateway_config_extra": {"gateway": {"reload": {"mode": "off"}}}}


@pytest.fixture
def gateway(hosts: dict[str, Host]) -> Gateway:
    return Gateway.of(hosts, "gateway1")


def assert_undone(gateway: Gateway, old: str, output: str, cause: str) -> None:
    """The old key is in use and works, the new one is gone, and the run says why."""
    assert "The rotation failed and was undone; the old key is proved and in use." in " ".join(output.split())
    assert cause in " ".join(output.split())
    receipt = gateway.receipt()
    assert receipt["result"] == "undone"
    assert cause in str(receipt["cause"])
    assert_old_key_works(gateway, old)


def assert_old_key_works(gateway: Gateway, old: str) -> None:
    assert gateway.value(VIRTUAL_KEY) == gateway.value(old)
    assert (gateway.key_in_use(), gateway.models(VIRTUAL_KEY)) == (200, 200)
    assert gateway.live_keys() == [gateway.alias]
    assert gateway.unfinished() == []
    assert gateway.set_aside() == {}


def assert_idle(playbooks: Playbooks) -> None:
    """The next run has nothing left to do."""
    idle = playbooks.run(ROTATE, ONE)
    assert (idle.rc, idle.changed) == (0, 0), idle.output


@pytest.fixture
def refusing(proxy1: Host) -> Generator[None]:
    """A LiteLLM that accepts no new key: the database marks each as blocked."""
    psql(proxy1, BLOCK)
    yield
    psql(proxy1, "drop function refuse() cascade")


def test_litellm_refuses_the_new_key(playbooks: Playbooks, gateway: Gateway, refusing: None) -> None:
    old, pid = gateway.copy(VIRTUAL_KEY), gateway.pid
    failed = playbooks.run(ROTATE, ONE, variables={"rotate": "virtual_keys"})
    assert failed.rc != 0
    assert_undone(gateway, old, failed.output, "is revoked in LiteLLM")
    assert gateway.pid == pid
    assert_idle(playbooks)


def test_the_database_goes_down_on_the_way(playbooks: Playbooks, gateway: Gateway, hosts: dict[str, Host]) -> None:
    """The new key cannot be revoked now; the next run does that."""
    old, proxy1 = gateway.copy(VIRTUAL_KEY), hosts["proxy1"]

    def stop(_processes: list[int]) -> None:
        proxy1.run_expect([0], "systemctl stop 'postgresql@*.service'")

    try:
        failed = playbooks.run_until(
            ROTATE, "register_virtual_key | Ask with", stop, ONE, variables={"rotate": "virtual_keys"}
        )
        assert failed.rc != 0
        assert "atabase" in failed.output
        assert gateway.value(VIRTUAL_KEY) == gateway.value(old)
    finally:
        all_run(hosts)
    converged = playbooks.run(ROTATE, ONE)
    assert converged.rc == 0, converged.output
    assert_old_key_works(gateway, old)
    assert_idle(playbooks)


def test_openclaw_takes_nothing_over(playbooks: Playbooks, gateway: Gateway, hosts: dict[str, Host]) -> None:
    """Because the operator has switched that off. Both old values stay in use, and a restart is what it takes."""
    old, token = gateway.copy(VIRTUAL_KEY), gateway.copy(TOKEN)
    try:
        kept = playbooks.run(ROTATE, ONE, variables={"rotate": "gateway_token", **DEAF})
        assert kept.rc != 0
        assert "and was undone; the old token is proved and in use." in " ".join(kept.output.split())
        assert gateway.receipt()["result"] == "undone"
        assert gateway.value(TOKEN) == gateway.value(token)
        assert (gateway.door(TOKEN), gateway.websocket(TOKEN)) == (404, "connected")
        failed = playbooks.run(ROTATE, ONE, variables={"rotate": "virtual_keys", **DEAF})
        assert failed.rc != 0
        assert "did not take over the configuration" in " ".join(failed.output.split())
        assert gateway.value(VIRTUAL_KEY) == gateway.value(old)
        assert gateway.key_in_use() == 200
    finally:
        hosts["gateway1"].run_expect([0], f"systemctl restart {UNIT}")
        all_run(hosts)
        undone = playbooks.run("playbooks/gateway.yml", ONE)
    assert undone.rc == 0, undone.output
    assert gateway.receipt()["result"] == "undone"
    assert_old_key_works(gateway, old)
    assert_idle(playbooks)
