"""The toolkit's nftables rules for incoming traffic, made from plain data.

All rules are in one table of the toolkit's own. A packet passes a host only if every table lets it pass: so these
rules can close more than those of others, and never open what others close.

Source: nft(8); RFC 4890 for the ICMPv6 types.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TABLE = "inet gateway_toolkit"
# Declared first, so that deleting works whether or not the table is there; all of a file is one transaction.
RESET = f"table {TABLE}\ndelete table {TABLE}\n"
# Networks that are nobody's but the site's: RFC 1918 and RFC 4193.
PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
NETWORK_OF = "network_of:"
# destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, multicast listeners,
# router and neighbour discovery
_ICMP6 = "1, 2, 3, 4, 128, 130, 131, 132, 133, 134, 135, 136, 143"
# destination-unreachable, echo-request, time-exceeded, parameter-problem
_ICMP4 = "3, 8, 11, 12"
# What every host needs, whatever it serves: answers of DHCP servers, names of the local network.
_BASICS = (
    "udp sport 67 udp dport 68 accept",
    "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
    "ip daddr 224.0.0.251 udp dport 5353 accept",
    "ip6 daddr ff02::fb udp dport 5353 accept",
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Unresolved(Exception):
    """A word in `from` that means nothing on this host; the text is a sentence for the operator."""


@dataclass(frozen=True)
class Place:
    """What the words in `from` stand for on this host.

    lan: the networks that count as the LAN. tailnet: name of the interface. own: address of this host -> its network.
    """

    lan: tuple[str, ...]
    tailnet: str
    own: Mapping[str, str]


@dataclass(frozen=True)
class Opening:
    """Who may reach a port: `ports` is a port, a range ("8000-8010") or a list ("22, 2222").

    networks and interfaces: from where; networks None means from everywhere.
    """

    name: str
    protocol: str
    ports: str
    networks: tuple[str, ...] | None
    interfaces: tuple[str, ...] = ()

    def covers(self, protocol: str, port: int) -> bool:
        """Tell whether anyone may reach this port."""
        if protocol != self.protocol or (self.networks == () and not self.interfaces):
            return False
        ranges = (part.strip().partition("-") for part in self.ports.split(","))
        return any(int(low) <= port <= int(high or low) for low, _, high in ranges)


@dataclass(frozen=True)
class Wish:
    """All that the rules are made from.

    services: the toolkit's own ports, closed for everyone who is not named there, on every interface.
    allow: ports of others. extra: rules of the operator, as text. policy: what happens to the rest, drop or accept.
    """

    ssh: Opening
    services: tuple[Opening, ...]
    allow: tuple[Opening, ...]
    trusted: tuple[str, ...]
    extra: tuple[str, ...]
    policy: str

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Every opening."""
        return (self.ssh, *self.services, *self.allow)


@dataclass(frozen=True)
class Connection:
    """One connection of SSH: the client's address and port."""

    address: str
    port: int


def is_private(network: str) -> bool:
    """Tell whether a network belongs to the site alone."""
    wanted = ipaddress.ip_network(network, strict=False)
    return any(wanted.version == known.version and wanted.subnet_of(known) for known in PRIVATE)  # type: ignore[arg-type]


def _own_network(address: str, place: Place) -> Iterable[str]:
    text = str(ipaddress.ip_address(address))
    if ipaddress.ip_address(text).is_loopback:
        return ()
    if text not in place.own:
        raise Unresolved(f"no interface of this host has the address {text}")
    if is_private(place.own[text]):
        return (place.own[text],)
    if place.lan:
        return place.lan
    raise Unresolved(
        f"the network of {text}, {place.own[text]}, is not a private one: name in firewall_lan_networks who may come"
    )


def resolve(item: Mapping[str, Any], place: Place) -> Opening:
    """Return the opening that an item of the inventory means.

    item: name, port, protocol (tcp when left out) and from: networks, addresses, `lan`, `tailnet`, or
    `network_of:ADDRESS`, the network in which this host has that address. Without from: everyone. Empty: nobody.
    """
    name, protocol, ports = str(item["name"]), str(item.get("protocol") or "tcp"), str(item["port"])
    if item.get("from") is None:
        return Opening(name, protocol, ports, None)
    networks: list[str] = []
    interfaces: list[str] = []
    for source in map(str, item["from"]):
        if source == "lan":
            if not place.lan:
                raise Unresolved("this host has no private network: name in firewall_lan_networks who may come")
            networks += place.lan
        elif source == "tailnet":
            interfaces.append(place.tailnet)
        elif source.startswith(NETWORK_OF):
            networks += _own_network(source[len(NETWORK_OF) :], place)
        else:
            networks.append(source)
    return Opening(name, protocol, ports, tuple(networks), tuple(dict.fromkeys(interfaces)))


def _collapsed(networks: Iterable[str], version: int) -> list[str]:
    parsed = (ipaddress.ip_network(text, strict=False) for text in networks)
    mine = [network for network in parsed if network.version == version]
    return [str(network) for network in ipaddress.collapse_addresses(mine)]  # type: ignore[type-var]


def _names(interfaces: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in sorted(set(interfaces)))


def accept_lines(opening: Opening) -> list[str]:
    """Return the rules of one opening."""
    end = f'{opening.protocol} dport {{ {opening.ports} }} accept comment "{opening.name}"'
    if opening.networks is None:
        return [end]
    lines = []
    for word, version in (("ip", 4), ("ip6", 6)):
        networks = _collapsed(opening.networks, version)
        if networks:
            lines.append(f"{word} saddr {{ {', '.join(networks)} }} {end}")
    if opening.interfaces:
        lines.append(f"iifname {{ {_names(opening.interfaces)} }} {end}")
    return lines


def _only_lines(services: Sequence[Opening]) -> list[str]:
    """Close the toolkit's own ports for everyone else, on trusted interfaces too."""
    lines = []
    for protocol in ("tcp", "udp"):
        ports = sorted({service.ports for service in services if service.protocol == protocol})
        if ports:
            lines.append(f'{protocol} dport {{ {", ".join(ports)} }} counter drop comment "nobody else"')
    return lines


def ruleset(wish: Wish, live: Connection | None = None) -> str:
    """Return the file for `nft -f` that replaces the toolkit's table in one step.

    live: a connection that is let through whatever the rules say, while they are on probation.
    """
    deny = wish.policy == "drop"
    lines = ['iifname "lo" accept']
    if live:
        word = "ip" if ipaddress.ip_address(live.address).version == 4 else "ip6"
        lines.append(f'{word} saddr {live.address} tcp sport {live.port} accept comment "until confirmed"')
    lines += ["ct state established,related accept", *wish.extra]
    for opening in wish.openings:
        lines += accept_lines(opening)
    lines += _only_lines(wish.services)
    if deny:
        lines += [f"icmpv6 type {{ {_ICMP6} }} accept", f"icmp type {{ {_ICMP4} }} accept", *_BASICS]
        if wish.trusted:
            lines.append(f"iifname {{ {_names(wish.trusted)} }} accept")
        lines.append("counter")
    body = "".join(f"\t\t{line}\n" for line in lines)
    head = f"type filter hook input priority filter; policy {wish.policy};"
    return f"{RESET}table {TABLE} {{\n\tchain input {{\n\t\t{head}\n{body}\t}}\n}}\n"


def in_words(opening: Opening) -> str:
    """Describe an opening for a message."""
    if opening.networks is None:
        sources = "everywhere"
    else:
        sources = ", ".join((*opening.networks, *opening.interfaces)) or "nowhere"
    return f"{opening.name} ({opening.protocol} {opening.ports}) from {sources}"
