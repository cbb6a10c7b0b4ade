"""Checks of single input values, shared by the rules of every role.

Every function is pure. It takes a label (the variable, or its item, in the operator's words) and the raw value,
and returns a list of sentences: what is wrong, which variable, what to do. An empty list means the value is good.
A sentence never holds a secret: values of secrets are not shown at all, other values only when they are short and
do not look like a key that was pasted into the wrong place.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")

_KEY_SHAPES = re.compile(
    r"(sk-|sk_|pk-|rk_|xox|gh[pousr]_|github_pat_|glpat-|hf_|gsk_|xai-|pplx-|nvapi-|r8_|AIza|AKIA|ASIA|eyJ|-----BEGIN"
    r"|\$ANSIBLE_VAULT)"
)
_LONG_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+/=]{24,}")
_URL_PASSWORD = re.compile(r"://[^/\s]*@")
_PLACEHOLDER = re.compile(
    r"change[-_ ]?me|replace[-_ ]?me|fill[-_ ]?me|insert[-_ ]|<[^>]*>|\.\.\.|…|\bx{4,}\b|^x{3,}$|^\*+$"
    r"|^(my|your)[-_ ].*(key|token|password|secret)"
    r"|^(password|secret|token|todo|tbd|sk-1234|sk-anything|default|admin)$",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9._@+/-]*[A-Za-z0-9_+-]")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_POSTGRESQL_WORDS = (
    *("postgres", "template0", "template1"),  # part of every server
    *("all", "sameuser", "samerole", "samegroup", "replication", "public", "none", "user"),  # words of pg_hba.conf, SQL
)
_SHOWN_LIMIT = 60


def looks_secret(text: str) -> bool:
    """Say whether a text has the shape of a key, so that no message repeats one from the wrong variable."""
    return bool(_KEY_SHAPES.match(text) or _LONG_RANDOM.fullmatch(text) or _URL_PASSWORD.search(text))


def shown(value: Any) -> str:
    """Describe a value for a message, on one line, without showing what looks like a secret."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        if not value:
            return "empty"
        if looks_secret(value):
            return "a value that looks like a secret (not shown)"
        quoted = json.dumps(value)
        return quoted if len(quoted) <= _SHOWN_LIMIT else f'{quoted[: _SHOWN_LIMIT - 4]}..."'
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"of type {type(value).__name__}"


def value_of(values: Mapping[str, Any], name: str) -> Any:
    """Return the value under a name, or None."""
    return values.get(name)


def is_unset(value: Any) -> bool:
    """Say whether a variable was left empty, which means "use the default"."""
    return value is None or value == ""


def listing(names: Any) -> str:
    """Join names for a message, at most ten of them."""
    wanted = sorted({str(name) for name in names})
    short = ", ".join(wanted[:10])
    return f"{short} and {len(wanted) - 10} more" if len(wanted) > 10 else short or "none"


def text_errors(label: str, value: Any, *, secret: bool = False) -> list[str]:
    """Refuse what YAML read as something else than text: unquoted digits, yes, no, on, off."""
    if isinstance(value, str):
        return []
    if isinstance(value, bool):
        what = "a boolean" if secret else shown(value)
        return [f"{label} is {what}, because YAML reads yes, no, on, off, true and false so: put the value in quotes."]
    if isinstance(value, (int, float)):
        what = "a number" if secret else shown(value)
        return [f"{label} is {what}, because YAML reads unquoted digits so: put the value in quotes."]
    return [f"{label} is {'not text' if secret else shown(value)}: give one text in quotes."]


def boolean_errors(label: str, value: Any) -> list[str]:
    """Refuse anything but true and false. In templates the text "false" counts as true, so text is refused too."""
    if isinstance(value, bool):
        return []
    advice = "write true or false without quotes"
    if isinstance(value, str):
        advice += f", on the command line as -e '{{\"{label.split()[0]}\": true}}'"
    return [f"{label} is {shown(value)}, not a boolean: {advice}."]


