"""The filters for what the operator asks to rotate."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.filter.rotation import rotation_errors, wants


@pytest.mark.parametrize(
    "rotate", [None, [], "", "all", "virtual_keys", "virtual_keys,gateway_token", ["gateway_token", "virtual_keys"]]
)
def test_known_names_are_accepted(rotate: Any) -> None:
    assert rotation_errors(rotate) == []


def test_an_unknown_name_is_refused_with_the_list() -> None:
    (error,) = rotation_errors(["virtual_keys", "virtual_key"])
    assert error.startswith("rotate has 'virtual_key': use virtual_keys, gateway_token, master_key, ")


@pytest.mark.parametrize(("name", "words"), [("salt_key", "can never change"), ("provider_keys", "your vault")])
def test_what_is_never_rotated_is_refused_with_the_reason(name: str, words: str) -> None:
    (error,) = rotation_errors(name)
    assert words in error


def test_every_wrong_name_is_reported_once() -> None:
    assert len(rotation_errors("one,two one")) == 2


@pytest.mark.parametrize(
    ("rotate", "emergency", "right"),
    [
        ("virtual_keys", "true", True),
        ("all", True, True),
        ("gateway_token", "true", False),
        (None, "true", False),
        (None, "false", True),
        ("all", "now", False),
    ],
)
def test_an_emergency_is_for_virtual_keys(rotate: Any, emergency: Any, right: bool) -> None:
    assert (rotation_errors(rotate, emergency) == []) is right


def test_all_wants_everything_and_nothing_wants_nothing() -> None:
    assert wants("all", "gateway_token")
    assert wants(["gateway_token"], "gateway_token")
    assert not wants("virtual_keys", "gateway_token")
    assert not wants(None, "gateway_token")
