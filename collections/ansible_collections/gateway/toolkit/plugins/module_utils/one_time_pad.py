"""Keeps returned secrets out of Ansible's debugging output.

From -vvv on, the SSH connection prints what a module returns, whatever no_log says
(https://docs.ansible.com/ansible/latest/reference_appendices/logging.html). Parameters are not printed: they travel on
standard input. So the controller sends a key for one call, and what comes back is unreadable without it.
"""

from __future__ import annotations

import hashlib


def _combine(key: str, name: str, data: bytes) -> bytes:
    pad = hashlib.shake_256(f"{key}\n{name}".encode()).digest(len(data))
    return bytes(left ^ right for left, right in zip(data, pad, strict=True))


def hide(key: str, name: str, text: str) -> str:
    """The text as hexadecimal digits; `key` is new for every call, `name` differs within one."""
    return _combine(key, name, text.encode()).hex()


def reveal(key: str, name: str, hidden: str) -> str:
    """The text that `hide` was given; ValueError when it was not made by it."""
    return _combine(key, name, bytes.fromhex(hidden)).decode()
