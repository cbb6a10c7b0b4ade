"""gateway.toolkit.checked_files: all files or none, and none before the check agrees."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import atomic_file, staged_check
from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import FileProblem, parse_mode
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import censor, readable, secrets_in
from ansible_collections.gateway.toolkit.plugins.modules import checked_files
from ansible_collections.gateway.toolkit.plugins.modules.checked_files import commands_of, name_problems
from module_harness import ME, MY_GROUP, Ran, run_main

KEY = "sk-provider-key-0001"
TOKEN = "gateway-token-0002"


class Host:
    """A directory with files to install, and a place for staging directories."""

    def __init__(self, root: Path) -> None:
        """Make both below a temporary directory."""
        self.etc, self.run = root / "etc", root / "run"
        self.etc.mkdir()

    def file(self, name: str, content: str | None = None, **extra: Any) -> dict[str, Any]:
        """One item of the parameter `files`."""
        item = {"dest": str(self.etc / name), "owner": ME, "group": MY_GROUP, "mode": "0640", **extra}
        return item if content is None else {**item, "content": content}

    def install(self, *files: dict[str, Any], check_mode: bool = False, **params: Any) -> Ran:
        """A run of the module."""
        return run_main(checked_files, {"files": list(files), "staging_directory": str(self.run), **params}, check_mode)

    def text(self, name: str) -> str | None:
        """Content of an installed file; None when it is not there."""
        path = self.etc / name
        return path.read_text() if path.exists() else None

    def stages(self) -> list[str]:
        """Staging directories that are left."""
        return sorted(os.listdir(self.run)) if self.run.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host without any of the files."""
    return Host(tmp_path)


def shell(script: str) -> list[str]:
    """A check made of a shell script; $1 is the staging directory."""
    return ["sh", "-c", script, "check", "{stage}"]


ACCEPT = shell("exit 0")
REFUSE = shell("echo 'line 3: unknown key' >&2; exit 2")


# What is secret in a file


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"OPENAI_API_KEY={KEY}\nPORT=4000\n", KEY),
        (f'export OPENAI_API_KEY="{KEY}"\n', KEY),
        (f"key: {KEY}\n", KEY),
        (json.dumps({"a": [{"apiKey": KEY}]}), KEY),
        (f"// JSON5\n{{a: '{KEY}'}}", KEY),
        (f"{KEY}\n", KEY),
        ("c2VjcmV0LXNlY3JldA==\n", "c2VjcmV0LXNlY3JldA=="),
        ("DATABASE_URL=postgresql://litellm:pass%2Fword-1@db/litellm\n", "pass/word-1"),
    ],
)
def test_secret_is_found_in_a_file(text: str, secret: str) -> None:
    assert secret in secrets_in([text])


def test_short_values_keys_comments_and_existing_paths_are_no_secrets() -> None:
    text = "# see the documentation\nPORT=4000\nENGINE=/usr/bin:/bin\n"
    assert censor("# see the documentation, port 4000 of /usr/bin:/bin", secrets_in([text])) == (
        "# see the documentation, port 4000 of /usr/bin:/bin"
    )
    assert "long-name-of-a-key" not in secrets_in([json.dumps({"long-name-of-a-key": KEY})])


def test_named_strings_are_censored_from_four_characters_on() -> None:
    assert secrets_in([], ["", "1", "abcd"]) == {"abcd"}


def test_secret_printed_as_json_or_in_a_url_is_censored() -> None:
    secret = 'pa"ss/word'
    secrets = secrets_in([], [secret])
    assert "ss" not in censor(json.dumps(secret) + " pa%22ss%2Fword", secrets)


def test_output_is_censored_before_it_is_cut() -> None:
    assert "0001" not in readable("x" * 100 + KEY, [KEY], characters=10)


def test_output_loses_its_colours() -> None:
    assert readable("\x1b[31mred\x1b[0m", []) == "red"


# Parameters


