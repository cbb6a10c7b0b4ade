"""Rules for the variables of role postgresql: all that can be judged before a host is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils import input_checks as checks

Variables = Mapping[str, Any]

PASSWORD_LENGTH = 16
_EVERYWHERE = ("*", "0.0.0.0", "::")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def name_errors(variables: Variables) -> list[str]:
    """Check the names of the database and its owner, the port, the folders and the switch."""
    errors: list[str] = []
    for name, longest in (("postgresql_database", 63), ("postgresql_user", checks.OWNER_LENGTH)):
        if name in variables:
            errors += checks.identifier_errors(name, variables[name], longest)
    if "postgresql_port" in variables:
        errors += checks.port_errors("postgresql_port", variables["postgresql_port"])
    for name in ("postgresql_secrets_directory", "postgresql_rotation_directory"):
        if name in variables:
            errors += checks.path_errors(name, variables[name])
    if "postgresql_password_rotate" in variables:
        errors += checks.boolean_errors("postgresql_password_rotate", variables["postgresql_password_rotate"])
    return errors


def password_errors(variables: Variables) -> list[str]:
    """Check postgresql_password; empty means that one is made and kept on the host. The value is never shown."""
    password = checks.value_of(variables, "postgresql_password")
    if checks.is_unset(password):
        return []
    remedy = "leave it empty, then one is made on the host"
    return checks.secret_errors("postgresql_password", password, minimum=PASSWORD_LENGTH, remedy=remedy)


def listen_errors(variables: Variables) -> list[str]:
    """Check postgresql_listen_addresses: loopback always, else only addresses that were meant."""
    label = "postgresql_listen_addresses"
    if label not in variables:
        return []
    addresses = variables[label]
    errors = checks.list_errors(label, addresses)
    if errors:
        return errors
    for address in addresses:
        if address in _EVERYWHERE:
            errors.append(
                f"{label} has {checks.shown(address)}, which is every network: name the address of this host."
            )
        elif address != "localhost":
            errors += checks.address_errors(label, address)
    if not any(address in _LOOPBACK for address in addresses):
        errors.append(f"{label} has no loopback address: add 127.0.0.1, the roles work through it.")
    return errors


def client_errors(variables: Variables) -> list[str]:
    """Check postgresql_clients: addresses or networks, and a server that listens for them."""
    label = "postgresql_clients"
    clients = checks.value_of(variables, label)
    if checks.is_unset(clients):
        return []
    errors = checks.list_errors(label, clients)
    if errors:
        return errors
    for client in clients:
        errors += checks.network_errors(label, client)
    addresses = checks.value_of(variables, "postgresql_listen_addresses")
    if clients and isinstance(addresses, (list, tuple)) and all(address in _LOOPBACK for address in addresses):
        errors.append(
            f"{label} lets other hosts in, but postgresql_listen_addresses has loopback only: add this host's address."
        )
    return errors


def postgresql_input_errors(variables: Variables) -> list[str]:
    """Return everything that is wrong with role postgresql's variables, one sentence each, else an empty list.

    variables holds the role's variables under their names; one that is left out is not judged.
    """
    rules = (name_errors, password_errors, listen_errors, client_errors)
    return [sentence for rule in rules for sentence in rule(variables)]