def as_integer(value: Any) -> int | None:
    """Return the integer in a value, or None. Text of digits is None: it would reach the services as text."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_number(value: Any) -> float | None:
    """Return the finite number in a value, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _unquote_advice(label: str, value: Any) -> str:
    """Say how to write a number that was given as text."""
    if not isinstance(value, str) or not value.strip().isdigit():
        return ""
    return f" without quotes, on the command line as -e '{{\"{label.split()[0]}\": {value.strip()}}}'"


def integer_errors(label: str, value: Any, low: int, high: int, unit: str) -> list[str]:
    """Refuse what is not an integer from low to high; unit is the word behind the range, such as "seconds"."""
    number = as_integer(value)
    if number is None:
        advice = f"set it to {low} to {high} {unit}{_unquote_advice(label, value)}"
        return [f"{label} is {shown(value)}, not an integer: {advice}."]
    if not low <= number <= high:
        return [f"{label} is {number}, outside the range: set it to {low} to {high} {unit}."]
    return []


def port_errors(label: str, value: Any) -> list[str]:
    """Refuse ports that the service cannot open: out of range, or below 1024 without privileges."""
    number = as_integer(value)
    if number is not None and 1 <= number < 1024:
        return [f"{label} is {number}, which only root may open: set it to a TCP port from 1024 to 65535."]
    if number is None or not 1024 <= number <= 65535:
        return [f"{label} is {shown(value)}: set it to a TCP port from 1024 to 65535{_unquote_advice(label, value)}."]
    return []


def choice_errors(label: str, value: Any, choices: tuple[str, ...]) -> list[str]:
    """Refuse what is not one of the words; a boolean gets the advice to quote it."""
    if not isinstance(value, str):
        return text_errors(label, value)
    return [] if value in choices else [f"{label} is {shown(value)}: set it to one of {', '.join(choices)}."]


def address_errors(label: str, value: Any) -> list[str]:
    """Refuse what is not one IPv4 or IPv6 address."""
    if not isinstance(value, str):
        return text_errors(label, value)
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return [f"{label} is {shown(value)}, not an IP address: write an address such as 192.0.2.10, not a host name."]
    return []


def network_errors(label: str, value: Any) -> list[str]:
    """Refuse what is not an IP address or a network in CIDR form, and networks that hold everyone."""
    if not isinstance(value, str):
        return text_errors(label, value)
    try:
        network = ipaddress.ip_network(value, strict=True)
    except ValueError:
        hint = _network_hint(value)
        return [f"{label} is {shown(value)}, not an address or network: write for example 192.0.2.10/32{hint}."]
    if network.prefixlen == 0:
        return [f"{label} is {shown(value)}, which is every address there is: name the hosts that may connect."]
    return []


def _network_hint(value: str) -> str:
    try:
        return f" (here probably {ipaddress.ip_network(value, strict=False)})"
    except ValueError:
        return ""


def host_errors(label: str, value: Any) -> list[str]:
    """Refuse what is neither an IP address nor a host name."""
    if not isinstance(value, str):
        return text_errors(label, value)
    if ":" in value or re.fullmatch(r"[\d.]+", value):
        return address_errors(label, value)
    return [] if _HOST_NAME.fullmatch(value) else [f"{label} is {shown(value)}: write one host name or IP address."]


def url_errors(label: str, value: Any, *, path: bool = True, example: str) -> list[str]:
    """Refuse what is not an http or https URL; credentials in it are refused and not shown.

    path=False allows scheme, host and port alone.
    """
    if not isinstance(value, str):
        return text_errors(label, value)
    advice = f"write it like {example}."
    if re.search(r"[\s\"'\\<>{}`]", value) or _CONTROL.search(value):
        return [f"{label} has blanks, quotes or control characters in it: {advice}"]
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return [f"{label} is {shown(value)}, which has a wrong host or port: {advice}"]
    if parts.scheme not in ("http", "https") or not host:
        return [f"{label} is {shown(value)}, not an http or https URL: {advice}"]
    if "@" in parts.netloc:
        return [f"{label} has a user name or password in it: keep credentials in their own variable and {advice}"]
    if not path and (parts.path not in ("", "/") or parts.query or parts.fragment):
        return [f"{label} is {shown(value)}, which has a path: {advice}"]
    return []


