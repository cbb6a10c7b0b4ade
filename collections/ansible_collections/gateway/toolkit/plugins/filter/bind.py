"""Filters that compare where a gateway should listen with the addresses that its host has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.input_bind import (
    address_of_this_host,
    host_addresses,
    openclaw_gateway_bind_errors,
)


class FilterModule:
    """The filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {
            "address_of_this_host": address_of_this_host,
            "host_addresses": host_addresses,
            "openclaw_gateway_bind_errors": openclaw_gateway_bind_errors,
        }
