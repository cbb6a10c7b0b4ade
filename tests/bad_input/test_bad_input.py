"""Each role refuses bad input before anything changes, says why, and shows no secret; good input passes.

One ansible-playbook run judges all cases of cases.yml, one host each. The hosts cannot be reached.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TABLE = yaml.safe_load((HERE / "cases.yml").read_text())
CASES = {case["name"]: case for case in TABLE["cases"]}
SECRET_MARKS = ("hush", "4815162342")


@dataclass(frozen=True)
class Verdict:
    """What one host's run came to."""

    messages: str
    accepted: bool
    counts: dict[str, int]


@dataclass(frozen=True)
class Run:
    """The one run of all cases."""

    verdicts: dict[str, Verdict]
    output: str


def host_name(number: int) -> str:
    return f"case{number:03}"


def inventory() -> dict[str, Any]:
    hosts = {
        host_name(number): {
            "ansible_host": "192.0.2.1",
            "ansible_timeout": 1,
            "case_role": case["role"],
            **TABLE["base"][case["role"]],
            **case["vars"],
        }
        for number, case in enumerate(CASES.values())
    }
    return {"all": {"hosts": hosts}}


def program() -> str:
    beside = Path(sys.executable).with_name("ansible-playbook")
    return str(beside) if beside.exists() else str(shutil.which("ansible-playbook"))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("bad_input")
    hosts = folder / "hosts.yml"
    hosts.write_text(yaml.safe_dump(inventory(), sort_keys=False))
    settings = folder / "ansible.cfg"
    settings.write_text("[defaults]\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")} | {
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_FORKS": "12",
    }
    done = subprocess.run(
        [program(), "-vvv", "--diff", "-i", str(hosts), str(HERE / "playbook.yml")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    start = done.stdout.find('{\n    "')
    assert start >= 0, done.stdout + done.stderr
    report, _end = json.JSONDecoder().raw_decode(done.stdout[start:])
    return Run(verdicts(report), done.stdout + done.stderr)


def verdicts(report: dict[str, Any]) -> dict[str, Verdict]:
    tasks = [task for play in report["plays"] for task in play["tasks"]]
    found = {}
    for number, name in enumerate(CASES):
        host = host_name(number)
        results = [task["hosts"][host] for task in tasks if host in task["hosts"]]
        failed: dict[str, Any] = next((result for result in results if result.get("failed")), {})
        accepted = any(result.get("msg") == "accepted" for result in results)
        found[name] = Verdict("\n".join(sentences(failed)), accepted, report["stats"][host])
    return found


def sentences(failed: dict[str, Any]) -> list[str]:
    """Return what a failed task says: a list from the filters, or the list of the argument specs."""
    message = failed.get("msg", [])
    return [*failed.get("argument_errors", []), *([message] if isinstance(message, str) else message)]


def test_the_table_has_enough_cases_with_names_of_their_own() -> None:
    assert len(CASES) == len(TABLE["cases"])
    assert sum("expect" in case for case in CASES.values()) >= 50
    assert sum("expect" not in case for case in CASES.values()) >= 5


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "expect" in case])
def test_bad_input_is_refused(run: Run, name: str) -> None:
    verdict = run.verdicts[name]
    assert not verdict.accepted
    assert verdict.counts["failures"] == 1
    assert verdict.counts["changed"] == 0
    assert verdict.counts["unreachable"] == 0
    for words in CASES[name]["expect"]:
        assert words in verdict.messages, verdict.messages


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "expect" not in case])
def test_good_input_is_accepted(run: Run, name: str) -> None:
    verdict = run.verdicts[name]
    assert verdict.accepted, verdict.messages
    assert verdict.counts["failures"] == verdict.counts["changed"] == verdict.counts["unreachable"] == 0


@pytest.mark.parametrize("mark", SECRET_MARKS)
def test_no_secret_is_shown(run: Run, mark: str) -> None:
    assert mark in yaml.safe_dump(inventory()), "the table holds no such secret"
    lines = [line for line in run.output.splitlines() if mark in line]
    assert not lines, lines[:5]
