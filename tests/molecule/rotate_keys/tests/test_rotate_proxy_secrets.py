"""LiteLLM's master key, the database password and provider keys: the new one works, the old one is dead, also after a
kill or a fault on the way."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from conftest import MASTER_KEY_FILE, ROOT, Playbooks, address_of, environment, http, psql, secret, show
from gateway_keys import all_run, copies
from testinfra.host import Host

ROTATE = "playbooks/rotate_proxy_secrets.yml"
UNIT = "litellm.service"
PASSWORD_FILE = "/etc/litellm-database/secrets/password"
LOG = "/var/log/gateway-toolkit/rotation.log"
PROVIDER_KEY = "sk-key-of-the-model-server"
OTHER_PROVIDER_KEY = "sk-other-key-of-the-model-server"
MODEL = "claude-sonnet-4-5-20250929"
BOTH = {"rotate": "master_key,database_password"}
# Copies, since a value in a command would be in sudo's log.
OLD_MASTER_KEY, OLD_PASSWORD = "/root/old_master_key", "/root/old_password"
STATES = {
    "master_key": "/etc/litellm/rotation/master_key.json",
    "password": "/etc/litellm-database/rotation/password.json",
    "provider_keys": "/etc/litellm/rotation/provider_keys.json",
}
# Whose state, what was noted there last, and the task that begins then, in the order of a run that rotates both.
STEPS = [
    ("password", "prepared", "rotate_password | Say what"),
    ("password", "registered", "register_password | Put the new"),
    ("master_key", "prepared", "switch_secrets | See that"),
    ("master_key", "switched", "prove_master_key | Prove"),
    ("password", "switched", "prove_database_password | Log in"),
    ("password", "proved", "finish_password | End the login"),
    ("password", "retired", "finish_password | Forget"),
    ("master_key", "proved", "finish_secret | Note that the old"),
    ("master_key", "retired", "finish_secret | Forget"),
]
# The same of a provider key alone.
OF_A_PROVIDER_KEY = {
    "prepared": "switch_secrets | See that",
    "switched": "prove_provider_keys | Prove",
    "proved": "finish_secret | Note that the old",
    "retired": "finish_secret | Forget",
}


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


def step_of(proxy1: Host, name: str) -> str:
    """The last step of an unfinished rotation."""
    return str(json.loads(proxy1.file(STATES[name]).content_string)["rotation"]["step"])


def assert_the_proxy_is_well(proxy1: Host) -> None:
    """It answers, and has one of the master keys that are kept; the password that is in use works."""
    assert http(proxy1, f"http://{address_of(proxy1)}:4000/health/readiness").json["db"] == "connected"
    assert 200 in [master_key(proxy1, path) for path in copies(proxy1, MASTER_KEY_FILE)]
    assert database(proxy1, PASSWORD_FILE) == "1"


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
    run = playbooks.run(ROTATE, "-vvv", "--diff", variables={**BOTH, "rotation_report": str(report)})
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


# Kills and deaths


def test_each_run_goes_on_where_the_one_before_was_killed(playbooks: Playbooks, proxy1: Host) -> None:
    wishes: dict[str, Any] = BOTH
    for name, step, task in STEPS:
        playbooks.run_killed(ROTATE, task, variables=wishes)
        if name == "master_key":
            wishes = {}
        assert step_of(proxy1, name) == step
        assert_the_proxy_is_well(proxy1)
    finished = playbooks.run(ROTATE)
    assert finished.rc == 0, finished.output
    assert_new_ones_work_and_old_ones_are_dead(proxy1)


def rotate_with_a_death(
    playbooks: Playbooks, hosts: dict[str, Host], task: str, first: dict[str, Any], then: dict[str, Any]
) -> None:
    """Run a rotation, with LiteLLM killed at a task; where it failed, the next run, with other variables, ends it."""

    def die(_processes: list[int]) -> None:
        hosts["proxy1"].run_expect([0], f"systemctl kill --signal=SIGKILL {UNIT}")

    run = playbooks.run_until(ROTATE, task, die, variables=first)
    all_run(hosts)
    finished = run if run.rc == 0 else playbooks.run(ROTATE, variables=then)
    assert finished.rc == 0, finished.output


def test_a_proxy_that_dies_after_each_step_ends_with_values_that_work(
    playbooks: Playbooks, hosts: dict[str, Host]
) -> None:
    """The run waits for it, or undoes the rotation and fails; then the next plain run has nothing to do but that."""
    proxy1 = hosts["proxy1"]
    for _name, _step, task in STEPS:
        rotate_with_a_death(playbooks, hosts, task, BOTH, {})
        assert_the_proxy_is_well(proxy1)
        assert_nothing_is_left(proxy1)
    # The last one was finished: it had only files to write.
    assert_new_ones_work_and_old_ones_are_dead(proxy1)


def test_a_database_that_stops_on_the_way_loses_nothing(playbooks: Playbooks, hosts: dict[str, Host]) -> None:
    """Where it was to end the old login: that is done by the next run."""
    proxy1 = hosts["proxy1"]

    def stop(_processes: list[int]) -> None:
        proxy1.run_expect([0], "systemctl stop postgresql.service 'postgresql@*.service'")

    try:
        failed = playbooks.run_until(ROTATE, "finish_password | End the login", stop, variables=BOTH)
        assert failed.rc != 0, failed.output
        assert sorted(copies(proxy1, PASSWORD_FILE)) == [PASSWORD_FILE, f"{PASSWORD_FILE}.old"]
    finally:
        all_run(hosts)
    again = playbooks.run(ROTATE)
    assert again.rc == 0, again.output
    assert_new_ones_work_and_old_ones_are_dead(proxy1)


# Provider keys


def set_provider(playbooks: Playbooks, key: str) -> None:
    """The provider accepts this key from now on, and no other."""
    command = ["ansible-playbook", "-i", playbooks.inventory, "-e", json.dumps({"model_server_api_key": key})]
    subprocess.run([*command, "tests/support/model_server.yml"], check=True, capture_output=True, cwd=ROOT)


def provider_key_in_use(proxy1: Host) -> str:
    return environment(proxy1, UNIT)["MODEL_SERVER_API_KEY"]


def answer(proxy1: Host) -> int:
    """What LiteLLM answers to a prompt."""
    body = {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "ping"}]}
    return http(proxy1, f"http://{address_of(proxy1)}:4000/v1/messages", key_file=MASTER_KEY_FILE, body=body).status


def with_key(key: str) -> dict[str, dict[str, str]]:
    return {"litellm_provider_keys": {"MODEL_SERVER_API_KEY": key}}


def test_a_provider_key_that_its_provider_refuses_is_taken_back(playbooks: Playbooks, proxy1: Host) -> None:
    set_provider(playbooks, PROVIDER_KEY)
    refused = playbooks.run("playbooks/proxy.yml", variables=with_key(OTHER_PROVIDER_KEY))
    assert refused.rc != 0
    assert f"{MODEL} does not answer with MODEL_SERVER_API_KEY" in refused.output.replace("\n", " ").replace("  ", "")
    assert OTHER_PROVIDER_KEY not in refused.output
    assert provider_key_in_use(proxy1) == PROVIDER_KEY
    assert answer(proxy1) == 200
    assert_nothing_is_left(proxy1)
    (receipt,) = receipts(proxy1, 1)
    assert (receipt["kind"], receipt["result"]) == ("provider_keys", "undone")


def test_a_provider_key_that_works_is_proved_and_the_old_one_is_gone(playbooks: Playbooks, proxy1: Host) -> None:
    set_provider(playbooks, OTHER_PROVIDER_KEY)
    try:
        changed = playbooks.run("playbooks/proxy.yml", variables=with_key(OTHER_PROVIDER_KEY))
        assert changed.rc == 0, changed.output
        assert (provider_key_in_use(proxy1), answer(proxy1)) == (OTHER_PROVIDER_KEY, 200)
        (receipt,) = receipts(proxy1, 1)
        names = {
            "name": "MODEL_SERVER_API_KEY",
            "old": fingerprint(PROVIDER_KEY),
            "new": fingerprint(OTHER_PROVIDER_KEY),
        }
        assert (receipt["result"], receipt["keys"]) == ("rotated", [names])
        assert receipt["interruption"] > 0 or "interruption" not in receipt
        places = "/etc /run /var/lib /opt/litellm/current /root /var/log/gateway-toolkit"
        proxy1.run_expect([0], f"umask 077; printf 's''k-key-of-the-''model-server' > {OLD_PASSWORD}.pattern")
        found = proxy1.run(f"grep -rlF -f {OLD_PASSWORD}.pattern {places} 2>/dev/null").stdout.split()
        assert [path for path in found if path != f"{OLD_PASSWORD}.pattern"] == []
    finally:
        proxy1.run(f"rm -f {OLD_PASSWORD}.pattern")
        set_provider(playbooks, PROVIDER_KEY)
    back = playbooks.run("playbooks/proxy.yml")
    assert back.rc == 0, back.output
    assert (provider_key_in_use(proxy1), answer(proxy1)) == (PROVIDER_KEY, 200)
    assert show(proxy1, UNIT)["SubState"] == "running"


def test_a_provider_key_that_is_killed_after_each_step(playbooks: Playbooks, proxy1: Host) -> None:
    set_provider(playbooks, OTHER_PROVIDER_KEY)
    for step, task in OF_A_PROVIDER_KEY.items():
        playbooks.run_killed(ROTATE, task, variables=with_key(OTHER_PROVIDER_KEY))
        assert step_of(proxy1, "provider_keys") == step
        assert provider_key_in_use(proxy1) == (PROVIDER_KEY if step == "prepared" else OTHER_PROVIDER_KEY)
    finished = playbooks.run(ROTATE, variables=with_key(OTHER_PROVIDER_KEY))
    assert finished.rc == 0, finished.output
    assert (provider_key_in_use(proxy1), answer(proxy1)) == (OTHER_PROVIDER_KEY, 200)
    assert_nothing_is_left(proxy1)


def test_a_provider_key_whose_proxy_dies_after_each_step(playbooks: Playbooks, hosts: dict[str, Host]) -> None:
    """From the key that the test before has left, and at last back to the one of the inventory."""
    proxy1, keys = hosts["proxy1"], itertools.cycle((PROVIDER_KEY, OTHER_PROVIDER_KEY))
    for task, key in zip([*OF_A_PROVIDER_KEY.values(), "rotate_secrets | Say what"], keys, strict=False):
        set_provider(playbooks, key)
        rotate_with_a_death(playbooks, hosts, task, with_key(key), with_key(key))
        if provider_key_in_use(proxy1) != key:
            # That run undid it; this one begins anew.
            again = playbooks.run(ROTATE, variables=with_key(key))
            assert again.rc == 0, again.output
        assert (provider_key_in_use(proxy1), answer(proxy1)) == (key, 200), f"after {task}"
        assert_nothing_is_left(proxy1)
    assert key == PROVIDER_KEY


# What cannot be


def test_a_shared_secret_is_not_rotated_on_some_hosts_only(playbooks: Playbooks) -> None:
    refused = playbooks.run("playbooks/preflight.yml", "--limit=gateway1", variables={"rotate": "master_key"})
    assert refused.rc != 0
    assert "leave --limit out" in " ".join(refused.output.split())
