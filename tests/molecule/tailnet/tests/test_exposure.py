"""With bind tailnet the gateway is reached over the tailnet and by nobody else."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest
from conftest import Playbooks, address_of, http, listeners, state_directory
from tailnet import on_interface
from testinfra.host import Host

# The rule that keeps other interfaces than the tailnet's out.
GUARD_GONE = "nft delete table inet openclaw_gateway"


def test_the_gateway_listens_on_its_tailnet_address_alone(gateway1: Host) -> None:
    assert listeners(gateway1, 4321) == {on_interface(gateway1), "127.0.0.1"}


def test_a_peer_reaches_it_over_the_tailnet(gateway1: Host, peer: Host) -> None:
    answer = http(peer, f"http://{on_interface(gateway1)}:4321/healthz")
    assert answer.json == {"ok": True, "status": "live"}


@pytest.mark.parametrize("who", ["peer", "control"])
def test_nobody_reaches_it_over_the_lan(hosts: dict[str, Host], gateway1: Host, who: str) -> None:
    answer = http(hosts[who], f"http://{address_of(gateway1)}:4321/healthz")
    assert (answer.status, "refused" in answer.text) == (0, True), answer


@pytest.mark.parametrize("port", [4000, 5432])
def test_the_proxy_and_the_database_are_on_loopback(gateway1: Host, port: int) -> None:
    assert listeners(gateway1, port) <= {"127.0.0.1", "::1"}
    assert "127.0.0.1" in listeners(gateway1, port)


def test_the_health_check_asks_a_peer_and_a_stranger(playbooks: Playbooks) -> None:
    brief = {"openclaw_gateway_health_thorough": False}
    well = playbooks.run("playbooks/health.yml", "--limit", "gateway1", variables=brief)
    assert well.rc == 0, well.output
    assert "reached from peer" in well.output
    assert "out of reach from control" in well.output
    swapped = {
        **brief,
        "openclaw_gateway_health_reachable_from": ["control"],
        "openclaw_gateway_health_unreachable_from": ["peer"],
    }
    ill = playbooks.run("playbooks/health.yml", "--limit", "gateway1", variables=swapped)
    assert ill.rc == 2, ill.output
    assert "openclaw_gateway_health_reachable_from" in ill.output
    assert "openclaw_gateway_health_unreachable_from" in ill.output


@pytest.fixture
def knock(gateway1: Host, control: Host) -> Generator[Callable[[], str]]:
    """What a neighbour meets who sends the packets for the tailnet's address to the host: "let in", or an error.

    Linux takes packets for any of its addresses on any interface.
    """
    address = on_interface(gateway1)
    command = f"python3 -c 'import socket; socket.create_connection((\"{address}\", 4321), 5)'"

    def met() -> str:
        done = control.run(command)
        return "let in" if done.rc == 0 else str(done.stderr)

    control.run_expect([0], f"ip route add {address}/32 via {address_of(gateway1)}")
    yield met
    control.run(f"ip route del {address}/32")


def test_a_neighbour_does_not_reach_the_tailnet_address_over_the_wire(
    playbooks: Playbooks, gateway1: Host, peer: Host, knock: Callable[[], str]
) -> None:
    brief = {"openclaw_gateway_health_thorough": False}
    assert "refused" in knock()
    gateway1.run_expect([0], GUARD_GONE)
    assert knock() == "let in"
    ill = playbooks.run("playbooks/health.yml", "--limit", "gateway1", variables=brief)
    assert ill.rc == 2, ill.output
    assert "systemctl reload openclaw-gateway-guard" in " ".join(ill.output.split())
    mended = playbooks.run("playbooks/gateway.yml", "--limit", "gateway1")
    assert (mended.rc, mended.changed) == (0, 1), mended.output
    assert "refused" in knock()
    assert http(peer, f"http://{on_interface(gateway1)}:4321/healthz").status == 200


def test_a_firewall_closes_it_too_and_lets_the_tailnet_in(
    playbooks: Playbooks, gateway1: Host, peer: Host, knock: Callable[[], str], pytestconfig: pytest.Config
) -> None:
    group = state_directory(pytestconfig) / "firewall.yml"
    group.write_text("firewall: {hosts: {gateway1: {firewall_close_others: true}}}\n", encoding="utf-8")
    gateway1.run_expect([0], GUARD_GONE)
    try:
        assert knock() == "let in"
        closed = playbooks.run("playbooks/firewall.yml", "-i", str(group))
        assert closed.rc == 0, closed.output
        assert "timed out" in knock()
        assert http(peer, f"http://{on_interface(gateway1)}:4321/healthz").status == 200
    finally:
        opened = playbooks.run("playbooks/firewall.yml", "-i", str(group), variables={"firewall_state": "absent"})
        gateway1.run_expect([0], "systemctl reload openclaw-gateway-guard.service")
    assert opened.rc == 0, opened.output
    assert "refused" in knock()
