"""Rules for the variables of role firewall: all that can be judged before a host is touched."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils import input_checks as checks
from ansible_collections.gateway.toolkit.plugins.module_utils.firewall_rules import NETWORK_OF

Variables = Mapping[str, Any]

FIELDS = ("name", "port", "protocol", "from")
STATES = ("auto", "present", "absent")
WORDS = ("lan", "tailnet")
# The name becomes a comment in nft's language, of at most 128 characters.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,62}")
# IFNAMSIZ of Linux is 16, with the byte 0 at the end.
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})")


def _port_number(value: Any) -> int | None:
    """Return the port in an integer or in text of digits, or None."""
    number = int(value) if isinstance(value, str) and value.isdigit() else checks.as_integer(value)
    return number if number is not None and 1 <= number <= 65535 else None


def port_errors(label: str, value: Any) -> list[str]:
    """Refuse what is neither a port from 1 to 65535 nor a range of them."""
    if _port_number(value) is not None:
        return []
    found = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if found and 1 <= int(found[1]) < int(found[2]) <= 65535:
        return []
    return [f"{label} is {checks.shown(value)}: set it to a port from 1 to 65535, or to a range such as 8000-8010."]


def source_errors(label: str, value: Any) -> list[str]:
    """Refuse what does not say from where: an address, a network, lan, tailnet, or network_of and an address."""
    if not isinstance(value, str):
        return checks.text_errors(label, value)
    if value in WORDS:
        return []
    if value.startswith(NETWORK_OF):
        return checks.address_errors(label, value[len(NETWORK_OF) :])
    try:
        network = ipaddress.ip_network(value, strict=True)
    except ValueError:
        if not re.fullmatch(r"[0-9a-fA-F:.]+/\d+", value):
            return [
                f"{label} is {checks.shown(value)}: write an IP address, a network such as 192.0.2.0/24, lan or "
                "tailnet, not a host name."
            ]
        return checks.network_errors(label, value)
    if network.prefixlen == 0:
        return [f"{label} is {checks.shown(value)}, which is everyone: leave `from` out if you mean that."]
    return []


def _sources_errors(label: str, values: Any) -> list[str]:
    errors = checks.list_errors(label, values)
    return errors or [sentence for value in values for sentence in source_errors(label, value)]


def item_errors(label: str, item: Any) -> list[str]:
    """Check one item of firewall_services or firewall_allow."""
    if not isinstance(item, Mapping):
        return [
            f"{label} has an item that is {checks.shown(item)}: write name and port, like {{name: web, port: 443}}."
        ]
    errors = checks.unknown_key_errors(label, item, FIELDS)
    name = item.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        errors.append(
            f"{label} has an item whose name is {checks.shown(name)}: use 1 to 63 letters, digits and . _ / -."
        )
        name = "?"
    errors += port_errors(f"{label} {name} port", item.get("port"))
    if "protocol" in item:
        errors += checks.choice_errors(f"{label} {name} protocol", item["protocol"], ("tcp", "udp"))
    if item.get("from") is not None:
        errors += _sources_errors(f"{label} {name} from", item["from"])
    return errors


def choice_errors(variables: Variables) -> list[str]:
    """Check the state, the default and the switch."""
    errors: list[str] = []
    for name, choices in (("firewall_state", STATES), ("firewall_default_incoming", ("deny", "allow"))):
        if name in variables:
            errors += checks.choice_errors(name, variables[name], choices)
    if "firewall_close_others" in variables:
        errors += checks.boolean_errors("firewall_close_others", variables["firewall_close_others"])
    if "firewall_confirm_seconds" in variables:
        errors += checks.integer_errors(
            "firewall_confirm_seconds", variables["firewall_confirm_seconds"], 15, 600, "seconds"
        )
    return errors


def opening_errors(variables: Variables) -> list[str]:
    """Check the ports to let in."""
    errors: list[str] = []
    for name in ("firewall_services", "firewall_allow"):
        items = variables.get(name, [])
        wrong = checks.list_errors(name, items)
        errors += wrong or [sentence for item in items for sentence in item_errors(name, item)]
    return errors


def source_list_errors(variables: Variables) -> list[str]:
    """Check who may come by SSH, and what counts as the LAN."""
    errors = _sources_errors("firewall_ssh_from", variables.get("firewall_ssh_from", []))
    label, networks = "firewall_lan_networks", variables.get("firewall_lan_networks", [])
    wrong = checks.list_errors(label, networks)
    errors += wrong or [sentence for network in networks for sentence in checks.network_errors(label, network)]
    label, ports = "firewall_ssh_ports", variables.get("firewall_ssh_ports", [])
    wrong = checks.list_errors(label, ports)
    return errors + (wrong or [s for port in ports for s in checks.integer_errors(label, port, 1, 65535, "as a port")])


def interface_errors(variables: Variables) -> list[str]:
    """Check the names of interfaces and the further rules."""
    errors: list[str] = []
    label = "firewall_trusted_interfaces"
    names = variables.get(label, [])
    wrong = checks.list_errors(label, names)
    pairs = [] if wrong else [(label, name) for name in names]
    if "firewall_tailnet_interface" in variables:
        pairs.append(("firewall_tailnet_interface", variables["firewall_tailnet_interface"]))
    for name, value in pairs:
        if not isinstance(value, str) or not _INTERFACE.fullmatch(value):
            wrong.append(f"{name} is {checks.shown(value)}: write the name of an interface, such as tailscale0.")
    label = "firewall_extra_rules"
    rules = variables.get(label, [])
    errors += wrong + checks.list_errors(label, rules)
    for rule in rules if isinstance(rules, (list, tuple)) else ():
        if not isinstance(rule, str) or not rule.strip() or re.search(r"[{};\n]", re.sub(r"\{[^{};\n]*\}", "", rule)):
            errors.append(
                f"{label} is {checks.shown(rule)}: write one rule of nft on one line, such as tcp dport 9 drop."
            )
    return errors


def firewall_input_errors(variables: Variables) -> list[str]:
    """Return everything that is wrong with role firewall's variables, one sentence each, else an empty list.

    variables holds the role's variables under their names; one that is left out is not judged.
    """
    rules = (choice_errors, opening_errors, source_list_errors, interface_errors)
    return [sentence for rule in rules for sentence in rule(variables)]
