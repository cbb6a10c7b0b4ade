"""What rules do that are wrong, unconfirmed, removed by somebody, or older than a reboot."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Playbooks, address_of, state_directory
from test_firewall import PLAYBOOK, TABLE, rules, tried
from testinfra.host import Host

LOCKS_OUT = ["tcp dport 22 ct state new drop"]


def module(playbooks: Playbooks, host: str, *options: str, **arguments: Any) -> dict[str, Any]:
    """The result of one call of the module, as a task of a playbook makes it."""
    command = ["ansible", host, "-i", playbooks.inventory, "-b", "-m", "gateway.toolkit.firewall", *options]
    done = subprocess.run(
        [*command, "-a", json.dumps(arguments)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "{" in done.stdout, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])["plays"][0]["tasks"][0]["hosts"][host]
    return result


def fresh(config: pytest.Config, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command through an SSH connection of its own."""
    ssh = ["ssh", "-F", str(state_directory(config) / "ssh_config"), "-o", "ControlPath=none", "-n"]
    return subprocess.run([*ssh, "-o", "ConnectTimeout=5", host, *command], capture_output=True, text=True, check=False)


def fresh_login(config: pytest.Config, host: str) -> bool:
    """Whether a new SSH connection to the host works."""
    return fresh(config, host, "true").returncode == 0


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until `condition` holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} seconds"
        time.sleep(0.3)


@pytest.fixture
def guarded(hosts: dict[str, Host]) -> Host:
    """Return the host whose doors are tried."""
    return hosts["guarded"]


@pytest.fixture
def in_force(guarded: Host) -> str:
    """Return the rules that are in force and confirmed, before a test makes something of them."""
    assert guarded.run("ls /run/gateway-toolkit/firewall/pending.json").rc != 0
    assert guarded.run("grep -cw 2222 /etc/gateway-toolkit/firewall.nft").stdout.strip() == "0"
    return rules(guarded)


def test_rules_of_others_stay_and_keep_their_say(
    guarded: Host, hosts: dict[str, Host], playbooks: Playbooks, in_force: str
) -> None:
    foreign = "table inet foreign { chain input { type filter hook input priority 10; tcp dport 8443 drop; }; }"
    assert guarded.run(f"nft {shlex.quote(foreign)}").rc == 0
    before = guarded.run("nft -s list table inet foreign").stdout
    done = playbooks.run(PLAYBOOK, "--limit", "guarded", variables={"firewall_ssh_ports": [2222]})
    assert done.rc == 0, done.output
    assert rules(guarded) != in_force
    assert guarded.run("nft -s list table inet foreign").stdout == before
    assert tried(hosts["stranger"], address_of(guarded), {22}) == {22}
    assert guarded.run("nft delete table inet foreign").rc == 0
    done = playbooks.run(PLAYBOOK, "--limit", "guarded")
    assert done.rc == 0, done.output
    assert rules(guarded) == in_force


def test_wrong_rules_fail_the_run_and_are_undone(
    guarded: Host, playbooks: Playbooks, in_force: str, pytestconfig: pytest.Config
) -> None:
    kept = guarded.file("/etc/gateway-toolkit/firewall.nft").content_string
    # Longer than any timeout of SSH: it is the run that puts the previous rules back, not the timer.
    wrong = {"firewall_extra_rules": LOCKS_OUT, "firewall_confirm_seconds": 300}
    done = playbooks.run(PLAYBOOK, "--limit", "guarded", variables=wrong)
    said = " ".join(done.output.split())
    assert done.rc != 0
    assert "no fresh SSH login to guarded was possible, so the previous rules are back" in said
    assert rules(guarded) == in_force
    assert fresh_login(pytestconfig, "guarded")
    assert guarded.file("/etc/gateway-toolkit/firewall.nft").content_string == kept
    again = playbooks.run(PLAYBOOK, "--limit", "guarded")
    assert again.rc == again.changed == 0, again.output


def test_wrong_rules_of_a_killed_run_undo_themselves(
    guarded: Host, playbooks: Playbooks, in_force: str, pytestconfig: pytest.Config
) -> None:
    wrong = {"firewall_extra_rules": LOCKS_OUT, "firewall_confirm_seconds": 40}
    task = "confirm | Confirm the new rules by a fresh login"
    playbooks.run_killed(PLAYBOOK, task, "--limit", "guarded", variables=wrong)
    # On a machine so busy that the killing took longer than the probation there would be nothing left to see.
    assert "tcp dport 22 ct state" in rules(guarded)
    assert not fresh_login(pytestconfig, "guarded")
    wait_for(lambda: rules(guarded) == in_force, 120)
    assert fresh_login(pytestconfig, "guarded")
    assert "the previous ones are back" in guarded.run("journalctl -u gateway-toolkit-firewall-undo").stdout
    again = playbooks.run(PLAYBOOK, "--limit", "guarded")
    assert again.rc == again.changed == 0, again.output


