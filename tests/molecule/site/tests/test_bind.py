"""The gateway listens at the address it is meant for, or not at all; OpenClaw alone would fall back to loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from conftest import Playbooks, http, listeners, main_pid, show
from testinfra.host import Host

GATEWAY, WATCHER = "openclaw-gateway.service", "openclaw-gateway-bind.service"
TAILNET = {"openclaw_gateway_bind": "tailnet", "openclaw_gateway_address_timeout": 30}
# As in a tailnet: an interface of this name, with such an address. The real one is in the scenario tailnet.
INTERFACE = "tailscale0"


def until(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Wait until a condition holds, for so long at most; returns whether it did."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


def give(host: Host, *addresses: str) -> None:
    """Let the interface have exactly these addresses."""
    host.run_expect([0], f"ip address flush dev {INTERFACE}")
    for address in addresses:
        host.run_expect([0], f"ip address add {address}/32 dev {INTERFACE}")


@pytest.fixture(scope="module")
def tailnet(gateway1: Host, playbooks: Playbooks) -> Iterator[Host]:
    """A gateway in something like a tailnet, with bind tailnet; afterwards on the LAN again."""
    pid = main_pid(gateway1, GATEWAY)
    refused = playbooks.run("playbooks/gateway.yml", variables=TAILNET)
    assert refused.rc != 0
    assert "join this host to your tailnet first" in refused.output
    assert main_pid(gateway1, GATEWAY) == pid
    gateway1.run_expect([0], f"ip link add {INTERFACE} type veth peer name tailnet-peer")
    gateway1.run_expect([0], f"ip link set {INTERFACE} up && ip link set tailnet-peer up")
    give(gateway1, "100.64.0.5")
    try:
        deployed = playbooks.run("playbooks/gateway.yml", variables=TAILNET)
        assert deployed.rc == 0, deployed.output
        yield gateway1
    finally:
        back = playbooks.run("playbooks/gateway.yml")
        gateway1.run(f"ip link delete {INTERFACE}")
    assert back.rc == 0, back.output
    assert listeners(gateway1, 4321) == {"0.0.0.0"}
    assert show(gateway1, WATCHER)["ActiveState"] == "inactive"


def test_it_listens_on_the_tailnet_and_a_second_run_changes_nothing(tailnet: Host, playbooks: Playbooks) -> None:
    assert listeners(tailnet, 4321) == {"100.64.0.5", "127.0.0.1"}
    again = playbooks.run("playbooks/gateway.yml", variables=TAILNET)
    assert (again.rc, again.changed) == (0, 0), again.output


def test_an_address_that_goes_and_comes_back_does_not_interrupt_it(tailnet: Host) -> None:
    """So does it when tailscaled is restarted."""
    pid = main_pid(tailnet, GATEWAY)
    give(tailnet)
    time.sleep(5)
    give(tailnet, "100.64.0.5")
    time.sleep(10)
    assert main_pid(tailnet, GATEWAY) == pid
    assert http(tailnet, "http://100.64.0.5:4321/healthz").json["ok"]


def test_it_moves_to_another_address(tailnet: Host) -> None:
    give(tailnet, "100.64.0.9")
    assert until(lambda: listeners(tailnet, 4321) == {"100.64.0.9", "127.0.0.1"})


def test_without_its_address_it_does_not_start_and_with_it_it_does(tailnet: Host) -> None:
    """A control server that is away at boot, for longer than the start waits."""
    tailnet.run_expect([0], f"systemctl stop {GATEWAY}")
    give(tailnet)
    tailnet.run_expect([0], f"systemctl start --no-block {GATEWAY}")
    assert until(lambda: int(show(tailnet, GATEWAY)["NRestarts"]) > 0), "it is tried again"
    assert listeners(tailnet, 4321) == set()
    assert "The gateway is not started" in tailnet.run(f"journalctl -q -u {GATEWAY} -n 30 -o cat").stdout
    give(tailnet, "100.64.0.5")
    assert until(lambda: listeners(tailnet, 4321) == {"100.64.0.5", "127.0.0.1"})


def test_a_gateway_that_fell_back_to_loopback_is_brought_back(tailnet: Host) -> None:
    """Its address went away between the wait and its own look."""
    tailnet.run_expect([0], f"systemctl stop {GATEWAY}")
    tailnet.run_expect([0], f"systemctl start --no-block {GATEWAY}")
    assert until(lambda: show(tailnet, GATEWAY)["ActiveState"] == "active")
    give(tailnet)
    assert until(lambda: listeners(tailnet, 4321) == {"127.0.0.1", "::1"}), "OpenClaw's silent fallback"
    give(tailnet, "100.64.0.5")
    assert until(lambda: listeners(tailnet, 4321) == {"100.64.0.5", "127.0.0.1"})
