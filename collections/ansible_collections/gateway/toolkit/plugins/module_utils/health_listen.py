"""Health check of kind `listen`: a TCP port is open on exactly these addresses, by exactly this unit."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Outcome
from ansible_collections.gateway.toolkit.plugins.module_utils.health_sockets import (
    Listener,
    Owner,
    in_group,
    read_listeners,
    read_owners,
    unit_of,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.health_unit import show_unit


def owner_text(owners: Iterable[Owner]) -> str:
    """Return who holds a socket, for a detail."""
    words = []
    for owner in owners:
        unit = unit_of(owner.cgroup)
        words.append(f"{owner.name} (pid {owner.pid}{', ' + unit if unit else ''})")
    return ", ".join(words) or "an unknown process"


def judge_listeners(
    listeners: Iterable[Listener],
    owners: Mapping[int, list[Owner]],
    port: int,
    addresses: Iterable[str],
    unit: str | None,
    group: str,
) -> Outcome:
    """Compare what listens with what should.

    owners: inode -> the processes that hold the socket. unit: None to accept any owner. group: the unit's ControlGroup.
    """
    sockets = list(listeners)
    here = [socket for socket in sockets if socket.port == port]
    seen, wanted = {socket.address for socket in here}, {str(ipaddress.ip_address(text)) for text in addresses}
    own = {inode for inode, holders in owners.items() if any(in_group(holder.cgroup, group) for holder in holders)}
    if unit:
        strangers = [socket for socket in here if socket.inode not in own]
        if strangers:
            held = sorted({f"{socket.address} by {owner_text(owners.get(socket.inode, []))}" for socket in strangers})
            return Outcome(False, f"port {port} does not belong to {unit}: it is held on {'; '.join(held)}")
    if seen == wanted:
        return Outcome(True, f"port {port} on {_join(seen)}{' by ' + unit if unit else ''}")
    detail = f"port {port} is open on {_join(seen)}" if seen else f"nothing listens on port {port}"
    who = sorted({owner_text(owners.get(socket.inode, [])) for socket in here})
    detail += f" by {'; '.join(who)}" if who else ""
    other = sorted(f"{socket.address} port {socket.port}" for socket in sockets if socket.inode in own)
    detail += f", {unit} listens on {', '.join(other)} instead" if other and not here else ""
    return Outcome(False, f"{detail}; expected {_join(wanted)}")


def _join(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses)) or "no address"


def check_listen(check: Mapping[str, Any]) -> Outcome:
    """Look at the kernel's tables once."""
    unit = check.get("unit")
    group = show_unit(unit).get("ControlGroup", "") if unit else ""
    listeners = read_listeners()
    owners = read_owners(socket.inode for socket in listeners)
    return judge_listeners(listeners, owners, check["port"], check["addresses"], unit, group)
