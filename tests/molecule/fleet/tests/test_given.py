"""What the operator gives wins over what would be made, works, and is shown nowhere: secrets, and a database."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
import yaml
from conftest import (
    MASTER_KEY_FILE,
    Playbooks,
    Run,
    address_of,
    database_clients,
    environment,
    http,
    psql,
    put_secret,
    secret,
    state_directory,
)
from secret_search import (
    arguments_with,
    controller_files_with,
    journals_with,
    logs_with,
    readable_files_with,
    watched_arguments,
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
# What a URL has to encode.
OWN_PASSWORD = "own:p@ss/w%6Frd?#&=+-7c"
SQL_FILE = "/root/own_database.sql"


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


@dataclass(frozen=True)
class Move:
    """A run against the operator's own database, and the state of the toolkit's database before it."""

    run: Run
    rows: str


def counted(db1: Host) -> str:
    """How much is in the database that the role made."""
    return psql(db1, 'select count(*) from "LiteLLM_SpendLogs"')


def own_database(db1: Host, clients: list[str], state: Path) -> None:
    """What a database administrator does before the toolkit comes: a user, a database, a rule for each proxy."""
    put_secret(
        state, db1, SQL_FILE, f"create role own login password '{OWN_PASSWORD}';\ncreate database own owner own;"
    )
    rules = psql(db1, "show hba_file")
    for client in clients:
        db1.run_expect([0], f"echo 'host own own {client}/32 scram-sha-256' >> {rules}")
    db1.run_expect([0], "systemctl reload postgresql.service")
    db1.run_expect([0], f"sudo -u postgres psql -Xq -v ON_ERROR_STOP=1 < {SQL_FILE}; rm {SQL_FILE}")


def remove_own_database(db1: Host) -> None:
    rules = psql(db1, "show hba_file")
    db1.run_expect([0], f"sed -i '/^host own /d' {rules} && systemctl reload postgresql.service")
    db1.run("sudo -u postgres dropdb --if-exists --force own; sudo -u postgres dropuser --if-exists own")


def own_inventory(playbooks: Playbooks, folder: Path, url: str) -> tuple[Path, Path]:
    """A copy of the inventory without hosts in the group postgresql, with the URL in an encrypted vault."""
    inventory, password_file = folder / "inventory", folder / "vault_password"
    shutil.copytree(playbooks.inventory, inventory)
    hosts_file = inventory / "ansible_inventory.yml"
    groups = yaml.safe_load(hosts_file.read_text(encoding="utf-8"))
    assert groups["postgresql"]["hosts"].popitem()[0] == "db1"
    hosts_file.write_text(yaml.safe_dump(groups), encoding="utf-8")
    everything = inventory / "group_vars" / "all"
    (everything / "database.yml").write_text('litellm_database_url: "{{ vault_database_url }}"\n', encoding="utf-8")
    vault = everything / "vault.yml"
    vault.write_text(yaml.safe_dump({"vault_database_url": url}), encoding="utf-8")
    password_file.write_text("password of the vault\n", encoding="utf-8")
    subprocess.run(["ansible-vault", "encrypt", "--vault-password-file", password_file, vault], check=True)
    return inventory, password_file


@pytest.fixture(scope="module")
def move(
    playbooks: Playbooks,
    hosts: dict[str, Host],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Generator[Move]:
    """Move to a database of the operator's, as loud as can be, while all arguments are watched; then back."""
    db1, proxies = hosts["db1"], [hosts["proxy1"], hosts["proxy2"]]
    remove_own_database(db1)
    own_database(db1, [address_of(proxy) for proxy in proxies], state_directory(pytestconfig))
    url = f"postgresql://own:{quote(OWN_PASSWORD, safe='')}@{address_of(db1)}:5432/own"
    inventory, password_file = own_inventory(playbooks, tmp_path_factory.mktemp("own"), url)
    rows = counted(db1)
    loud = ["-vvv", "--diff", "--vault-password-file", str(password_file)]
    with watched_arguments(hosts):
        run = playbooks.run("site.yml", *loud, inventory=str(inventory))
    yield Move(run, rows)
    remove_own_database(db1)


@pytest.fixture(scope="module")
def secrets(proxy1: Host, proxy2: Host) -> list[str]:
    """Every secret of the deployment, given or made."""
    found = [*GIVEN.values(), GIVEN_KEY, GIVEN_TOKEN, OWN_PASSWORD, quote(OWN_PASSWORD, safe="")]
    found += [secret(proxy2, f"{SECRETS}/virtual_key"), secret(proxy1, f"{SECRETS}/gateway_token")]
    assert all(len(value) >= 20 for value in found)
    return found


def test_a_database_of_the_operators_serves_both_proxies(move: Move, db1: Host, proxy1: Host, proxy2: Host) -> None:
    assert move.run.rc == 0, move.run.output
    assert "call booked on the key openclaw-proxy2" in move.run.output
    for proxy in (proxy1, proxy2):
        assert environment(proxy, "litellm.service")["DATABASE_URL"].endswith(":5432/own")
        assert http(proxy, f"{LITELLM}/health/readiness").json["db"] == "connected"
    assert database_clients(db1, "own", proxy1, proxy2) == {address_of(proxy1), address_of(proxy2)}


def test_the_role_postgresql_is_skipped_then(move: Move, db1: Host) -> None:
    recap = re.findall(r"^(\w+) +: ok=", move.run.output, re.MULTILINE)
    assert "proxy2" in recap
    assert "db1" not in recap
    assert counted(db1) == move.rows


def test_no_output_shows_a_secret(move: Move, secrets: list[str], pytestconfig: pytest.Config) -> None:
    assert "litellm.env" in move.run.output
    assert logs_with(state_directory(pytestconfig), secrets) == []


def test_no_process_had_one_in_its_arguments(move: Move, secrets: list[str], hosts: dict[str, Host]) -> None:
    assert arguments_with(hosts, secrets) == []


def test_no_journal_or_log_holds_one(move: Move, secrets: list[str], hosts: dict[str, Host]) -> None:
    assert journals_with(hosts, secrets) == []


def test_no_world_readable_file_holds_one(
    move: Move, secrets: list[str], hosts: dict[str, Host], pytestconfig: pytest.Config
) -> None:
    assert readable_files_with(state_directory(pytestconfig), hosts, secrets) == []


def test_the_controller_keeps_none(move: Move, secrets: list[str], pytestconfig: pytest.Config) -> None:
    assert controller_files_with(state_directory(pytestconfig), secrets) == []


def test_without_the_url_the_next_run_goes_back(move: Move, playbooks: Playbooks, db1: Host, proxy1: Host) -> None:
    keys = psql(db1, 'select key_alias, token from "LiteLLM_VerificationToken" order by 1')
    back = playbooks.run("site.yml")
    assert back.rc == 0, back.output
    assert environment(proxy1, "litellm.service")["DATABASE_URL"].endswith("@" + address_of(db1) + ":5432/litellm")
    assert psql(db1, 'select key_alias, token from "LiteLLM_VerificationToken" order by 1') == keys
