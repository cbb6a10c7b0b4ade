#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: the toolkit's own nftables table. The work is in module_utils/firewall_*.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Load the toolkit's own nftables table so that a wrong one undoes itself
description:
  - Makes rules for incoming traffic from a list of ports and who may reach them, in the table C(inet gateway_toolkit).
    Other tables are neither read into it nor changed.
  - New rules are on probation. A timer on the host puts the previous ones back after O(rules.seconds), unless
    V(confirm) is called through an SSH connection that was made after the new rules were loaded.
  - Only confirmed rules are in C(/etc/gateway-toolkit/firewall.nft), from which C(gateway-toolkit-firewall.service)
    loads them at boot.
author: gateway.toolkit
options:
  step:
    description:
      - V(inspect) says what speaks against the rules, or fails with it, and changes nothing.
      - V(apply) loads the rules on probation if they are not the loaded and kept ones.
      - V(confirm) keeps the rules on probation. It must come through a fresh SSH connection.
      - V(undo) puts the previous rules back at once.
      - V(remove) removes the table and the kept rules.
      - V(report) compares the loaded table with the kept rules and returns the result of a health check.
    type: str
    choices: [inspect, apply, confirm, undo, remove, report]
    required: true
  only_alone:
    description: For V(inspect) and V(report), leave the host alone if another firewall manager is active there.
    type: bool
    default: false
  rules:
    description: For V(inspect) and V(apply), what the rules are made from.
    type: dict
    suboptions:
      ssh_ports:
        description: Ports to keep open for SSH, besides that of the connection in use and those of the SSH server.
        type: list
        elements: int
        default: []
      ssh_from:
        description: Networks that may come by SSH; everyone if empty. As O(rules.services[].from).
        type: list
        elements: str
        default: []
      services:
        description: The toolkit's own ports. They are closed for everyone else, on trusted interfaces too.
        type: list
        elements: dict
        default: []
        suboptions: &opening
          name: {description: Name., type: str, required: true}
          port: {description: "Port, or a range such as V(8000-8010).", type: str, required: true}
          protocol: {description: Protocol., type: str, choices: [tcp, udp], default: tcp}
          from:
            description:
              - Addresses, networks, V(lan), V(tailnet), or V(network_of:ADDRESS), the network in which the host has it.
              - Everyone if left out, nobody if empty.
            type: list
            elements: str
      allow:
        description: Other ports to keep open.
        type: list
        elements: dict
        default: []
        suboptions: *opening
      extra_rules:
        description: Further rules in nft's language, in front of all others.
        type: list
        elements: str
        default: []
      trusted_interfaces:
        description: Interfaces on which everything but O(rules.services) is open.
        type: list
        elements: str
        default: []
      lan_networks:
        description: What V(lan) means. If empty, the private networks of the interface with the default route.
        type: list
        elements: str
        default: []
      tailnet_interface:
        description: What V(tailnet) means.
        type: str
        default: tailscale0
      default_incoming:
        description: What happens to a packet that nothing was said about.
        type: str
        choices: [deny, allow]
        default: deny
      close_others:
        description: Whether ports on which something listens now may be closed.
        type: bool
        default: false
      seconds:
        description: Length of the probation.
        type: int
        default: 60
attributes:
  check_mode:
    description: Says what would be done.
    support: full
  diff_mode:
    description: Shows the rules.
    support: full
"""

EXAMPLES = r"""
- name: Load the rules
  gateway.toolkit.firewall:
    step: apply
    rules:
      services:
        - {name: gateway, port: "4321", from: [lan]}
  register: firewall

- name: Keep them, by a fresh login
  gateway.toolkit.firewall:
    step: confirm
  vars:
    ansible_ssh_extra_args: -o ControlPath=none
  when: firewall.probation
