"""Read, write and repair files that root keeps in directories others may write to.

Every step works on an open directory and never follows a symbolic link at the file itself, so that a service user who
owns the directory cannot point root at another file. Sizes are bytes, modes are numbers such as 0o640.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

STALE_SECONDS = 3600
MAX_BYTES = 16 * 1024 * 1024


class FileProblem(Exception):
    """One thing that is wrong with a file; the text is a sentence for the operator and never holds file content."""


@dataclass(frozen=True)
class Access:
    """Who owns a file (numeric ids) and its permission bits."""

    uid: int
    gid: int
    mode: int


@dataclass(frozen=True)
class LiveFile:
    """A file as it is on the host."""

    data: bytes
    access: Access
    links: int


def user_id(user: str) -> int:
    """The number of a user given by name or number; FileProblem when there is no such user."""
    try:
        return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise FileProblem(f"There is no user {user} on this host.") from None


def group_id(group: str) -> int:
    """The number of a group given by name or number; FileProblem when there is no such group."""
    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise FileProblem(f"There is no group {group} on this host.") from None


def parse_mode(text: str) -> int:
    """Permission bits from four octal digits such as "0640".

    Anything else is refused: an unquoted 0640 in YAML arrives as the decimal text "416".
    """
    if not re.fullmatch(r"0[0-7]{3}", text):
        raise FileProblem(f'The mode {text} is not four octal digits in quotes, such as "0640".')
    return int(text, 8)


@contextmanager
def open_directory(path: str) -> Iterator[int]:
    """A descriptor of a directory; FileProblem when it is missing or is something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise FileProblem(f"The directory {path} does not exist.") from None
    except OSError as error:
        raise FileProblem(f"{path} cannot be used as a directory: {error.strerror}.") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_live(path: str) -> LiveFile | None:
    """The regular file at path, or None when nothing is there (or its directory is missing).

    FileProblem for a symbolic link, a directory or another special file, an unreadable or an absurdly large one.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if os.path.islink(path):
            raise FileProblem(f"{path} is a symbolic link; remove it, it is not followed.") from None
        raise FileProblem(f"{path} cannot be read: {error.strerror}.") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileProblem(f"{path} is not a regular file.")
    with os.fdopen(descriptor, "rb") as stream:
        if status.st_size > MAX_BYTES:
            raise FileProblem(f"{path} is larger than {MAX_BYTES} bytes, which no file of this kind is.")
        access = Access(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
        return LiveFile(stream.read(), access, status.st_nlink)


def write_candidate(directory: int, name: str, data: bytes, access: Access) -> str:
    """Write data completely under a random hidden name into an open directory and return that name.

    The content is on the disk, with its owner and mode, when this returns. OSError (for example: no space left) leaves
    nothing behind.
    """
    candidate = f".{name}.{secrets.token_hex(6)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(candidate, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchown(stream.fileno(), access.uid, access.gid)
            os.fchmod(stream.fileno(), access.mode)
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(candidate, dir_fd=directory)
        raise
    return candidate


def put_in_place(directory: int, candidate: str, name: str) -> None:
    """Rename a candidate to its final name in the same open directory and put the rename on the disk."""
    os.rename(candidate, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def write_atomic(path: str, data: bytes, access: Access) -> None:
    """Replace path by a file with this content, owner and mode, in one step; remove leftovers of killed runs."""
    parent, name = os.path.split(path)
    with open_directory(parent) as directory:
        remove_stale(directory, name)
        put_in_place(directory, write_candidate(directory, name, data, access), name)


def remove_stale(directory: int, name: str) -> None:
    """Remove candidates of this name which a run that was killed more than an hour ago left behind."""
    pattern = re.compile(re.escape(f".{name}.") + r"[0-9a-f]{12}\.new")
    for entry in os.listdir(directory):
        if pattern.fullmatch(entry):
            status = os.stat(entry, dir_fd=directory, follow_symlinks=False)
            if time.time() - status.st_mtime > STALE_SECONDS:
                os.unlink(entry, dir_fd=directory)


def repair_access(path: str, live: LiveFile, access: Access) -> None:
    """Give an existing file its owner and mode. A file with a second hard link is replaced instead of changed.

    Otherwise a service user could link another file into its directory and have root hand it over.
    """
    if live.links > 1:
        write_atomic(path, live.data, access)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, access.uid, access.gid)
        os.fchmod(descriptor, access.mode)
    finally:
        os.close(descriptor)