def test_check_is_one_command_or_several() -> None:
    assert commands_of(["a", 1]) == [["a", "1"]]
    assert commands_of([["a"], ["b", "c"]]) == [["a"], ["b", "c"]]
    assert commands_of([]) == []


@pytest.mark.parametrize("wrong", [[["a"], "b"], ["a", ["b"]], [[]], [{"a": 1}]])
def test_other_shapes_of_check_are_refused(wrong: list) -> None:
    with pytest.raises(FileProblem, match="list of words"):
        commands_of(wrong)


def test_colliding_and_relative_paths_are_named() -> None:
    assert name_problems(["/a/x", "/b/x", "c"]) == [
        "c is not the absolute path of a file.",
        "Two files have the base name x.",
    ]


@pytest.mark.parametrize("text", ["416", "640", "0888", "u=rw", "00640", "4755", ""])
def test_mode_that_yaml_spoiled_is_refused(text: str) -> None:
    with pytest.raises(FileProblem, match="four octal digits"):
        parse_mode(text)


def test_content_and_secret_content_exclude_each_other(host: Host) -> None:
    assert host.install(host.file("a", "x", secret_content="y")).result["failed"]
    assert host.install(host.file("a")).result["failed"]


# Installing


def test_new_files_are_installed_after_the_check_saw_them_all(host: Host) -> None:
    check = shell('test "$(cat "$1/a.yaml")" = A && test "$(cat "$1/b.json")" = B && test "$(ls "$1" | wc -l)" = 2')
    ran = host.install(host.file("a.yaml", "A"), host.file("b.json", None, secret_content="B"), check=check)
    assert ran.result["changed"], ran.result
    assert ran.result["checked"]
    assert ran.result["changed_files"] == [str(host.etc / "a.yaml"), str(host.etc / "b.json")]
    assert (host.text("a.yaml"), host.text("b.json")) == ("A", "B")
    assert stat.S_IMODE((host.etc / "a.yaml").stat().st_mode) == 0o640
    assert sorted(os.listdir(host.etc)) == ["a.yaml", "b.json"]
    assert host.stages() == []


def test_second_run_changes_nothing_and_does_not_check(host: Host) -> None:
    host.install(host.file("a", "A"), check=ACCEPT)
    before = (host.etc / "a").stat().st_ctime_ns
    ran = host.install(host.file("a", "A"), check=REFUSE)
    assert (ran.result["changed"], ran.result["checked"]) == (False, False)
    assert (host.etc / "a").stat().st_ctime_ns == before


def test_always_check_checks_unchanged_files(host: Host) -> None:
    host.install(host.file("a", "A"))
    ran = host.install(host.file("a", "A"), check=REFUSE, always_check=True)
    assert ran.result["failed"]


def test_refused_files_replace_nothing(host: Host) -> None:
    host.install(host.file("a", "old"))
    ran = host.install(host.file("a", "new"), host.file("b", "new"), check=REFUSE)
    assert ran.result["failed"]
    assert ran.result["check_status"] == 2
    assert "line 3: unknown key" in ran.result["msg"]
    assert "the running service was not touched" in ran.result["msg"]
    assert (host.text("a"), host.text("b")) == ("old", None)
    assert host.stages() == []


def test_later_command_of_a_check_can_refuse(host: Host) -> None:
    ran = host.install(host.file("a", "A"), check=[ACCEPT, shell("echo not this; exit 1")])
    assert "not this" in ran.result["msg"]
    assert host.text("a") is None


