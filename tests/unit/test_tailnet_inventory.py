"""The inventory plugin turns what `tailscale status --json` says into hosts and groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.inventory.tailnet import Machine, machines

ROOT = Path(__file__).resolve().parents[2]
STATUS = Path(__file__).parent / "tailscale" / "peers.json"


def found(tags: list[str] | None = None, include_self: bool = False) -> dict[str, Machine]:
    status = json.loads(STATUS.read_text())
    return {machine.name: machine for machine in machines(status, tags or [], include_self)}


def test_hosts_have_their_tailnet_address_and_their_groups() -> None:
    gateway = found()["gateway1"]
    assert gateway.groups == ("tailnet", "tailnet_online", "tag_gateway", "tag_prod_eu", "os_linux")
    assert gateway.variables["ansible_host"] == "100.64.0.1"
    assert gateway.variables["tailnet_dns_name"] == "gateway1.tailnet.test"


def test_a_host_has_the_name_of_the_tailnet_not_its_own() -> None:
    assert sorted(found()) == ["gateway1", "phone"]
    assert found()["phone"].groups == ("tailnet", "tailnet_offline", "os_ios")


def test_tags_choose_the_hosts() -> None:
    assert sorted(found(["gateway"])) == sorted(found(["tag:gateway"])) == ["gateway1"]
    assert found(["nothing"]) == {}


def test_the_controller_is_a_host_only_when_asked_for() -> None:
    assert "laptop" in found(include_self=True)


def test_outside_of_a_tailnet_it_says_so() -> None:
    with pytest.raises(ValueError, match="NeedsLogin"):
        list(machines({"BackendState": "NeedsLogin"}, [], False))


def inventory(folder: Path, program: str) -> tuple[int, Any, str]:
    """What ansible-inventory makes of a file of the plugin, with a program that answers what was recorded."""
    file = folder / "servers.tailnet.yml"
    file.write_text(f"plugin: gateway.toolkit.tailnet\nprogram: {program}\n")
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(file), "--list"]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_ansible_reads_it(tmp_path: Path) -> None:
    program = tmp_path / "tailscale"
    program.write_text(f"#!/bin/sh\nexec cat {STATUS}\n")
    program.chmod(0o755)
    rc, hosts, errors = inventory(tmp_path, str(program))
    assert rc == 0, errors
    assert hosts["tag_gateway"]["hosts"] == ["gateway1"]
    # Newer releases of Ansible mark what came from outside.
    address = hosts["_meta"]["hostvars"]["gateway1"]["ansible_host"]
    assert address in ("100.64.0.1", {"__ansible_unsafe": "100.64.0.1"})


def test_without_the_program_the_error_says_so(tmp_path: Path) -> None:
    _rc, _hosts, errors = inventory(tmp_path, str(tmp_path / "no-tailscale"))
    assert "tailscale cannot be asked" in errors
