"""The firewall's rules on plain data: what they let in, what they would close, what a host says about itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import firewall_host as host
from ansible_collections.gateway.toolkit.plugins.module_utils import firewall_store
from ansible_collections.gateway.toolkit.plugins.module_utils.firewall_host import Interface, Listener
from ansible_collections.gateway.toolkit.plugins.module_utils.firewall_rules import (
    Connection,
    Opening,
    Place,
    Unresolved,
    Wish,
    accept_lines,
    in_words,
    resolve,
    ruleset,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.input_firewall import firewall_input_errors

LAN = ("192.168.7.0/24", "fd00:7::/64")
OWN = {"192.168.7.5": "192.168.7.0/24", "203.0.113.9": "203.0.113.0/24", "10.1.1.1": "10.1.1.0/28"}
PLACE = Place(LAN, "tailscale0", OWN)
SSH = Opening("SSH", "tcp", "22, 2222", None)


def opened(**item: Any) -> Opening:
    return resolve({"name": "door", "port": 4321, **item}, PLACE)


def wish(*services: Opening, **changes: Any) -> Wish:
    return Wish(
        **{"ssh": SSH, "services": services, "allow": (), "trusted": (), "extra": (), "policy": "drop"} | changes
    )


def rules(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


# Who may come


def test_without_from_everyone_may_come() -> None:
    assert accept_lines(opened()) == ['tcp dport { 4321 } accept comment "door"']


def test_with_an_empty_from_nobody_may_come() -> None:
    assert accept_lines(opened(**{"from": []})) == []


def test_lan_is_its_networks_of_both_ip_versions() -> None:
    lines = accept_lines(opened(**{"from": ["lan"]}))
    assert [line.split(" tcp ")[0] for line in lines] == ["ip saddr { 192.168.7.0/24 }", "ip6 saddr { fd00:7::/64 }"]


def test_tailnet_is_its_interface() -> None:
    assert accept_lines(opened(**{"from": ["tailnet"]}))[0].startswith('iifname { "tailscale0" } tcp dport { 4321 }')


def test_networks_that_overlap_are_one() -> None:
    assert "{ 192.168.7.0/24 }" in accept_lines(opened(**{"from": ["lan", "192.168.7.9", "192.168.7.0/25"]}))[0]


def test_network_of_an_own_address() -> None:
    assert opened(**{"from": ["network_of:10.1.1.1"]}).networks == ("10.1.1.0/28",)
    assert opened(**{"from": ["network_of:127.0.0.1"]}).networks == ()


def test_public_network_of_an_own_address_is_no_lan() -> None:
    assert opened(**{"from": ["network_of:203.0.113.9"]}).networks == LAN
    with pytest.raises(Unresolved, match="firewall_lan_networks"):
        resolve({"name": "d", "port": 1, "from": ["network_of:203.0.113.9"]}, Place((), "tailscale0", OWN))


@pytest.mark.parametrize("source", ["lan", "network_of:192.0.2.1"])
def test_word_that_means_nothing_here_is_refused(source: str) -> None:
    with pytest.raises(Unresolved):
        resolve({"name": "d", "port": 1, "from": [source]}, Place((), "tailscale0", OWN))


# The rules


def test_ssh_comes_before_what_closes_something() -> None:
    text = rules(ruleset(wish(opened(**{"from": ["lan"]}))))
    assert text.index('tcp dport { 22, 2222 } accept comment "SSH"') < text.index(
        'tcp dport { 4321 } counter drop comment "nobody else"'
    )


def test_own_port_is_closed_on_trusted_interfaces_too() -> None:
    text = rules(ruleset(wish(opened(**{"from": ["lan"]}), trusted=("tailscale0",))))
    closed = text.index('tcp dport { 4321 } counter drop comment "nobody else"')
    assert closed < text.index('iifname { "tailscale0" } accept')


def test_port_that_the_operator_opens_further_is_open() -> None:
    service, more = opened(**{"from": ["lan"]}), resolve({"name": "me", "port": 4321, "from": ["192.0.2.7"]}, PLACE)
    text = rules(ruleset(wish(service, allow=(more,))))
    assert text.index('ip saddr { 192.0.2.7/32 } tcp dport { 4321 } accept comment "me"') < text.index(
        'tcp dport { 4321 } counter drop comment "nobody else"'
    )


def test_policy_accept_leaves_everything_else_alone() -> None:
    text = rules(ruleset(wish(opened(**{"from": []}), policy="accept")))
    assert [line for line in text if "drop" in line] == ['tcp dport { 4321 } counter drop comment "nobody else"']
    assert "type filter hook input priority filter; policy accept;" in text


@pytest.mark.parametrize(("address", "word"), [("192.0.2.1", "ip"), ("2001:db8::1", "ip6")])
def test_live_connection_is_let_through_on_probation_only(address: str, word: str) -> None:
    line = f'{word} saddr {address} tcp sport 50000 accept comment "until confirmed"'
    assert line in rules(ruleset(wish(), Connection(address, 50000)))
    assert line not in rules(ruleset(wish()))


def test_table_is_replaced_in_one_file() -> None:
    assert rules(ruleset(wish()))[:3] == [
        "table inet gateway_toolkit",
        "delete table inet gateway_toolkit",
        "table inet gateway_toolkit {",
    ]


def test_opening_in_words() -> None:
    assert in_words(opened()) == "door (tcp 4321) from everywhere"
    assert in_words(opened(**{"from": []})) == "door (tcp 4321) from nowhere"


# What would be closed

ETH = Interface("eth0", ("192.168.7.5/24",), True)
TAIL = Interface("tailscale0", ("100.64.0.7/32",), False)


def closes(*listeners: Listener, **changes: Any) -> list[str]:
    return host.would_close(wish(opened(**{"from": ["lan"]}), **changes), listeners, [ETH, TAIL])


def listener(protocol: str = "tcp", port: int = 8080, process: str = "nginx", **changes: Any) -> Listener:
    return Listener(
        **{"protocol": protocol, "address": "0.0.0.0", "port": port, "process": process, "unit": "", "ppid": 1}
        | changes
    )


def test_port_that_nobody_could_reach_is_named_once_with_its_program() -> None:
    web = (listener(unit="nginx.service"), listener(unit="nginx.service", address="::"))
    assert closes(*web) == ["tcp 8080 (nginx, nginx.service)"]
    assert closes(listener("udp", 51820, "")) == ["udp 51820 (the kernel)"]


@pytest.mark.parametrize(
    "known",
    [
        listener(port=22),
        listener(port=4321),
        listener("udp", 68, "systemd-networkd"),
        listener("udp", 5353, "avahi-daemon"),
        listener(port=5355, process="systemd-resolve"),
        listener(process="docker-proxy"),
        listener(address="100.64.0.7"),
    ],
)
def test_port_that_stays_open_is_not_named(known: Listener) -> None:
    assert closes(known, trusted=("tailscale0",)) == []


def test_allowed_range_is_not_named() -> None:
    range_of_ports = resolve({"name": "r", "port": "8000-8090"}, PLACE)
    assert closes(listener(), allow=(range_of_ports,)) == []
    assert closes(listener(port=8091), allow=(range_of_ports,)) != []
    assert closes(listener("udp"), allow=(range_of_ports,)) != []


def test_nothing_is_closed_with_policy_accept() -> None:
    assert closes(listener(), policy="accept") == []


# What the host says


def test_lan_is_the_private_networks_with_a_default_route() -> None:
    public = Interface("eth1", ("203.0.113.9/24", "fe80::1/64", "fd00:9::1/64"), True)
    assert host.lan_networks([ETH, TAIL, public], "") == ("192.168.7.0/24", "fd00:9::/64")


def test_lan_without_any_default_route_is_where_ssh_comes_in() -> None:
    alone = Interface("eth0", ("192.168.7.5/24",), False)
    assert host.lan_networks([alone, TAIL], "192.168.7.5") == ("192.168.7.0/24",)
    assert host.lan_networks([alone, TAIL], "100.64.0.7") == ()


def test_interfaces_of_ip() -> None:
    links = [
        {"ifname": "lo", "flags": ["LOOPBACK"], "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
        {"ifname": "eth0", "flags": ["UP"], "addr_info": [{"local": "192.168.7.5", "prefixlen": 24}]},
        {},
    ]
    assert host.parse_interfaces(links, [{"dst": "default", "dev": "eth0"}]) == [ETH]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1 50000 192.0.2.2 22", (Connection("192.0.2.1", 50000), "192.0.2.2", 22)),
        ("::ffff:192.0.2.1 5 ::ffff:192.0.2.2 22", (Connection("192.0.2.1", 5), "192.0.2.2", 22)),
        ("fe80::1%eth0 5 fe80::2%eth0 22", (Connection("fe80::1", 5), "fe80::2", 22)),
        ("", None),
    ],
)
def test_ssh_connection(text: str, expected: Any) -> None:
    assert host.parse_ssh_connection(text) == expected


def test_ssh_connection_is_found_in_a_parents_environment() -> None:
    code = (
        "import os, sys; sys.path.insert(0, 'collections')\n"
        "from ansible_collections.gateway.toolkit.plugins.module_utils.firewall_host import read_ssh_connection\n"
        "print(read_ssh_connection()[2])"
    )
    command = f'env -u SSH_CONNECTION {os.sys.executable} -c "{code}"; true'
    done = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 2222"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "2222\n", done.stderr


def test_ssh_ports_are_the_servers_own() -> None:
    server = listener(port=2222, process="sshd")
    forwarded = listener(port=9000, process="sshd", ppid=400)
    assert host.ssh_ports([server, forwarded, listener()]) == {2222}


# Other firewalls


def nft(table: str, chain: str, policy: str = "accept", rule: bool = False) -> dict[str, Any]:
    found = [{"chain": {"family": "inet", "table": table, "name": chain, "hook": "input", "policy": policy}}]
    extra = [{"rule": {"family": "inet", "table": table, "chain": chain}}] if rule else []
    return {"nftables": [{"metainfo": {}}, *found, *extra]}


@pytest.mark.parametrize(
    ("ruleset", "theirs"),
    [
        (nft("filter", "input"), False),
        (nft("filter", "input", rule=True), True),
        (nft("filter", "input", policy="drop"), True),
        (nft("filter", "INPUT", policy="drop"), False),
        (nft("gateway_toolkit", "input", policy="drop", rule=True), False),
        ({}, False),
    ],
)
def test_rules_that_somebody_wrote_for_nft(ruleset: dict[str, Any], theirs: bool) -> None:
    assert host.foreign_input_rules(ruleset) is theirs


@pytest.mark.parametrize(("enabled", "found"), [("yes", "ufw"), ("no", "")])
def test_ufw_counts_when_it_is_on(tmp_path: Path, monkeypatch: Any, enabled: str, found: str) -> None:
    (tmp_path / "etc/ufw").mkdir(parents=True)
    (tmp_path / "etc/ufw/ufw.conf").write_text(f"# comment\nENABLED={enabled}\n")
    monkeypatch.setattr(host, "output", lambda *_command: "")
    assert host.other_manager(str(tmp_path)) == found


def test_active_manager_is_named_and_persistent_rules_count_when_there_are_any(
    tmp_path: Path, monkeypatch: Any
) -> None:
    shown = "Id=firewalld.service\nActiveState=inactive\n\nId=netfilter-persistent.service\nActiveState=active\n"
    monkeypatch.setattr(host, "output", lambda *_command: shown)
    assert host.other_manager(str(tmp_path)) == ""
    (tmp_path / "etc/iptables").mkdir(parents=True)
    (tmp_path / "etc/iptables/rules.v6").write_text("*filter\n:INPUT DROP [0:0]\n")
    assert host.other_manager(str(tmp_path)) == "netfilter-persistent"


# Probation


def test_undo_restores_the_previous_rules_once_and_only_while_pending(tmp_path: Path, monkeypatch: Any) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nft").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    (tools / "nft").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    run = tmp_path / "run"
    run.mkdir()
    (run / "pending.json").write_text("{}")
    for _ in range(2):
        subprocess.run(["/bin/sh", "-c", firewall_store.UNDO_SCRIPT, str(run)], env=environment, check=True)
    assert (tmp_path / "calls").read_text() == "-f previous.nft\n"
    assert not (run / "pending.json").exists()


# Input


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"firewall_state": "present", "firewall_default_incoming": "allow", "firewall_close_others": True},
        {"firewall_allow": [{"name": "web", "port": 443}, {"name": "r", "port": "9100-9110", "protocol": "udp"}]},
        {"firewall_allow": [{"name": "web", "port": "443", "from": ["lan", "tailnet", "192.0.2.7", "2001:db8::/64"]}]},
        {"firewall_services": [{"name": "gw", "port": 4321, "from": ["network_of:192.0.2.7"]}]},
        {"firewall_extra_rules": ["tcp dport { 22, 23 } ct state new limit rate 10/minute accept"]},
    ],
)
def test_good_input(good: dict[str, Any]) -> None:
    assert firewall_input_errors(good) == []
