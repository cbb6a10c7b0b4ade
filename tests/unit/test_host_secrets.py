"""gateway.toolkit.host_secrets: secrets that live on the host, and that show nowhere."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import Access, FileProblem, LiveFile
from ansible_collections.gateway.toolkit.plugins.modules import host_secrets
from ansible_collections.gateway.toolkit.plugins.modules.host_secrets import Wanted, decide, demand_flaws
from module_harness import ME, MY_GROUP, Ran, run_main

GIVEN = "sk-given-by-the-operator-0001"
STORED = "sk-stored-on-the-host-0002"


def live(text: str) -> LiveFile:
    """A file with this content, as read from the host."""
    return LiveFile(text.encode(), Access(0, 0, 0o600), 1)


def mode(path: Path) -> int:
    """Permission bits of a path itself."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A secrets directory that does not exist yet, nor does its parent."""
    return tmp_path / "etc" / "secrets"


def keep(folder: Path, *secrets: dict, check_mode: bool = False) -> Ran:
    """The module's run on a directory."""
    params = {"directory": str(folder), "owner": ME, "group": MY_GROUP, "secrets": list(secrets)}
    return run_main(host_secrets, params, check_mode)


def store(folder: Path, name: str, data: bytes, bits: int = 0o600) -> Path:
    """A secret's file as an earlier run (or somebody's mistake) left it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = folder / name
    path.write_bytes(data)
    path.chmod(bits)
    return path


# What gateway.toolkit.rotation has to do


def pending(folder: Path, *secrets: dict) -> list[str]:
    state = folder.parent / "rotation"
    params = {"directory": str(folder), "owner": ME, "group": MY_GROUP, "rotation_directory": str(state)}
    names: list[str] = run_main(host_secrets, {**params, "secrets": list(secrets)}).result["pending"]
    return names


def test_nothing_is_pending_when_the_stored_value_is_the_given_one_or_none_is_given(folder: Path) -> None:
    store(folder, "key", f"{STORED}\n".encode())
    assert pending(folder, {"name": "key", "keep_stored": True}) == []
    assert pending(folder, {"name": "key", "keep_stored": True, "value": STORED}) == []


def test_another_value_is_pending(folder: Path) -> None:
    store(folder, "key", f"{STORED}\n".encode())
    assert pending(folder, {"name": "key", "keep_stored": True, "value": GIVEN}) == ["key"]


@pytest.mark.parametrize("end", [".next", ".old"])
def test_what_a_killed_rotation_left_is_pending(folder: Path, end: str) -> None:
    store(folder, "key", f"{STORED}\n".encode())
    store(folder, f"key{end}", f"{GIVEN}\n".encode())
    assert pending(folder, {"name": "key", "keep_stored": True}) == ["key"]


@pytest.mark.parametrize(
    ("state", "names"), [('{"rotation": {"step": "retired"}}', ["key"]), ('{"rotation": null}', []), ("{", ["key"])]
)
def test_an_unfinished_or_damaged_state_is_pending(folder: Path, state: str, names: list[str]) -> None:
    store(folder, "key", f"{STORED}\n".encode())
    store(folder.parent / "rotation", "key.json", state.encode())
    assert pending(folder, {"name": "key", "keep_stored": True}) == names


# Decisions


def test_a_stored_value_that_is_rotated_wins_over_the_operators() -> None:
    rotated = Wanted("key", value=GIVEN, keep_stored=True)
    assert decide(rotated, "/s/key", live(STORED + "\n")).value == STORED
    assert decide(rotated, "/s/key", None).value == GIVEN


def test_operators_value_wins_over_the_stored_one() -> None:
    kept = decide(Wanted("key", value=GIVEN), "/s/key", live(STORED + "\n"))
    assert (kept.value, kept.store, kept.generated) == (GIVEN, True, False)


def test_equal_value_is_not_stored_again() -> None:
    assert not decide(Wanted("key", value=GIVEN), "/s/key", live(GIVEN + "\n")).store


def test_stored_value_is_read_back_without_its_line_end() -> None:
    kept = decide(Wanted("key"), "/s/key", live(STORED + "\n"))
    assert (kept.value, kept.store, kept.generated) == (STORED, False, False)


def test_missing_secret_is_generated_with_prefix_and_size() -> None:
    kept = decide(Wanted("key", prefix="sk-", bytes=16), "/s/key", None)
    assert kept.value.startswith("sk-")
    assert len(bytes.fromhex(kept.value[3:])) == 16
    assert kept.store
    assert kept.generated


def test_two_generated_secrets_differ() -> None:
    assert decide(Wanted("a"), "/s/a", None).value != decide(Wanted("b"), "/s/b", None).value


def test_immutable_secret_accepts_the_same_value() -> None:
    assert decide(Wanted("key", value=STORED, immutable=True), "/s/key", live(STORED + "\n")).value == STORED


@pytest.mark.parametrize(
    ("wanted", "stored", "words"),
    [
        (Wanted("k", value=GIVEN, immutable=True, variable="salt_var"), STORED, ["salt_var differs", "/s/k"]),
        (Wanted("k", generate=False, variable="key_var"), None, ["/s/k does not exist", "Set key_var"]),
        (Wanted("k", value="short", min_length=20, variable="key_var"), None, ["key_var is shorter than 20"]),
        (Wanted("k", value="no-prefix", prefix="sk-", variable="key_var"), None, ['key_var does not start with "sk-"']),
        (Wanted("k", value=GIVEN + "\n", variable="key_var"), None, ["key_var has a line break"]),
        (Wanted("k", value=" " + GIVEN, variable="key_var"), None, ["key_var has", "blank"]),
        (Wanted("k", value="a\x00b", variable="key_var"), None, ["key_var has", "control character"]),
        (Wanted("k"), "", ["/s/k is empty", "backup", "new one made"]),
        (Wanted("k", variable="key_var"), " \n", ["/s/k is empty", "set key_var"]),
        (Wanted("k"), "two\nlines\n", ["The value in /s/k has a line break"]),
        (Wanted("k", value=GIVEN, immutable=True, variable="salt_var"), "", ["/s/k is empty", "remove the file"]),
    ],
)
def test_unusable_secret_is_refused_with_the_remedy(wanted: Wanted, stored: str | None, words: list[str]) -> None:
    with pytest.raises(FileProblem) as refused:
        decide(wanted, "/s/k", None if stored is None else live(stored))
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert GIVEN not in str(refused.value)
    assert STORED not in str(refused.value)


def test_file_that_is_not_text_is_refused() -> None:
    with pytest.raises(FileProblem, match="does not hold text"):
        decide(Wanted("k"), "/s/k", LiveFile(b"\xff\xfe", Access(0, 0, 0o600), 1))


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a b", "-x", "x" * 129])
def test_unsafe_file_name_is_refused(name: str) -> None:
    assert "not a safe file name" in demand_flaws([Wanted(name)])[0]


def test_all_flaws_of_the_parameters_come_at_once() -> None:
    flaws = demand_flaws([Wanted("a"), Wanted("a"), Wanted("b/c"), Wanted("d", bytes=4)])
    assert len(flaws) == 3


# On the disk


def test_first_run_makes_directory_and_files_for_root_only(folder: Path) -> None:
    ran = keep(folder, {"name": "key", "value": GIVEN}, {"name": "salt"})
    assert ran.result["changed"]
    assert (mode(folder.parent), mode(folder)) == (0o755, 0o700)
    assert mode(folder / "key") == mode(folder / "salt") == 0o600
    assert (folder / "key").read_text() == GIVEN + "\n"
    assert (folder / "salt").read_text() == ran.result["secrets"]["salt"] + "\n"
    assert ran.result["generated"] == ["salt"]
    assert ran.result["changed_names"] == ["key", "salt"]
    assert sorted(os.listdir(folder)) == ["key", "salt"]


def test_parent_is_passable_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        keep(folder, {"name": "key"})
    finally:
        os.umask(before)
    assert mode(folder.parent) == 0o755


def test_second_run_changes_nothing_and_returns_the_same(folder: Path) -> None:
    first = keep(folder, {"name": "key", "value": GIVEN}, {"name": "salt"})
    times = (folder / "salt").stat().st_mtime_ns
    second = keep(folder, {"name": "key"}, {"name": "salt", "value": ""})
    assert not second.result["changed"]
    assert second.result["secrets"] == first.result["secrets"]
    assert second.result["fingerprints"] == first.result["fingerprints"]
    assert second.result["generated"] == second.result["changed_names"] == []
    assert (folder / "salt").stat().st_mtime_ns == times


def test_operators_values_survive_in_the_result(folder: Path) -> None:
    assert keep(folder, {"name": "key", "value": GIVEN}).result["secrets"] == {"key": GIVEN}


def test_wrong_modes_are_repaired(folder: Path) -> None:
    path = store(folder, "key", b"value-of-the-key\n", 0o644)
    folder.chmod(0o755)
    ran = keep(folder, {"name": "key"})
    assert ran.result["changed"]
    assert ran.result["repaired"] == [str(folder), str(path)]
    assert (mode(folder), mode(path)) == (0o700, 0o600)
    assert ran.result["changed_names"] == []


def test_file_with_a_second_link_is_replaced_not_changed(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    path = store(folder, "key", b"value-of-the-key\n", 0o644)
    os.link(path, other)
    keep(folder, {"name": "key"})
    assert (mode(path), mode(other)) == (0o600, 0o644)


def test_symbolic_links_are_refused(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("somebody-elses-file\n")
    folder.mkdir(parents=True)
    (folder / "key").symlink_to(target)
    ran = keep(folder, {"name": "key", "value": GIVEN})
    assert ran.result["failed"]
    assert "symbolic link" in ran.result["msg"]
    assert target.read_text() == "somebody-elses-file\n"
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(folder)
    assert "not a directory" in keep(elsewhere, {"name": "new"}).result["msg"]


def test_pipe_in_place_of_a_secret_does_not_hang(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.mkfifo(folder / "key")
    assert "not a regular file" in keep(folder, {"name": "key"}).result["msg"]


def test_all_errors_come_at_once_and_nothing_is_written(folder: Path) -> None:
    store(folder, "salt", STORED.encode())
    store(folder, "empty", b"")
    ran = keep(
        folder,
        {"name": "good", "value": GIVEN},
        {"name": "salt", "value": GIVEN, "immutable": True, "variable": "salt_var"},
        {"name": "empty"},
        {"name": "none", "generate": False, "variable": "none_var"},
    )
    assert ran.result["failed"]
    assert [error.split()[0] for error in ran.result["errors"]] == [
        "salt_var",
        str(folder / "empty"),
        str(folder / "none"),
    ]
    assert sorted(os.listdir(folder)) == ["empty", "salt"]
    assert (folder / "salt").read_text() == STORED
    assert GIVEN not in ran.text + ran.log


def test_check_mode_writes_nothing_and_still_returns_values(folder: Path) -> None:
    ran = keep(folder, {"name": "key", "prefix": "sk-"}, check_mode=True)
    assert ran.result["changed"]
    assert ran.result["secrets"]["key"].startswith("sk-")
    assert not folder.parent.exists()


def test_leftover_of_a_killed_run_is_removed_after_an_hour(folder: Path) -> None:
    old = store(folder, f".key.{'a' * 12}.new", b"half")
    fresh = store(folder, f".key.{'b' * 12}.new", b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    keep(folder, {"name": "key"})
    assert sorted(os.listdir(folder)) == [fresh.name, "key"]


def test_unknown_owner_is_one_sentence(folder: Path) -> None:
    params = {"directory": str(folder), "owner": "no-such-user", "secrets": [{"name": "key"}]}
    assert run_main(host_secrets, params).result["msg"] == "There is no user no-such-user on this host."


# Where secrets could show


def test_no_value_reaches_the_hosts_log_or_the_invocation(folder: Path) -> None:
    odd = 'quote"back\\slash-0003'
    ran = keep(folder, {"name": "key", "value": GIVEN}, {"name": "odd", "value": odd}, {"name": "new"})
    assert "Invoked with" in ran.log
    for value in ran.result["secrets"].values():
        assert value not in ran.log
        assert value not in json.dumps(ran.result["invocation"])
    assert "slash-0003" not in ran.log


PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Keep
      gateway.toolkit.host_secrets:
        directory: "{{ folder }}"
        owner: "{{ me }}"
        group: "{{ my_group }}"
        secrets:
          - {name: key, value: "{{ given }}", variable: key_var}
          - {name: new, min_length: 64}
      register: kept
    - name: Use
      ansible.builtin.assert:
        that: [kept.secrets.key == given, kept.secrets.new | length == 64]
        quiet: true
    - name: Refuse
      gateway.toolkit.host_secrets:
        directory: "{{ folder }}"
        owner: "{{ me }}"
        group: "{{ my_group }}"
        secrets:
          - {name: key, value: "{{ given }}-other", immutable: true, variable: key_var}
"""


def test_real_run_with_vvv_shows_the_error_but_no_value(folder: Path, tmp_path: Path) -> None:
    play, variables = tmp_path / "play.yml", tmp_path / "variables.json"
    (tmp_path / "ansible.cfg").touch()
    play.write_text(PLAY)
    variables.write_text(json.dumps({"folder": str(folder), "given": GIVEN, "me": ME, "my_group": MY_GROUP}))
    collections = Path(__file__).resolve().parents[2] / "collections"
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
    }
    command = [Path(sys.executable).parent / "ansible-playbook", "-vvv", "--diff", "-e", f"@{variables}", play]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    output = ran.stdout + ran.stderr
    assert ran.returncode == 2, output
    assert "TASK [Refuse]" in output
    assert "key_var differs from the value" in output
    assert '"errors": [' in output
    assert '"censored"' in output
    assert GIVEN not in output
    assert (folder / "new").read_text().strip() not in output
