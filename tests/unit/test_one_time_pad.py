"""What comes back from a host is unreadable without the key of the call."""

from __future__ import annotations

from ansible_collections.gateway.toolkit.plugins.module_utils.one_time_pad import hide, reveal


def test_what_was_hidden_is_revealed_with_the_same_key_and_name() -> None:
    assert reveal("key", "name", hide("key", "name", "sk-sécret ‽")) == "sk-sécret ‽"


def test_the_hidden_text_shows_nothing_of_it() -> None:
    hidden = hide("key", "name", "sk-secret")
    assert "sk-secret" not in hidden
    assert bytes.fromhex(hidden) != b"sk-secret"
    assert hidden != hide("another key", "name", "sk-secret")
    assert hidden != hide("key", "another name", "sk-secret")
