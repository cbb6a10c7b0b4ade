#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: this host's membership in a tailnet. What to do is decided in module_utils/tailscale_state.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tailscale_node
short_description: Join a host to a tailnet and keep its settings
description:
  - Asks the daemon first and acts only on need. A login happens when the host is logged out or was never joined, its
    node key has expired, the control server is another one, or O(force_reauth). Another key is no reason.
  - Ends well only when the node runs and its address is on the interface.
  - Fails before any change when a login is needed and there is no key, when the tags are wrong, and when a step could
    cut Ansible's own connection.
  - In check mode it says what it would do. Where the program is not installed yet, that is a login.
author: gateway.toolkit
options:
  state:
    description: V(absent) logs the host out, so that the control server forgets its key.
    type: str
    choices: [present, absent]
    default: present
  login_server:
    description: URL of the control server.
    type: str
    default: https://controlplane.tailscale.com
  auth_key:
    description: Key for a login. It is handed over in a file in memory, never as an argument.
    type: str
    default: ""
  oauth_secret:
    description: Secret of an OAuth client, to make such a key; it needs O(tags).
    type: str
    default: ""
  oauth_ephemeral:
    description: Whether the control server deletes the node when it goes offline.
    type: bool
    default: false
  oauth_preauthorized:
    description: Whether the node needs no approval.
    type: bool
    default: true
  hostname:
    description: Name in the tailnet; empty is the host's own.
    type: str
    default: ""
  tags:
    description: Tags with or without C(tag:). Without any, the tags of the node are not judged.
    type: list
    elements: str
    default: []
  ssh:
    description: Whether Tailscale SSH is on.
    type: bool
    default: false
  accept_dns:
    description: Whether the tailnet's DNS settings are taken over.
    type: bool
    default: true
  accept_routes:
    description: Whether routes that other nodes advertise are taken over.
    type: bool
    default: false
  advertise_routes:
    description: Networks that the others reach by this host, in CIDR form.
    type: list
    elements: str
    default: []
  operator:
    description: User who may run C(tailscale) without root; empty is none.
    type: str
    default: ""
  netfilter_mode:
    description: How far tailscaled manages the firewall.
    type: str
    choices: ["on", nodivert, "off"]
    default: "on"
  userspace:
    description: Whether userspace networking is accepted.
    type: bool
    default: false
  version:
    description: Version that is about to be installed; empty if that does not change.
    type: str
    default: ""
  up_timeout:
    description: Seconds until the node must run and have its address.
    type: int
    default: 60
  force_reauth:
    description: Log in again.
    type: bool
    default: false
  accept_risk:
    description: V(lose-ssh) permits steps that can cut Ansible's own connection.
    type: str
    choices: ["", lose-ssh]
    default: ""
  key_expiry_days:
    description: Warn when the node key ends within so many days.
    type: int
    default: 14
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Join
  gateway.toolkit.tailscale_node:
    auth_key: "{{ vault_tailscale_auth_key }}"
    tags: [gateway]
"""

RETURN = r"""
action:
  description: What was done, or would be; V(none), V(wait), V(set), V(up), V(login) or V(logout).
  type: str
  returned: success
reasons:
  description: Why.
  type: list
  elements: str
  returned: success
settled:
  description: Whether the node runs as wanted and has its address on the interface.
  type: bool
  returned: success
ansible_facts:
  description:
    - C(tailscale_node) with C(ipv4), C(ipv6), C(dns_name), C(tags), C(key_expiry) (ISO 8601 or empty), C(backend_state)
      and C(version).
  type: dict
  returned: success
