"""What inventory/group_vars makes of one server or several: who uses which proxy, and who listens where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
NUMBERS = {"a": 11, "b": 12, "c": 13, "d": 14, "e": 15}
SHOWN = {
    "postgresql": ("postgresql_clients", "postgresql_listen_addresses"),
    "litellm": (
        "litellm_bind_address",
        "litellm_migrate",
        *(f"litellm_database_{n}" for n in ("address", "port", "name")),
    ),
    "openclaw_gateway": ("litellm_virtual_key_host", "litellm_virtual_key_url", "openclaw_gateway_litellm_url"),
}


def address(host: str) -> str:
    return f"192.0.2.{NUMBERS[host]}"


@dataclass(frozen=True)
class Fleet:
    """Hosts (one letter each) of the three groups, and variables of some."""

    postgresql: str
    litellm: str
    openclaw_gateway: str
    variables: dict[str, dict[str, Any]]

    def inventory(self, folder: Path) -> str:
        """Write it as operators do, with the group_vars of the starter inventory."""
        groups = {name: getattr(self, name) for name in ("postgresql", "litellm", "openclaw_gateway")}
        hosts = {name: {"ansible_host": address(name)} | self.variables.get(name, {}) for name in NUMBERS}
        children = {group: {"hosts": {name: hosts[name] for name in names}} for group, names in groups.items()}
        (folder / "hosts.json").write_text(json.dumps({"all": {"children": children}}), encoding="utf-8")
        (folder / "group_vars").symlink_to(ROOT / "inventory" / "group_vars")
        return str(folder / "hosts.json")


def fleet(postgresql: str, litellm: str, openclaw_gateway: str, **variables: dict[str, Any]) -> Fleet:
    return Fleet(postgresql, litellm, openclaw_gateway, variables)


def show(group: str) -> dict[str, Any]:
    """A task that shows the variables of SHOWN of the hosts of a group."""
    values = ", ".join(f"'{name}': {name}" for name in SHOWN[group])
    return {"ansible.builtin.debug": {"msg": f"{{{{ {{{values}}} }}}}"}, "when": f"'{group}' in group_names"}


def wired(fleet: Fleet, folder: Path) -> dict[str, dict[str, Any]]:
    """Every variable of SHOWN that a host has, by host."""
    play = {"hosts": "all", "gather_facts": False, "tasks": [show(group) for group in SHOWN]}
    (folder / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    command = [PLAYBOOK, "-i", fleet.inventory(folder), str(folder / "play.yml")]
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, dict[str, Any]] = {}
    for task in json.loads(done.stdout)["plays"][0]["tasks"]:
        for host, result in task["hosts"].items():
            found.setdefault(host, {}).update({} if result.get("skipped") else result["msg"])
    return found


def test_one_server_that_is_everything_opens_nothing(tmp_path: Path) -> None:
    found = wired(fleet("a", "a", "a"), tmp_path)["a"]
    assert found["litellm_bind_address"] == found["litellm_database_address"] == "127.0.0.1"
    assert found["litellm_virtual_key_url"] == "http://127.0.0.1:4000"
    assert (found["postgresql_listen_addresses"], found["postgresql_clients"]) == (["127.0.0.1"], [])
    assert found["litellm_migrate"] is True


def test_gateways_on_other_hosts_take_the_proxies_in_turn(tmp_path: Path) -> None:
    found = wired(fleet("a", "ab", "cde"), tmp_path)
    assert [found[host]["litellm_virtual_key_host"] for host in "cde"] == ["a", "b", "a"]
    assert [found[host]["litellm_bind_address"] for host in "ab"] == [address("a"), address("b")]
    assert found["d"]["litellm_virtual_key_url"] == f"http://{address('b')}:4000"
    assert [found[host]["litellm_migrate"] for host in "ab"] == [True, False]


def test_a_gateway_on_a_proxys_host_uses_that_proxy_which_stays_on_loopback(tmp_path: Path) -> None:
    found = wired(fleet("a", "bc", "bc"), tmp_path)
    assert [found[host]["litellm_virtual_key_url"] for host in "bc"] == ["http://127.0.0.1:4000"] * 2
    assert [found[host]["litellm_bind_address"] for host in "bc"] == ["127.0.0.1"] * 2


def test_the_operator_may_choose_the_proxy_of_a_gateway(tmp_path: Path) -> None:
    chosen = {host: {"litellm_virtual_key_host": "c"} for host in "bd"}
    found = wired(fleet("a", "bc", "bd", **chosen), tmp_path)
    assert [found[host]["litellm_virtual_key_url"] for host in "bd"] == [f"http://{address('c')}:4000"] * 2


def test_the_proxies_follow_the_database(tmp_path: Path) -> None:
    found = wired(fleet("a", "abc", "c", a={"postgresql_port": 5433, "postgresql_database": "proxy"}), tmp_path)
    assert [found[host]["litellm_database_address"] for host in "abc"] == ["127.0.0.1", address("a"), address("a")]
    assert {found[host]["litellm_database_port"] for host in "abc"} == {5433}
    assert {found[host]["litellm_database_name"] for host in "abc"} == {"proxy"}
    assert found["a"]["postgresql_listen_addresses"] == ["127.0.0.1", address("a")]
    assert found["a"]["postgresql_clients"] == [f"{address('b')}/32", f"{address('c')}/32"]


URL = "postgresql://own:hush-password@db.internal:5432/own"


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (fleet("a", "", "a"), "The group litellm has no host"),
        (fleet("ab", "ab", "ab"), "one database serves all proxies"),
        (fleet("", "a", "a"), "the group postgresql has no host, and litellm_database_url is empty"),
        (
            fleet("a", "a", "a", a={"litellm_database_url": URL}),
            "litellm_database_url is set, and the group postgresql",
        ),
        (fleet("a", "ab", "c", c={"litellm_virtual_key_host": "d"}), "litellm_virtual_key_host is d"),
        (fleet("a", "ab", "ab", b={"litellm_virtual_key_host": "a"}), "set litellm_bind_address for that host"),
        (fleet("a", "a", "a", a={"litellm_port": 4321}), "openclaw_gateway_port is 4321, as litellm_port is"),
    ],
)
def test_groups_that_do_not_fit_together_are_refused_before_a_host_is_reached(
    refused: Fleet, words: str, tmp_path: Path
) -> None:
    command = [PLAYBOOK, "-i", refused.inventory(tmp_path), "site.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert words.lower() in said.lower()
    assert "hush-password" not in said
    assert "Gathering Facts" not in said
