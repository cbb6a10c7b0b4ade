#!/usr/bin/env python3
"""Keep the gateway on the one address that it is meant to listen on.

    openclaw_bind.py wait  (--interface NAME | --address ADDRESS) --seconds N
    openclaw_bind.py watch (--interface NAME | --address ADDRESS) --port N --unit NAME

OpenClaw (2026.9.6) with bind tailnet takes the first address of 100.64.0.0/10 of any interface; where there is none it
listens on loopback alone without a word, says that it is healthy, and never looks again. With bind custom it gives up.

* `wait` stands before its start (ExecStartPre): exit code 0 as soon as the address is there, 1 with one sentence when
  it is not after N seconds. It always waits that long before it fails, so systemd's limit of starts is never reached
  and a host whose tailnet is away for hours comes back by itself.
* `watch` runs beside it: at each change of an address, and twice a minute, it compares where the port is open with
  where it should be, and restarts the unit when that is somewhere else. A socket survives that its address goes away
  and comes back, so a restarted tailscaled does not interrupt the gateway.

--interface: the address of 100.64.0.0/10 on this interface, the only one of the host, as OpenClaw would choose.
--address: this IPv4 address, on any interface.
Runs on Linux; Python 3.10 or later, standard library only. No right is needed for `wait`.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import ipaddress
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TAILNET = ipaddress.ip_network("100.64.0.0/10")  # https://tailscale.com/kb/1015/100.x-addresses
LOOPBACK = {"127.0.0.1", "::1"}
LOOK = 0.5  # seconds between two looks of `wait`
POLL = 30.0  # seconds between two looks of `watch` when nothing happens
SETTLE = 3.0  # seconds that a wrong socket must last: a starting gateway opens its sockets one after the other
PATIENCE = (30.0, 900.0)  # seconds between two restarts that did not help: at first, and at most

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h, linux/if.h, linux/sockios.h
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE, RTM_NEWADDR, RTM_GETADDR = 2, 3, 20, 22
RTMGRP_LINK, RTMGRP_IPV4_IFADDR = 0x1, 0x10
IFA_ADDRESS, IFA_LOCAL = 1, 2
SIOCGIFFLAGS, IFF_UP, IFF_RUNNING = 0x8913, 0x1, 0x40


class Place(NamedTuple):
    """An IPv4 address of this host and the interface that has it."""

    interface: str
    address: str


class Wanted(NamedTuple):
    """Where the gateway is meant to listen; one of the two is empty."""

    interface: str
    address: str


# --- judging, no side effects -------------------------------------------------------------------------------------


def choose(places: Iterable[Place], wanted: Wanted) -> tuple[str, str]:
    """Return (the address to listen on, "") or ("", why there is none), from the addresses that are usable now."""
    usable = list(places)
    if wanted.address:
        found = any(place.address == wanted.address for place in usable)
        return (wanted.address, "") if found else ("", f"this host does not have the address {wanted.address}")
    tailnet = [place for place in usable if ipaddress.ip_address(place.address) in TAILNET and place.interface != "lo"]
    own = [place for place in tailnet if place.interface == wanted.interface]
    if not own:
        return (
            "",
            f"{wanted.interface} has no address: this host is not in its tailnet now (see: tailscale status)",
        )
    if len(tailnet) > 1:
        listed = ", ".join(f"{place.address} on {place.interface}" for place in tailnet)
        return "", (
            f"this host has {listed}, and OpenClaw would listen on the first of them: set openclaw_gateway_bind to "
            "custom and openclaw_gateway_bind_address to the one you want"
        )
    return own[0].address, ""


def trouble(listening: set[str], address: str) -> str:
    """Say what is wrong with the addresses on which the port is open; "" when all is well or nothing is open yet."""
    if not listening or not address:
        return ""
    if address not in listening:
        return f"listens on {', '.join(sorted(listening))}, but not on {address}"
    more = listening - LOOPBACK - {address}
    return f"listens on {', '.join(sorted(more))} besides {address}" if more else ""


def parse_addresses(message: bytes) -> Iterator[tuple[int, str]]:
    """Yield (interface index, IPv4 address) of each address in an answer of rtnetlink."""
    start = 0
    while start + 16 <= len(message):
        length, kind = struct.unpack_from("=IH", message, start)
        if kind == RTM_NEWADDR:
            index = struct.unpack_from("=I", message, start + 20)[0]
            found, place, end = {}, start + 24, start + length
            while place + 4 <= end:
                size, attribute = struct.unpack_from("=HH", message, place)
                found[attribute] = message[place + 4 : place + size]
                place += max(size + 3 & ~3, 4)
            # On a point-to-point interface IFA_ADDRESS is the other end.
            packed = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
            if packed:
                yield index, socket.inet_ntoa(packed)
        start += max(length + 3 & ~3, 16)


def is_last(message: bytes) -> bool:
    """Tell whether an answer of rtnetlink ends the list; OSError when it is an error."""
    start = 0
    while start + 16 <= len(message):
        length, kind = struct.unpack_from("=IH", message, start)
        if kind == NLMSG_DONE:
            return True
        if kind == NLMSG_ERROR:
            raise OSError(-struct.unpack_from("=i", message, start + 16)[0], "the kernel does not tell the addresses")
        start += max(length + 3 & ~3, 16)
    return False


def parse_listeners(table: str, port: int) -> set[str]:
    """Return the addresses on which TCP `port` is open, from the text of /proc/net/tcp or /proc/net/tcp6."""
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == "0A":
            word, number = fields[1].split(":")
            if int(number, 16) == port:
                groups = [int(word[place : place + 8], 16) for place in range(0, len(word), 8)]
                address = ipaddress.ip_address(struct.pack(f"={len(groups)}I", *groups))
                found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return found


# --- asking the kernel --------------------------------------------------------------------------------------------


def addresses() -> list[Place]:
    """Return the IPv4 addresses of the interfaces that Node.js lists: those that are up and have a carrier."""
    found: list[tuple[int, str]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(5)
        head = struct.pack("=IHHII", 24, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
        link.send(head + struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0))
        while True:
            message = link.recv(1 << 16)
            found += parse_addresses(message)
            if is_last(message):
                break
    places = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for index, address in found:
            try:
                name = socket.if_indextoname(index)
                answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
            except OSError:  # it went away in this moment
                continue
            if struct.unpack_from("=H", answer, 16)[0] & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING:
                places.append(Place(name, address))
    return places


def listeners(port: int) -> set[str]:
    """Return the addresses on which TCP `port` is open on this host; a kernel without IPv6 has no second table."""
    tables = [Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6")]
    return set().union(*(parse_listeners(table.read_text(), port) for table in tables if table.exists()))


def say(sentence: str) -> None:
    """Write one line to the journal."""
    print(sentence, file=sys.stderr, flush=True)


# --- the two commands ---------------------------------------------------------------------------------------------


def wait(wanted: Wanted, seconds: float) -> int:
    """Return 0 as soon as the address is there, 1 when it is not in time."""
    end, told = time.monotonic() + seconds, ""
    while True:
        address, reason = choose(addresses(), wanted)
        if address:
            if told:
                say(f"The gateway's address {address} is there.")
            return 0
        left = end - time.monotonic()
        if left <= 0:
            say(f"The gateway is not started, because {reason}. It is tried again in a few seconds, for ever.")
            return 1
        if reason != told:
            say(f"Waiting up to {left:.0f} seconds for the gateway's address: {reason}.")
            told = reason
        time.sleep(min(LOOK, left))


def subscribe() -> socket.socket:
    """Return a socket that can be read when an address or an interface of this host changes."""
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    events.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))
    return events


def pause(events: socket.socket, seconds: float) -> None:
    """Wait until something changes, `seconds` at most, and forget what it was."""
    if select.select([events], [], [], seconds)[0]:
        time.sleep(1)  # addresses change in bursts
        try:
            while events.recv(1 << 16):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more events than the buffer holds; what they were does not matter
                raise


class Restarts:
    """Restarts that did not help yet, in a file: the unit's restart restarts this program too."""

    def __init__(self, path: Path) -> None:
        """Take the file's path; its folder exists."""
        self.path = path

    def count(self) -> int:
        """Return how many there were in a row."""
        try:
            return len(self.path.read_bytes())
        except OSError:
            return 0

    def due_in(self) -> float:
        """Return the seconds until the next one is allowed; each waits twice as long as the one before."""
        count = self.count()
        if not count:
            return 0.0
        pause_between = min(PATIENCE[0] * 2 ** (count - 1), PATIENCE[1])
        return max(0.0, self.path.stat().st_mtime + pause_between - time.time())

    def add(self) -> None:
        """Remember one."""
        with self.path.open("ab") as file:
            file.write(b".")

    def forget(self) -> None:
        """All is well."""
        self.path.unlink(missing_ok=True)