"""

import os
import socket
import time
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils import tailscale_host as host
from ansible_collections.gateway.toolkit.plugins.module_utils import tailscale_state as rules
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import seal, secrets_in

PAUSE = 0.2
"""Seconds between two looks."""
LOGOUT_SECONDS = 30.0

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "login_server": {"type": "str", "default": rules.DEFAULT_SERVER},
    "auth_key": {"type": "str", "default": "", "no_log": True},
    "oauth_secret": {"type": "str", "default": "", "no_log": True},
    "oauth_ephemeral": {"type": "bool", "default": False},
    "oauth_preauthorized": {"type": "bool", "default": True},
    "hostname": {"type": "str", "default": ""},
    "tags": {"type": "list", "elements": "str", "default": []},
    "ssh": {"type": "bool", "default": False},
    "accept_dns": {"type": "bool", "default": True},
    "accept_routes": {"type": "bool", "default": False},
    "advertise_routes": {"type": "list", "elements": "str", "default": []},
    "operator": {"type": "str", "default": ""},
    "netfilter_mode": {"type": "str", "choices": ["on", "nodivert", "off"], "default": "on"},
    "userspace": {"type": "bool", "default": False},
    "version": {"type": "str", "default": ""},
    "up_timeout": {"type": "int", "default": 60},
    "force_reauth": {"type": "bool", "default": False},
    "accept_risk": {"type": "str", "choices": ["", "lose-ssh"], "default": ""},
    "key_expiry_days": {"type": "int", "default": 14},
}


def wish_of(params: dict[str, Any]) -> rules.Wish:
    """The operator's settings."""
    same = ("login_server", "hostname", "ssh", "accept_dns", "accept_routes", "operator", "netfilter_mode")
    return rules.Wish(
        userspace=params["userspace"],
        version=params["version"],
        own_name=socket.gethostname(),
        **{name: params[name] for name in same},
        tags=tuple(tag if ":" in tag else f"tag:{tag}" for tag in params["tags"]),
        advertise_routes=tuple(params["advertise_routes"]),
        has_key=bool(params["auth_key"] or params["oauth_secret"]),
        has_oauth=bool(params["oauth_secret"]),
        force_reauth=params["force_reauth"],
        accept_risk=bool(params["accept_risk"]),
    )


def key_of(params: dict[str, Any]) -> str:
    """The key for a login."""
    if params["auth_key"]:
        return str(params["auth_key"])
    return rules.oauth_key(params["oauth_secret"], params["oauth_ephemeral"], params["oauth_preauthorized"])


def glance() -> tuple[rules.Node, rules.Prefs]:
    """What is known without waiting. A daemon that is away is one that has not settled, if the host ever joined."""
    if os.path.exists(host.PROGRAM):
        try:
            return host.look()
        except host.DaemonAway:
            if os.path.exists(host.STATE_FILE):
                return rules.Node("NoState"), rules.Prefs()
    return rules.Node("NeedsLogin"), rules.Prefs()


def has_address(node: rules.Node) -> bool:
    """Whether the node runs and the kernel has its address, which comes a moment later."""
    return node.state == "Running" and not node.expired and (not node.tun or node.ipv4 in host.interface_addresses())


def settle(wish: rules.Wish, timeout: int, on_tailnet: bool) -> tuple[rules.Node, rules.Plan]:
    """Wait until the daemon knows what it is, and return that with the step to take.

    Raises TailscaleProblem after `timeout` seconds, or at once where waiting does not help.
    """
    end, words = time.monotonic() + timeout, ""
    while True:
        try:
            node, prefs = host.look()
            plan = rules.plan_of(node, prefs, wish, on_tailnet)
            if plan.action != "wait":
                return node, plan
            words = f"it stays in state {node.state} without an answer of {prefs.login_server}"
            words += f" ({'; '.join(node.health)})" if node.health else ""
        except host.DaemonAway as away:
            words = str(away)
        if time.monotonic() > end:
            raise rules.TailscaleProblem(
                f"tailscaled has not settled within {timeout} s: {words}. Is the control server reachable from the "
                "host, and does the host trust its certificate? See journalctl -u tailscaled."
            )
        time.sleep(PAUSE)


