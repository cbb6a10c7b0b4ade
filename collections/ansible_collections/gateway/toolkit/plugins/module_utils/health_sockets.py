"""The listening TCP sockets of this host and who holds them, from the kernel's tables.

They are read directly (proc(5), /proc/net/tcp), so no further program is needed.
"""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

# States in include/net/tcp_states.h of Linux; a UDP socket that waits for anyone has the last one.
ESTABLISHED, LISTEN, UNCONNECTED = "01", "0A", "07"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket: its address as text ("127.0.0.1", "::"), its port, its inode."""

    address: str
    port: int
    inode: int


@dataclass(frozen=True)
class Socket:
    """A TCP or UDP socket: its own end, the other end (port 0: none), its inode (0: the kernel's own)."""

    address: str
    port: int
    remote: str
    remote_port: int
    inode: int


@dataclass(frozen=True)
class Owner:
    """A process that holds a socket: its id, its short name, the text of its /proc/<pid>/cgroup."""

    pid: int
    name: str
    cgroup: str


def address_text(word: str) -> str:
    """Return the address of a hexadecimal word of /proc/net/tcp or tcp6 (32-bit groups in the host's byte order).

    An IPv4 address inside IPv6 (::ffff:a.b.c.d) is returned as the IPv4 address.
    """
    groups = [int(word[start : start + 8], 16) for start in range(0, len(word), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(groups)}I", *groups))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def parse_table(text: str, state: str) -> list[Socket]:
    """Return the sockets of one state in the text of /proc/net/tcp, tcp6, udp or udp6."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == state:
            (address, port), (remote, remote_port) = fields[1].split(":"), fields[2].split(":")
            ends = (address_text(address), int(port, 16), address_text(remote), int(remote_port, 16))
            found.append(Socket(*ends, int(fields[9])))
    return found


def parse_sockets(text: str) -> list[Listener]:
    """Return the listening sockets in the text of /proc/net/tcp or /proc/net/tcp6."""
    return [Listener(socket.address, socket.port, socket.inode) for socket in parse_table(text, LISTEN)]


def in_group(cgroup: str, group: str) -> bool:
    """Tell whether a process is in a unit's control group or below it.

    cgroup: text of /proc/<pid>/cgroup, cgroup v1 (many lines) or v2 (one line `0::<path>`).
    group: the unit's ControlGroup, e.g. "/system.slice/litellm.service". In a container the kernel's path may
    have more in front of it. "" (unit not running) and "/" are nobody's group.
    """
    if group.strip("/") == "":
        return False
    paths = (line.split(":", 2)[-1] for line in cgroup.splitlines())
    return any(f"{group.rstrip('/')}/" in f"{path}/" for path in paths)


def unit_of(cgroup: str) -> str:
    """Return the innermost service or scope that the text of /proc/<pid>/cgroup names, or ""."""
    names = re.findall(r"([^/\n]+\.(?:service|scope))(?=/|$)", cgroup, re.MULTILINE)
    return names[-1] if names else ""


def read_listeners(net: str = "/proc/net") -> list[Listener]:
    """Return all listening TCP sockets of this network namespace; a kernel without IPv6 has no tcp6 table."""
    return [socket for table in ("tcp", "tcp6") for socket in parse_sockets(_read(os.path.join(net, table)))]


def read_sockets(protocol: str, state: str, net: str = "/proc/net") -> list[Socket]:
    """Return all sockets of a protocol ("tcp", "udp") in one state, of both IP versions."""
    tables = (protocol, f"{protocol}6")
    return [socket for table in tables for socket in parse_table(_read(os.path.join(net, table)), state)]


def read_owners(inodes: Iterable[int], proc: str = "/proc") -> dict[int, list[Owner]]:
    """Return inode -> processes that hold it. Processes that end meanwhile, or that may not be read, are left out."""
    wanted, found = set(inodes), dict[int, list[Owner]]()
    for pid in filter(str.isdigit, os.listdir(proc)):
        base = os.path.join(proc, pid)
        held = _socket_inodes(os.path.join(base, "fd")) & wanted
        if held:
            owner = Owner(int(pid), _read(f"{base}/comm").strip(), _read(f"{base}/cgroup"))
            for inode in held:
                found.setdefault(inode, []).append(owner)
    return found


def _socket_inodes(folder: str) -> set[int]:
    inodes: set[int] = set()
    try:
        names = os.listdir(folder)
    except OSError:
        return inodes
    for name in names:
        try:
            match = _SOCKET.fullmatch(os.readlink(os.path.join(folder, name)))
        except OSError:
            continue
        if match:
            inodes.add(int(match.group(1)))
    return inodes


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
