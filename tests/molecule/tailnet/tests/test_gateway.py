"""The gateway starts when its tailnet address is there, never without it, and is back after all that happens to it."""

from __future__ import annotations

import pytest
from conftest import Playbooks, http, listeners, main_pid, show, state_directory
from tailnet import on_interface, reboot, registered, wait_for, without_cached_map
from testinfra.host import Host

UNIT = "openclaw-gateway.service"


def reached(peer: Host, gateway1: Host) -> bool:
    """Whether the peer reaches the gateway at the address that it has now, and the gateway is nowhere else."""
    address = on_interface(gateway1)
    return (
        bool(address)
        and listeners(gateway1, 4321) == {address, "127.0.0.1"}
        and http(peer, f"http://{address}:4321/healthz").status == 200
    )


def test_a_restart_of_tailscaled_does_not_interrupt_the_gateway(gateway1: Host, peer: Host) -> None:
    before = main_pid(gateway1, UNIT)
    gateway1.run_expect([0], "systemctl restart tailscaled.service")
    wait_for(lambda: reached(peer, gateway1), "the peer reaches the gateway again")
    assert main_pid(gateway1, UNIT) == before


def test_a_boot_without_the_control_server_fails_closed_and_heals_by_itself(
    gateway1: Host, peer: Host, control: Host, pytestconfig: pytest.Config
) -> None:
    control.run_expect([0], "systemctl stop headscale.service")
    try:
        with without_cached_map(gateway1), reboot(gateway1, "gateway1", state_directory(pytestconfig)):
            wait_for(lambda: int(show(gateway1, UNIT)["NRestarts"]) > 0, "the start is tried again", 240)
            assert show(gateway1, UNIT)["ActiveState"] == "activating"
            assert on_interface(gateway1) == ""
            # Not on loopback either, which is what OpenClaw would do by itself.
            assert listeners(gateway1, 4321) == set()
            said = gateway1.run(f"journalctl -q -b -u {UNIT} -o cat").stdout
            assert "The gateway is not started, because tailscale0 has no address" in said
            control.run_expect([0], "systemctl start headscale.service")
            wait_for(lambda: reached(peer, gateway1), "the peer reaches the gateway again", 300)
    finally:
        control.run_expect([0], "systemctl start headscale.service")


def test_after_a_logout_the_gateway_moves_to_its_new_address(
    playbooks: Playbooks, gateway1: Host, peer: Host, control: Host
) -> None:
    before = on_interface(gateway1)
    gateway1.run_expect([0], "tailscale logout")
    wait_for(lambda: on_interface(gateway1) == "", "the address goes")
    brief = {"openclaw_gateway_health_thorough": False}
    health = playbooks.run("playbooks/health.yml", "--limit", "gateway1", variables=brief)
    assert health.rc == 2
    assert "The host is logged out" in health.output, health.output
    assert "This host is not in its tailnet now" in health.output, health.output

    network = ("playbooks/network.yml", "--limit", "gateway1")
    refused = playbooks.run(*network, variables={"tailscale_up_timeout": 20})
    assert refused.rc == 2
    assert "Delete the node there, then run this again" in refused.output, refused.output
    control.run_expect([0], f"headscale nodes delete --force --identifier {registered(control, 'gateway1')['id']}")
    # Or the daemon was faster, which has that key from the run before.
    run = playbooks.run(*network)
    assert run.rc == 0, run.output
    assert on_interface(gateway1) not in ("", before)
    wait_for(lambda: reached(peer, gateway1), "the peer reaches the gateway at its new address")


def test_all_is_well_afterwards_and_nothing_is_left_to_change(playbooks: Playbooks) -> None:
    run = playbooks.run("site.yml")
    assert (run.rc, run.changed) == (0, 0), run.output
