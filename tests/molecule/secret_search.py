"""Where a secret must not be: output, diff, arguments, journal, log, world-readable file, controller.

Each search returns the places that hold one of the secrets, never a value.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from conftest import put_secret
from testinfra.host import Host

Hosts = dict[str, Host]

WATCH = "while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; echo; sleep 0.05; done"
# Without what is not text: the journal holds some binary fields.
JOURNAL_AND_LOGS = (
    "{ journalctl --no-pager --output=export; cat /var/log/*.log /var/log/*/*.log; } 2>/dev/null"
    " | tr -cd '[:print:]\\n'"
)
READABLE_FILES = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /root \\) -prune -o -type f -perm -o=r -size -8M"
    " -newer /etc/machine-id -print0 | xargs -0 grep -lF -f /root/secrets.tmp; rm /root/secrets.tmp"
)


@contextmanager
def watched_arguments(hosts: Hosts) -> Generator[None]:
    """Write down the arguments of all processes meanwhile."""
    for host in hosts.values():
        watch = f"systemd-run --unit argument-watch -p StandardOutput=file:/run/arguments sh -c {shlex.quote(WATCH)}"
        host.run_expect([0], watch)
    try:
        yield
    finally:
        for host in hosts.values():
            host.run_expect([0], "systemctl stop argument-watch.service")


def holds(text: str, secrets: Iterable[str]) -> bool:
    """Whether one of the secrets is in a text."""
    return any(secret in text for secret in secrets)


def files_with(paths: Iterable[Path], secrets: list[str]) -> list[str]:
    """The files among these that hold one."""
    found = []
    for path in paths:
        # Ansible removes its temporary files at the end of a run, another one's too.
        with suppress(FileNotFoundError):
            if path.is_file() and holds(path.read_text(encoding="utf-8", errors="replace"), secrets):
                found.append(str(path))
    return found


def logs_with(state: Path, secrets: list[str]) -> list[str]:
    """Everything that playbooks printed in this scenario, by molecule and by its tests."""
    logs = list(state.rglob("*.log"))
    assert logs
    return files_with(logs, secrets)


def arguments_with(hosts: Hosts, secrets: list[str]) -> list[str]:
    """Hosts on which a process had one in its arguments, while they were watched."""
    seen = {name: host.file("/run/arguments").content_string for name, host in hosts.items()}
    assert all("systemd" in text for text in seen.values())
    return [name for name, text in seen.items() if holds(text, secrets)]


def journals_with(hosts: Hosts, secrets: list[str]) -> list[str]:
    """Hosts with one in the journal or below /var/log."""
    seen = {name: host.run(JOURNAL_AND_LOGS).stdout for name, host in hosts.items()}
    assert all("ansible" in text for text in seen.values())
    return [name for name, text in seen.items() if holds(text, secrets)]


def readable_files_with(state: Path, hosts: Hosts, secrets: list[str]) -> list[str]:
    """Files that every user of a host may read."""
    found = []
    for name, host in hosts.items():
        put_secret(state, host, "/root/secrets.tmp", "\n".join(secrets))
        found += [f"{name}:{path}" for path in host.run(READABLE_FILES).stdout.splitlines()]
    return found


def controller_files_with(state: Path, secrets: list[str]) -> list[str]:
    """Files that Ansible left on the controller."""
    places = [*Path("/tmp").glob("*ansible*"), Path.home() / ".ansible" / "tmp", state]
    return files_with((path for place in places for path in [place, *place.rglob("*")]), secrets)
