"""Checks of kind listen: recorded texts of /proc, and real sockets of the test itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import health_listen
from ansible_collections.gateway.toolkit.plugins.module_utils.health_listen import check_listen, judge_listeners
from ansible_collections.gateway.toolkit.plugins.module_utils.health_sockets import (
    Listener,
    Owner,
    address_text,
    in_group,
    parse_sockets,
    read_listeners,
    read_owners,
    unit_of,
)

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 12001 1 0000000000000000 100
   1: 00000000:10E1 00000000:0000 0A 00000000:00000000 00:00000000 00000000   997        0 12002 1 0000000000000000 100
   2: 0100007F:0FA0 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000   998        0 12003 1 0000000000000000 20
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000001000000:10E1 00000000000000000000000000000000:0000 0A 0:0 00:0 0 997 0 12004 1 0 100
   1: 00000000000000000000000000000000:1538 00000000000000000000000000000000:0000 0A 0:0 00:0 0 997 0 12005 1 0 100
   2: 0000000000000000FFFF00000100007F:1539 00000000000000000000000000000000:0000 0A 0:0 00:0 0 997 0 12006 1 0 100
"""
LITELLM = Owner(812, "litellm", "0::/system.slice/litellm.service\n")
NGINX = Owner(77, "nginx", "0::/system.slice/nginx.service\n")
GROUP = "/system.slice/litellm.service"
UNIT = "litellm.service"


def judge(
    listeners: list[Listener], owner: Owner | None, port: int = 4000, addresses: tuple[str, ...] = ("127.0.0.1",)
):
    owners = {listener.inode: [owner] for listener in listeners} if owner else {}
    return judge_listeners(listeners, owners, port, addresses, UNIT, GROUP)


def test_listening_sockets_are_read_and_connections_left_out() -> None:
    assert parse_sockets(TCP) == [Listener("127.0.0.1", 4000, 12001), Listener("0.0.0.0", 4321, 12002)]


def test_ipv6_addresses_are_read_and_embedded_ipv4_is_shown_as_such() -> None:
    found = [(listener.address, listener.port) for listener in parse_sockets(TCP6)]
    assert found == [("::1", 4321), ("::", 5432), ("127.0.0.1", 5433)]


def test_the_byte_order_is_right_for_more_than_loopback() -> None:
    assert address_text("0500000A") == "10.0.0.5"
    assert address_text("B80D0120000000000000000001000000") == "2001:db8::1"


@pytest.mark.parametrize(
    ("cgroup", "inside"),
    [
        ("0::/system.slice/litellm.service\n", True),
        ("0::/system.slice/litellm.service/worker\n", True),
        ("0::/machine.slice/host1.scope/system.slice/litellm.service\n", True),
        ("12:pids:/docker/abc/system.slice/litellm.service\n1:name=systemd:/docker/abc\n0::/docker/abc\n", True),
        ("0::/system.slice/litellm.service-other.service\n", False),
        ("0::/system.slice/nginx.service\n", False),
        ("0::/\n", False),
        ("", False),
    ],
)
def test_membership_in_a_control_group(cgroup: str, inside: bool) -> None:
    assert in_group(cgroup, GROUP) is inside


@pytest.mark.parametrize("group", ["", "/"])
def test_a_unit_that_does_not_run_owns_nothing(group: str) -> None:
    assert not in_group("0::/system.slice/litellm.service\n", group)


def test_the_innermost_unit_of_a_process_is_named() -> None:
    assert unit_of("0::/user.slice/user-0.slice/session-3.scope\n") == "session-3.scope"
    assert unit_of("0::/\n") == ""


def test_the_right_unit_on_the_right_address_passes() -> None:
    assert judge([Listener("127.0.0.1", 4000, 1)], LITELLM).ok


def test_a_socket_of_another_unit_fails_and_its_owner_is_named() -> None:
    outcome = judge([Listener("127.0.0.1", 4000, 1)], NGINX)
    assert not outcome.ok
    assert outcome.detail == (
        "port 4000 does not belong to litellm.service: it is held on 127.0.0.1 by nginx (pid 77, nginx.service)"
    )


