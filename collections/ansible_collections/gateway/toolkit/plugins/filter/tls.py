"""Filter that judges a certificate and its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def judge(certificate: Any, key: Any, name: str) -> list[str]:
    """Return the sentences of tls_errors."""
    # Ansible loads this file whenever it looks for any filter of the collection, and cryptography takes a while.
    from ansible_collections.gateway.toolkit.plugins.module_utils.input_tls import tls_errors

    return tls_errors(certificate, key, name)


class FilterModule:
    """The filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"tls_errors": judge}
