# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of module_utils/rotation_state.py: values, ledger and log, all for root only."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import (
    Access,
    FileProblem,
    read_live,
    write_atomic,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.rotation_state import (
    Change,
    Files,
    Ledger,
    RotationProblem,
)

SUFFIXES = {"current": "", "next": ".next", "old": ".old"}


@dataclass(frozen=True)
class Store:
    """``directory`` holds the values, ``state_directory`` the ledger, ``log`` is a path; ``name`` is the secret's file
    name. What is written belongs to the user of the process. RotationProblem when a file cannot be used."""

    directory: str
    state_directory: str
    log: str
    name: str

    def path(self, which: str) -> str:
        return os.path.join(self.directory, self.name + SUFFIXES[which])

    @property
    def ledger_path(self) -> str:
        return os.path.join(self.state_directory, f"{self.name}.json")

    def files(self) -> Files:
        """The three values, and when the one in use was written."""
        made = None
        if os.path.exists(self.path("current")):
            made = datetime.fromtimestamp(os.stat(self.path("current")).st_mtime, timezone.utc)
        current, following, old = (self._read(self.path(which)) for which in SUFFIXES)
        return Files(current, following, old, made)

    def ledger(self) -> Ledger:
        text = self._read(self.ledger_path)
        if not text:
            return Ledger()
        try:
            return Ledger.from_json(json.loads(text))
        except (ValueError, RotationProblem):
            raise RotationProblem(
                f"{self.ledger_path} is damaged. Remove it: a rotation that is not finished is recognised by the file "
                f"{self.path('old')} and taken up again."
            ) from None

    def apply(self, change: Change) -> None:
        """Each file in the order given, then the ledger. Parts of it may be done already."""
        try:
            for which, value in change.operations:
                if value is None:
                    self._remove(self.path(which))
                else:
                    self._write(self.path(which), f"{value}\n")
            text = json.dumps(change.ledger.to_json(), indent=2, sort_keys=True) + "\n"
            if self._read(self.ledger_path) != text.strip():
                make_private(self.state_directory)
                self._write(self.ledger_path, text)
        except (OSError, FileProblem) as error:
            raise RotationProblem(f"The rotation's files cannot be written: {error}") from None

    def append(self, line: dict[str, Any]) -> None:
        """One line to the log, unless a run that was killed right after it has written it already."""
        same = ("kind", "alias", "old", "new", "started", "result")
        try:
            make_private(os.path.dirname(self.log))
            lines = self._read(self.log).splitlines()
            if lines and all(_parsed(lines[-1]).get(name) == line.get(name) for name in same):
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self.log, flags, 0o600), "a", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(json.dumps(line, sort_keys=True) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except (OSError, FileProblem) as error:
            raise RotationProblem(f"The receipt cannot be written to {self.log}: {error}") from None

    @staticmethod
    def _read(path: str) -> str:
        try:
            live = read_live(path)
            return live.data.decode().strip() if live else ""
        except (FileProblem, UnicodeDecodeError) as error:
            text = str(error) if isinstance(error, FileProblem) else "it does not hold text"
            raise RotationProblem(f"{path} cannot be used: {text}") from None

    @staticmethod
    def _write(path: str, text: str) -> None:
        write_atomic(path, text.encode(), Access(os.geteuid(), os.getegid(), 0o600))

    @staticmethod
    def _remove(path: str) -> None:
        if os.path.lexists(path):
            os.unlink(path)
            descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def make_private(directory: str) -> None:
    """The directory with mode 0700; missing parents with 0755, whatever the umask is."""
    if not os.path.isdir(directory):
        parent = os.path.dirname(directory)
        if not os.path.isdir(parent):
            make_private(parent)
            os.chmod(parent, 0o755)
        os.mkdir(directory, 0o700)
    os.chmod(directory, 0o700)


def _parsed(line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
