"""What is refused before a host is touched: the starter inventory, an unknown host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PLAYBOOK, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_untouched_starter_inventory_ends_at_once_with_what_to_edit() -> None:
    done = run("site.yml")
    words = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "Put your server in place of gateway.example.com in inventory/hosts.yml" in words
    assert "Gathering Facts" not in words
    assert "changed=0" in words


@pytest.mark.parametrize(
    ("facts", "accepted"),
    [
        ({"distribution": "Debian", "distribution_major_version": "12"}, True),
        ({"distribution": "Ubuntu", "distribution_major_version": "24", "distribution_version": "24.04"}, True),
        ({"distribution": "Debian", "distribution_major_version": "11"}, False),
        ({"distribution": "Ubuntu", "distribution_major_version": "23", "distribution_version": "23.10"}, False),
        ({"distribution": "Fedora", "distribution_major_version": "44"}, False),
        ({"distribution": "Debian", "distribution_major_version": "12", "architecture": "riscv64"}, False),
        ({"distribution": "Debian", "distribution_major_version": "12", "service_mgr": "sysvinit"}, False),
    ],
)
def test_a_host_that_the_roles_do_not_know_is_refused(tmp_path: Path, facts: dict[str, str], accepted: bool) -> None:
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "host_base", "tasks_from": "validate"}}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    known = {"architecture": "x86_64", "service_mgr": "systemd", "distribution_version": "", **facts}
    done = run("-i", "nowhere,", "-e", json.dumps({"ansible_facts": known}), str(tmp_path / "play.yml"))
    assert (done.returncode == 0) is accepted, done.stdout + done.stderr
    if not accepted:
        assert "Supported are Debian 12, Debian 13, Ubuntu 22.04, Ubuntu 24.04" in " ".join(done.stdout.split())