def test_check_that_hangs_is_killed_with_its_children(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    check = shell(f"(sleep 3; touch {mark}) & sleep 60")
    begin = time.monotonic()
    ran = host.install(host.file("a", "A"), check=check, check_timeout=1)
    assert "did not end within 1 seconds" in ran.result["msg"]
    assert time.monotonic() - begin < 10
    time.sleep(max(0.0, 3.5 - (time.monotonic() - begin)))
    assert not mark.exists()
    assert host.text("a") is None


def test_missing_program_refuses_the_files(host: Host) -> None:
    ran = host.install(host.file("a", "A"), check=["/no/such/program"])
    assert "could not be started" in ran.result["msg"]
    assert host.text("a") is None


def test_check_gets_only_the_given_environment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEFT_OVER", "1")
    check = shell('test -z "$LEFT_OVER" && test "$CONFIG" = "$1/a" && test -n "$PATH"')
    ran = host.install(host.file("a", "A"), check=check, check_environment={"CONFIG": "{stage}/a"})
    assert ran.result["changed"], ran.result


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a check as another user")
def test_check_runs_as_the_service_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("as-user")
    for path in [root, *root.parents[:-2]]:
        path.chmod(path.stat().st_mode | 0o011)
    host = Host(root)
    check = shell('test "$(id -un)" = nobody && test "$USER" = nobody && cat "$1/mine" && ! cat "$1/roots"')
    files = [host.file("mine", "A", owner="nobody", mode="0600"), host.file("roots", "B", mode="0600")]
    assert host.install(*files, check=check, check_user="nobody").result["changed"]


def test_wrong_mode_is_repaired_without_a_check(host: Host) -> None:
    host.install(host.file("a", "A"))
    (host.etc / "a").chmod(0o666)
    ran = host.install(host.file("a", "A"), check=REFUSE)
    assert ran.result["changed_files"] == [str(host.etc / "a")]
    assert stat.S_IMODE((host.etc / "a").stat().st_mode) == 0o640


def test_full_disk_replaces_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install(host.file("a", "old"))
    real, count = os.fsync, iter(range(100))

    def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and next(count) == 1:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(atomic_file.os, "fsync", fsync)
    ran = host.install(host.file("a", "new"), host.file("b", "new"))
    assert "No file was replaced: [Errno 28] No space left on device" in ran.result["msg"]
    assert sorted(os.listdir(host.etc)) == ["a"]
    assert host.text("a") == "old"


def test_failing_second_rename_takes_the_first_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install(host.file("a", "old"), host.file("c", "old"))
    real = os.rename

    def rename(source: str, target: str, **directories: int) -> None:
        if target == "c":
            raise OSError(5, "Input/output error")
        real(source, target, **directories)

    monkeypatch.setattr(atomic_file.os, "rename", rename)
    ran = host.install(host.file("a", "new"), host.file("b", "new"), host.file("c", "new"))
    assert "No file was replaced" in ran.result["msg"]
    assert sorted(os.listdir(host.etc)) == ["a", "c"]
    assert (host.text("a"), host.text("c")) == ("old", "old")


def test_all_problems_of_the_destinations_come_at_once(host: Host, tmp_path: Path) -> None:
    (host.etc / "link").symlink_to(tmp_path / "elsewhere")
    (host.etc / "folder").mkdir()
    ran = host.install(
        host.file("link", "x"),
        host.file("folder", "x"),
        host.file("missing/file", "x"),
        host.file("owner", "x", owner="no-such-user"),
        host.file("mode", "x", mode="416"),
        check_user="no-such-checker",
    )
    words = ["symbolic link", "not a regular file", "does not exist", "no user no-such-user", "416", "no-such-checker"]
    assert len(ran.result["errors"]) == len(words)
    assert all(word in error for word, error in zip(words, ran.result["errors"], strict=True)), ran.result["errors"]
    assert not (tmp_path / "elsewhere").exists()


# Check mode


def test_check_mode_checks_but_installs_nothing(host: Host) -> None:
    ran = host.install(host.file("a", "A"), check=ACCEPT, check_mode=True)
    assert (ran.result["changed"], ran.result["checked"]) == (True, True)
    assert host.text("a") is None
    assert host.install(host.file("a", "A"), check=REFUSE, check_mode=True).result["failed"]


@pytest.mark.parametrize(
    ("file", "params"),
    [
        ({}, {"check": ["/no/such/program"]}),
        ({}, {"check": REFUSE, "check_user": "no-such-user"}),
        ({"owner": "no-such-user"}, {"check": REFUSE}),
    ],
)
def test_check_mode_on_a_bare_host_only_compares(host: Host, file: dict, params: dict) -> None:
    ran = host.install(host.file("not/yet/there", "A", **file), check_mode=True, **params)
    assert (ran.result["changed"], ran.result["checked"]) == (True, False)


# Staging directory


def test_stage_is_removed_when_the_run_is_terminated(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).resolve().parents[2] / 'collections')!r})\n"
        "from ansible_collections.gateway.toolkit.plugins.module_utils.staged_check import staged\n"
        "with staged(sys.argv[1], {}) as stage:\n"
        "    print(stage, os.path.isdir(stage), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
    )
    ran = subprocess.run([sys.executable, script, host.run], capture_output=True, text=True, timeout=30, check=False)
    assert ran.stdout.endswith(" True\n"), ran.stderr
    assert ran.returncode == 143
    assert host.stages() == []


