"""The gateway runs the pinned OpenClaw, in its sandbox, and lets in those who hold its token."""

from __future__ import annotations

import json

import pytest
from conftest import address_of, http, listeners, secret, show
from testinfra.host import Host

STATE = "/var/lib/openclaw/.openclaw"
TOKEN_FILE = "/etc/openclaw-gateway/secrets/gateway_token"


@pytest.fixture(scope="module")
def url(gateway1: Host) -> str:
    return f"http://{address_of(gateway1)}:4321"


def test_it_listens_on_the_lan_and_nowhere_else(gateway1: Host) -> None:
    assert listeners(gateway1, 4321) == {"0.0.0.0"}
    assert gateway1.run("ss -Hltnp | grep -c openclaw").stdout == "1\n"


def test_another_host_reaches_it(proxy1: Host, url: str) -> None:
    assert http(proxy1, f"{url}/healthz").json == {"ok": True, "status": "live"}


@pytest.mark.parametrize("token", ["", "a-token-that-is-quite-wrong"])
def test_without_the_token_it_refuses(proxy1: Host, url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    assert http(proxy1, f"{url}/api/channels/x", headers=headers).status == 401


def test_with_the_token_it_lets_in(gateway1: Host, url: str) -> None:
    assert http(gateway1, f"{url}/api/channels/x", key_file=TOKEN_FILE).status == 404


def test_it_runs_the_pinned_release(gateway1: Host) -> None:
    assert gateway1.file("/opt/openclaw/current").linked_to == "/opt/openclaw/releases/2026.9.6"
    assert "2026.9.6" in gateway1.run("openclaw --version").stdout
    assert not gateway1.file("/opt/openclaw/current/node_modules/openclaw/.openclaw-lifecycle-pending").exists


def test_the_unit_runs_in_a_sandbox_and_does_not_restart_a_refused_configuration(gateway1: Host) -> None:
    unit = show(gateway1, "openclaw-gateway.service")
    assert (unit["User"], unit["CapabilityBoundingSet"], unit["NoNewPrivileges"]) == ("openclaw", "", "yes")
    assert unit["RestartPreventExitStatus"] == "78"
    assert unit["NRestarts"] == "0"
    score = gateway1.run("systemd-analyze security --no-pager openclaw-gateway.service | tail -1").stdout
    assert float(score.split()[-3]) <= 2.0, score


def test_openclaw_finds_no_critical_risk_and_no_plain_secret(gateway1: Host) -> None:
    audit = json.loads(gateway1.run("openclaw security audit --json").stdout)
    assert audit["summary"]["critical"] == 0, audit["findings"]
    assert gateway1.run("openclaw secrets audit --check").rc == 0


def test_openclaw_never_rewrites_its_configuration(gateway1: Host) -> None:
    checksum = f"sha256sum {STATE}/openclaw.json; ls -A {STATE} | grep -c clobbered"
    before = gateway1.run(checksum).stdout
    assert gateway1.run("openclaw config set gateway.port 4322").rc != 0
    gateway1.run("openclaw models list")
    gateway1.run("openclaw doctor --non-interactive")
    assert gateway1.run(checksum).stdout == before
    assert before.endswith("0\n")


def test_the_configuration_tells_the_operator_why(gateway1: Host) -> None:
    text = gateway1.file(f"{STATE}/openclaw.json").content_string
    assert text.count("//") > 20
    assert gateway1.run("openclaw config validate --json").stdout.count('"warnings":[]') == 1


def test_the_state_is_for_the_service_user_alone(gateway1: Host) -> None:
    modes = gateway1.run(f"stat -c '%a %U %n' {STATE} {STATE}/secrets.json {STATE}/openclaw.json").stdout
    assert modes == f"700 openclaw {STATE}\n600 openclaw {STATE}/secrets.json\n640 root {STATE}/openclaw.json\n"


def test_the_operators_command_keeps_quoting_input_and_exit_code(gateway1: Host) -> None:
    assert gateway1.run("openclaw no-such-command").rc != 0
    assert gateway1.run("openclaw config get gateway.port").stdout.strip() == "4321"
    refused = gateway1.run("sudo -u nobody openclaw --version")
    assert refused.rc == 77
    assert "sudo openclaw" in refused.stderr


def test_a_prompt_travels_through_everything(gateway1: Host) -> None:
    done = gateway1.run("openclaw infer model run --gateway --json --prompt 'the \"quoted\" word'")
    answer = json.loads(done.stdout)
    assert (done.rc, answer["ok"], answer["provider"]) == (0, True, "litellm"), done.stderr
    assert 'the "quoted" word' in answer["outputs"][0]["text"]


def test_the_nodejs_of_the_host_is_left_alone(gateway1: Host) -> None:
    assert not gateway1.exists("node")
    assert secret(gateway1, TOKEN_FILE)
