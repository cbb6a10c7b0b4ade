"""gateway.toolkit.missing: what a host lacks, seen on this machine's own files and on answers of dpkg and systemctl."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.gateway.toolkit.plugins.modules import missing
from module_harness import run_main

ME = pwd.getpwuid(os.geteuid())


def test_a_host_that_has_everything_lacks_nothing(tmp_path: Path) -> None:
    (tmp_path / "one_Packages").touch()
    (tmp_path / "current").symlink_to("releases/1")
    user = {"name": ME.pw_name, "home": ME.pw_dir, "shell": ME.pw_shell}
    link = {"path": f"{tmp_path}/current", "target": "releases/1"}
    params = {"paths": [f"{tmp_path}/*_Packages*"], "links": [link], "users": [user]}
    result = run_main(missing, params).result
    assert result["changed"] is False
    assert {name: result[name] for name in ("packages", "paths", "links", "units", "users")} == {
        name: [] for name in ("packages", "paths", "links", "units", "users")
    }


def test_each_thing_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("releases/1")
    (tmp_path / "file").touch()
    links = [{"path": str(tmp_path / name), "target": "releases/2"} for name in ("current", "file", "nowhere")]
    users = [
        {"name": "nobody-of-that-name", "home": "/", "shell": "/bin/sh"},
        {"name": ME.pw_name, "home": "/another", "shell": ME.pw_shell},
        {"name": ME.pw_name, "home": ME.pw_dir, "shell": "/another"},
    ]
    params = {"paths": [f"{tmp_path}/marker", f"{tmp_path}/file"], "links": links, "users": users}
    result = run_main(missing, params, check_mode=True).result
    assert result["changed"] is False
    assert result["paths"] == [f"{tmp_path}/marker"]
    assert result["links"] == [link["path"] for link in links]
    assert result["users"] == [user["name"] for user in users]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("one installed\ntwo installed\n", []),
        ("one installed\none config-files\ntwo half-configured\n", ["two"]),
        ("one-more installed\ntwo installed\n", ["one"]),
        ("", ["one", "two"]),
    ],
)
def test_packages_by_the_words_of_dpkg(output: str, expected: list[str]) -> None:
    assert missing.missing_packages(["one", "two"], lambda _argv: output) == expected


@pytest.mark.parametrize(
    ("active", "enabled", "expected"),
    [
        ("active\nactive\n", "enabled\nenabled\n", []),
        ("active\ninactive\n", "enabled\nenabled\n", ["b.service"]),
        ("active\nactive\n", "disabled\nenabled\n", ["a.service"]),
        ("inactive\ninactive\n", "enabled\n", ["a.service", "b.service"]),
        ("", "", ["a.service", "b.service"]),
    ],
)
def test_units_by_the_words_of_systemctl(active: str, enabled: str, expected: list[str]) -> None:
    def run(argv: list[str]) -> str:
        return active if argv[1] == "is-active" else enabled

    assert missing.missing_units(["a.service", "b.service"], run) == expected


def test_a_directory_with_another_owner_or_mode_is_missing(tmp_path: Path) -> None:
    if pwd.getpwuid(os.getuid()).pw_name != grp.getgrgid(os.getgid()).gr_name:
        pytest.skip("this user has no group of the same name")
    (tmp_path / "right").mkdir()
    (tmp_path / "right").chmod(0o700)
    (tmp_path / "wide").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("right")
    (tmp_path / "file").touch()
    names = ["right", "wide", "link", "file", "nowhere"]
    directories = [{"path": str(tmp_path / name), "owner": ME.pw_name, "mode": "0700"} for name in names]
    foreign = {"path": str(tmp_path / "right"), "owner": "daemon", "mode": "0700"}
    result = run_main(missing, {"directories": [*directories, foreign]}).result
    assert result["directories"] == [str(tmp_path / name) for name in [*names[1:], "right"]]


def test_nothing_is_asked_when_nothing_is_wanted() -> None:
    def run(_argv: list[str]) -> str:
        raise AssertionError

    assert missing.missing_packages([], run) == missing.missing_units([], run) == []
