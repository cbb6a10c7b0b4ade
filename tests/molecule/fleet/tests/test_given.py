"""What the operator gives wins over what would be made, and works."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from conftest import (
    MASTER_KEY_FILE,
    environment,
    http,
    secret,
)
from testinfra.host import Host

SECRETS = "/etc/openclaw-gateway/secrets"
LITELLM, DOOR = "http://127.0.0.1:4000", "http://127.0.0.1:4321/api/channels/x"
INVENTORY = yaml.safe_load((Path(__file__).parents[1] / "inventory.yml").read_text(encoding="utf-8"))["testbed"]
GIVEN = {
    name: INVENTORY["vars"][name] for name in ("litellm_master_key", "litellm_salt_key", "litellm_database_password")
}
GIVEN_KEY = INVENTORY["hosts"]["proxy1"]["litellm_virtual_key"]
GIVEN_TOKEN = INVENTORY["hosts"]["proxy2"]["openclaw_gateway_token"]


def test_the_given_master_key_and_salt_key_win_on_both_proxies(proxy1: Host, proxy2: Host) -> None:
    for proxy in (proxy1, proxy2):
        assert secret(proxy, MASTER_KEY_FILE) == GIVEN["litellm_master_key"]
        assert http(proxy, f"{LITELLM}/key/list", key_file=MASTER_KEY_FILE).status == 200
        assert environment(proxy, "litellm.service")["LITELLM_SALT_KEY"] == GIVEN["litellm_salt_key"]


def test_the_given_database_password_wins(db1: Host, proxy1: Host, proxy2: Host) -> None:
    assert secret(db1, "/etc/litellm-database/secrets/password") == GIVEN["litellm_database_password"]
    for proxy in (proxy1, proxy2):
        url = urlsplit(environment(proxy, "litellm.service")["DATABASE_URL"])
        assert unquote(url.password or "") == GIVEN["litellm_database_password"]
        assert http(proxy, f"{LITELLM}/health/readiness").json["db"] == "connected"


def test_the_given_virtual_key_wins_and_the_other_is_generated(proxy1: Host, proxy2: Host) -> None:
    keys = [secret(proxy, f"{SECRETS}/virtual_key") for proxy in (proxy1, proxy2)]
    assert keys[0] == GIVEN_KEY
    assert len(keys[1]) > 60
    for proxy in (proxy1, proxy2):
        assert http(proxy, f"{LITELLM}/v1/models", key_file=f"{SECRETS}/virtual_key").status == 200


def test_the_given_gateway_token_wins_and_the_other_is_generated(proxy1: Host, proxy2: Host) -> None:
    tokens = [secret(proxy, f"{SECRETS}/gateway_token") for proxy in (proxy1, proxy2)]
    assert len(tokens[0]) > 60
    assert tokens[1] == GIVEN_TOKEN
    for proxy in (proxy1, proxy2):
        assert http(proxy, DOOR, key_file=f"{SECRETS}/gateway_token").status == 404
        assert http(proxy, DOOR, headers={"Authorization": "Bearer wrong-token"}).status == 401
