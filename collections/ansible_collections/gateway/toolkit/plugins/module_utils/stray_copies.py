# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where on this host a dead secret is still written down."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Search:
    """``found``: paths of files; ``complete`` is false when the time was over before everything was read."""

    found: tuple[str, ...]
    complete: bool


def search(value: str, places: Sequence[str], leave_out: Collection[str], seconds: float) -> Search:
    """Files below ``places`` that hold ``value``, as it is or as JSON writes it, within ``seconds``.

    Symbolic links are not followed, other file systems not entered; what cannot be read is passed over. ``leave_out``:
    paths of files that are known to hold it.
    """
    end = time.monotonic() + seconds
    needles = tuple({value.encode(), json.dumps(value)[1:-1].encode()})
    found: set[str] = set()
    for path in files_below(places):
        if time.monotonic() >= end:
            return Search(tuple(sorted(found)), False)
        if path not in leave_out and holds(path, needles):
            found.add(path)
    return Search(tuple(sorted(found)), True)


def files_below(places: Sequence[str]) -> Iterator[str]:
    """Every directory entry that is no directory; of a place that is a file, itself."""
    for place in places:
        if not os.path.isdir(place) or os.path.islink(place):
            yield place
            continue
        device = os.lstat(place).st_dev
        for folder, folders, names in os.walk(place):
            folders[:] = [name for name in folders if _device(os.path.join(folder, name)) == device]
            yield from (os.path.join(folder, name) for name in names)


def holds(path: str, needles: Sequence[bytes]) -> bool:
    """Whether a regular file holds one of these, also across the border of two reads."""
    keep = max(map(len, needles)) - 1
    try:
        # Opening a device or a pipe may do something or wait for ever.
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with open(path, "rb") as stream:
            tail = b""
            while data := stream.read(CHUNK):
                window = tail + data
                if any(needle in window for needle in needles):
                    return True
                tail = window[-keep:]
    except OSError:
        return False
    return False


def _device(path: str) -> int:
    try:
        return os.lstat(path).st_dev
    except OSError:
        return -1