def test_open_connection_does_not_confirm(guarded: Host, playbooks: Playbooks, in_force: str) -> None:
    wanted = {"services": [{"name": "door", "port": "4321", "from": []}], "seconds": 300}
    assert module(playbooks, "guarded", step="apply", rules=wanted)["probation"]
    assert rules(guarded) != in_force
    refused = module(playbooks, "guarded", step="confirm")
    assert "only a fresh login confirms" in refused.get("msg", "")
    assert module(playbooks, "guarded", step="undo")["changed"]
    assert rules(guarded) == in_force
    late = module(playbooks, "guarded", "--ssh-extra-args=-o ControlPath=none", step="confirm")
    assert "undone themselves already" in late.get("msg", "")
    assert rules(guarded) == in_force


def test_first_run_is_refused_when_it_would_close_something(hosts: dict[str, Host], playbooks: Playbooks) -> None:
    gateway = hosts["gateway1"]
    removed = playbooks.run(PLAYBOOK, "--limit", "gateway1", variables={"firewall_state": "absent"})
    assert removed.rc == 0, removed.output
    done = playbooks.run(PLAYBOOK, "--limit", "gateway1", variables={"firewall_close_others": False})
    said = " ".join(done.output.split())
    assert done.rc != 0 and done.changed == 0
    assert "tcp 8080 (python3, doors.service)" in said
    assert "tcp 8443" not in said and "tcp 22 " not in said
    assert rules(gateway) == ""
    again = playbooks.run(PLAYBOOK, "--limit", "gateway1")
    assert again.rc == 0, again.output
    assert "policy drop" in rules(gateway)


def test_rules_that_somebody_changed_are_reported_and_come_back(
    guarded: Host, playbooks: Playbooks, in_force: str
) -> None:
    assert module(playbooks, "guarded", step="report")["results"][0]["status"] == "ok"
    assert guarded.run("nft insert rule inet gateway_toolkit input tcp dport 8080 accept").rc == 0
    found = module(playbooks, "guarded", step="report")["results"][0]
    assert found["status"] == "failed" and "is not the one in" in found["detail"]
    again = playbooks.run(PLAYBOOK, "--limit", "guarded")
    assert again.rc == 0 and again.changed > 0, again.output
    assert rules(guarded) == in_force
    # It empties the whole rule set at its start.
    assert guarded.run("systemctl restart nftables.service").rc == 0
    wait_for(lambda: rules(guarded) == in_force, 60)
    assert guarded.run("systemctl stop nftables.service && systemctl start gateway-toolkit-firewall.service").rc == 0
    assert rules(guarded) == in_force


def test_health_names_a_table_that_somebody_removed(
    hosts: dict[str, Host], playbooks: Playbooks, tmp_path: Path
) -> None:
    stranger, report = hosts["stranger"], tmp_path / "health.json"
    beside = {"firewall_state": "present", "health_report": str(report)}

    def health() -> tuple[int, dict[str, Any], str]:
        done = playbooks.run("playbooks/health.yml", "--limit", "stranger", variables=beside)
        (row,) = json.loads(report.read_text())["hosts"]["stranger"]
        return done.rc, row, done.output

    applied = playbooks.run(PLAYBOOK, "--limit", "stranger", variables=beside)
    assert applied.rc == 0, applied.output
    status, row, said = health()
    assert status == 0 and row["status"] == "ok", said
    assert stranger.run("nft delete table inet gateway_toolkit").rc == 0
    status, row, said = health()
    assert status != 0 and row["status"] == "failed", said
    assert "is not loaded" in row["detail"] and row["remedy"] == "Run the site playbook."
    assert "firewall lets in what it should" in said and "Run the site playbook." in said
    removed = playbooks.run(PLAYBOOK, "--limit", "stranger", variables={"firewall_state": "absent"})
    assert removed.rc == 0, removed.output


def test_confirmed_rules_survive_a_reboot_and_others_do_not(
    guarded: Host, hosts: dict[str, Host], playbooks: Playbooks, in_force: str, pytestconfig: pytest.Config
) -> None:
    wanted = {"services": [], "extra_rules": LOCKS_OUT, "seconds": 600}
    assert module(playbooks, "guarded", step="apply", rules=wanted)["probation"]
    address = address_of(guarded)
    net = state_directory(pytestconfig).name
    subprocess.run([ROOT / "tests/support/testbed", "restart", "guarded", "--net", net], check=True)
    wait_for(lambda: fresh_login(pytestconfig, "guarded"), 120)
    assert fresh(pytestconfig, "guarded", f"sudo {TABLE}").stdout == in_force
    wait_for(lambda: 4321 in tried(hosts["peer"], address, {4321}), 60)
    assert 4321 not in tried(hosts["stranger"], address, {22})
    again = playbooks.run(PLAYBOOK, "--limit", "guarded")
    assert again.rc == again.changed == 0, again.output
