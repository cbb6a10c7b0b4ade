"""The gateway has a virtual key of its own, with a budget, and what it spends is booked on it."""

from __future__ import annotations

import hashlib
import time

import pytest
from conftest import MASTER_KEY_FILE, address_of, http, psql, secret
from testinfra.host import Host

KEY_FILE = "/etc/openclaw-gateway/secrets/virtual_key"
MODEL = "claude-sonnet-4-5-20250929"


@pytest.fixture(scope="module")
def url(proxy1: Host) -> str:
    return f"http://{address_of(proxy1)}:4000"


@pytest.fixture(scope="module")
def row(proxy1: Host, gateway1: Host) -> dict[str, str]:
    token = hashlib.sha256(secret(gateway1, KEY_FILE).encode()).hexdigest()
    names = ("key_alias", "max_budget", "budget_duration", "allowed_routes")
    values = psql(proxy1, f"select {', '.join(names)} from \"LiteLLM_VerificationToken\" where token = '{token}'")
    return dict(zip(names, values.split("|"), strict=True))


def test_the_key_is_named_after_its_host_and_limited(row: dict[str, str]) -> None:
    assert row["key_alias"] == "openclaw-gateway1"
    assert (float(row["max_budget"]), row["budget_duration"]) == (5.0, "30d")
    assert row["allowed_routes"] == "{llm_api_routes}"


def test_there_is_one_key_for_the_gateway(proxy1: Host) -> None:
    aliases = psql(proxy1, 'select key_alias from "LiteLLM_VerificationToken" where key_alias is not null')
    assert aliases.split("\n") == ["openclaw-gateway1"]


def test_a_prompt_through_the_gateway_is_booked_on_it(proxy1: Host, gateway1: Host) -> None:
    question = "select spend from \"LiteLLM_VerificationToken\" where key_alias = 'openclaw-gateway1'"
    before = float(psql(proxy1, question))
    assert gateway1.run("openclaw infer model run --gateway --json --prompt hello").rc == 0
    deadline = time.monotonic() + 60
    while float(psql(proxy1, question)) <= before and time.monotonic() < deadline:
        time.sleep(1)
    assert float(psql(proxy1, question)) > before


def test_it_opens_the_models_and_no_administration(gateway1: Host, url: str) -> None:
    models = http(gateway1, f"{url}/v1/models", key_file=KEY_FILE)
    assert [model["id"] for model in models.json["data"]] == [MODEL]
    assert http(gateway1, f"{url}/key/list", key_file=KEY_FILE).status in (401, 403)


def test_a_prompt_is_answered_on_the_messages_api(gateway1: Host, url: str) -> None:
    body = {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "ping"}]}
    answer = http(gateway1, f"{url}/v1/messages", key_file=KEY_FILE, body=body)
    assert answer.status == 200, answer.text
    assert "ping" in answer.json["content"][0]["text"]


def test_the_master_key_is_not_on_the_gateways_host(proxy1: Host, gateway1: Host) -> None:
    # By its middle part, which alone says nothing: sudo logs the commands that it runs.
    part = secret(proxy1, MASTER_KEY_FILE)[10:30]
    found = gateway1.run(f"grep -rlF -e {part} /etc /opt/openclaw /var/lib /run /tmp /root")
    assert found.stdout == ""