"""

RETURN = r"""
left_alone: {description: "For V(inspect), why the host is left as it is, or empty.", type: str, returned: success}
installed: {description: "For V(inspect), whether nft is there.", type: bool, returned: success}
probation: {description: "For V(apply), whether rules wait to be confirmed.", type: bool, returned: success}
reasons: {description: "For V(apply), what was different.", type: list, elements: str, returned: success}
results: {description: "For V(report), as of M(gateway.toolkit.health_probe).", type: list, returned: success}
"""

import os
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils import firewall_host as host
from ansible_collections.gateway.toolkit.plugins.module_utils.firewall_rules import (
    Connection,
    Opening,
    Place,
    Unresolved,
    Wish,
    in_words,
    resolve,
    ruleset,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.firewall_store import (
    FirewallProblem,
    Store,
    as_loaded,
    loaded,
)

NOT_BY_SSH = "Ansible does not come by SSH here, so nothing could prove that a login is still possible"


def argument_spec() -> dict[str, Any]:
    """The parameters."""
    texts = {"type": "list", "elements": "str", "default": []}
    item = {
        "name": {"type": "str", "required": True},
        "port": {"type": "str", "required": True},
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
        "from": {"type": "list", "elements": "str"},
    }
    openings = {"type": "list", "elements": "dict", "default": [], "options": item}
    steps = ["inspect", "apply", "confirm", "undo", "remove", "report"]
    rules = {
        "ssh_ports": {"type": "list", "elements": "int", "default": []},
        "ssh_from": texts,
        "services": openings,
        "allow": openings,
        "extra_rules": texts,
        "trusted_interfaces": texts,
        "lan_networks": texts,
        "tailnet_interface": {"type": "str", "default": "tailscale0"},
        "default_incoming": {"type": "str", "choices": ["deny", "allow"], "default": "deny"},
        "close_others": {"type": "bool", "default": False},
        "seconds": {"type": "int", "default": 60},
    }
    return {
        "step": {"type": "str", "required": True, "choices": steps},
        "only_alone": {"type": "bool", "default": False},
        "rules": {"type": "dict", "options": rules, "apply_defaults": True},
    }


class Situation:
    """The host as it is, and the rules wanted for it."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        came = host.read_ssh_connection()
        if came is None:
            raise FirewallProblem(f"{NOT_BY_SSH}. Nothing was changed.")
        self.live, server, port = came
        self.interfaces, self.listeners = host.read_interfaces(), host.read_listeners()
        lan = tuple(wanted["lan_networks"]) or host.lan_networks(self.interfaces, server)
        place = Place(lan, wanted["tailnet_interface"], host.own_networks(self.interfaces))
        ports = sorted({port, *wanted["ssh_ports"], *host.ssh_ports(self.listeners)})
        ssh = {"name": "SSH", "port": ", ".join(map(str, ports)), "from": wanted["ssh_from"] or None}
        self.wish = Wish(
            ssh=self._resolve("firewall_ssh_from", ssh, place),
            services=tuple(self._resolve("firewall_services", item, place) for item in wanted["services"]),
            allow=tuple(self._resolve("firewall_allow", item, place) for item in wanted["allow"]),
            trusted=tuple(wanted["trusted_interfaces"]),
            extra=tuple(wanted["extra_rules"]),
            policy="drop" if wanted["default_incoming"] == "deny" else "accept",
        )

    @staticmethod
    def _resolve(label: str, item: dict[str, Any], place: Place) -> Opening:
        try:
            return resolve(item, place)
        except Unresolved as problem:
            raise FirewallProblem(f"Nothing was changed. {label}, {item['name']}: {problem}.") from None

    @property
    def rules(self) -> str:
        """The rules to keep."""
        return ruleset(self.wish)

    def armed(self) -> str:
        """The rules while they are on probation: Ansible's own connection is let through, to hear of a failure."""
        return ruleset(self.wish, Connection(self.live.address, self.live.port))


def inspect(params: dict[str, Any], store: Store) -> dict[str, Any]:
    """Look at the host before anything changes; FirewallProblem with what must be decided first."""
    kept = store.kept()
    manager = host.other_manager() if params["only_alone"] and not kept else ""
    if params["only_alone"] and host.read_ssh_connection() is None:
        return {"left_alone": f"{NOT_BY_SSH}. The firewall of this host is left as it is."}
    situation = Situation(params["rules"])
    if manager:
        wanted = "; ".join(map(in_words, situation.wish.services)) or "nothing"
        return {
            "left_alone": f"{manager} is active on this host, so its firewall is left as it is. What the toolkit would "
            f"let in: {wanted}. Tell {manager} so, or set firewall_state to present: then the toolkit's own rules are "
            "loaded beside those, which can only close more."
        }
    # Rules that are in force have closed what they close already.
    closed = [] if kept else host.would_close(situation.wish, situation.listeners, situation.interfaces)
    if closed and not params["rules"]["close_others"]:
        raise FirewallProblem(
            f"Nothing was changed. Something listens on these ports, which the firewall would close: "
            f"{'; '.join(closed)}. "
            "Keep one open by an item in firewall_allow, such as {name: web, port: 443}; close them all by "
            "firewall_close_others: true; or close nothing but the toolkit's own ports by firewall_default_incoming: "
            "allow."
        )
    return {"left_alone": "", "installed": os.path.exists("/usr/sbin/nft")}