def test_stages_of_killed_runs_are_removed_after_an_hour_and_nothing_else(host: Host) -> None:
    for name in ("a" * 32, "b" * 32, "units"):
        (host.run / name).mkdir(parents=True)
    for name in ("a" * 32, "units"):
        os.utime(host.run / name, (time.time() - 7200,) * 2)
    host.install(host.file("a", "A"), check=ACCEPT)
    assert host.stages() == ["b" * 32, "units"]


def test_stage_cannot_be_listed_by_others(host: Host) -> None:
    with staged_check.staged(str(host.run), {}) as stage:
        assert stat.S_IMODE(os.stat(stage).st_mode) == stat.S_IMODE(host.run.stat().st_mode) == 0o711


def test_stage_is_not_made_in_somebody_elses_directory(host: Host, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    host.run.symlink_to(tmp_path / "elsewhere")
    ran = host.install(host.file("a", "A"), check=ACCEPT)
    assert "is not a directory of the user" in ran.result["msg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_stage_is_not_made_in_a_directory_a_service_owns(host: Host) -> None:
    host.run.mkdir()
    os.chown(host.run, 65534, 65534)
    assert "is not a directory of the user" in host.install(host.file("a", "A"), check=ACCEPT).result["msg"]


# Where secrets could show


def test_no_secret_shows_in_result_diff_invocation_or_the_hosts_log(host: Host) -> None:
    host.install(host.file("env", None, secret_content="OLD=old-secret-value\n"))
    files = [
        host.file("env", None, secret_content=f"API_KEY={KEY}\nSECOND='{TOKEN}'\n"),
        host.file("open", f"note: {KEY}\n"),
    ]
    check = shell('cat "$1/env"; echo $EXTRA; echo named-9 >&2; exit {}')
    extra = {"check_environment": {"EXTRA": "environment-value-3", "ONE": "1"}, "redact": ["named-9"]}
    for status in ("1", "0"):
        ran = host.install(*files, check=[word.replace("{}", status) for word in check], **extra)
        for secret in (KEY, TOKEN, "environment-value-3", "named-9", "old-secret-value"):
            assert secret not in ran.log
            assert secret not in ran.text
    assert "Invoked with" in ran.log
    assert host.text("env") == f"API_KEY={KEY}\nSECOND='{TOKEN}'\n"


def test_diff_shows_open_files_and_names_secret_ones(host: Host) -> None:
    host.install(host.file("open", "a: 1\n"))
    ran = host.install(host.file("open", "a: 2\n"), host.file("env", None, secret_content=f"K={KEY}\n"))
    opened, hidden = ran.result["diff"]
    assert (opened["before"], opened["after"]) == ("a: 1\n", "a: 2\n")
    assert hidden == {"prepared": f"{host.etc / 'env'}: changed (content hidden)\n"}


def test_short_environment_values_do_not_spoil_messages(host: Host) -> None:
    ran = host.install(host.file("a1", "A"), check=REFUSE, check_environment={"ONE": "1", "HOME": str(host.etc)})
    assert "exit status 2" in ran.result["msg"]
    assert "line 3: unknown key" in ran.result["msg"]
    assert ran.result["invocation"]["module_args"]["files"] == [str(host.etc / "a1")]
