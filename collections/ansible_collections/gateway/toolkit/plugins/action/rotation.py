"""The controller's half of gateway.toolkit.rotation."""

from __future__ import annotations

from ansible_collections.gateway.toolkit.plugins.plugin_utils.hidden_secrets import HiddenSecrets


class ActionModule(HiddenSecrets):
    """Keeps the values that the module returns out of every output."""
