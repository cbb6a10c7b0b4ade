"""No value that was in use on the way is in an output of a playbook, a journal or a log. Runs after all rotations."""

from __future__ import annotations

import pytest
from conftest import state_directory
from secret_search import journals_with, logs_with
from testinfra.host import Host

OF_NOW = "/etc/openclaw-gateway/secrets/* /etc/litellm/secrets/*_key /etc/litellm-database/secrets/*"
OF_BEFORE = "/srv/old_* /srv/*.verified"


def test_no_output_and_no_journal_shows_a_value(hosts: dict[str, Host], pytestconfig: pytest.Config) -> None:
    values = {value for host in hosts.values() for value in host.run(f"cat {OF_NOW} {OF_BEFORE}").stdout.split()}
    assert len(values) >= 10
    assert all(len(value) >= 20 for value in values)
    assert logs_with(state_directory(pytestconfig), [*values]) == []
    assert journals_with(hosts, [*values]) == []
