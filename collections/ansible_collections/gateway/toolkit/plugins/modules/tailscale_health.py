#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: health of this host's Tailscale node. What is judged how is in module_utils/tailscale_health.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tailscale_health
short_description: Ask whether this host is in its tailnet, and stays there
description:
  - Asks the daemon and the kernel, changes nothing, and never fails because a check fails.
  - Results have the form of those of M(gateway.toolkit.health_probe).
author: gateway.toolkit
options:
  key_expiry_days:
    description: The check of the node key fails when the key ends within so many days.
    type: int
    default: 14
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Ask the node
  gateway.toolkit.tailscale_health:
  register: __tailscale_health
"""

RETURN = r"""
ok:
  description: Whether all checks passed.
  type: bool
  returned: always
results:
  description: One result for each check.
  type: list
  elements: dict
  returned: always
"""

import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils import tailscale_host as host
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Censor, Outcome
from ansible_collections.gateway.toolkit.plugins.module_utils.health_run import OK, not_run, result
from ansible_collections.gateway.toolkit.plugins.module_utils.tailscale_health import CHECKS, Finding, findings


def ask(days: int) -> Iterable[Finding]:
    """The findings; a daemon that does not answer is one."""
    try:
        node, _prefs = host.look()
    except host.DaemonAway as away:
        cause = "tailscaled does not run, or is not installed."
        yield CHECKS[0], Outcome(False, str(away)), cause, "Run the site playbook, and see journalctl -u tailscaled."
        return
    yield from findings(node, host.interface_addresses(), host.INTERFACE, days, datetime.now(timezone.utc))


def results_of(found: Iterable[Finding], start: float) -> list[dict[str, Any]]:
    """The findings as results. The checks that come after a failed first one are named as not run."""
    results = []
    for name, outcome, cause, remedy in found:
        check = {"name": name, "group": "tailscale", "kind": "command", "cause": cause, "remedy": remedy}
        results.append(result(check, outcome, Censor(), False, time.monotonic() - start))
    if results[0]["status"] != OK:
        results += [not_run({"name": name, "group": "tailscale"}, [CHECKS[0]]) for name in CHECKS[1:]]
    return results


def main() -> None:
    module = AnsibleModule({"key_expiry_days": {"type": "int", "default": 14}}, supports_check_mode=True)
    results = results_of(ask(module.params["key_expiry_days"]), time.monotonic())
    module.exit_json(changed=False, ok=all(item["status"] == OK for item in results), results=results)


if __name__ == "__main__":
    main()
