"""Find the secrets inside the text of a file, and keep them out of everything a module says.

Ansible's own censoring has three gaps that matter here. It compares whole parameter values, so a program that prints
one line of a secret file leaks it. Its log line on the host shows nested parameters through repr(), in which a value
with a line break no longer matches. And it censors short values such as "1" everywhere, which makes messages
unreadable. The modules therefore declare their parameters no_log at the top level (the log line then shows none of
them) and name the real secrets to Ansible with seal().
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any

MIN_LENGTH = 8
HIDDEN = "********"
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'')
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
URL_CREDENTIALS = re.compile(r"://[^/\s@:]*:([^/\s]+)@")
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_.-]*\s*[=:]\s*(.*)")


def json_strings(data: Any) -> Iterator[str]:
    """All string values (not the keys) inside parsed JSON."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from json_strings(value)
    elif isinstance(data, list):
        for value in data:
            yield from json_strings(value)


def is_host_path(value: str) -> bool:
    """Whether a value is colon-separated absolute paths that exist here: not a secret, but an explanation."""
    return all(part.startswith("/") and len(part) > 1 and os.path.exists(part) for part in value.split(":"))


def values_in_text(text: str) -> Iterator[str]:
    """Everything in a secret file that may be a secret: the whole, each line, each NAME=value, each quoted string."""
    yield text.strip()
    try:
        yield from json_strings(json.loads(text))
    except ValueError:
        yield from (single or double for double, single in QUOTED.findall(text))
        for line in text.splitlines():
            if line.lstrip().startswith("#"):
                continue
            yield line.strip()
            assignment = ASSIGNMENT.fullmatch(line)
            if assignment:
                yield assignment.group(1).strip().strip("\"'")


def with_parts(value: str) -> Iterator[str]:
    """A value, the password inside it when it is a URL, and the spellings that programs print: JSON and URL encoded."""
    found = [value]
    credentials = URL_CREDENTIALS.search(value)
    if credentials:
        found += [credentials.group(1), urllib.parse.unquote(credentials.group(1))]
    for item in found:
        yield item
        yield json.dumps(item)[1:-1]
        yield urllib.parse.quote(item, safe="")


def secrets_in(texts: Iterable[str], explicit: Iterable[str] = ()) -> set[str]:
    """The strings to censor.

    From texts (contents of secret files, environment values): values of at least 8 characters that are not existing
    paths. From explicit (named by the caller): everything of at least 4 characters.
    """
    found: set[str] = set()
    for text in texts:
        for value in values_in_text(text):
            if not is_host_path(value):
                found.update(part for part in with_parts(value) if len(part) >= MIN_LENGTH)
    for value in explicit:
        if len(value) >= 4:
            found.update(part for part in with_parts(value) if len(part) >= 4)
    return found


def censor(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced by asterisks, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def readable(output: str, secrets: Iterable[str], lines: int = 60, characters: int = 8000) -> str:
    """The end of a program's output, which is where it says what is wrong, without colours and secrets.

    Secrets go first: cutting first could leave half of one.
    """
    plain = censor(COLOUR.sub("", output), secrets)
    return "\n".join(plain.strip().splitlines()[-lines:])[-characters:]


def seal(module: Any, secrets: Iterable[str]) -> None:
    """Let an AnsibleModule censor exactly these strings in whatever it returns from now on."""
    module.no_log_values = set(secrets)
