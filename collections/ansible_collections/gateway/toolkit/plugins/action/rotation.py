"""The controller's half of gateway.toolkit.rotation: a result that holds values is not shown."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no type information
    """Runs the module of the same name with the task's own parameters."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; hidden when it holds values, or when the module crashed before it could censor them."""
        result: dict[str, Any] = super().run(None, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        crashed = "module_stdout" in result and not result.get("unreachable")
        result["_ansible_no_log"] = bool(result.get("secrets")) or crashed
        return result
