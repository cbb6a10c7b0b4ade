"""Expectations about a JSON document, shared by the kinds `http` and `command`.

A path names a value: `a.b` keys, `a[0]` an item, `a[].id` the ids of all items as a list (lists inside lists
are flattened), `.` the whole document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import CheckError, one_line

EXPECTATIONS = ("json", "json_contains", "json_exactly", "json_at_least", "json_at_most", "json_matches")
MISSING = object()  # stands for a value that a document does not have

_STEP = re.compile(r"([^.\[\]]+)|\[(\d*)\]")
_PATH = re.compile(r"\.|(\[\d*\]|[^.\[\]]+)(\[\d*\]|\.[^.\[\]]+)*")


def is_path(path: str) -> bool:
    """Tell whether the text is a path as this module reads it."""
    return _PATH.fullmatch(path) is not None


def look_up(document: Any, path: str) -> Any:
    """Return the value at a path, or MISSING. A projection over no items is an empty list."""
    if path == ".":
        return document
    values, projected = [document], False
    for match in _STEP.finditer(path):
        key, index = match.groups()
        if key is None and index == "":
            projected = True
            if not all(isinstance(value, list) for value in values):
                return MISSING
            values = [item for value in values for item in value]
        else:
            values = [_step(value, key, index) for value in values]
    if projected:
        return [value for value in values if value is not MISSING]
    return values[0]


def _step(value: Any, key: str | None, index: str | None) -> Any:
    if key is not None:
        return value.get(key, MISSING) if isinstance(value, dict) else MISSING
    position = int(index or 0)
    return value[position] if isinstance(value, list) and position < len(value) else MISSING


def same(left: Any, right: Any) -> bool:
    """Tell whether two JSON values are equal; unlike in Python, true is not 1."""
    return json.dumps(_plain(left), sort_keys=True) == json.dumps(_plain(right), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def show(value: Any) -> str:
    """Return a JSON value as short text for a detail."""
    return one_line(json.dumps(value, ensure_ascii=False))


def _equal(path: str, seen: Any, wanted: Any) -> str | None:
    return None if same(seen, wanted) else f"{path} is {show(seen)}, expected {show(wanted)}"


def _items(path: str, seen: Any, wanted: Any, exactly: bool) -> str | None:
    if not isinstance(seen, list):
        return f"{path} is {show(seen)}, expected a list"
    lacks = [item for item in wanted if not any(same(item, other) for other in seen)]
    extra = [item for item in seen if not any(same(item, other) for other in wanted)] if exactly else []
    if not lacks and not extra:
        return None
    parts = [f"lacks {show(lacks)}"] if lacks else []
    parts += [f"has {show(extra)} too many"] if extra else []
    return f"{path} {' and '.join(parts)} (it is {show(seen)})"


def _bound(path: str, seen: Any, wanted: float, word: str, holds: Callable[[float, float], bool]) -> str | None:
    if isinstance(seen, bool) or not isinstance(seen, (int, float)):
        return f"{path} is {show(seen)}, expected a number"
    return None if holds(seen, float(wanted)) else f"{path} is {show(seen)}, expected {word} {wanted}"


def _match(path: str, seen: Any, wanted: str) -> str | None:
    text = seen if isinstance(seen, str) else json.dumps(seen)
    return None if re.search(wanted, text) else f"{path} is {show(seen)}, expected a match of {wanted!r}"


_JUDGES: Mapping[str, Callable[[str, Any, Any], str | None]] = {
    "json": _equal,
    "json_contains": lambda path, seen, wanted: _items(path, seen, wanted, exactly=False),
    "json_exactly": lambda path, seen, wanted: _items(path, seen, wanted, exactly=True),
    "json_at_least": lambda path, seen, wanted: _bound(path, seen, wanted, "at least", lambda a, b: a >= b),
    "json_at_most": lambda path, seen, wanted: _bound(path, seen, wanted, "at most", lambda a, b: a <= b),
    "json_matches": _match,
}


def wants_json(check: Mapping[str, Any]) -> bool:
    """Tell whether a check expects or hands back anything of a JSON document."""
    return any(check.get(name) for name in (*EXPECTATIONS, "capture"))


def unmet(document: Any, check: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each expectation of the check that the document does not meet."""
    found = []
    for name, judge in _JUDGES.items():
        for path, wanted in (check.get(name) or {}).items():
            seen = look_up(document, path)
            sentence = f"{path} is missing" if seen is MISSING else judge(path, seen, wanted)
            if sentence:
                found.append(sentence)
    return found


def pick(document: Any, paths: Mapping[str, str]) -> dict[str, Any]:
    """Return name -> value for name -> path; a missing value is None."""
    seen = {name: look_up(document, path) for name, path in paths.items()}
    return {name: None if value is MISSING else value for name, value in seen.items()}


def find_json(text: str) -> Any:
    """Return the JSON object or list in a program's output, also when log lines stand before or after it.

    Of several, the one that ends the text wins, otherwise the longest. Raises CheckError "not JSON: ...".
    """
    try:
        return json.loads(text)
    except ValueError:
        pass
    decoder, best, longest, position = json.JSONDecoder(), MISSING, 0, 0
    starts = [match.start(1) for match in re.finditer(r"^\s*([{\[])", text, re.MULTILINE)]
    for start in starts:
        if start < position:
            continue
        try:
            value, position = decoder.raw_decode(text, start)
        except ValueError:
            continue
        if not text[position:].strip():
            return value
        if position - start > longest:
            best, longest = value, position - start
    if best is MISSING:
        raise CheckError(f"not JSON: {one_line(text) or 'empty'}")
    return best
