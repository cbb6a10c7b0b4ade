"""No secret is where it does not belong: output, diff, arguments, journal, log, world-readable file, controller."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Playbooks, secret, show, state_directory
from testinfra.host import Host

# What a provider key may look like at its worst, for systemd, the shell, YAML and JSON.
ODD_KEY = "sk-odd-\"quo'ted$HOME`x`%n\\t #end-7f3a"
WATCH = """
while :; do
  for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $file 2>/dev/null; echo; done
  sleep 0.05
done
"""


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
    for host in hosts.values():
        watch = f"systemd-run --unit argument-watch -p StandardOutput=file:/run/arguments sh -c {shlex.quote(WATCH)}"
        host.run_expect([0], watch)
    try:
        keys = {"MODEL_SERVER_API_KEY": "sk-key-of-the-model-server", "ODD_API_KEY": ODD_KEY}
        run = playbooks.run("site.yml", "-vvv", "--diff", variables={"litellm_provider_keys": keys})
        assert run.rc == 0, run.output
    finally:
        for host in hosts.values():
            host.run_expect([0], "systemctl stop argument-watch.service")
    return run.output


def test_an_odd_key_reaches_the_service_unchanged(loud_run: str, proxy1: Host) -> None:
    pid = show(proxy1, "litellm.service")["MainPID"]
    environment = proxy1.run(f"tr '\\0' '\\n' < /proc/{pid}/environ").stdout.splitlines()
    assert f"ODD_API_KEY={ODD_KEY}" in environment


def test_no_output_shows_one(loud_run: str, secrets: list[str], pytestconfig: pytest.Config) -> None:
    assert "litellm.env" in loud_run
    # The command line of the run itself is the test's own; nothing of it is printed at -vvv.
    logs = [path for path in state_directory(pytestconfig).rglob("*.log") if path.is_file()]
    assert logs
    for path in logs:
        text = path.read_text(encoding="utf-8", errors="replace")
        assert [value for value in secrets if value in text] == [], path


def test_no_process_had_one_in_its_arguments(loud_run: str, secrets: list[str], hosts: dict[str, Host]) -> None:
    for name, host in hosts.items():
        seen = host.file("/run/arguments").content_string
        assert "systemd" in seen
        assert [value for value in secrets if value in seen] == [], name


def test_no_journal_or_log_holds_one(loud_run: str, secrets: list[str], hosts: dict[str, Host]) -> None:
    for name, host in hosts.items():
        # Without what is not text: the journal holds some binary fields.
        everything = "{ journalctl --no-pager --output=export; cat /var/log/*.log /var/log/*/*.log; } 2>/dev/null"
        journal = host.run(f"{everything} | tr -cd '[:print:]\\n'").stdout
        assert "ansible" in journal
        assert [value for value in secrets if value in journal] == [], name


def test_no_world_readable_file_holds_one(
    loud_run: str, secrets: list[str], hosts: dict[str, Host], pytestconfig: pytest.Config
) -> None:
    for name, host in hosts.items():
        # Over standard input: sudo logs the commands that it runs.
        config = str(state_directory(pytestconfig) / "ssh_config")
        write = ["ssh", "-F", config, name, "sudo sh -c 'umask 077; cat > /root/secrets.tmp'"]
        subprocess.run(write, input="\n".join(secrets) + "\n", text=True, check=True)
        search = (
            "find / -xdev \\( -path /proc -o -path /sys -o -path /root \\) -prune -o -type f -perm -o=r -size -8M"
            " -newer /etc/machine-id -print0 | xargs -0 grep -lF -f /root/secrets.tmp; rm /root/secrets.tmp"
        )
        assert host.run(search).stdout == "", name


def test_the_units_hold_none(secrets: list[str], proxy1: Host, gateway1: Host) -> None:
    shown = str(show(proxy1, "litellm.service")) + str(show(gateway1, "openclaw-gateway.service"))
    assert [value for value in secrets if value in shown] == []


def test_the_controller_keeps_none(loud_run: str, secrets: list[str]) -> None:
    places = [Path("/tmp"), ROOT / ".cache" / "molecule-site"]
    files = [path for place in places for path in place.rglob("*ansible*") if path.is_file()]
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        assert [value for value in secrets[:5] if value in text] == [], path