def test_a_second_owner_on_another_address_of_the_port_fails() -> None:
    listeners = [Listener("127.0.0.1", 4000, 1), Listener("10.0.0.5", 4000, 2)]
    owners = {1: [LITELLM], 2: [NGINX]}
    outcome = judge_listeners(listeners, owners, 4000, ["127.0.0.1", "10.0.0.5"], UNIT, GROUP)
    assert not outcome.ok
    assert "10.0.0.5 by nginx" in outcome.detail


def test_a_socket_that_nobody_is_seen_to_hold_fails() -> None:
    outcome = judge([Listener("127.0.0.1", 4000, 1)], None)
    assert not outcome.ok
    assert "an unknown process" in outcome.detail


def test_too_wide_an_address_fails() -> None:
    outcome = judge([Listener("0.0.0.0", 4000, 1)], LITELLM)
    assert not outcome.ok
    assert outcome.detail == ("port 4000 is open on 0.0.0.0 by litellm (pid 812, litellm.service); expected 127.0.0.1")


def test_a_missing_address_fails() -> None:
    assert not judge([Listener("127.0.0.1", 4000, 1)], LITELLM, addresses=("127.0.0.1", "::1")).ok


def test_ipv4_and_ipv6_wildcards_are_not_the_same() -> None:
    assert not judge([Listener("::", 4000, 1)], LITELLM, addresses=("0.0.0.0",)).ok


def test_a_unit_that_took_a_random_port_is_told() -> None:
    outcome = judge([Listener("127.0.0.1", 38211, 1)], LITELLM)
    assert not outcome.ok
    assert outcome.detail == (
        "nothing listens on port 4000, litellm.service listens on 127.0.0.1 port 38211 instead; expected 127.0.0.1"
    )


def test_addresses_are_compared_by_meaning() -> None:
    assert judge([Listener("::1", 4000, 1)], LITELLM, addresses=("0:0:0:0:0:0:0:1",)).ok


def test_an_empty_list_means_that_nothing_may_listen() -> None:
    assert judge([], LITELLM, addresses=()).ok
    assert not judge([Listener("127.0.0.1", 4000, 1)], LITELLM, addresses=()).ok


@contextmanager
def listening(address: str, family: socket.AddressFamily = socket.AF_INET, port: int = 0) -> Iterator[int]:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_real_socket_is_found_on_its_address_and_nowhere_else(address: str) -> None:
    with listening(address) as port:
        assert check_listen({"port": port, "addresses": [address]}).ok
        other = check_listen({"port": port, "addresses": ["10.9.8.7"]})
        assert not other.ok
        assert f"(pid {os.getpid()}" in other.detail
    assert not check_listen({"port": port, "addresses": [address]}).ok


def test_a_real_ipv6_socket_is_found() -> None:
    try:
        with listening("::1", socket.AF_INET6) as port:
            assert check_listen({"port": port, "addresses": ["::1"]}).ok
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")


def test_the_owner_of_a_real_socket_is_this_process() -> None:
    with listening("127.0.0.1") as port:
        inode = next(item.inode for item in read_listeners() if item.port == port)
        assert [owner.pid for owner in read_owners([inode])[inode]] == [os.getpid()]


@pytest.mark.parametrize(("group", "ok"), [("own", True), ("/system.slice/other.service", False), ("", False)])
def test_the_unit_of_a_real_socket_decides(monkeypatch: pytest.MonkeyPatch, group: str, ok: bool) -> None:
    cgroup = "0::/system.slice/own.service\n"
    monkeypatch.setattr(
        health_listen,
        "read_owners",
        lambda inodes: {
            inode: [Owner(owner.pid, owner.name, cgroup) for owner in owners]
            for inode, owners in read_owners(inodes).items()
        },
    )
    control_group = "/system.slice/own.service" if group == "own" else group
    monkeypatch.setattr(health_listen, "show_unit", lambda unit: {"ControlGroup": control_group})
    with listening("127.0.0.1") as port:
        assert check_listen({"port": port, "addresses": ["127.0.0.1"], "unit": "own.service"}).ok is ok
