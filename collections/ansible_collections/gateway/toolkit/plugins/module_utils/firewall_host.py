"""What a host tells about itself that its firewall must respect: addresses, listening sockets, SSH, other firewalls."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.firewall_rules import Connection, Wish, is_private
from ansible_collections.gateway.toolkit.plugins.module_utils.health_sockets import (
    ESTABLISHED,
    LISTEN,
    UNCONNECTED,
    Socket,
    read_owners,
    read_sockets,
    unit_of,
)

# Their published ports come in by forwarding, which no rule of ours touches.
_FORWARDERS = ("docker-proxy", "conmon")
# Link-local name resolution (LLMNR): nothing depends on its being asked.
_NEGLIGIBLE = (("tcp", 5355), ("udp", 5355))
# Open by the rules themselves: DHCP clients and multicast DNS.
_BASIC_PORTS = (("udp", 68), ("udp", 546), ("udp", 5353))
# Services that put their own rules back at boot, by unit; nftables and netfilter-persistent only with rules.
MANAGERS = ("firewalld", "shorewall", "shorewall6", "ferm", "csf", "nftables", "netfilter-persistent")


@dataclass(frozen=True)
class Interface:
    """A network interface: its name, its addresses with prefix length, whether a default route goes through it."""

    name: str
    addresses: tuple[str, ...]
    default: bool


@dataclass(frozen=True)
class Listener:
    """A socket that waits for others: protocol (tcp, udp), address, port, and who holds it ("" for the kernel)."""

    protocol: str
    address: str
    port: int
    process: str
    unit: str
    ppid: int


def output(*command: str) -> str:
    """Return what a program prints, or "" when it fails or is not installed."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


# --- addresses ----------------------------------------------------------------------------------------------------


