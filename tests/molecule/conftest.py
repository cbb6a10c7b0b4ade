"""Hosts for the tests of every scenario, over SSH with the host keys that testbed read from the containers.

The state folder of the hosts is the one of --ssh-config, which .config/molecule/config.yml sets.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import paramiko
import pytest
import testinfra
from testinfra.host import Host

SERVICES = ("postgresql@*", "litellm", "openclaw-gateway")
JOURNAL_LINES = 40


def state_directory(config: pytest.Config) -> Path:
    """Return the folder with hosts.json, ssh_config and known_hosts."""
    chosen = config.getoption("--ssh-config")
    if not chosen:
        pytest.exit("run these tests by: tests/run molecule", returncode=2)
    return Path(chosen).parent


@pytest.fixture(scope="session", autouse=True)
def check_host_keys(pytestconfig: pytest.Config) -> Generator[None, None, None]:
    """Make testinfra's SSH refuse a host key that testbed did not write; by itself it only warns."""
    known_hosts = str(state_directory(pytestconfig) / "known_hosts")
    original = paramiko.SSHClient.set_missing_host_key_policy

    def refuse(client: paramiko.SSHClient, _policy: Any) -> None:
        client.load_host_keys(known_hosts)
        original(client, paramiko.RejectPolicy())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paramiko.SSHClient, "set_missing_host_key_policy", refuse)
        yield


@pytest.fixture(scope="session")
def hosts(pytestconfig: pytest.Config, check_host_keys: None) -> dict[str, Host]:
    """Return every host of the scenario by its inventory name; commands run as root."""
    state = state_directory(pytestconfig)
    names = json.loads((state / "hosts.json").read_text(encoding="utf-8"))
    config = str(state / "ssh_config")
    return {name: testinfra.get_host(f"paramiko://{name}", ssh_config=config, sudo=True) for name in names}


@pytest.fixture(scope="session")
def proxy1(hosts: dict[str, Host]) -> Host:
    """Return the host of LiteLLM and its database."""
    return hosts["proxy1"]


@pytest.fixture(scope="session")
def gateway1(hosts: dict[str, Host]) -> Host:
    """Return the host of the OpenClaw gateway."""
    return hosts["gateway1"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the journal of the services to the report of a failed test."""
    report = yield
    hosts = getattr(item, "funcargs", {}).get("hosts")
    if report.failed and hosts:
        units = " ".join(f"-u '{service}'" for service in SERVICES)
        for name, host in hosts.items():
            journal = host.run(f"journalctl --no-pager --output=short-iso --lines={JOURNAL_LINES} {units}").stdout
            report.sections.append((f"journal of {name}", journal))
    return report
