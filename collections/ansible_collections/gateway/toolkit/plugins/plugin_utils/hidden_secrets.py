"""The controller's half of the modules that return secrets: they come back hidden, and are not shown.

A result without secrets stays visible: a failed one holds none, and its sentences tell the operator what to do.
"""

from __future__ import annotations

import secrets
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gateway.toolkit.plugins.module_utils.one_time_pad import reveal


class HiddenSecrets(ActionBase):  # type: ignore[misc]  # Ansible has no type information
    """Runs the module of the same name with the task's own parameters."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; hidden when it holds values, or when the module crashed before it could censor them."""
        result: dict[str, Any] = super().run(None, task_vars)
        key = secrets.token_hex(32)
        arguments = {**self._task.args, "transport_key": key}
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        if "secrets" in result:
            result["secrets"] = {name: reveal(key, name, value) for name, value in result["secrets"].items()}
        crashed = "module_stdout" in result and not result.get("unreachable")
        result["_ansible_no_log"] = bool(result.get("secrets")) or crashed
        return result
