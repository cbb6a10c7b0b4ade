"""Filters that judge a role's variables: each returns a list of sentences, empty when all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from ansible.errors import AnsibleFilterError

RULES = "ansible_collections.gateway.toolkit.plugins.module_utils.input_"


def port_clash_errors(ports: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each port that two variables of the same host share.

    ports: variable -> port. Values that are no integers are left to the rules of their roles.
    """
    _refuse_all_but_mappings(ports)
    errors = []
    known = [(name, port) for name, port in ports.items() if isinstance(port, int) and not isinstance(port, bool)]
    for position, (name, port) in enumerate(known):
        earlier = [other for other, taken in known[:position] if taken == port]
        if earlier:
            errors.append(
                f"{name} is {port}, as {earlier[0]} is on the same host: choose another port for one of them."
            )
    return errors


def _refuse_all_but_mappings(variables: Any) -> None:
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError(f"expected a dictionary of variables, got {type(variables).__name__}")


def _judge(variables: Any, module: str, rules: str) -> list[str]:
    """Return what the rules say. They are loaded only here.

    Ansible loads this file for any filter of the collection, in the process of every task that uses one.
    """
    _refuse_all_but_mappings(variables)
    errors: list[str] = getattr(import_module(RULES + module), rules)(variables)
    return errors


class FilterModule:
    """The filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        modules = {
            "firewall_input_errors": "firewall",
            "litellm_input_errors": "litellm",
            "openclaw_gateway_input_errors": "openclaw",
            "postgresql_input_errors": "postgresql",
            "tailscale_input_errors": "tailscale",
        }
        judges = {rules: partial(_judge, module=module, rules=rules) for rules, module in modules.items()}
        return {"port_clash_errors": port_clash_errors, **judges}