def await_address(timeout: int) -> rules.Node:
    """Wait until the node runs with its address on the interface. Raises TailscaleProblem after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        node, _prefs = host.look()
        if has_address(node):
            return node
        if time.monotonic() > end:
            raise rules.TailscaleProblem(
                f"The node did not get its address onto {host.INTERFACE} within {timeout} s (state {node.state}"
                f"{', node key expired' if node.expired else ''}). See journalctl -u tailscaled."
            )
        time.sleep(PAUSE)


def take(step: rules.Plan, wish: rules.Wish, params: dict[str, Any]) -> None:
    """Run the one command. Raises TailscaleProblem with what its failure means."""
    key = key_of(params) if step.action == "login" else ""
    timeout = params["up_timeout"]
    done = host.run(rules.up_arguments(wish, step, "{key}", timeout), timeout + 15, key)
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split()[-60:])
        # A login that the server refuses again and again shows in the health messages only.
        node, _prefs = glance()
        words = "; ".join([words, *(message for message in node.health if "last login error" in message)])
        raise rules.TailscaleProblem(rules.explain_failure(words, rules.server_of(wish.login_server)))


def facts_of(node: rules.Node) -> dict[str, Any]:
    """What others may want to know of the node."""
    return {
        "ipv4": node.ipv4,
        "ipv6": node.ipv6,
        "dns_name": node.dns_name,
        "tags": list(node.tags),
        "key_expiry": node.key_expiry.isoformat() if node.key_expiry else "",
        "backend_state": node.state,
        "version": node.version,
    }


def join(module: AnsibleModule) -> dict[str, Any]:
    """Bring the node to the wanted state, or say in check mode what that would take."""
    params: dict[str, Any] = module.params
    wish, on_tailnet = wish_of(params), rules.over_tailnet(host.ssh_connection())
    if module.check_mode:
        node, prefs = glance()
        step = rules.plan_of(node, prefs, wish, on_tailnet)
    else:
        node, step = settle(wish, params["up_timeout"], on_tailnet)
        if step.action != "none":
            take(step, wish, params)
        node = await_address(params["up_timeout"])
        rules.refuse_wrong_tags(node, wish)
    if warning := rules.expiry_warning(node, params["key_expiry_days"], datetime.now(timezone.utc)):
        module.warn(warning)
    return {
        "changed": step.action not in ("none", "wait"),
        "action": step.action,
        "reasons": list(step.reasons),
        "settled": step.action == "none" and has_address(node),
        "ansible_facts": {"tailscale_node": facts_of(node)},
    }


def leave(module: AnsibleModule) -> dict[str, Any]:
    """Log the host out. A control server that is away is no reason to keep the host."""
    node, _prefs = glance()
    known = node.state != "NeedsLogin" or bool(node.addresses)
    result: dict[str, Any] = {
        "changed": known,
        "action": "logout" if known else "none",
        "reasons": [],
        "settled": not known,
    }
    if known:
        wish = wish_of(module.params)
        rules.refuse_risk("a logout", wish, rules.over_tailnet(host.ssh_connection()))
        if not module.check_mode:
            try:
                done = host.run(["logout"], LOGOUT_SECONDS)
                words = " ".join(done.stderr.split()) if done.returncode else ""
            except rules.TailscaleProblem as problem:
                words = str(problem)
            if words:
                module.warn(f"The host could not be logged out ({words}). Delete it on the control server by hand.")
    return {**result, "ansible_facts": {"tailscale_node": {}}}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    seal(module, secrets_in([], [params["auth_key"], params["oauth_secret"]]))
    try:
        result = join(module) if params["state"] == "present" else leave(module)
    except rules.TailscaleProblem as problem:
        module.fail_json(msg=str(problem))
    except host.DaemonAway as away:
        module.fail_json(msg=f"tailscaled does not answer: {away} See journalctl -u tailscaled.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
