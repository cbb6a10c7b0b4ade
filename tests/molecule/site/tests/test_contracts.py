"""The suites of single parts, run on the proxy against the real LiteLLM and the real PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from conftest import MASTER_KEY_FILE, ROOT, address_of, state_directory
from testinfra.host import Host

PLACE = "/srv/contracts"
DATABASE = "prisma_test"
OWNER = "prisma_owner"
# A database of its own with an owner that logs in, which LiteLLM's does not; the password stays on the host.
MAKE = f"""set -eu
umask 077
cd /
sudo -u postgres dropdb --if-exists --force {DATABASE}
sudo -u postgres dropuser --if-exists {OWNER}
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')
echo "create role {OWNER} login password '$password'" | sudo -u postgres psql --quiet
sudo -u postgres createdb --owner {OWNER} {DATABASE}
echo "postgresql://{OWNER}:$password@127.0.0.1:5432/{DATABASE}" > {PLACE}/url
"""


@pytest.fixture(scope="module")
def copied(pytestconfig: pytest.Config, proxy1: Host) -> Generator[None]:
    """The project's files on the proxy, and a database to play with."""
    config: Path = state_directory(pytestconfig) / "ssh_config"
    pack = ["tar", "--create", "--exclude=__pycache__", "--directory", str(ROOT), "tests/prisma", "tests/contract"]
    pack += ["tests/support", "collections", "roles/litellm/files"]
    unpack = f"sudo sh -c 'mkdir -p {PLACE} && tar --extract --directory {PLACE}'"
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as tar:
        subprocess.run(["ssh", "-F", str(config), "proxy1", unpack], stdin=tar.stdout, check=True)
    assert tar.returncode == 0
    proxy1.run_expect([0], MAKE)
    yield
    proxy1.run(f"sudo -u postgres dropdb --force {DATABASE}; sudo -u postgres dropuser {OWNER}; rm -rf {PLACE}")


def number_run(output: str) -> int:
    """How many tests unittest ran, from its closing lines."""
    return next(int(line.split()[1]) for line in output.splitlines() if line.startswith("Ran "))


def test_the_wasm_engine_does_all_that_litellm_asks_of_prisma(proxy1: Host, copied: None) -> None:
    done = proxy1.run(
        f"cd {PLACE}/tests/prisma && PRISMA_TEST_DATABASE_URL=$(cat {PLACE}/url) "
        "PRISMA_TEST_RELEASE=/opt/litellm/current /opt/litellm/current/venv/bin/python -m unittest discover"
    )
    assert done.rc == 0, done.stderr
    assert number_run(done.stderr) > 50


def test_the_wasm_engine_translates_what_plain_data_says(proxy1: Host, copied: None) -> None:
    done = proxy1.run(
        f"cd {PLACE} && ENGINE_SOURCES=/opt/litellm/current/prisma/engine "
        "/opt/nodejs/current/bin/node --test --test-reporter=tap tests/prisma/engine.test.mjs"
    )
    assert done.rc == 0, done.stdout
    assert "\n# fail 0\n" in done.stdout
    assert "\n# pass 0\n" not in done.stdout


def test_litellm_behaves_as_its_double_does(proxy1: Host, copied: None) -> None:
    done = proxy1.run(
        f"cd {PLACE} && LITELLM_TEST_URL=http://{address_of(proxy1)}:4000 "
        f"LITELLM_TEST_MASTER_KEY_FILE={MASTER_KEY_FILE} LITELLM_TEST_MODEL=claude-sonnet-4-5-20250929 "
        "python3 -m unittest tests/contract/test_litellm_keys.py"
    )
    assert done.rc == 0, done.stderr
    assert number_run(done.stderr) > 30
    assert "skipped" not in done.stderr.splitlines()[-1]
