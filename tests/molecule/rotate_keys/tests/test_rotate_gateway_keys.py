"""A rotated key works, the old one is dead, nobody noticed, and nothing is left behind.

Some runs are as loud as can be: test_secrets.py searches everything that playbooks printed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import Playbooks, psql
from gateway_keys import LOG, ROTATE, TOKEN, VIRTUAL_KEY, Gateway
from testinfra.host import Host

ONE = "--limit=gateway1"


@pytest.fixture
def gateway(hosts: dict[str, Host]) -> Gateway:
    return Gateway.of(hosts, "gateway1")


def test_a_virtual_key_of_one_gateway(
    playbooks: Playbooks, gateway: Gateway, hosts: dict[str, Host], tmp_path: Path
) -> None:
    other = Gateway.of(hosts, "proxy1")
    old, others, pid = gateway.copy(VIRTUAL_KEY), other.value(VIRTUAL_KEY), gateway.pid
    question = f"select spend from \"LiteLLM_VerificationToken\" where key_alias = '{gateway.alias}'"
    spent = float(psql(gateway.proxy, question))
    report = tmp_path / "rotation.jsonl"
    wishes = {"rotate": "virtual_keys", "rotation_report": str(report)}
    run = playbooks.run(ROTATE, ONE, "-vvv", "--diff", variables=wishes)
    assert run.rc == 0, run.output
    assert (gateway.models(VIRTUAL_KEY), gateway.models(old)) == (200, 401)
    assert gateway.pid == pid
    assert gateway.live_keys() == [gateway.alias]
    assert float(psql(gateway.proxy, question)) >= spent
    assert gateway.unfinished() == []
    assert other.value(VIRTUAL_KEY) == others
    (line,) = report.read_text().splitlines()
    receipt = json.loads(line)
    assert receipt == gateway.receipt()
    assert {proof["result"] for proof in receipt["proofs"]} >= {"200", "401", "ok"}
    assert [value for value in (gateway.value(VIRTUAL_KEY), gateway.value(old)) if value in line] == []
    assert gateway.host.run(f"stat -c %a {LOG}").stdout == "600\n"


def test_the_gateway_token(playbooks: Playbooks, gateway: Gateway) -> None:
    old, pid = gateway.copy(TOKEN), gateway.pid
    run = playbooks.run(ROTATE, ONE, "-vvv", "--diff", variables={"rotate": "gateway_token"})
    assert run.rc == 0, run.output
    assert (gateway.door(TOKEN), gateway.door(old)) == (404, 401)
    assert (gateway.websocket(TOKEN), gateway.websocket(old)) == ("connected", "refused")
    assert gateway.pid == pid


def test_nothing_is_rotated_when_nothing_is_due(playbooks: Playbooks, gateway: Gateway) -> None:
    before = gateway.value(VIRTUAL_KEY), gateway.value(TOKEN)
    idle = playbooks.run(ROTATE)
    assert (idle.rc, idle.changed) == (0, 0), idle.output
    assert (gateway.value(VIRTUAL_KEY), gateway.value(TOKEN)) == before


def test_a_dry_run_says_what_would_rotate_and_why(playbooks: Playbooks, gateway: Gateway) -> None:
    """The virtual key because of its age, which the host's state says."""
    before = gateway.value(VIRTUAL_KEY), gateway.value(TOKEN)
    ledger = "/etc/openclaw-gateway/rotation/virtual_key.json"
    aged = f'sed -i.kept "s/since.: .[^,]*/since\\": \\"2026-01-01T00:00:00Z\\"/" {ledger}'
    gateway.host.run_expect([0], aged)
    try:
        dry = playbooks.run(ROTATE, "--check", "--diff", ONE, variables={"rotate": "gateway_token"})
    finally:
        gateway.host.run_expect([0], f"mv {ledger}.kept {ledger}")
    assert dry.rc == 0, dry.output
    said = " ".join(dry.output.split())
    assert re.search(r"virtual key of openclaw-gateway1: [^.]* because it is \d+ days old and litellm_virtual_", said)
    assert re.search(r"gateway token of gateway1: [^.]* because it was asked for", said)
    assert (gateway.value(VIRTUAL_KEY), gateway.value(TOKEN)) == before
    assert gateway.unfinished() == []


def test_an_unknown_name_is_refused_with_the_list(playbooks: Playbooks) -> None:
    refused = playbooks.run(ROTATE, variables={"rotate": "virtual_key"})
    assert refused.rc != 0
    assert refused.changed == 0
    assert "virtual_keys, gateway_token" in " ".join(refused.output.split())


def test_the_salt_key_is_never_rotated(playbooks: Playbooks) -> None:
    refused = playbooks.run(ROTATE, variables={"rotate": "salt_key"})
    assert refused.rc != 0
    assert "can never change" in " ".join(refused.output.split())
