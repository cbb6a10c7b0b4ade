"""No secret is where it does not belong: output, diff, arguments, journal, log, world-readable file, controller."""

from __future__ import annotations

import pytest
from conftest import Playbooks, secret, show, state_directory
from secret_search import (
    arguments_with,
    controller_files_with,
    journals_with,
    logs_with,
    readable_files_with,
    watched_arguments,
)
from testinfra.host import Host

# What a provider key may look like at its worst, for systemd, the shell, YAML and JSON.
ODD_KEY = "sk-odd-\"quo'ted$HOME`x`%n\\t #end-7f3a"


@pytest.fixture(scope="module")
def secrets(proxy1: Host, gateway1: Host) -> list[str]:
    """Every secret of the deployment."""
    found = [secret(proxy1, f"/etc/litellm/secrets/{name}") for name in ("master_key", "salt_key")]
    found.append(secret(proxy1, "/etc/litellm-database/secrets/password"))
    found += [secret(gateway1, f"/etc/openclaw-gateway/secrets/{name}") for name in ("virtual_key", "gateway_token")]
    found += ["sk-key-of-the-model-server", ODD_KEY, "odd-\"quo'ted", "end-7f3a"]
    assert all(len(value) >= 8 for value in found)
    return found


@pytest.fixture(scope="module")
def loud_run(playbooks: Playbooks, hosts: dict[str, Host]) -> str:
    """A run that changes a secret, as loud as can be, while the arguments of all processes are watched."""
    keys = {"MODEL_SERVER_API_KEY": "sk-key-of-the-model-server", "ODD_API_KEY": ODD_KEY}
    with watched_arguments(hosts):
        run = playbooks.run("site.yml", "-vvv", "--diff", variables={"litellm_provider_keys": keys})
    assert run.rc == 0, run.output
    return run.output


def test_an_odd_key_reaches_the_service_unchanged(loud_run: str, proxy1: Host) -> None:
    pid = show(proxy1, "litellm.service")["MainPID"]
    environment = proxy1.run(f"tr '\\0' '\\n' < /proc/{pid}/environ").stdout.splitlines()
    assert f"ODD_API_KEY={ODD_KEY}" in environment


def test_no_output_shows_one(loud_run: str, secrets: list[str], pytestconfig: pytest.Config) -> None:
    assert "litellm.env" in loud_run
    # The command line of the run itself is the test's own; nothing of it is printed at -vvv.
    assert logs_with(state_directory(pytestconfig), secrets) == []


def test_no_process_had_one_in_its_arguments(loud_run: str, secrets: list[str], hosts: dict[str, Host]) -> None:
    assert arguments_with(hosts, secrets) == []


def test_no_journal_or_log_holds_one(loud_run: str, secrets: list[str], hosts: dict[str, Host]) -> None:
    assert journals_with(hosts, secrets) == []


def test_no_world_readable_file_holds_one(
    loud_run: str, secrets: list[str], hosts: dict[str, Host], pytestconfig: pytest.Config
) -> None:
    assert readable_files_with(state_directory(pytestconfig), hosts, secrets) == []


def test_the_units_hold_none(secrets: list[str], proxy1: Host, gateway1: Host) -> None:
    shown = str(show(proxy1, "litellm.service")) + str(show(gateway1, "openclaw-gateway.service"))
    assert [value for value in secrets if value in shown] == []


def test_the_controller_keeps_none(loud_run: str, secrets: list[str], pytestconfig: pytest.Config) -> None:
    assert controller_files_with(state_directory(pytestconfig), secrets[:5]) == []
