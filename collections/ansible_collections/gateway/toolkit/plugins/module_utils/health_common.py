"""What every kind of health check shares: the outcome of one try, and the removal of secrets from texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import secrets_in

EVIDENCE_LIMIT = 8192  # characters of an answer that are kept to find the cause of a failure
QUOTE_LIMIT = 200  # characters of a foreign message that a detail quotes

_KEY_LIKE = re.compile(r"\bsk-[\w.\-]{4,}")
_URL_PASSWORD = re.compile(r"(://)[^/\s:@]*:[^/\s@]+@")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one try of one check.

    ok: the check passed.
    detail: one line for people; on failure what was seen and what was expected.
    evidence: the longer text behind a failure (an answer's body, a command's output), only used to find the cause.
    captured: what the check was asked to hand back, name -> JSON value.
    warning: it passed, but somebody has to do something soon.
    """

    ok: bool
    detail: str
    evidence: str = ""
    captured: Mapping[str, Any] = field(default_factory=dict)
    warning: bool = False


class CheckError(Exception):
    """A check cannot pass; the text is the failure detail."""


def one_line(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Return the text on one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def read_secret(path: str) -> str:
    """Return the secret that is a file's whole content, without the space around it.

    Raises CheckError: "cannot read <path>: <reason>" or "<path> is empty".
    """
    try:
        with open(path, encoding="utf-8") as stream:
            secret = stream.read().strip()
    except OSError as error:
        raise CheckError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CheckError(f"cannot read {path}: not a text file") from None
    if not secret:
        raise CheckError(f"{path} is empty")
    return secret


class Censor:
    """Removes secrets from texts: known values, anything that looks like an API key, and passwords in URLs."""

    def __init__(self) -> None:
        self.secrets: frozenset[str] = frozenset()

    def add(self, *secrets: str) -> None:
        """Learn secret values, of at least 4 characters each."""
        self.secrets = self.secrets | secrets_in([], secrets)

    def add_file(self, path: str) -> None:
        """Learn all secrets in a file. A file that cannot be read has nothing that could leak from here."""
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                self.secrets = self.secrets | secrets_in([stream.read()])
        except OSError:
            return

    def text(self, text: str) -> str:
        """Return the text without secrets: `sk-****` for keys, `****` for other known values."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "sk-****" if secret.startswith("sk-") else "****")
        return _URL_PASSWORD.sub(r"\1****@", _KEY_LIKE.sub("sk-****", text))

    def value(self, value: Any) -> Any:
        """Return a JSON value with all its strings censored."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value
