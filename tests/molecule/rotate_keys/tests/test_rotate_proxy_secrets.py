"""LiteLLM's master key and the database password: the new one works, the old one is dead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from pathlib import Path

import pytest
from conftest import MASTER_KEY_FILE, Playbooks, address_of, http, psql, secret
from testinfra.host import Host

ROTATE = "playbooks/rotate_proxy_secrets.yml"
UNIT = "litellm.service"
PASSWORD_FILE = "/etc/litellm-database/secrets/password"
LOG = "/var/log/gateway-toolkit/rotation.log"
BOTH = {"rotate": "master_key,database_password"}
# Copies, since a value in a command would be in sudo's log.
OLD_MASTER_KEY, OLD_PASSWORD = "/root/old_master_key", "/root/old_password"


@pytest.fixture(autouse=True)
def keep_copies(proxy1: Host) -> Generator[None]:
    proxy1.run_expect([0], f"cp -p {MASTER_KEY_FILE} {OLD_MASTER_KEY}; cp -p {PASSWORD_FILE} {OLD_PASSWORD}")
    yield
    proxy1.run_expect([0], f"rm -f {OLD_MASTER_KEY} {OLD_PASSWORD}")


def master_key(proxy1: Host, path: str) -> int:
    """What LiteLLM answers to a master key that asks what only the administrator may."""
    return http(proxy1, f"http://{address_of(proxy1)}:4000/key/list?size=1", key_file=path).status


def database(proxy1: Host, path: str) -> str:
    """What PostgreSQL says to a login with the password of a file, over its TCP socket."""
    login = (
        f'PGPASSWORD=$(cat {path}); export PGPASSWORD; u=litellm_$(printf %s "$PGPASSWORD" | sha256sum | cut -c 1-8)'
    )
    done = proxy1.run(f"{login}; psql -XAtw -h 127.0.0.1 -U $u litellm -c 'select 1'")
    return str(done.stdout.strip() or done.stderr)


def logins(proxy1: Host) -> list[str]:
    return psql(proxy1, "select rolname from pg_roles where rolname like 'litellm%' and rolcanlogin").splitlines()


def fingerprint(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def receipts(proxy1: Host, count: int) -> list[dict]:
    """The last ones of the log."""
    return [json.loads(line) for line in proxy1.run(f"tail -n {count} {LOG}").stdout.splitlines()]


def starts(proxy1: Host) -> int:
    """How often systemd has started LiteLLM."""
    return int(proxy1.run(f"journalctl --no-pager -q -o cat -u {UNIT} | grep -c '^Started'").stdout)


def assert_new_ones_work_and_old_ones_are_dead(proxy1: Host) -> None:
    assert secret(proxy1, MASTER_KEY_FILE) != secret(proxy1, OLD_MASTER_KEY)
    assert secret(proxy1, PASSWORD_FILE) != secret(proxy1, OLD_PASSWORD)
    assert (master_key(proxy1, MASTER_KEY_FILE), master_key(proxy1, OLD_MASTER_KEY)) == (200, 401)
    assert database(proxy1, PASSWORD_FILE) == "1"
    assert "password authentication failed" in database(proxy1, OLD_PASSWORD)
    assert_nothing_is_left(proxy1)


def assert_nothing_is_left(proxy1: Host) -> None:
    assert sorted(proxy1.file("/etc/litellm/secrets").listdir()) == ["master_key", "provider_keys", "salt_key"]
    assert proxy1.file("/etc/litellm-database/secrets").listdir() == ["password"]
    assert logins(proxy1) == [f"litellm_{fingerprint(secret(proxy1, PASSWORD_FILE))[:8]}"]


def test_both_are_rotated_with_one_restart(playbooks: Playbooks, proxy1: Host, tmp_path: Path) -> None:
    before = starts(proxy1)
    report = tmp_path / "rotation.jsonl"
    run = playbooks.run(ROTATE, variables={**BOTH, "rotation_report": str(report)})
    assert run.rc == 0, run.output
    assert_new_ones_work_and_old_ones_are_dead(proxy1)
    assert starts(proxy1) == before + 1
    found = {receipt["kind"]: receipt for receipt in map(json.loads, report.read_text().splitlines())}
    assert sorted(found) == ["database_password", "master_key"]
    assert list(found.values()) == receipts(proxy1, 2)
    for kind, old, new in (
        ("master_key", OLD_MASTER_KEY, MASTER_KEY_FILE),
        ("database_password", OLD_PASSWORD, PASSWORD_FILE),
    ):
        assert (found[kind]["result"], found[kind]["interruption"] > 0) == ("rotated", True)
        values = [secret(proxy1, old), secret(proxy1, new)]
        assert [found[kind]["old"], found[kind]["new"]] == [fingerprint(value) for value in values]
        everything = (
            run.output
            + report.read_text()
            + proxy1.run("journalctl --no-pager -o export | tr -cd '[:print:]\\n'").stdout
        )
        assert [value for value in values if value in everything] == []
    assert proxy1.run(f"stat -c %a {LOG}").stdout == "600\n"
    again = playbooks.run(ROTATE)
    assert (again.rc, again.changed) == (0, 0), again.output


def test_check_mode_says_what_and_why_and_changes_nothing(playbooks: Playbooks, proxy1: Host) -> None:
    dry = playbooks.run(ROTATE, "--check", variables=BOTH)
    assert dry.rc == 0, dry.output
    for kind in ("master key", "database password"):
        assert f"{kind} of proxy1: " in dry.output
    assert "because it was asked for" in dry.output
    assert secret(proxy1, MASTER_KEY_FILE) == secret(proxy1, OLD_MASTER_KEY)
    assert_nothing_is_left(proxy1)


def test_a_shared_secret_is_not_rotated_on_some_hosts_only(playbooks: Playbooks) -> None:
    refused = playbooks.run("playbooks/preflight.yml", "--limit=gateway1", variables={"rotate": "master_key"})
    assert refused.rc != 0
    assert "leave --limit out" in " ".join(refused.output.split())
