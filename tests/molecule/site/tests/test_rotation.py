"""A rotated key works, the old one is dead, nobody noticed, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from conftest import Playbooks, address_of, http, main_pid, psql, secret
from testinfra.host import Host

SECRETS = "/etc/openclaw-gateway/secrets"
ROTATE = "playbooks/rotate_keys.yml"


NEW_KEY, NEW_TOKEN = f"{SECRETS}/virtual_key", f"{SECRETS}/gateway_token"
# A copy, since a value in a command would be in sudo's log.
OLD = "/root/old_secret"


@pytest.fixture(autouse=True)
def remove_the_copy(gateway1: Host) -> Generator[None]:
    yield
    gateway1.run_expect([0], f"rm -f {OLD}")


def keep_old(gateway1: Host, path: str) -> str:
    """Keep a copy of a secret that will be rotated, and return its value."""
    gateway1.run_expect([0], f"cp -p {path} {OLD}")
    return secret(gateway1, path)


def models(gateway1: Host, proxy1: Host, key_file: str) -> int:
    """What LiteLLM answers to a key."""
    return http(gateway1, f"http://{address_of(proxy1)}:4000/v1/models", key_file=key_file).status


def door(gateway1: Host, token_file: str) -> int:
    """What the gateway answers to a token: 404 within, 401 without."""
    return http(gateway1, "http://127.0.0.1:4321/api/channels/x", key_file=token_file).status


def live_keys(proxy1: Host) -> list[str]:
    aliases = psql(proxy1, 'select key_alias from "LiteLLM_VerificationToken" where key_alias is not null')
    return aliases.split("\n")


def test_a_virtual_key(playbooks: Playbooks, proxy1: Host, gateway1: Host, tmp_path: Path) -> None:
    old, pid = keep_old(gateway1, NEW_KEY), main_pid(gateway1, "openclaw-gateway.service")
    question = "select spend from \"LiteLLM_VerificationToken\" where key_alias = 'openclaw-gateway1'"
    spent = float(psql(proxy1, question))
    report = tmp_path / "rotation.jsonl"
    run = playbooks.run(ROTATE, variables={"rotate": "virtual_keys", "rotation_report": str(report)})
    assert run.rc == 0, run.output
    new = secret(gateway1, NEW_KEY)
    assert new != old
    assert (models(gateway1, proxy1, NEW_KEY), models(gateway1, proxy1, OLD)) == (200, 401)
    assert main_pid(gateway1, "openclaw-gateway.service") == pid
    assert live_keys(proxy1) == ["openclaw-gateway1"]
    assert float(psql(proxy1, question)) >= spent
    assert sorted(gateway1.file(SECRETS).listdir()) == ["gateway_token", "virtual_key"]
    receipt = json.loads(report.read_text())
    assert {proof["result"] for proof in receipt["proofs"]} >= {"200", "401", "ok"}
    assert old not in report.read_text()
    assert new not in report.read_text()
    assert json.loads(gateway1.run("tail -n 1 /var/log/gateway-toolkit/rotation.log").stdout) == receipt
    assert gateway1.run("stat -c %a /var/log/gateway-toolkit/rotation.log").stdout == "600\n"


def test_the_gateway_token(playbooks: Playbooks, gateway1: Host) -> None:
    old, pid = keep_old(gateway1, NEW_TOKEN), main_pid(gateway1, "openclaw-gateway.service")
    run = playbooks.run(ROTATE, variables={"rotate": "gateway_token"})
    assert run.rc == 0, run.output
    new = secret(gateway1, NEW_TOKEN)
    assert new != old
    assert (door(gateway1, NEW_TOKEN), door(gateway1, OLD)) == (404, 401)
    assert gateway1.run("openclaw health --json --timeout 10000").rc == 0
    assert main_pid(gateway1, "openclaw-gateway.service") == pid


def test_a_rotation_that_was_killed_is_finished_by_the_next_plain_run(
    playbooks: Playbooks, proxy1: Host, gateway1: Host
) -> None:
    old = keep_old(gateway1, NEW_KEY)
    process = playbooks.start(ROTATE, {"rotate": "virtual_keys"})
    assert process.stdout is not None
    for line in process.stdout:
        if "apply_secrets" in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert models(gateway1, proxy1, OLD) == 200, "a working key exists at every moment"
    finished = playbooks.run(ROTATE)
    assert finished.rc == 0, finished.output
    new = secret(gateway1, NEW_KEY)
    assert new != old
    assert (models(gateway1, proxy1, NEW_KEY), models(gateway1, proxy1, OLD)) == (200, 401)
    assert live_keys(proxy1) == ["openclaw-gateway1"]


def test_nothing_is_rotated_when_nothing_is_due(playbooks: Playbooks, gateway1: Host) -> None:
    key = secret(gateway1, NEW_KEY)
    idle = playbooks.run(ROTATE)
    assert (idle.rc, idle.changed) == (0, 0), idle.output
    assert secret(gateway1, NEW_KEY) == key


def test_an_unknown_name_is_refused_with_the_list(playbooks: Playbooks) -> None:
    refused = playbooks.run(ROTATE, variables={"rotate": "virtual_key"})
    assert refused.rc != 0
    assert refused.changed == 0
    assert "virtual_keys, gateway_token" in refused.output


def test_the_salt_key_is_never_rotated(playbooks: Playbooks) -> None:
    refused = playbooks.run(ROTATE, variables={"rotate": "salt_key"})
    assert refused.rc != 0
    assert "can never change" in refused.output
