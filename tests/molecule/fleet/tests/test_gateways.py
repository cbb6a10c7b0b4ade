"""Each gateway listens where it should and nowhere else, with a virtual key, a budget and models of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator

import pytest
from conftest import address_of, http, listeners, psql, secret
from testinfra.host import Host

KEY_FILE = "/etc/openclaw-gateway/secrets/virtual_key"
SONNET, HAIKU = "claude-sonnet-4-5-20250929", "claude-haiku-4-5"
# An address for documentation (RFC 5737).
SECOND_ADDRESS = "192.0.2.77"
BOOKING_PATIENCE = 90  # seconds


def live(host: Host, address: str) -> int:
    """What `host` gets from the gateway at an address: an HTTP status, 0 for no connection."""
    return http(host, f"http://{address}:4321/healthz").status


@pytest.fixture
def second_address(proxy1: Host, proxy2: Host) -> Generator[str]:
    """One more address of proxy2, which proxy1 reaches."""
    proxy2.run_expect([0], f"ip address add {SECOND_ADDRESS}/32 dev eth0")
    proxy1.run_expect([0], f"ip route add {SECOND_ADDRESS}/32 via {address_of(proxy2)}")
    yield SECOND_ADDRESS
    proxy1.run_expect([0], f"ip route delete {SECOND_ADDRESS}/32")
    proxy2.run_expect([0], f"ip address delete {SECOND_ADDRESS}/32 dev eth0")


def test_bind_loopback_is_loopback_alone(proxy1: Host, proxy2: Host) -> None:
    assert listeners(proxy1, 4321) == {"127.0.0.1", "::1"}
    assert live(proxy1, "127.0.0.1") == 200
    assert live(proxy2, address_of(proxy1)) == 0


def test_bind_custom_is_that_address_and_loopback_alone(proxy1: Host, proxy2: Host, second_address: str) -> None:
    assert listeners(proxy2, 4321) == {address_of(proxy2), "127.0.0.1"}
    assert live(proxy1, address_of(proxy2)) == 200
    assert proxy1.run(f"ping -c 1 -W 5 {second_address} || ssh-keyscan -T 5 {second_address}").rc == 0
    assert live(proxy1, second_address) == 0


def booked(db1: Host, gateway: Host, since: str) -> tuple[int, float, float]:
    """The calls that began `since` and are booked on a gateway's key, what they cost, and the spend of the key (both
    in US dollars)."""
    token = hashlib.sha256(secret(gateway, KEY_FILE).encode()).hexdigest()
    calls = (
        f"from \"LiteLLM_SpendLogs\" where api_key = '{token}' and status = 'success' and \"startTime\" >= '{since}'"
    )
    key = f"from \"LiteLLM_VerificationToken\" where token = '{token}'"
    row = psql(db1, f"select (select count(*) {calls}), (select coalesce(sum(spend), 0) {calls}), (select spend {key})")
    count, cost, spend = row.split("|")
    return int(count), float(cost), float(spend)


def prompt_and_wait(db1: Host, gateway: Host, since: str) -> None:
    """Send a prompt, the gateway's first `since`, and wait until it is booked on the gateway's key."""
    before = booked(db1, gateway, since)[2]
    asked = gateway.run("openclaw infer model run --gateway --json --prompt hello")
    assert asked.rc == 0, asked.stderr
    deadline = time.monotonic() + BOOKING_PATIENCE
    while time.monotonic() < deadline:
        calls, cost, spend = booked(db1, gateway, since)
        if calls and cost > 0 and spend > before + cost * 0.999:
            return
        time.sleep(1)
    pytest.fail(f"not booked: {calls} calls, which cost {cost}, and a spend of {spend}, {before} before")


def test_each_key_has_the_limits_of_its_gateway(db1: Host) -> None:
    rows = psql(
        db1,
        'select key_alias, max_budget, budget_duration, models from "LiteLLM_VerificationToken"'
        " where key_alias is not null order by key_alias",
    )
    assert rows.split("\n") == ["openclaw-proxy1|5|30d|{}", f"openclaw-proxy2|2|7d|{{{HAIKU}}}"]


def test_a_prompt_is_booked_on_the_key_of_its_gateway_and_on_no_other(db1: Host, proxy1: Host, proxy2: Host) -> None:
    # LiteLLM books a while after the call: what came before, of a health check say, may still be under way.
    since = psql(db1, "select now() at time zone 'utc'")
    prompt_and_wait(db1, proxy1, since)
    assert booked(db1, proxy2, since)[0] == 0
    prompt_and_wait(db1, proxy2, since)
    # LiteLLM writes in order: what it booked wrongly would be there by now.
    assert [booked(db1, gateway, since)[0] for gateway in (proxy1, proxy2)] == [1, 1]


def test_a_key_for_one_model_is_refused_the_other(proxy1: Host, proxy2: Host) -> None:
    def ask(gateway: Host, model: str) -> int:
        body = {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": "ping"}]}
        return http(gateway, "http://127.0.0.1:4000/v1/messages", key_file=KEY_FILE, body=body).status

    assert [ask(proxy1, SONNET), ask(proxy1, HAIKU)] == [200, 200]
    assert [ask(proxy2, SONNET), ask(proxy2, HAIKU)] == [403, 200]


def test_a_gateway_offers_the_models_of_its_key(proxy1: Host, proxy2: Host) -> None:
    offered = [gateway.run("openclaw models list --json").stdout for gateway in (proxy1, proxy2)]
    assert SONNET in offered[0]
    assert HAIKU in offered[0]
    assert SONNET not in offered[1]
    assert HAIKU in offered[1]
