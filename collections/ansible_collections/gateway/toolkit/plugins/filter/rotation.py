"""Filters for what the operator asks to rotate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

NAMES = ("virtual_keys", "gateway_token", "master_key", "database_password")
EVERYTHING = "all"
NEVER = {
    "salt_key": (
        "the salt key encrypts what LiteLLM keeps in its database and can never change: a new one would make all of it "
        "unreadable"
    ),
    "provider_keys": (
        "a provider key is changed where it is given out: put the new one into litellm_provider_keys (your vault) and "
        "run site.yml"
    ),
}


def asked_names(rotate: Any) -> list[str]:
    """The names in ``rotate``: a list, or text with commas or blanks between them; empty for none."""
    if rotate is None:
        return []
    parts = rotate if isinstance(rotate, (list, tuple)) else [rotate]
    return [name for part in parts for name in str(part).replace(",", " ").split()]


def rotation_errors(rotate: Any, emergency: Any = False, refusals: Mapping[str, str] | None = None) -> list[str]:
    """One sentence for each name that cannot be rotated, and for an emergency without a virtual key.

    ``refusals``: why a name cannot be rotated here; "" for one that can. What is only part of "all" is left out then.
    """
    names = asked_names(rotate)
    errors = []
    for name in dict.fromkeys(names):
        if (refusals or {}).get(name):
            errors.append(f"rotate has {name}: {(refusals or {})[name]}.")
        elif name in NEVER:
            errors.append(f"rotate has {name}: {NEVER[name]}.")
        elif name not in (*NAMES, EVERYTHING):
            errors.append(f"rotate has {name[:40]!r}: use {', '.join(NAMES)}, a list of them, or {EVERYTHING}.")
    if str(emergency).lower() not in ("true", "false", "yes", "no", "1", "0", ""):
        errors.append(f"rotate_emergency is {str(emergency)[:40]!r}: write true or false.")
    elif is_true(emergency) and not wants(rotate, "virtual_keys"):
        errors.append("rotate_emergency is for virtual keys: add -e rotate=virtual_keys.")
    return errors


def is_true(value: Any) -> bool:
    """Whether a switch of the command line is on."""
    return str(value).lower() in ("true", "yes", "1")


def wants(rotate: Any, name: str) -> bool:
    """Whether ``rotate`` asks for this one."""
    names = asked_names(rotate)
    return name in names or EVERYTHING in names


class FilterModule:
    """The filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"rotation_errors": rotation_errors, "rotation_wants": wants}
