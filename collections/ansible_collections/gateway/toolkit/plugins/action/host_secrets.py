"""The controller's half of gateway.toolkit.host_secrets.

It runs the module and marks a successful result as "do not show", as the task keyword no_log would do. A failed result
stays visible: it holds no secret, and its sentences tell the operator what to do.
"""

from __future__ import annotations

import secrets
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gateway.toolkit.plugins.module_utils.one_time_pad import reveal


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no type information
    """Runs the module of the same name with the task's own parameters."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result, hidden unless the module itself reported a failure (which it censored) or never ran."""
        result: dict[str, Any] = super().run(None, task_vars)
        key = secrets.token_hex(32)
        arguments = {**self._task.args, "transport_key": key}
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        if "secrets" in result:
            result["secrets"] = {name: reveal(key, name, value) for name, value in result["secrets"].items()}
        reported = bool(result.get("failed")) and "module_stdout" not in result
        result["_ansible_no_log"] = not (reported or result.get("unreachable"))
        return result