def watch(wanted: Wanted, port: int, unit: str) -> int:
    """Restart `unit` whenever its port is open somewhere else than at the address; never returns."""
    events, restarts, seen_before = subscribe(), Restarts(Path(os.environ["RUNTIME_DIRECTORY"]) / "restarts"), ""
    address_before = choose(addresses(), wanted)[0]
    while True:
        address, reason = choose(addresses(), wanted)
        if address != address_before:
            say(f"The gateway's address is {address}." if address else f"The gateway cannot be reached: {reason}.")
            address_before = address
        listening = listeners(port)
        seen = trouble(listening, address)
        if seen and seen == seen_before and not restarts.due_in():
            say(f"{unit} {seen}: restarting it.")
            restarts.add()
            subprocess.run(["systemctl", "try-restart", "--no-block", unit], check=False)
        elif address and listening and not seen:
            restarts.forget()
        seen_before = seen
        pause(events, SETTLE if seen else POLL)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["wait", "watch"])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--interface", default="", help="the tailnet's interface, such as tailscale0")
    where.add_argument("--address", default="", help="an IPv4 address")
    parser.add_argument("--seconds", type=float, default=60, help="how long `wait` waits")
    parser.add_argument("--port", type=int, default=4321, help="the gateway's port, for `watch`")
    parser.add_argument("--unit", default="openclaw-gateway.service", help="the gateway's unit, for `watch`")
    options = parser.parse_args()
    wanted = Wanted(options.interface, options.address)
    if options.command == "wait":
        return wait(wanted, options.seconds)
    return watch(wanted, options.port, options.unit)


if __name__ == "__main__":
    sys.exit(main())
