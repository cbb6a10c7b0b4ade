"""Real rules on real hosts: who gets through, and what is left alone.

Doors are tried from three hosts: gateway1 (a gateway elsewhere), peer (the LAN, and a proxy elsewhere) and stranger.
"""

from __future__ import annotations

import json
import shlex

import pytest
from conftest import Playbooks, address_of, show
from testinfra.host import Host

PLAYBOOK = "playbooks/firewall.yml"
GUARDED6 = "fd00:4321::1"
TABLE = "nft -ns list table inet gateway_toolkit"
# Tries all doors at once. An open one answers hello (SSH: its banner); a closed one says nothing.
TRY_DOORS = """
import concurrent.futures, json, socket, sys
def attempt(door):
    protocol, address, port, patience = door
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as visitor:
        visitor.settimeout(patience)
        try:
            visitor.connect((address, port))
            if protocol == "udp":
                visitor.send(b"x")
            return len(visitor.recv(100)) > 0
        except OSError:
            return False
doors = json.load(sys.stdin)
with concurrent.futures.ThreadPoolExecutor(len(doors)) as pool:
    print(json.dumps(list(pool.map(attempt, doors))))
"""
DOORS = [("tcp", port) for port in (22, 4321, 4000, 5432, 8080, 8443)] + [("udp", 7007), ("udp", 7070)]
# Who gets through which door over IPv4, and over IPv6: only IPv4 addresses of the other hosts are in the inventory.
OPEN = {
    "gateway1": ({22, 4000, 8443}, {22, 8443}),
    "peer": ({22, 4321, 5432, 8443, 7007}, {22, 4321, 8443}),
    "stranger": ({22, 8443}, {22, 8443}),
}


def tried(host: Host, address: str, expected: set[int]) -> set[int]:
    """The ports of `address` through which `host` gets; an open one may take long on a busy machine."""
    doors = [(protocol, address, port, 15 if port in expected else 2) for protocol, port in DOORS]
    done = host.run(f"printf %s {shlex.quote(json.dumps(doors))} | python3 -c {shlex.quote(TRY_DOORS)}")
    assert done.rc == 0, done.stderr
    return {port for (_, port), through in zip(DOORS, json.loads(done.stdout), strict=True) if through}


def rules(host: Host) -> str:
    """The toolkit's table as the kernel has it."""
    return str(host.run(TABLE).stdout)


@pytest.mark.parametrize("visitor", sorted(OPEN))
def test_each_door_is_open_for_those_it_is_meant_for_and_nobody_else(hosts: dict[str, Host], visitor: str) -> None:
    over4, over6 = OPEN[visitor]
    assert tried(hosts[visitor], address_of(hosts["guarded"]), over4) == over4
    assert tried(hosts[visitor], GUARDED6, over6) == over6


def test_gateway_on_loopback_is_closed_for_all(hosts: dict[str, Host]) -> None:
    assert tried(hosts["peer"], address_of(hosts["gateway1"]), {22, 8443, 7007}) == {22, 8443, 7007}


def test_own_connections_go_out(hosts: dict[str, Host]) -> None:
    assert tried(hosts["guarded"], address_of(hosts["gateway1"]), {22, 8443}) >= {22, 8443}


def test_other_firewall_is_left_alone_until_told_otherwise(hosts: dict[str, Host], playbooks: Playbooks) -> None:
    stranger = hosts["stranger"]
    theirs = stranger.run("ufw status verbose; iptables-save | grep -v '^#' | sed 's/\\[.*//'").stdout
    assert "Status: active" in theirs
    done = playbooks.run(PLAYBOOK, "--limit", "stranger")
    assert done.rc == done.changed == 0
    assert "ufw is active on this host, so its firewall is left as it is" in " ".join(done.output.split())
    assert rules(stranger) == ""
    assert playbooks.run(PLAYBOOK, "--limit", "stranger", variables={"firewall_state": "present"}).rc == 0
    assert "policy drop" in rules(stranger)
    removed = playbooks.run(PLAYBOOK, "--limit", "stranger", variables={"firewall_state": "absent"})
    assert removed.rc == 0 and removed.changed > 0
    assert playbooks.run(PLAYBOOK, "--limit", "stranger", variables={"firewall_state": "absent"}).changed == 0
    assert rules(stranger) == ""
    assert show(stranger, "gateway-toolkit-firewall.service")["LoadState"] == "not-found"
    assert stranger.run("ufw status verbose; iptables-save | grep -v '^#' | sed 's/\\[.*//'").stdout == theirs
