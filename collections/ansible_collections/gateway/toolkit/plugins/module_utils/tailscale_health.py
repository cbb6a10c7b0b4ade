"""Judges a Tailscale node for the health table. Pure: everything that was seen comes in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Outcome
from ansible_collections.gateway.toolkit.plugins.module_utils.tailscale_state import Node, expiry_warning

Finding = tuple[str, Outcome, str, str]
"""(name of the check, outcome, cause of a failure, remedy)."""
CHECKS = ("tailnet node", "tailnet address", "tailnet control server", "tailnet node key")


def findings(node: Node, interface: set[str], name: str, days: int, now: datetime) -> Iterator[Finding]:
    """Yield what the checks come to. The first says whether the node is in the tailnet; without it no other is run.

    interface: the addresses that the kernel has on the interface `name`. days: from when on the key ends too soon.
    """
    yield judge_state(node)
    if node.state != "Running" or node.expired:
        return
    if node.tun:
        there = node.ipv4 in interface
        seen = ", ".join(sorted(interface)) or "none"
        yield (
            CHECKS[1],
            Outcome(there, f"{node.ipv4} is on {name}" if there else f"{node.ipv4} is not on {name}, which has {seen}"),
            "tailscaled has its address, and the kernel does not; nobody reaches the host by the tailnet.",
            "Restart it: systemctl restart tailscaled; then look at journalctl -u tailscaled.",
        )
    yield (
        CHECKS[2],
        Outcome(node.online, "sees the node" if node.online else "does not see the node"),
        "The control server is not reached, or the node was deleted there.",
        "Look at the machine on the control server, and at journalctl -u tailscaled; a deleted one needs "
        "tailscale_force_reauth.",
    )
    warning = expiry_warning(node, days, now)
    ends = f"ends on {node.key_expiry:%Y-%m-%d}" if node.key_expiry else "does not end"
    yield CHECKS[3], Outcome(not warning, ends), warning, "Run the site playbook with tailscale_force_reauth and a key."


def judge_state(node: Node) -> Finding:
    """Whether the node is in the tailnet. Self.Online says nothing: it stays true when the key has expired."""
    tags = f" with {', '.join(node.tags)}" if node.tags else ""
    if node.expired:
        return (
            CHECKS[0],
            Outcome(False, f"{node.state}, the node key has expired"),
            "The node key has expired, so the host left the tailnet.",
            "Run the site playbook with a key in tailscale_auth_key.",
        )
    causes = {
        "NeedsLogin": ("The host is logged out.", "Run the site playbook with a key in tailscale_auth_key."),
        "NeedsMachineAuth": ("The host waits for approval.", "Approve it on the control server's page of machines."),
        "Stopped": ("Somebody ran `tailscale down`.", "Run the site playbook."),
    }
    cause, remedy = causes.get(
        node.state,
        ("tailscaled does not reach its control server.", "Look at journalctl -u tailscaled, and at that server."),
    )
    running = node.state == "Running"
    return CHECKS[0], Outcome(running, f"{node.state} as {node.dns_name or '?'}{tags}"), cause, remedy
