"""The health checks tell the three classic troubles apart, name the cause and the remedy, and never change anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import MASTER_KEY_FILE, Playbooks, address_of, http, secret
from testinfra.host import Host

KEY_CHECK = "litellm accepts the gateway's key for its models"
CHEAP = {"openclaw_gateway_health_turn": False}


def failures(playbooks: Playbooks, report: Path) -> dict[str, dict[str, Any]]:
    """Run the health checks and return the failed ones of the machine-readable report by name."""
    run = playbooks.run("playbooks/health.yml", variables={**CHEAP, "health_report": str(report)})
    found = json.loads(report.read_text())
    failed = {check["name"]: check for checks in found["hosts"].values() for check in checks if check["status"] != "ok"}
    assert (run.rc == 0) == found["ok"] == (not failed), run.output
    assert run.changed == 0
    for check in failed.values():
        assert check["cause"], check
        assert check["remedy"], check
        assert check["cause"] in " ".join(run.output.split()), "the table names the cause too"
    return failed


def test_a_healthy_deployment_passes(playbooks: Playbooks, tmp_path: Path) -> None:
    assert failures(playbooks, tmp_path / "health.json") == {}


def test_connection_refused(playbooks: Playbooks, proxy1: Host, tmp_path: Path) -> None:
    proxy1.run_expect([0], "systemctl stop litellm.service")
    try:
        failed = failures(playbooks, tmp_path / "health.json")
    finally:
        proxy1.run_expect([0], "systemctl start litellm.service")
    assert "connection refused" in failed[KEY_CHECK]["detail"]
    assert "Nothing listens" in failed[KEY_CHECK]["cause"]
    assert {"litellm service", "litellm socket"} <= set(failed)
    assert playbooks.run("playbooks/proxy.yml").rc == 0


def test_invalid_api_key(playbooks: Playbooks, proxy1: Host, gateway1: Host, tmp_path: Path) -> None:
    url = f"http://{address_of(proxy1)}:4000"
    deleted = http(proxy1, f"{url}/key/delete", key_file=MASTER_KEY_FILE, body={"key_aliases": ["openclaw-gateway1"]})
    assert deleted.status == 200, deleted.text
    failed = failures(playbooks, tmp_path / "health.json")
    assert list(failed) == [KEY_CHECK]
    assert "HTTP 401" in failed[KEY_CHECK]["detail"]
    assert "Invalid API key" in failed[KEY_CHECK]["cause"]
    # A deleted key stays dead; the operator makes a new one by removing the old.
    refused = playbooks.run("playbooks/gateway.yml")
    assert refused.rc != 0
    assert secret(gateway1, "/etc/openclaw-gateway/secrets/virtual_key") not in refused.output
    gateway1.run_expect([0], "rm /etc/openclaw-gateway/secrets/virtual_key")
    renewed = playbooks.run("playbooks/gateway.yml")
    assert renewed.rc == 0, renewed.output


def test_model_not_found(playbooks: Playbooks, proxy1: Host, gateway1: Host, tmp_path: Path) -> None:
    url = f"http://{address_of(proxy1)}:4000"
    keys = http(proxy1, f"{url}/key/list?key_alias=openclaw-gateway1", key_file=MASTER_KEY_FILE).json["keys"]
    change = {"key": keys[0], "models": ["another-model"]}
    assert http(proxy1, f"{url}/key/update", key_file=MASTER_KEY_FILE, body=change).status == 200
    failed = failures(playbooks, tmp_path / "health.json")
    assert list(failed) == [KEY_CHECK]
    assert "Model not found" in failed[KEY_CHECK]["cause"]
    assert playbooks.run("playbooks/gateway.yml").rc == 0


def test_a_database_that_is_away(playbooks: Playbooks, proxy1: Host, tmp_path: Path) -> None:
    proxy1.run_expect([0], "systemctl stop 'postgresql@*.service'")
    try:
        failed = failures(playbooks, tmp_path / "health.json")
    finally:
        proxy1.run_expect([0], "systemctl restart postgresql.service")
    assert {"postgresql service", "postgresql login of litellm", "litellm has its database"} <= set(failed)
    # LiteLLM finds the database again by itself, within half a minute.
    again = playbooks.run("site.yml")
    assert again.rc == 0, again.output