def duration_errors(label: str, value: Any, units: tuple[str, ...], *, zero: bool = False) -> list[str]:
    """Refuse what is not a whole number with one of the units behind it, such as 30m; zero=True allows 0."""
    first = "0" if zero else "1"
    form = rf"(?:0|[1-9]\d{{0,5}})(?:{'|'.join(units)})"
    if isinstance(value, str) and re.fullmatch(form, value) and (zero or not value.startswith("0")):
        return []
    return [f"{label} is {shown(value)}: write a number from {first} and one of {', '.join(units)}, like 30{units[0]}."]


OWNER_LENGTH = 54
"""A login role has the owner's name and 9 characters more; PostgreSQL cuts names after 63."""


def identifier_errors(label: str, value: Any, longest: int = 63) -> list[str]:
    """Refuse names that PostgreSQL would fold, quote or treat as special; pg_hba.conf has words of its own."""
    if not isinstance(value, str):
        return text_errors(label, value)
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", value):
        return [f"{label} is {shown(value)}: use 1 to {longest} lower-case letters, digits and _, a letter first."]
    if len(value) > longest:
        return [f"{label} has {len(value)} characters: use at most {longest}."]
    if value.startswith("pg_") or value in _POSTGRESQL_WORDS:
        return [f"{label} is {value}, a name that PostgreSQL keeps for itself: choose another one."]
    return []


def environment_errors(label: str, values: Any) -> list[str]:
    """Refuse environments with names that cannot be set, or values that are not one line of text."""
    if not isinstance(values, Mapping):
        return dictionary_errors(label, values)
    errors = []
    for position, (name, value) in enumerate(values.items(), start=1):
        if not isinstance(name, str) or not VARIABLE_NAME.fullmatch(name):
            errors.append(f"{label} entry {position} has a name that cannot be a variable: use letters, digits and _.")
        else:
            errors += text_errors(f"{label} {name}", value, secret=True) or line_errors(f"{label} {name}", value)
    return errors


def line_errors(label: str, value: str) -> list[str]:
    """Refuse text with line breaks or control characters; the value is not shown."""
    if value.isprintable():
        return []
    return [f"{label} has line breaks or control characters in it: give the value on one line."]


def origin_errors(label: str, value: Any) -> list[str]:
    """Refuse what is not a browser origin: scheme, host and port, no path and no wildcard."""
    example = "https://gateway.example.org:4321"
    if isinstance(value, str) and "*" in value:
        return [f"{label} is {shown(value)}, which lets any web page in: name each origin, like {example}."]
    errors = url_errors(label, value, path=False, example=example)
    if not errors and value.endswith("/"):
        return [f"{label} is {shown(value)}, but browsers send an origin without a slash at the end: remove it."]
    return errors


def path_errors(label: str, value: Any) -> list[str]:
    """Refuse what is not an absolute, plain path."""
    if not isinstance(value, str):
        return text_errors(label, value)
    if not _PATH.fullmatch(value) or ".." in value.split("/"):
        return [
            f"{label} is {shown(value)}: write an absolute path of letters, digits and . _ @ + - without .. in it "
            "and without a slash at the end."
        ]
    return []


def path_list_errors(label: str, value: Any) -> list[str]:
    """Refuse what is not a list of absolute, plain paths; None is a variable that is not there."""
    if value is None:
        return []
    if not isinstance(value, list):
        return [f"{label} is {shown(value)}: write a list of absolute paths."]
    return [error for place, item in enumerate(value) for error in path_errors(f"{label}[{place}]", item)]


