"""The step that installs LiteLLM's packages, in the background and again in the foreground, with a stand-in for uv."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles/litellm"
LOCK = (ROLE / "files/requirements.txt").read_bytes()
COMMAND = yaml.safe_load((ROLE / "tasks/packages.yml").read_text())[0]["ansible.builtin.shell"]["cmd"]


class Step:
    """One release directory, and a uv that takes a moment and writes down what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.release, self.log, self.uv = folder / "release", folder / "log", folder / "uv"
        self.works()

    def works(self, status: int = 0) -> None:
        self.uv.write_text(f'#!/bin/sh\necho "$1" >>{self.log}\n[ "$1" = venv ] || sleep 0.3\nexit {status}\n')
        self.uv.chmod(0o755)

    def begin(self, lock: str = "one") -> subprocess.Popen[bytes]:
        """Start it; its input is as long as the lock file, and has to be read or this breaks."""
        environment = {"RELEASE": str(self.release), "UV": str(self.uv), "LOCK": lock, "PATH": "/usr/bin:/bin"}
        process = subprocess.Popen(["/bin/sh", "-c", COMMAND], env=environment, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(LOCK)
        process.stdin.close()
        return process

    def run(self, lock: str = "one") -> int:
        return self.begin(lock).wait()

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().split()


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def test_who_comes_second_waits_for_the_first_and_installs_nothing(step: Step) -> None:
    first = step.begin()
    while not step.log.exists():
        pass
    assert step.run() == 0
    assert first.wait() == 0
    assert step.asked == ["venv", "pip"]


def test_what_failed_in_the_background_is_done_again(step: Step) -> None:
    step.works(status=1)
    assert step.run() == 1
    step.works()
    assert step.run() == 0
    assert step.asked == ["venv", "venv", "pip"]


def test_another_lock_file_is_installed(step: Step) -> None:
    assert (step.run("one"), step.run("two")) == (0, 0)
    assert step.asked == ["venv", "pip"] * 2
    assert [path.name for path in step.release.glob(".packages-*")] == [".packages-two"]


def test_a_release_is_not_complete_until_all_that_follows_was_done_again(step: Step) -> None:
    assert step.run() == 0
    (step.release / ".complete-abc").touch()
    assert step.run() == 0
    assert not list(step.release.glob(".complete-*"))
