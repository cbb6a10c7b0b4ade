"""Health check of kind `command`: a read-only program, without a shell, that cannot outlive its time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import (
    EVIDENCE_LIMIT,
    CheckError,
    Outcome,
    one_line,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.health_expect import find_json, pick, unmet, wants_json

TIMEOUT = 60.0  # seconds, if a check gives none
GRACE = 2.0  # seconds between SIGTERM and SIGKILL
OUTPUT_LIMIT = 1024 * 1024  # bytes read of each stream


@dataclass(frozen=True)
class Finished:
    """A program's end: exit status (negative: signal number), its output; timed_out: it was killed."""

    rc: int
    stdout: str
    stderr: str
    timed_out: bool = False


def run(argv: list[str], stdin: str, environment: Mapping[str, str], seconds: float) -> Finished:
    """Run a program in a process group of its own, in folder /, and kill the whole group when the time is up.

    Output goes to unnamed temporary files: a grandchild that keeps a pipe open could otherwise hold up the check.
    Raises CheckError "cannot run <program>: <reason>".
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as feed:
        feed.write(stdin.encode())
        feed.seek(0)
        try:
            process = subprocess.Popen(
                argv, stdin=feed, stdout=out, stderr=err, cwd="/", env={**os.environ, **environment},
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise CheckError(f"cannot run {argv[0]}: {error.strerror}") from None
        try:
            process.wait(seconds)
            timed_out = False
        except subprocess.TimeoutExpired:
            _kill_group(process)
            timed_out = True
        return Finished(process.poll() or 0, _text(out), _text(err), timed_out)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended, or belong to another user
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read(OUTPUT_LIMIT).decode("utf-8", "replace")


def complaint(done: Finished) -> str:
    """Return what a failed program says: the error in its JSON output, else its last line on stderr, else on stdout."""
    try:
        document = find_json(done.stdout)
    except CheckError:
        document = None
    if isinstance(document, dict):
        error = document.get("error") or document.get("message")
        error = error.get("message", error) if isinstance(error, dict) else error
        if error:
            return one_line(error if isinstance(error, str) else json.dumps(error))
    for text in (done.stderr, done.stdout):
        lines = [line for line in text.splitlines() if line.strip()]
        if lines:
            return one_line(lines[-1])
    return "no output"


def judge(done: Finished, check: Mapping[str, Any], seconds: float) -> Outcome:
    """Compare a program's end and output with what the check expects."""
    evidence = f"{done.stderr[-EVIDENCE_LIMIT // 2 :]}\n{done.stdout[-EVIDENCE_LIMIT // 2 :]}"
    if done.timed_out:
        return Outcome(False, f"timed out after {seconds:g} s and was killed; last words: {complaint(done)}", evidence)
    wanted = check.get("rc") or [0]
    if done.rc not in wanted:
        ended = f"killed by signal {-done.rc}" if done.rc < 0 else f"exit status {done.rc}"
        expected = "" if wanted == [0] else f" (expected {' or '.join(map(str, wanted))})"
        return Outcome(False, f"{ended}{expected}: {complaint(done)}", evidence)
    captured: dict[str, Any] = {}
    if wants_json(check):
        document = find_json(done.stdout)
        sentences, captured = unmet(document, check), pick(document, check.get("capture") or {})
        if sentences:
            return Outcome(False, "; ".join(sentences), evidence, captured)
    pattern = check.get("stdout_matches")
    if pattern and not re.search(pattern, done.stdout):
        seen = one_line(done.stdout) or "empty"
        return Outcome(False, f"the output does not match {pattern!r}: {seen}", evidence)
    return Outcome(True, f"exit status {done.rc}", captured=captured)


def check_command(check: Mapping[str, Any]) -> Outcome:
    """Run the program once and judge its end."""
    seconds = TIMEOUT if check.get("timeout") is None else check["timeout"]
    environment = {str(name): str(value) for name, value in (check.get("environment") or {}).items()}
    return judge(run(check["argv"], check.get("stdin") or "", environment, seconds), check, seconds)
