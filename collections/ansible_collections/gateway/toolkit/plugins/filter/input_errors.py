"""Filters that judge a role's variables: each returns a list of sentences, empty when all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.gateway.toolkit.plugins.module_utils.input_firewall import firewall_input_errors
from ansible_collections.gateway.toolkit.plugins.module_utils.input_litellm import litellm_input_errors
from ansible_collections.gateway.toolkit.plugins.module_utils.input_openclaw import openclaw_gateway_input_errors
from ansible_collections.gateway.toolkit.plugins.module_utils.input_postgresql import postgresql_input_errors
from ansible_collections.gateway.toolkit.plugins.module_utils.input_tailscale import tailscale_input_errors


def port_clash_errors(ports: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each port that two variables of the same host share.

    ports: variable -> port. Values that are no integers are left to the rules of their roles.
    """
    errors = []
    known = [(name, port) for name, port in ports.items() if isinstance(port, int) and not isinstance(port, bool)]
    for position, (name, port) in enumerate(known):
        earlier = [other for other, taken in known[:position] if taken == port]
        if earlier:
            errors.append(
                f"{name} is {port}, as {earlier[0]} is on the same host: choose another port for one of them."
            )
    return errors


def _judged(rules: Callable[[Mapping[str, Any]], list[str]]) -> Callable[[Any], list[str]]:
    def judge(variables: Any) -> list[str]:
        if not isinstance(variables, Mapping):
            raise AnsibleFilterError(f"expected a dictionary of variables, got {type(variables).__name__}")
        return rules(variables)

    return judge


class FilterModule:
    """The filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {
            "firewall_input_errors": _judged(firewall_input_errors),
            "litellm_input_errors": _judged(litellm_input_errors),
            "openclaw_gateway_input_errors": _judged(openclaw_gateway_input_errors),
            "port_clash_errors": _judged(port_clash_errors),
            "postgresql_input_errors": _judged(postgresql_input_errors),
            "tailscale_input_errors": _judged(tailscale_input_errors),
        }
