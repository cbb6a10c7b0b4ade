"""Finds the mistakes in the definition of health checks that types alone do not show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.gateway.toolkit.plugins.module_utils.health_expect import EXPECTATIONS, is_path

Check = Mapping[str, Any]
COMMON = ("name", "kind", "group", "explain", "cause", "remedy", "needs", "retries", "unit")
DOCUMENT = (*EXPECTATIONS, "capture", "timeout")
OF_KIND: Mapping[str, tuple[str, ...]] = {
    "unit": ("still_seconds", "oneshot"),
    "listen": ("port", "addresses"),
    "http": (
        "url", "method", "headers", "header_files", "body", "status", "body_matches", "expect_refused", "ca_file",
        "server_name",
        *DOCUMENT,
    ),
    "openclaw": ("url", "token_file", "method", "body_matches", "ca_file", "server_name", "timeout", *EXPECTATIONS),
    "command": ("argv", "stdin", "environment", "rc", "stdout_matches", *DOCUMENT),
    "reach": ("url", "reachable", "body_matches", "timeout"),
    "certificate": ("url", "ca_file", "server_name", "warn_days", "timeout"),
}  # fmt: skip
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "unit": ("unit",),
    "listen": ("port", "addresses"),
    "http": ("url",),
    "openclaw": ("url",),
    "command": ("argv",),
    "reach": ("url", "reachable"),
    "certificate": ("url",),
}


def errors_in(checks: Sequence[Check]) -> list[str]:
    """Return one sentence for each mistake in the definition of the checks."""
    names = [check["name"] for check in checks]
    found = [] if checks else ["the list of checks is empty, so it would prove nothing"]
    found += [f"two checks are named {name!r}" for name in sorted({name for name in names if names.count(name) > 1})]
    for check in checks:
        found += [f"check {check['name']!r}: {sentence}" for sentence in _errors_in_one(check, names)]
    if not found:
        found += [f"check {name!r} needs itself in the end" for name in _in_circle(checks)]
    return found


def _errors_in_one(check: Check, names: Sequence[str]) -> Iterable[str]:
    kind = check["kind"]
    given = {name for name, value in check.items() if value is not None}
    yield from (f"kind {kind} needs {name}" for name in REQUIRED[kind] if name not in given)
    yield from (f"kind {kind} has no {name}" for name in sorted(given - {*COMMON, *OF_KIND[kind]}))
    yield from (f"needs the unknown check {name!r}" for name in check.get("needs") or [] if name not in names)
    patterns = [item["match"] for item in check.get("explain") or []]
    patterns += [check.get("body_matches"), check.get("stdout_matches"), *(check.get("json_matches") or {}).values()]
    yield from (f"{pattern!r} is not a regular expression" for pattern in patterns if not _is_regex(pattern))
    paths = [path for name in EXPECTATIONS for path in check.get(name) or {}]
    paths += list((check.get("capture") or {}).values())
    yield from (f"{path!r} is not a path such as data[].id" for path in paths if not is_path(str(path)))
    for name, kinds, words in (
        ("json_contains", list, "a list"),
        ("json_exactly", list, "a list"),
        ("json_at_least", (int, float), "a number"),
        ("json_at_most", (int, float), "a number"),
    ):
        wrong = [path for path, wanted in (check.get(name) or {}).items() if not isinstance(wanted, kinds)]
        yield from (f"{name} of {path!r} must be {words}" for path in wrong)
    yield from (f"{text!r} is not an IP address" for text in check.get("addresses") or [] if not _is_address(text))
    if kind == "listen" and "port" in given and not 1 <= check["port"] <= 65535:
        yield f"port {check['port']} is not between 1 and 65535"
    if kind in ("http", "openclaw", "reach", "certificate") and "url" in given and not _is_url(check["url"]):
        yield f"{check['url']!r} is not a http:// or https:// address"
    if kind == "command" and "argv" in given and not check["argv"]:
        yield "argv is empty"


def _is_regex(pattern: str | None) -> bool:
    try:
        re.compile(pattern or "")
    except re.error:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


def _in_circle(checks: Sequence[Check]) -> list[str]:
    left = {check["name"]: set(check.get("needs") or []) for check in checks}
    while True:
        free = [name for name, needs in left.items() if not needs & set(left)]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]
