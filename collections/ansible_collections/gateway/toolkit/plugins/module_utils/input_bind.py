"""Where a gateway can listen: its bind variables against the addresses that its host really has."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Place = Mapping[str, str]

TAILNET = ipaddress.ip_network("100.64.0.0/10")  # https://tailscale.com/kb/1015/100.x-addresses


def host_addresses(facts: Any) -> list[dict[str, str]]:
    """Return the IPv4 addresses of a host, less 127.0.0.0/8, as {interface, address}, from its facts.

    Facts that were not gathered give an empty list. Source: ansible_facts.interfaces, and for each its own fact, with
    - and : in its name replaced by _, and in that ipv4.address and ipv4_secondaries[].address.
    """
    if not isinstance(facts, Mapping):
        return []
    found = []
    for interface in facts.get("interfaces") or []:
        fact = facts.get(str(interface).replace("-", "_").replace(":", "_")) or {}
        for entry in [fact.get("ipv4") or {}, *(fact.get("ipv4_secondaries") or [])]:
            address = str(entry.get("address", ""))
            if _is_ipv4(address) and not ipaddress.ip_address(address).is_loopback:
                found.append({"interface": str(interface), "address": address})
    return found


def address_of_this_host(value: Any, places: Iterable[Place]) -> str:
    """Return the one address that is meant: an address as it is; for a network the first address that lies in it.

    Empty where nothing is meant, or where no address lies in the network.
    """
    text = str(value or "")
    if "/" not in text:
        return text
    inside = _inside(text, places)
    return inside[0] if inside else ""


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _inside(network: str, places: Iterable[Place]) -> list[str]:
    try:
        wanted = ipaddress.ip_network(network, strict=False)
    except ValueError:
        return []
    return [place["address"] for place in places if ipaddress.ip_address(place["address"]) in wanted]


def _listed(places: Iterable[Place]) -> str:
    return ", ".join(f"{place['address']} on {place['interface']}" for place in places) or "none"


def openclaw_gateway_bind_errors(variables: Mapping[str, Any], places: Sequence[Place]) -> list[str]:
    """Return one sentence for each reason why the gateway cannot listen where it should, on a host with these places.

    variables: openclaw_gateway_bind, _bind_address, _tailscale, _tailnet_interface and _tailnet_joins.
    """
    bind, meant = variables.get("openclaw_gateway_bind"), str(variables.get("openclaw_gateway_bind_address") or "")
    served = str(variables.get("openclaw_gateway_tailscale") or "off") != "off"
    if bind == "tailnet" or served:
        what = "openclaw_gateway_bind is tailnet" if bind == "tailnet" else "openclaw_gateway_tailscale is serve"
        return _tailnet_errors(what, variables, places)
    return _address_errors(meant, places) if meant and places else []


def _address_errors(meant: str, places: Sequence[Place]) -> list[str]:
    label = f"openclaw_gateway_bind_address is {meant}"
    if "/" not in meant:
        here = any(place["address"] == meant for place in places)
        return [] if here else [f"{label}, which this host does not have: it has {_listed(places)}."]
    inside = _inside(meant, places)
    if len(inside) == 1:
        return []
    if not inside:
        return [f"{label}, and no address of this host lies in it: it has {_listed(places)}."]
    return [f"{label}, and {len(inside)} addresses of this host lie in it: name one of {', '.join(inside)}."]


def _tailnet_errors(what: str, variables: Mapping[str, Any], places: Sequence[Place]) -> list[str]:
    interface = str(variables.get("openclaw_gateway_tailnet_interface"))
    tailnet = [place for place in places if ipaddress.ip_address(place["address"]) in TAILNET]
    others = [place for place in tailnet if place["interface"] != interface]
    own = [place for place in tailnet if place["interface"] == interface]
    if others:
        # OpenClaw takes the first of all these, on whatever interface.
        return [
            f"{what}, and this host has {_listed(tailnet)}, all in 100.64.0.0/10, where only {interface} may have one: "
            "set openclaw_gateway_bind to custom and openclaw_gateway_bind_address to the tailnet's address, or "
            "openclaw_gateway_tailnet_interface to the tailnet's interface."
        ]
    if not own and not variables.get("openclaw_gateway_tailnet_joins"):
        return [
            f"{what}, but {interface} has no address in 100.64.0.0/10: join this host to your tailnet first (with "
            "tailscaled on a real interface, not in userspace-networking mode), or let role tailscale do it."
        ]
    if len(own) > 1:
        return [f"{what}, and {interface} has {len(own)} addresses in 100.64.0.0/10, where one is expected."]
    return []
