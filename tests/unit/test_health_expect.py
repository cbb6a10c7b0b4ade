"""Expectations about JSON documents, and JSON among a program's log lines."""

from __future__ import annotations

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import CheckError
from ansible_collections.gateway.toolkit.plugins.module_utils.health_expect import (
    MISSING,
    find_json,
    is_path,
    look_up,
    unmet,
)

MODELS = {"object": "list", "data": [{"id": "a", "tags": ["x", "y"]}, {"id": "b", "tags": ["z"]}], "count": 2}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("object", "list"),
        ("data[0].id", "a"),
        ("data[].id", ["a", "b"]),
        ("data[].tags[]", ["x", "y", "z"]),
        ("data[1].tags[]", ["z"]),
        (".", MODELS),
        ("data[5].id", MISSING),
        ("object.id", MISSING),
        ("object[]", MISSING),
        ("nothing[]", MISSING),
        ("data[].nothing", []),
    ],
)
def test_a_path_finds_its_value(path: str, value: object) -> None:
    assert look_up(MODELS, path) == value


def test_a_path_can_start_with_an_item_of_a_list() -> None:
    assert look_up([{"id": 1}], "[0].id") == 1
    assert look_up([{"id": 1}, {"id": 2}], "[].id") == [1, 2]


@pytest.mark.parametrize("path", ["a", "a.b", "a[0]", "a[].id", "[].id", ".", "with-dash.and_line"])
def test_paths_are_recognized(path: str) -> None:
    assert is_path(path)


@pytest.mark.parametrize("path", ["", "a..b", "a[x]", ".a", "a.", "a[0"])
def test_what_is_no_path_is_noticed(path: str) -> None:
    assert not is_path(path)


@pytest.mark.parametrize(
    ("expectation", "sentence"),
    [
        ({"json": {"db": "connected"}}, 'db is "disconnected", expected "connected"'),
        ({"json": {"missing.path": 1}}, "missing.path is missing"),
        ({"json": {"ok": 1}}, "ok is true, expected 1"),
        ({"json": {"zero": False}}, "zero is 0, expected false"),
        ({"json_contains": {"ids": ["a", "c"]}}, 'ids lacks ["c"] (it is ["a", "b"])'),
        ({"json_exactly": {"ids": ["a"]}}, 'ids has ["b"] too many (it is ["a", "b"])'),
        ({"json_exactly": {"ids": ["b", "c"]}}, 'ids lacks ["c"] and has ["a"] too many (it is ["a", "b"])'),
        ({"json_contains": {"db": ["d"]}}, 'db is "disconnected", expected a list'),
        ({"json_at_least": {"spend": 2}}, "spend is 1.5, expected at least 2"),
        ({"json_at_most": {"spend": 1}}, "spend is 1.5, expected at most 1"),
        ({"json_at_least": {"db": 1}}, 'db is "disconnected", expected a number'),
        ({"json_at_least": {"ok": 1}}, "ok is true, expected a number"),
        ({"json_matches": {"db": "^conn"}}, "db is \"disconnected\", expected a match of '^conn'"),
    ],
)
def test_an_unmet_expectation_says_what_is_there_and_what_should_be(expectation: dict, sentence: str) -> None:
    document = {"db": "disconnected", "ok": True, "zero": 0, "ids": ["a", "b"], "spend": 1.5}
    assert unmet(document, expectation) == [sentence]


def test_met_expectations_say_nothing() -> None:
    document = {"db": "connected", "ok": True, "ids": ["b", "a"], "spend": 1.5, "none": None, "one": 1.0}
    expectations = {
        "json": {"db": "connected", "ok": True, "none": None, "one": 1},
        "json_contains": {"ids": ["a"]},
        "json_exactly": {"ids": ["a", "b"]},
        "json_at_least": {"spend": 1.5},
        "json_at_most": {"spend": 1.5},
        "json_matches": {"db": "connected"},
    }
    assert unmet(document, expectations) == []


def test_all_unmet_expectations_are_told_at_once() -> None:
    assert len(unmet({}, {"json": {"a": 1, "b": 2}, "json_at_least": {"c": 3}})) == 3


@pytest.mark.parametrize(
    "text",
    [
        '{"ok": true}',
        'starting\n[gateway] connecting ...\n{"ok": true}\n',
        '{"level": "info", "message": "a long log line in JSON"}\n{"ok": true}\n',
        '{"ok": true}\n[gateway] closing\n',
        'note: {curly}\n  {\n  "ok": true\n}\n',
        '[1] a log line that starts like a list\n{"ok": true}\nbye\n',
    ],
)
def test_json_is_found_among_log_lines(text: str) -> None:
    assert find_json(text) == {"ok": True}


def test_the_longest_document_wins_when_text_follows() -> None:
    assert find_json('{"a": 1}\n{"ok": true, "summary": {"critical": 0}}\ndone') == {
        "ok": True,
        "summary": {"critical": 0},
    }


@pytest.mark.parametrize("text", ["", "no document", "{broken"])
def test_output_without_json_is_an_error(text: str) -> None:
    with pytest.raises(CheckError, match="not JSON"):
        find_json(text)
