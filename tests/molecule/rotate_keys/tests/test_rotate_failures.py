"""A proof that fails puts the old key back, revokes the new one, and fails the run with the cause."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from conftest import Playbooks, psql
from gateway_keys import ROTATE, VIRTUAL_KEY, Gateway
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