def differences(store: Store, rules: str) -> list[str]:
    """Return what is not as wanted; empty when nothing is to be done."""
    if store.pending() is not None:
        return ["The rules of an earlier run were never confirmed."]
    live, kept = loaded(), store.kept()
    if not kept and not live:
        return ["The toolkit's rules are not loaded."]
    reasons = [] if kept == rules else ["The rules for the next boot are not the wanted ones."]
    if live != as_loaded(rules):
        reasons.append("The loaded rules are not the wanted ones.")
    return reasons


def apply(module: AnsibleModule, store: Store) -> dict[str, Any]:
    """Load the wanted rules on probation, if they are not there."""
    situation = Situation(module.params["rules"])
    rules, before = situation.rules, store.kept()
    diff = {"before": before, "after": rules, "before_header": "rules", "after_header": "rules"}
    if module.check_mode and module.get_bin_path("nft", opt_dirs=["/usr/sbin"]) is None:
        return {"changed": True, "probation": False, "reasons": ["nft is not installed yet."], "diff": diff}
    reasons = differences(store, rules)
    if reasons:
        if not module.check_mode:
            as_loaded(rules)
            store.arm(rules, situation.armed(), host.established(), module.params["rules"]["seconds"])
        return {"changed": True, "probation": not module.check_mode, "reasons": reasons, "diff": diff}
    boot = store.boot_problem()
    if boot and not module.check_mode:
        store.enable()
    return {"changed": bool(boot), "probation": False, "reasons": [boot] if boot else [], "diff": diff}


def confirm(store: Store) -> dict[str, Any]:
    """Keep what is on probation, if this came through a connection that is younger than the rules."""
    came, pending = host.read_ssh_connection(), store.pending()
    if came is None:
        raise FirewallProblem(f"{NOT_BY_SSH}.")
    if pending and (came[0].address, came[0].port) in pending.connections:
        raise FirewallProblem("This SSH connection is older than the new rules: only a fresh login confirms them.")
    store.confirm()
    return {"changed": True}


def report(params: dict[str, Any], store: Store) -> dict[str, Any]:
    """Return the result of a health check."""
    begin = time.monotonic()
    manager = host.other_manager() if params["only_alone"] and not store.kept() else ""
    drift = "" if manager else store.drift()
    if store.pending() is not None:
        drift = "new rules wait for a fresh login to confirm them"
    result: dict[str, Any] = {
        "name": "firewall lets in what it should and nothing else",
        "group": "firewall",
        "status": "failed" if drift else "ok",
        "detail": drift or (f"left to {manager}" if manager else "the loaded rules are the confirmed ones"),
        "cause": "The toolkit's rules are not in force as they were confirmed; somebody changed or removed them."
        if drift
        else "",
        "remedy": "Run the site playbook." if drift else "",
        "seconds": round(time.monotonic() - begin, 3),
        "captured": {},
    }
    return {"changed": False, "results": [result]}


def remove(module: AnsibleModule, store: Store) -> dict[str, Any]:
    """Take the toolkit's table and its rules away."""
    if module.check_mode:
        return {"changed": bool(store.kept()) or store.pending() is not None}
    return {"changed": store.remove()}


def main() -> None:
    """Do one step."""
    module = AnsibleModule(argument_spec(), supports_check_mode=True)
    params, step = module.params, module.params["step"]
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    store = Store()
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "inspect": lambda: inspect(params, store),
        "apply": lambda: apply(module, store),
        "confirm": lambda: confirm(store),
        "undo": lambda: {"changed": store.undo()},
        "remove": lambda: remove(module, store),
        "report": lambda: report(params, store),
    }
    try:
        skipped = module.check_mode and step in ("confirm", "undo")
        result: dict[str, Any] = {"changed": False} if skipped else steps[step]()
    except (FirewallProblem, OSError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
