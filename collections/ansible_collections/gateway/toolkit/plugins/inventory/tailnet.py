"""Inventory plugin: the machines of the tailnet that this machine is in, as `tailscale status` knows them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tailnet
short_description: Hosts of the tailnet that the controller is in
description:
  - Asks the Tailscale daemon of the controller. It needs no API key, and works with headscale.
  - Groups are C(tailnet) with all hosts, C(tailnet_online) and C(tailnet_offline), C(tag_NAME) for each tag, and
    C(os_NAME).
  - Each host has C(ansible_host), its tailnet address, and C(tailnet_dns_name), C(tailnet_tags) and C(tailnet_online).
  - The file's name ends in C(tailnet.yml).
options:
  plugin:
    description: Always C(gateway.toolkit.tailnet).
    type: str
    required: true
    choices: [gateway.toolkit.tailnet]
  program:
    description: The command-line program of Tailscale.
    type: str
    default: tailscale
  tags:
    description: Only hosts with one of these tags, with or without C(tag:). Empty is all.
    type: list
    elements: str
    default: []
  include_self:
    description: Whether the controller itself is a host.
    type: bool
    default: false
"""

EXAMPLES = r"""
# inventory/servers.tailnet.yml
plugin: gateway.toolkit.tailnet
tags: [gateway]
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

SECONDS = 15
"""How long the daemon may take to answer."""


@dataclass(frozen=True)
class Machine:
    """One host of the inventory."""

    name: str
    groups: tuple[str, ...]
    variables: Mapping[str, Any]


def group_name(prefix: str, text: str) -> str:
    """A name that Ansible takes for a group: letters, digits and _."""
    return f"{prefix}_{re.sub('[^A-Za-z0-9]', '_', text).lower()}"


def machines(status: Mapping[str, Any], tags: list[str], include_self: bool) -> Iterator[Machine]:
    """Yield the machines in `tailscale status --json`, by name; those without an address, like phones of others, not.

    tags: only machines with one of them; empty is all. Raises ValueError with a sentence when the daemon does not run.
    """
    if status.get("BackendState") != "Running":
        raise ValueError(f"this machine is not in a tailnet: tailscale is in state {status.get('BackendState')}")
    wanted = {tag if ":" in tag else f"tag:{tag}" for tag in tags}
    nodes = [*(status.get("Peer") or {}).values(), *([status["Self"]] if include_self else [])]
    for node in sorted(nodes, key=lambda node: str(node.get("DNSName"))):
        addresses, own = node.get("TailscaleIPs") or [], sorted(node.get("Tags") or [])
        dns_name = str(node.get("DNSName") or "").rstrip(".")
        if not addresses or not dns_name or (wanted and not wanted & {*own}):
            continue
        online = bool(node.get("Online"))
        groups = ["tailnet", "tailnet_online" if online else "tailnet_offline"]
        groups += [group_name("tag", tag.removeprefix("tag:")) for tag in own]
        groups += [group_name("os", node["OS"])] if node.get("OS") else []
        variables = {
            "ansible_host": addresses[0],
            "tailnet_dns_name": dns_name,
            "tailnet_tags": own,
            "tailnet_online": online,
        }
        yield Machine(dns_name.split(".")[0], tuple(groups), variables)


def ask(program: str) -> Any:
    """What the daemon says. Raises ValueError with a sentence when it says nothing."""
    try:
        done = subprocess.run(
            [program, "status", "--json"], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        return json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"tailscale cannot be asked: {error}") from None
    except json.JSONDecodeError:
        raise ValueError(f"tailscale cannot be asked: {' '.join(done.stderr.split())}") from None


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # Ansible has no type information
    """Makes the machines hosts of the inventory."""

    NAME = "gateway.toolkit.tailnet"

    def verify_file(self, path: str) -> bool:
        """Whether a file is for this plugin."""
        return bool(super().verify_file(path)) and path.endswith(("tailnet.yml", "tailnet.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            found = list(
                machines(ask(self.get_option("program")), self.get_option("tags"), self.get_option("include_self"))
            )
        except ValueError as error:
            raise AnsibleParserError(str(error)) from None
        for machine in found:
            self.inventory.add_host(machine.name)
            for name, value in machine.variables.items():
                self.inventory.set_variable(machine.name, name, value)
            for group in machine.groups:
                self.inventory.add_group(group)
                self.inventory.add_child(group, machine.name)