def user_errors(label: str, value: Any) -> list[str]:
    """Refuse names that no system user may have, and root."""
    if not isinstance(value, str):
        return text_errors(label, value)
    if value == "root":
        return [f"{label} is root: choose a system user of its own, the service must not run as root."]
    if not _USER_NAME.fullmatch(value):
        return [f"{label} is {shown(value)}: use 1 to 31 lower-case letters, digits, - and _, a letter first."]
    return []


def version_errors(label: str, value: Any) -> list[str]:
    """Refuse what is not an exact version of three numbers."""
    if isinstance(value, str) and _VERSION.fullmatch(value):
        return []
    return [f"{label} is {shown(value)}: pin one exact version of three numbers, such as 1.2.3."]


def version_key(value: str) -> tuple[int, ...]:
    """Return a version of three numbers as a tuple that can be compared."""
    return tuple(int(part) for part in value.split("."))


def is_placeholder(text: str) -> bool:
    """Say whether a secret is example text that somebody forgot to replace."""
    return bool(_PLACEHOLDER.search(text))


def secret_errors(label: str, value: Any, *, minimum: int, remedy: str) -> list[str]:
    """Refuse secrets that are no text, example text, shorter than `minimum` characters, or unsafe to carry.

    remedy completes the sentence "...: put another value there, or <remedy>". The value is never shown.
    """
    if not isinstance(value, str):
        return text_errors(label, value, secret=True)
    if is_placeholder(value):
        return [f"{label} is example text: put the real value there, or {remedy}."]
    errors = []
    if re.search(r"[\s\"'\\`$]", value) or _CONTROL.search(value) or not value.isascii():
        errors.append(
            f"{label} has blanks, line breaks, quotes, $, backslashes or characters beyond ASCII in it: use letters, "
            f"digits and - _ . only, or {remedy}."
        )
    if len(value) < minimum:
        errors.append(f"{label} has {len(value)} characters: use {minimum} or more, or {remedy}.")
    return errors


def carried_secret_errors(label: str, value: Any) -> list[str]:
    """Refuse keys of others (a provider's) that cannot be right: no text, example text, line breaks, blanks around.

    The length and the characters are the provider's choice. The value is never shown.
    """
    if not isinstance(value, str):
        return text_errors(label, value, secret=True)
    if is_placeholder(value):
        return [f"{label} is example text: put the real key there (ansible-vault edit the vault file)."]
    if _CONTROL.search(value):
        return [f"{label} has line breaks or control characters in it: give the key on one line."]
    if value != value.strip():
        return [f"{label} has blanks before or after it: remove them."]
    return []


def list_errors(label: str, value: Any) -> list[str]:
    """Refuse what is not a list; a single text gets the advice to write a list with one item."""
    if isinstance(value, (list, tuple)):
        return []
    return [f"{label} is {shown(value)}, not a list: write one item per line, each with a dash before it."]


def dictionary_errors(label: str, value: Any) -> list[str]:
    """Refuse what is not a dictionary with text as keys."""
    if not isinstance(value, Mapping):
        return [f"{label} is {shown(value)}, not a dictionary: write `name: value` lines below it."]
    wrong = [key for key in value if not isinstance(key, str)]
    return [f"{label} has a name that is {shown(key)}: put the name in quotes." for key in wrong]


def unknown_key_errors(label: str, item: Mapping[str, Any], known: tuple[str, ...]) -> list[str]:
    """Refuse keys that nothing reads, most often a typing error."""
    unknown = [str(key) for key in item if key not in known]
    return [f"{label} has the unknown key {shown(key)}: use {', '.join(known)}." for key in unknown]


def repeated(values: list[Any]) -> list[Any]:
    """Return the values that occur more than once, each once, in the order of their first repetition."""
    found = [value for position, value in enumerate(values) if value in values[:position]]
    return [value for position, value in enumerate(found) if value not in found[:position]]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (path, value) of every value in nested dictionaries and lists that is neither of both."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from leaves(inner, (*path, str(position)))
    else:
        yield path, value
