"""The steps of tests/run: lint, unit tests, molecule scenarios; how long each took; and what came out.

A red run leaves .cache/red. The next one then starts without downloads and caches of the run before.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"
REPORTS = ROOT / ".cache" / "reports"
RED = ROOT / ".cache" / "red"
TESTBED = str(ROOT / "tests" / "support" / "testbed")
# Folders with tests that need no host.
UNIT = ("tests/unit", "tests/bad_input", "tests/contract")
# Scenarios at a time, on any number of cores: one has up to 2 GB of services.
PARALLEL = 2
PRINTING = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What one step came to: numbers of tests, a linter counting as one."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def call(*command: str, env: dict[str, str] | None = None, log: TextIO | None = None) -> int:
    """Run `command` in the root folder with the tools of .venv and return its exit status; `log` takes its output."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    colour = {} if sys.stdout.isatty() else {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PY_COLORS": "0"}
    full = {**os.environ, "PATH": path, **colour, **(env or {})}
    errors = None if log is None else subprocess.STDOUT
    done = subprocess.run(command, cwd=ROOT, env=full, stdin=subprocess.DEVNULL, stdout=log, stderr=errors, check=False)
    return done.returncode


def tracked(*patterns: str) -> list[str]:
    """Return the files of the project that match a pattern of git, also new ones; never an ignored one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})


def with_shebang(word: str) -> list[str]:
    """Return the programs of the project, templates of some aside, whose first line names the interpreter `word`."""
    found = []
    for name in tracked("*", ":!*.j2"):
        with (ROOT / name).open("rb") as file:
            first = file.readline(100)
        if first.startswith(b"#!") and word.encode() in first:
            found.append(name)
    return found


def lint(files: list[str], *command: str) -> bool:
    """Run a linter on `files`; a linter without files has not checked anything and fails."""
    if not files:
        print(f"{command[0]}: no files to check", flush=True)
        return False
    return call(*command, *files) == 0


def lint_steps() -> dict[str, Callable[[], bool]]:
    """Return every linter by its name."""
    python = sorted({*tracked("*.py"), *with_shebang("python")})
    shell = sorted({*tracked("*.sh"), *with_shebang("sh")})
    yaml = tracked("*.yml", "*.yaml", ".ansible-lint", ".yamllint")
    return {
        "yamllint": lambda: lint(yaml, "yamllint", "--strict"),
        "ruff check": lambda: lint(python, "ruff", "check", "--no-cache"),
        "ruff format": lambda: lint(python, "ruff", "format", "--no-cache", "--check"),
        "shellcheck": lambda: lint(shell, "shellcheck", "--external-sources", "--source-path=SCRIPTDIR"),
        "mypy": lambda: lint(tracked("tests/support/*.py", "collections/*.py"), "mypy", "--no-incremental"),
        "ansible-lint": lambda: lint(tracked("roles/*.yml", "playbooks/*.yml"), "ansible-lint", "--offline", "."),
    }


def counts(report: Path) -> tuple[int, int, int]:
    """Return how many tests of a JUnit report passed, failed (or broke) and were skipped; no report is no test."""
    if not report.exists():
        return 0, 0, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    failed = min(failures + errors, total)
    return total - failed - skipped, failed, skipped


def step(name: str, run: Callable[[], bool], report: Path | None = None) -> Outcome:
    """Run one step. With `report` its tests are counted, and a step that ran none has failed."""
    print(f"\n--- {name}", flush=True)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
    start = time.monotonic()
    ok = run()
    seconds = time.monotonic() - start
    passed, failed, skipped = (int(ok), 0, 0) if report is None else counts(report)
    if ok and passed == 0:
        print(f"{name}: no test ran", flush=True)
        ok = False
    if not ok and failed == 0:
        failed = 1
    print(f"--- {name}: {'passed' if ok else 'FAILED'} in {seconds:.1f} s", flush=True)
    return Outcome(name, passed, failed, skipped, seconds)


def unit() -> Outcome:
    """Run the tests that need no host."""
    report = REPORTS / "unit.xml"
    folders = [folder for folder in UNIT if (ROOT / folder).is_dir()]
    command = ("pytest", "-q", "-n", "auto", "--dist=loadfile", "--durations=5", f"--junit-xml={report}", *folders)
    return step("unit", lambda: call(*command) == 0, report)


def scenarios() -> list[str]:
    """Return the names of all molecule scenarios, the one with the most to do first: so the last ones end together."""
    folders = (path.parent for path in (ROOT / "tests" / "molecule").glob("*/molecule.yml"))
    return [folder.name for folder in sorted(folders, key=lambda folder: (-size(folder), folder.name))]


def size(folder: Path) -> int:
    """Return the bytes of the tests in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.py"))


