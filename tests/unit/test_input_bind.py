"""A gateway is refused where its host cannot listen as asked, with the addresses that the host has."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.input_bind import (
    address_of_this_host,
    host_addresses,
    openclaw_gateway_bind_errors,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.input_openclaw import openclaw_gateway_input_errors

LAN = {"interface": "eth0", "address": "192.0.2.7"}
SECOND = {"interface": "eth0", "address": "192.0.2.8"}
TAILNET = {"interface": "tailscale0", "address": "100.64.0.5"}
CARRIER = {"interface": "eth1", "address": "100.72.0.5"}


def errors(places: list[dict[str, str]], **variables: Any) -> list[str]:
    named = {f"openclaw_gateway_{name}": value for name, value in variables.items()}
    return openclaw_gateway_bind_errors({"openclaw_gateway_tailnet_interface": "tailscale0", **named}, places)


def input_errors(**variables: Any) -> list[str]:
    return openclaw_gateway_input_errors({f"openclaw_gateway_{name}": value for name, value in variables.items()})


def test_addresses_are_read_from_facts() -> None:
    facts = {
        "interfaces": ["lo", "eth0", "br-lan", "tun0"],
        "lo": {"ipv4": {"address": "127.0.0.1"}},
        "eth0": {"ipv4": {"address": "192.0.2.7"}, "ipv4_secondaries": [{"address": "192.0.2.8"}]},
        "br_lan": {"ipv4": {"address": "10.1.0.1"}},
        "tun0": {},
    }
    assert host_addresses(facts) == [LAN, SECOND, {"interface": "br-lan", "address": "10.1.0.1"}]
    assert host_addresses({}) == host_addresses(None) == []


@pytest.mark.parametrize(
    ("value", "address"),
    [("", ""), (None, ""), ("192.0.2.9", "192.0.2.9"), ("192.0.2.0/29", "192.0.2.7"), ("10.0.0.0/8", "")],
)
def test_a_network_stands_for_the_hosts_address_in_it(value: Any, address: str) -> None:
    assert address_of_this_host(value, [TAILNET, LAN]) == address


@pytest.mark.parametrize(
    ("places", "variables", "words"),
    [
        ([LAN], {"bind": "lan"}, ""),
        ([LAN], {"bind": "lan", "bind_address": "192.0.2.7"}, ""),
        ([LAN], {"bind": "lan", "bind_address": "192.0.2.0/24"}, ""),
        ([LAN], {"bind": "custom", "bind_address": "192.0.2.9"}, "does not have: it has 192.0.2.7 on eth0"),
        ([LAN], {"bind": "custom", "bind_address": "10.0.0.0/8"}, "no address of this host lies in it"),
        ([LAN, SECOND], {"bind": "lan", "bind_address": "192.0.2.0/24"}, "name one of 192.0.2.7, 192.0.2.8"),
        # Facts were not gathered.
        ([], {"bind": "custom", "bind_address": "192.0.2.9"}, ""),
        ([LAN, TAILNET], {"bind": "tailnet"}, ""),
        ([LAN], {"bind": "tailnet"}, "join this host to your tailnet first"),
        ([], {"bind": "tailnet"}, "join this host to your tailnet first"),
        ([LAN], {"bind": "tailnet", "tailnet_joins": True}, ""),
        ([CARRIER, TAILNET], {"bind": "tailnet"}, "100.72.0.5 on eth1, 100.64.0.5 on tailscale0"),
        ([CARRIER], {"bind": "tailnet", "tailnet_joins": True}, "only tailscale0 may have one"),
        ([LAN], {"bind": "loopback", "tailscale": "serve"}, "openclaw_gateway_tailscale is serve"),
        ([LAN, TAILNET], {"bind": "loopback", "tailscale": "serve"}, ""),
    ],
)
def test_the_addresses_of_the_host_decide(places: list[dict[str, str]], variables: dict[str, Any], words: str) -> None:
    found = errors(places, **variables)
    assert len(found) == bool(words), found
    assert words in "".join(found)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"bind": "loopback", "tailscale": "serve"}, ""),
        ({"bind": "loopback", "tailscale": "serve", "tailnet_login_server": "https://login.tailscale.com"}, ""),
        ({"bind": "lan", "tailscale": "serve"}, "set it to loopback"),
        ({"bind": "tailnet", "tailscale": "serve"}, "set it to loopback"),
        ({"bind": "loopback", "tailscale": "funnel"}, "whole internet"),
        ({"bind": "loopback", "tailscale": "serve", "tailnet_login_server": "https://hs.example.com"}, "headscale"),
        ({"bind": "tailnet", "tailscale": "off", "tailnet_login_server": "https://hs.example.com"}, ""),
        ({"tailscale": False}, "quotes"),
        ({"tailnet_interface": "tail scale"}, "openclaw_gateway_tailnet_interface"),
        ({"bind": "custom", "bind_address": "2001:db8::7"}, "IPv4"),
        ({"bind": "custom", "bind_address": "0.0.0.0"}, "lan instead"),
        ({"bind": "custom", "bind_address": "127.0.0.1"}, "loopback or lan"),
        ({"bind": "lan", "bind_address": "192.0.2.0/24"}, ""),
        ({"bind": "lan", "bind_address": "192.0.2.7/24"}, "192.0.2.0/24"),
        ({"bind": "lan", "bind_address": "0.0.0.0/0"}, "every address"),
        ({"bind": "loopback", "bind_address": "192.0.2.7"}, "empty the address"),
        ({"address_timeout": 29}, "30 to 600"),
    ],
)
def test_pairs_that_cannot_be_are_refused(variables: dict[str, Any], words: str) -> None:
    found = input_errors(**variables)
    assert len(found) == bool(words), found
    assert words in "".join(found)
