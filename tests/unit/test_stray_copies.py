"""The search for copies of a dead secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import stray_copies
from ansible_collections.gateway.toolkit.plugins.module_utils.stray_copies import search

DEAD = "sk-dead-0123456789abcdef"


def found(root: Path, value: str = DEAD, seconds: float = 30) -> list[str]:
    result = search(value, [str(root)], [], seconds)
    assert result.complete
    return [os.path.relpath(path, root) for path in result.found]


def test_a_copy_is_found_in_any_file_at_any_depth(tmp_path: Path) -> None:
    for name, data in {
        "a/b/c.conf": b"key=%s",
        "binary": b"\0\xff%s\0",
        "json": b'{"k": "%s"}',
        "not": b"sk-dead",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data.replace(b"%s", DEAD.encode()))
    assert found(tmp_path) == ["a/b/c.conf", "binary", "json"]


def test_a_copy_across_the_border_of_two_reads_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stray_copies, "CHUNK", 7)
    for before in range(9):
        (tmp_path / f"{before}").write_text("x" * before + DEAD)
    (tmp_path / "none").write_text("x" * 100)
    assert len(found(tmp_path)) == 9


def test_a_value_with_quotes_is_found_as_json_writes_it(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"token": "a\\"quoted\\"token"}')
    assert found(tmp_path, 'a"quoted"token') == ["secrets.json"]


def test_links_pipes_and_unreadable_things_are_passed_over(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "copy").write_text(DEAD)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside / "copy")
    (inside / "folder").symlink_to(outside)
    (inside / "dangling").symlink_to("nowhere")
    os.mkfifo(inside / "pipe")
    assert found(inside) == []
    assert search(DEAD, [str(tmp_path / "missing")], [], 30) == stray_copies.Search((), True)


def test_a_place_may_be_a_file_and_known_files_are_left_out(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(DEAD)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert search(DEAD, [one], [], 30).found == (one,)
    assert search(DEAD, [str(tmp_path)], [two], 30).found == (one,)


def test_without_time_the_search_is_not_complete(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text(DEAD)
    assert search(DEAD, [str(tmp_path)], [], 0) == stray_copies.Search((), False)
