"""Two proxies are one LiteLLM: they share keys and database, one migrates, and both serve every virtual key."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import (
    MASTER_KEY_FILE,
    Playbooks,
    address_of,
    environment,
    http,
    listeners,
    psql,
    put_secret,
    secret,
    state_directory,
)
from testinfra.host import Host

KEY_FILE = "/etc/openclaw-gateway/secrets/virtual_key"
OTHER_KEY_FILE = "/root/other_virtual_key"
LITELLM = "http://127.0.0.1:4000"


@pytest.fixture(scope="module")
def proxies(proxy1: Host, proxy2: Host) -> tuple[Host, Host]:
    return proxy1, proxy2


def test_each_listens_on_loopback_only_because_its_own_gateway_alone_uses_it(proxies: tuple[Host, Host]) -> None:
    for proxy, other in (proxies, proxies[::-1]):
        assert listeners(proxy, 4000) == {"127.0.0.1"}
        assert "refused" in http(other, f"http://{address_of(proxy)}:4000/health/liveliness").text


def test_both_have_one_database_and_the_same_keys(db1: Host, proxies: tuple[Host, Host]) -> None:
    names = ("LITELLM_MASTER_KEY", "LITELLM_SALT_KEY", "DATABASE_URL")
    first, second = ([environment(proxy, "litellm.service")[name] for name in names] for proxy in proxies)
    assert first == second
    assert f"@{address_of(db1)}:5432/litellm" in first[2]
    for proxy in proxies:
        assert http(proxy, f"{LITELLM}/health/readiness").json["db"] == "connected"
        assert http(proxy, f"{LITELLM}/key/list", key_file=MASTER_KEY_FILE).json["total_count"] == 2


def test_only_the_first_has_migrated(db1: Host, proxies: tuple[Host, Host]) -> None:
    # What systemd itself started; the deployment runs migrations as a unit.
    started = [
        proxy.run("journalctl -o cat --no-pager _PID=1 | grep -c '^Started.*litellm_migrate'") for proxy in proxies
    ]
    assert int(started[0].stdout) >= 1
    assert int(started[1].stdout) == 0
    rows = psql(db1, "select count(*), count(distinct migration_name), count(finished_at) from _prisma_migrations")
    assert len(set(rows.split("|"))) == 1
    assert int(rows.split("|")[0]) > 200


def test_both_serve_every_virtual_key(proxies: tuple[Host, Host], pytestconfig: pytest.Config) -> None:
    state: Path = state_directory(pytestconfig)
    for proxy, other in (proxies, proxies[::-1]):
        put_secret(state, proxy, OTHER_KEY_FILE, secret(other, KEY_FILE))
        try:
            own, others = (
                {model["id"] for model in http(proxy, f"{LITELLM}/v1/models", key_file=file).json["data"]}
                for file in (KEY_FILE, OTHER_KEY_FILE)
            )
        finally:
            proxy.run_expect([0], f"rm {OTHER_KEY_FILE}")
        assert sorted((own, others), key=len) == [
            {"claude-haiku-4-5"},
            {"claude-haiku-4-5", "claude-sonnet-4-5-20250929"},
        ]


def test_a_rotated_key_is_dead_on_both(
    playbooks: Playbooks, proxies: tuple[Host, Host], pytestconfig: pytest.Config
) -> None:
    state, second = state_directory(pytestconfig), proxies[1]
    for proxy in proxies:
        put_secret(state, proxy, OTHER_KEY_FILE, secret(second, KEY_FILE))
    asked = [http(proxy, f"{LITELLM}/v1/models", key_file=OTHER_KEY_FILE).status for proxy in proxies]
    run = playbooks.run(
        "playbooks/rotate_keys.yml",
        *("--limit", "proxy2"),
        variables={"rotate": "virtual_keys", "litellm_virtual_key_overlap": 0},
    )
    answers = [http(proxy, f"{LITELLM}/v1/models", key_file=OTHER_KEY_FILE).status for proxy in proxies]
    for proxy in proxies:
        proxy.run_expect([0], f"rm {OTHER_KEY_FILE}")
    assert run.rc == 0, run.output
    assert asked == [200, 200]
    assert answers == [401, 401]
    assert http(second, f"{LITELLM}/v1/models", key_file=KEY_FILE).status == 200