def parse_interfaces(addresses: Any, routes: Any) -> list[Interface]:
    """Return the interfaces in the JSON of `ip -j address` and `ip -j route show default`, both families joined."""
    defaults = {route.get("dev") for route in routes}
    found = []
    for link in addresses:
        texts = tuple(f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", []) if "local" in one)
        if link.get("ifname") and "LOOPBACK" not in link.get("flags", []):
            found.append(Interface(link["ifname"], texts, link["ifname"] in defaults))
    return found


def read_interfaces() -> list[Interface]:
    """Ask the host."""
    routes = json.loads(output("ip", "-j", "-4", "route", "show", "default") or "[]")
    routes += json.loads(output("ip", "-j", "-6", "route", "show", "default") or "[]")
    return parse_interfaces(json.loads(output("ip", "-j", "address") or "[]"), routes)


def own_networks(interfaces: Iterable[Interface]) -> dict[str, str]:
    """Return address of this host -> network."""
    pairs = (ipaddress.ip_interface(text) for interface in interfaces for text in interface.addresses)
    return {str(pair.ip): str(pair.network) for pair in pairs}


def lan_networks(interfaces: Sequence[Interface], live: str) -> tuple[str, ...]:
    """Return the private networks of the interfaces with a default route.

    live: the address at which SSH reached this host; its interface counts on a host without any default route.
    """
    chosen = [interface for interface in interfaces if interface.default] or [
        interface for interface in interfaces if live in own_networks([interface])
    ]
    return tuple(sorted({network for network in own_networks(chosen).values() if is_private(network)}))


# --- SSH ----------------------------------------------------------------------------------------------------------


def parse_ssh_connection(text: str) -> tuple[Connection, str, int] | None:
    """Return (client, server's address, server's port) of the text of SSH_CONNECTION, or None."""
    words = text.split()
    if len(words) != 4:
        return None
    client, server = (str(_unmapped(word)) for word in (words[0], words[2]))
    return Connection(client, int(words[1])), server, int(words[3])


def _unmapped(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.split("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _parent(pid: int, proc: str) -> int:
    with open(f"{proc}/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        return int(stream.read().rpartition(")")[2].split()[1])


def read_ssh_connection(proc: str = "/proc") -> tuple[Connection, str, int] | None:
    """Return the SSH connection that this process was started through.

    sudo drops SSH_CONNECTION, so the environments of the parents are looked at; root may read them.
    """
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"{proc}/{pid}/environ", encoding="utf-8", errors="replace") as stream:
                for entry in stream.read().split("\0"):
                    if entry.startswith("SSH_CONNECTION="):
                        return parse_ssh_connection(entry.partition("=")[2])
            pid = _parent(pid, proc)
        except OSError:
            return None
    return None


def established() -> list[tuple[str, int]]:
    """Return (address, port) of the other end of every established TCP connection."""
    return [(socket.remote, socket.remote_port) for socket in read_sockets("tcp", ESTABLISHED)]


# --- listening sockets --------------------------------------------------------------------------------------------


def read_listeners(proc: str = "/proc") -> list[Listener]:
    """Return the sockets of this host that others can reach; loopback is left out."""
    sockets = [("tcp", socket) for socket in read_sockets("tcp", LISTEN)]
    sockets += [("udp", socket) for socket in read_sockets("udp", UNCONNECTED)]
    owners = read_owners(socket.inode for _, socket in sockets)
    with open(f"{proc}/sys/net/ipv4/ip_local_port_range", encoding="ascii") as stream:
        first_client_port = int(stream.read().split()[0])
    found = []
    for protocol, socket in sockets:
        holders = owners.get(socket.inode, [])
        # A program that asks others over UDP waits for the answer on a port of this range.
        if _is_loopback(socket) or (protocol == "udp" and holders and socket.port >= first_client_port):
            continue
        first = holders[0] if holders else None
        ppid = _parent(first.pid, proc) if first else 0
        name, unit = (first.name, unit_of(first.cgroup)) if first else ("", "")
        found.append(Listener(protocol, socket.address, socket.port, name, unit, ppid))
    return found


def _is_loopback(socket: Socket) -> bool:
    return ipaddress.ip_address(socket.address).is_loopback


def ssh_ports(listeners: Iterable[Listener]) -> set[int]:
    """Return the ports on which the SSH server itself waits; not those that a session forwards."""
    return {one.port for one in listeners if one.protocol == "tcp" and one.process == "sshd" and one.ppid == 1}


def would_close(wish: Wish, listeners: Iterable[Listener], interfaces: Iterable[Interface]) -> list[str]:
    """Describe the sockets that others can reach now and that nobody could reach with these rules."""
    if wish.policy != "drop":
        return []
    trusted = own_networks(interface for interface in interfaces if interface.name in wish.trusted)
    own = {(service.protocol, service.ports) for service in wish.services}
    found = set()
    for one in listeners:
        known = (one.protocol, one.port) in (*_NEGLIGIBLE, *_BASIC_PORTS) or (one.protocol, str(one.port)) in own
        covered = any(opening.covers(one.protocol, one.port) for opening in wish.openings)
        if not (known or covered or one.address in trusted or one.process in _FORWARDERS):
            who = one.process or "the kernel"
            found.add((one.port, f"{one.protocol} {one.port} ({who}{', ' + one.unit if one.unit else ''})"))
    return [text for _, text in sorted(found)]


# --- other firewalls ----------------------------------------------------------------------------------------------


def foreign_input_rules(ruleset: Mapping[str, Any]) -> bool:
    """Tell whether the JSON of `nft -j list ruleset` has rules for incoming traffic that a person wrote for nft.

    Chains named INPUT are those of iptables; the toolkit's own table does not count.
    """
    objects = ruleset.get("nftables", [])
    chains = {
        (chain["family"], chain["table"], chain["name"]): chain.get("policy")
        for chain in (entry["chain"] for entry in objects if "chain" in entry)
        if chain.get("hook") == "input" and chain["table"] != "gateway_toolkit" and chain["name"] != "INPUT"
    }
    used = {
        (entry["rule"]["family"], entry["rule"]["table"], entry["rule"]["chain"])
        for entry in objects
        if "rule" in entry
    }
    return any(policy == "drop" or key in used for key, policy in chains.items())


def _first_line_with(path: str, *starts: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return any(line.startswith(starts) for line in stream)
    except OSError:
        return False


def other_manager(root: str = "") -> str:
    """Return the name of another firewall manager that is active on this host, or ""."""
    if _first_line_with(f"{root}/etc/ufw/ufw.conf", "ENABLED=yes"):
        return "ufw"
    shown = output("systemctl", "show", "--property=Id,ActiveState", *(f"{name}.service" for name in MANAGERS))
    blocks = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown.split("\n\n"))
    active = {block.get("Id", "").removesuffix(".service") for block in blocks if block.get("ActiveState") == "active"}
    for name in MANAGERS:
        if name not in active:
            continue
        if name == "nftables" and not foreign_input_rules(json.loads(output("nft", "-j", "list", "ruleset") or "{}")):
            continue
        files = (f"{root}/etc/iptables/rules.v4", f"{root}/etc/iptables/rules.v6")
        if name == "netfilter-persistent" and not any(
            _first_line_with(path, "-A INPUT", ":INPUT DROP") for path in files
        ):
            continue
        return name
    return ""
