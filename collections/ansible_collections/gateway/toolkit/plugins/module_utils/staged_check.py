"""Put candidate files into a private staging directory and let the installed program judge them there."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import (
    Access,
    FileProblem,
    open_directory,
    write_candidate,
)

STALE_SECONDS = 3600
STAGE_NAME = re.compile(r"[0-9a-f]{32}")
BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Outcome:
    """How a check ended: exit status (None = it did not end in time or could not be started) and what it printed."""

    argv: list[str]
    status: int | None
    stdout: str
    stderr: str


def remove_stale_stages(base: str, now: float) -> None:
    """Remove staging directories older than an hour (now: seconds since the epoch): their runs were killed."""
    for entry in os.scandir(base):
        is_stage = STAGE_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        if is_stage and now - entry.stat(follow_symlinks=False).st_mtime > STALE_SECONDS:
            shutil.rmtree(entry.path, ignore_errors=True)


def prepare_base(base: str) -> None:
    """Make the directory that holds all stages: mode 0711, ours alone. FileProblem when somebody else owns it."""
    os.makedirs(base, mode=0o711, exist_ok=True)
    status = os.lstat(base)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise FileProblem(f"{base} is not a directory of the user this runs as; remove it.")
    os.chmod(base, 0o711)


@contextmanager
def staged(base: str, files: Mapping[str, tuple[bytes, Access]]) -> Iterator[str]:
    """A fresh directory with these files (base name -> content and access), removed at the end in every case.

    The service user can open the files it may read by name, and cannot list or change the directory. A SIGTERM or a
    hang-up of the connection also removes it.
    """
    prepare_base(base)
    remove_stale_stages(base, time.time())
    previous = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    stage = os.path.join(base, secrets.token_hex(16))
    try:
        os.mkdir(stage, 0o700)
        with open_directory(stage) as directory:
            for name, (data, access) in files.items():
                candidate = write_candidate(directory, name, data, access)
                os.rename(candidate, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.chmod(stage, 0o711)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: object) -> None:
    """Turn a signal into an ordinary exit, so that the clean-up code runs."""
    raise SystemExit(128 + number)


def run_check(argv: list[str], stage: str, environment: Mapping[str, str], user: str | None, timeout: float) -> Outcome:
    """Run one check (timeout in seconds); "{stage}" in its words and in the environment's values is replaced.

    The environment holds nothing but a standard PATH, LANG and what is given (and HOME and USER of the user). The
    program has no input. After the timeout the program and its children are killed.
    """
    words = [word.replace("{stage}", stage) for word in argv]
    values = dict(BASE_ENVIRONMENT)
    account = pwd.getpwnam(user) if user else None
    if account:
        values.update(HOME=account.pw_dir, USER=account.pw_name)
    values.update({name: value.replace("{stage}", stage) for name, value in environment.items()})
    try:
        process = subprocess.Popen(
            words,
            env=values,
            cwd=stage,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=os.getgrouplist(account.pw_name, account.pw_gid) if account else None,
        )
    except OSError as error:
        return Outcome(words, None, "", f"It could not be started: {error.strerror}.")
    try:
        stdout, stderr = process.communicate(timeout=timeout)
        return Outcome(words, process.returncode, stdout, stderr)
    except subprocess.TimeoutExpired:
        _kill_group(process.pid)
        stdout, stderr = _last_output(process)
        return Outcome(words, None, stdout, f"{stderr.rstrip()}\nIt did not end within {timeout:g} seconds.")
    finally:
        _kill_group(process.pid)
        process.wait()


def _last_output(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a killed program had printed; nothing when a child that left its group still holds the output open."""
    try:
        return process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        return "", ""


def _kill_group(group: int) -> None:
    """Kill what is left of a check's process group."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
