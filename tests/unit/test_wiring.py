"""What inventory/group_vars makes of one server or several: who uses which proxy, and who listens where."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

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


def variables(fleet: Fleet, folder: Path, *names: str) -> dict[str, dict[str, Any]]:
    """What Ansible makes of these variables, and of those of SHOWN without a name, by host.

    Without a run of Ansible, which takes seconds.
    """
    loader = DataLoader()
    inventory = InventoryManager(loader, sources=[fleet.inventory(folder)])
    manager = VariableManager(loader, inventory)
    HostVars(inventory, manager, loader)
    found = {}
    for host in inventory.get_hosts():
        known = manager.get_vars(host=host)
        of_groups = [name for group in SHOWN if group in known["group_names"] for name in SHOWN[group]]
        templar = Templar(loader, known)
        found[host.name] = {name: templar.template(known[name]) for name in names or of_groups}
    return found


def errors(fleet: Fleet, folder: Path) -> set[str]:
    """What is wrong with the groups."""
    name = "health_check_inventory_errors"
    return {error for host in variables(fleet, folder, name).values() for error in host[name]}


def test_one_server_that_is_everything_opens_nothing(tmp_path: Path) -> None:
    found = variables(fleet("a", "a", "a"), tmp_path)["a"]
    assert found["litellm_bind_address"] == found["litellm_database_address"] == "127.0.0.1"
    assert found["litellm_virtual_key_url"] == "http://127.0.0.1:4000"
    assert (found["postgresql_listen_addresses"], found["postgresql_clients"]) == (["127.0.0.1"], [])
    assert found["litellm_migrate"] is True


def test_gateways_on_other_hosts_take_the_proxies_in_turn(tmp_path: Path) -> None:
    found = variables(fleet("a", "ab", "cde"), tmp_path)
    assert [found[host]["litellm_virtual_key_host"] for host in "cde"] == ["a", "b", "a"]
    assert [found[host]["litellm_bind_address"] for host in "ab"] == [address("a"), address("b")]
    assert found["d"]["litellm_virtual_key_url"] == f"http://{address('b')}:4000"
    assert [found[host]["litellm_migrate"] for host in "ab"] == [True, False]


def test_a_gateway_on_a_proxys_host_uses_that_proxy_which_stays_on_loopback(tmp_path: Path) -> None:
    found = variables(fleet("a", "bc", "bc"), tmp_path)
    assert [found[host]["litellm_virtual_key_url"] for host in "bc"] == ["http://127.0.0.1:4000"] * 2
    assert [found[host]["litellm_bind_address"] for host in "bc"] == ["127.0.0.1"] * 2


def test_the_operator_may_choose_the_proxy_of_a_gateway(tmp_path: Path) -> None:
    chosen = {host: {"litellm_virtual_key_host": "c"} for host in "bd"}
    found = variables(fleet("a", "bc", "bd", **chosen), tmp_path)
    assert [found[host]["litellm_virtual_key_url"] for host in "bd"] == [f"http://{address('c')}:4000"] * 2


def test_the_proxies_follow_the_database(tmp_path: Path) -> None:
    found = variables(fleet("a", "abcde", "c", a={"postgresql_port": 5433, "postgresql_database": "proxy"}), tmp_path)
    assert [found[host]["litellm_database_address"] for host in "abcde"] == ["127.0.0.1", *[address("a")] * 4]
    assert {found[host]["litellm_database_port"] for host in "abcde"} == {5433}
    assert {found[host]["litellm_database_name"] for host in "abcde"} == {"proxy"}
    assert found["a"]["postgresql_listen_addresses"] == ["127.0.0.1", address("a")]
    # In this order at every run, or the access rules would change each time.
    assert found["a"]["postgresql_clients"] == [f"{address(host)}/32" for host in "bcde"]


def test_a_gateway_that_tailscale_serves_is_the_nodes_operator(tmp_path: Path) -> None:
    serve = {"openclaw_gateway_tailscale": "serve", "openclaw_gateway_user": "claw"}
    found = variables(fleet("a", "a", "ab", b=serve), tmp_path, "tailscale_operator")
    assert {host: of["tailscale_operator"] for host, of in found.items()} == {"a": "", "b": "claw"}


KEY = {"litellm_virtual_key": "sk-hush-virtual-key"}
URL = "postgresql://own:hush-password@db.internal:5432/own"


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (fleet("a", "", "a"), "The group litellm has no host"),
        (fleet("ab", "ab", "ab"), "one database serves all proxies"),
        (fleet("", "a", "a"), "The group postgresql has no host, and litellm_database_url is empty"),
        (
            fleet("a", "a", "a", a={"litellm_database_url": URL}),
            "litellm_database_url is set, and the group postgresql",
        ),
        (fleet("a", "ab", "c", c={"litellm_virtual_key_host": "d"}), "litellm_virtual_key_host is d"),
        (fleet("a", "ab", "ab", b={"litellm_virtual_key_host": "a"}), "set litellm_bind_address for that host"),
        (fleet("a", "a", "bcd", **dict.fromkeys("bd", KEY)), "litellm_virtual_key is the same on b and d:"),
    ],
)
def test_groups_that_do_not_fit_together_are_errors(refused: Fleet, words: str, tmp_path: Path) -> None:
    (error,) = errors(refused, tmp_path)
    assert words in error
    assert "hush" not in error


@pytest.mark.parametrize(
    "accepted",
    [
        fleet("a", "a", "a"),
        fleet("a", "bc", "bc"),
        fleet("a", "ab", "cde"),
        fleet("", "a", "a", a={"litellm_database_url": URL}),
        fleet("a", "a", "bcd", b=KEY, c={"litellm_virtual_key": ""}, d={"litellm_virtual_key": ""}),
    ],
)
def test_groups_that_fit_are_none(accepted: Fleet, tmp_path: Path) -> None:
    assert errors(accepted, tmp_path) == set()


def test_they_are_refused_before_a_host_is_reached(tmp_path: Path) -> None:
    wrong = fleet("a", "a", "a", a={"litellm_database_url": URL, "litellm_port": 4321})
    command = [PLAYBOOK, "-i", wrong.inventory(tmp_path), "site.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "litellm_database_url is set" in said
    assert "openclaw_gateway_port is 4321, as litellm_port is" in said
    assert "hush-password" not in said
    assert "Gathering Facts" not in said