def molecule(scenario: str, keep: bool, only: str | None, log: TextIO | None = None) -> Outcome:
    """Run one scenario from nothing to its tests; its hosts go afterwards, unless `keep`.

    `only` names one step of molecule, for example verify, to run on the hosts that an earlier run kept.
    `log` takes what it prints.
    """
    report = REPORTS / f"molecule-{scenario}.xml"
    env = {
        "MOLECULE_GLOB": "tests/molecule/*/molecule.yml",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(ROOT / ".cache" / "molecule" / scenario),
        "MOLECULE_COMMAND_BORDERS": "false",
    }

    def run() -> bool:
        if only:
            return call("molecule", only, "--scenario-name", scenario, env=env, log=log) == 0
        call(TESTBED, "destroy", f"molecule-{scenario}", log=log)
        shutil.rmtree(env["MOLECULE_EPHEMERAL_DIRECTORY"], ignore_errors=True)
        try:
            return call("molecule", "test", "--destroy=never", "--scenario-name", scenario, env=env, log=log) == 0
        finally:
            if not keep:
                call(TESTBED, "destroy", f"molecule-{scenario}", log=log)

    return step(f"molecule {scenario}", run, report if only in (None, "verify") else None)


def all_molecule(names: list[str], keep: bool, only: str | None) -> list[Outcome]:
    """Run scenarios, `PARALLEL` at a time: much of each is waiting. What one prints comes in one piece, at its end."""
    if len(names) == 1:
        return [molecule(names[0], keep, only)]

    def run(name: str) -> Outcome:
        with (REPORTS / f"molecule-{name}.log").open("w+", encoding="utf-8") as log:
            outcome = molecule(name, keep, only, log)
            log.seek(0)
            text = log.read()
        with PRINTING:
            print(f"\n--- what molecule {name} printed\n{text}--- end of molecule {name}", flush=True)
        return outcome

    REPORTS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(run, names))


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="tests/run", description="Run the checks.")
    parser.add_argument("--keep", action="store_true", help="leave the hosts of molecule there afterwards")
    parser.add_argument("--step", help="run this one step of molecule (converge, verify ...) on the hosts kept before")
    parser.add_argument("kind", nargs="?", choices=("all", "lint", "unit", "molecule"), default="all")
    parser.add_argument("scenario", nargs="*", help="scenarios of molecule; all without one")
    options = parser.parse_args(arguments)
    if options.scenario and options.kind != "molecule":
        parser.error("scenarios can only be named after: molecule")
    if options.step and options.kind != "molecule":
        parser.error("--step is for: molecule SCENARIO")
    if unknown := sorted({*options.scenario} - {*scenarios()}):
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(scenarios()) or 'none'}")
    return options


def main(arguments: list[str]) -> int:
    """Run the chosen steps and return the exit status: 0 only if every test passed."""
    options = parse(arguments)
    outcomes: list[Outcome] = []
    if options.kind in ("all", "molecule") and RED.exists() and not options.step:
        print("The last run was red: this one starts without its downloads.", flush=True)
        call(TESTBED, "remove-downloads")
    # From here to the end a run counts as red: a killed one, too.
    RED.parent.mkdir(exist_ok=True)
    RED.touch()
    if options.kind in ("all", "lint"):
        outcomes += [step(name, run) for name, run in lint_steps().items()]
    if options.kind in ("all", "unit"):
        outcomes.append(unit())
    if options.kind in ("all", "molecule"):
        names = options.scenario or scenarios()
        outcomes += all_molecule(names, options.keep, options.step)
        if not names:
            print("There is no molecule scenario.", flush=True)
            outcomes.append(Outcome("molecule", 0, 1, 0, 0.0))
    print("\nSlowest steps:")
    for outcome in sorted(outcomes, key=lambda outcome: -outcome.seconds)[:8]:
        print(f"  {outcome.seconds:7.1f} s  {outcome.name}{'  FAILED' if outcome.failed else ''}")
    passed, failed, skipped = (sum(getattr(o, key) for o in outcomes) for key in ("passed", "failed", "skipped"))
    if not failed:
        RED.unlink()
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
