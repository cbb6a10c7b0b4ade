"""database_login and database_login_proof, with psql played by a program that notes what it is given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.database_login import (
    Role,
    fits,
    is_refusal,
    login_name,
    to_end,
    to_have,
    verifier_of,
)
from ansible_collections.gateway.toolkit.plugins.modules import database_login, database_login_proof
from module_harness import run_main

OLD, NEW = "old-password-0123456789", "new-password-9876543210"
OLD_LOGIN, NEW_LOGIN = login_name("litellm", OLD), login_name("litellm", NEW)
PSQL = f"""#!{sys.executable}
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
told = json.load(open(folder + "/told.json"))
given = sys.stdin.read() if "-f" in sys.argv else sys.argv[-1]
user = sys.argv[sys.argv.index("-U") + 1] if "-U" in sys.argv else ""
with open(folder + "/calls", "a") as calls:
    calls.write(json.dumps([sys.argv[1:], given]) + "\\n")
if user:
    right = told["passwords"].get(user) == os.environ.get("PGPASSWORD")
    if not right:
        sys.exit(print(told["refusal"].replace("USER", user), file=sys.stderr) or 2)
    print("\\n".join(told["sessions"]) if "pg_stat_activity" in given else "litellm")
elif "pg_authid" in given:
    print(json.dumps(told["roles"]))
elif told["error"]:
    sys.exit(print(told["error"] + given, file=sys.stderr) or 3)
"""


class Server:
    """What psql tells, and what it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, Any] = {
            "roles": [],
            "error": "",
            "passwords": {},
            "refusal": 'FATAL:  password authentication failed for user "USER"',
            "sessions": [],
        }
        (folder / "psql").write_text(PSQL)
        (folder / "psql").chmod(0o755)

    def run(self, module: Any, check: bool = False, **params: Any) -> dict[str, Any]:
        (self.folder / "told.json").write_text(json.dumps(self.told))
        (self.folder / "calls").write_text("")
        ran = run_main(module, {"owner": "litellm", "database": "litellm", **params}, check)
        assert not [value for value in (OLD, NEW) if value in ran.text + ran.log + (self.folder / "calls").read_text()]
        result: dict[str, Any] = ran.result
        return result

    @property
    def given(self) -> str:
        """The statements, without the questions."""
        calls = [json.loads(line)[1] for line in (self.folder / "calls").read_text().splitlines()]
        return "\n".join(given for given in calls if "pg_authid" not in given)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(database_login_proof, "PAUSE", 0.01)
    return Server(tmp_path)


def role(name: str, **changes: Any) -> dict[str, Any]:
    whole = {"name": name, "login": True, "verifier": None, "powers": False, "member": True, "acts": True}
    return {**whole, **changes}


def owner(**changes: Any) -> dict[str, Any]:
    return role("litellm", **{"login": False, "member": False, "acts": False, **changes})


def with_password(password: str, **changes: Any) -> dict[str, Any]:
    return role(login_name("litellm", password), verifier=verifier_of(password, b"0123456789abcdef"), **changes)


# The verifier


def test_a_verifier_is_the_one_of_rfc_7677() -> None:
    """The RFC's own example: user "user", password "pencil"."""
    salt = b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81"
    assert verifier_of("pencil", salt, 4096) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


@pytest.mark.parametrize("verifier", [None, "", "md5abc", verifier_of(NEW, b"0123456789abcdef")])
def test_another_verifier_does_not_fit(verifier: str | None) -> None:
    assert not fits(OLD, verifier)
    assert fits(OLD, verifier_of(OLD, b"x" * 16, 10))


# The logins


def test_a_new_server_gets_an_owner_who_cannot_log_in_and_a_login_that_acts_as_it(server: Server) -> None:
    result = server.run(database_login, password=OLD)
    assert (result["changed"], result["login"], result["ended"]) == (True, OLD_LOGIN, [])
    for words in (
        "CREATE ROLE litellm NOLOGIN",
        f"CREATE ROLE {OLD_LOGIN} LOGIN",
        f"GRANT litellm TO {OLD_LOGIN}",
        f"ALTER ROLE {OLD_LOGIN} SET role = 'litellm'",
    ):
        assert words in server.given


def test_a_second_run_changes_nothing(server: Server) -> None:
    server.told["roles"] = [owner(), with_password(OLD)]
    assert server.run(database_login, password=OLD)["changed"] is False
    assert server.given == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"login": False}, "ALTER ROLE"),
        ({"powers": True}, "NOSUPERUSER"),
        ({"verifier": "SCRAM-SHA-256$4096:eA==$eA==:eA=="}, "PASSWORD 'SCRAM"),
        ({"member": False}, "GRANT litellm"),
        ({"acts": False}, "SET role"),
    ],
)
def test_what_somebody_changed_is_put_right(server: Server, changes: dict[str, Any], words: str) -> None:
    server.told["roles"] = [owner(), {**with_password(OLD), **changes}]
    assert server.run(database_login, password=OLD)["changed"]
    assert words in server.given


def test_an_owner_who_could_log_in_no_longer_can(server: Server) -> None:
    server.told["roles"] = [owner(login=True, verifier="SCRAM-SHA-256$4096:eA==$eA==:eA=="), with_password(OLD)]
    server.run(database_login, password=OLD)
    assert "ALTER ROLE litellm NOLOGIN" in server.given
    assert "PASSWORD NULL" in server.given


def test_a_second_login_leaves_the_first_alone(server: Server) -> None:
    server.told["roles"] = [owner(), with_password(OLD)]
    result = server.run(database_login, password=NEW)
    assert (result["login"], result["ended"]) == (NEW_LOGIN, [])
    assert OLD_LOGIN not in server.given


def test_only_ends_the_others_after_locking_them_for_good(server: Server) -> None:
    stray = "litellm_00000000"
    server.told["roles"] = [owner(), with_password(OLD), with_password(NEW), role(stray)]
    result = server.run(database_login, password=NEW, state="only")
    assert sorted(result["ended"]) == sorted([OLD_LOGIN, stray])
    locking, ending = server.given.split("COMMIT;")[:2]
    assert f"ALTER ROLE {OLD_LOGIN} NOLOGIN" in locking
    assert f"DROP ROLE {OLD_LOGIN}" in ending
    assert f"DROP ROLE {NEW_LOGIN}" not in server.given


def test_what_a_login_owns_goes_to_the_owner_before_it_is_dropped() -> None:
    text = "\n".join(to_end("litellm", [OLD_LOGIN]))
    assert text.index("REASSIGN OWNED") < text.index("DROP OWNED") < text.index("DROP ROLE")


def test_check_mode_only_looks(server: Server) -> None:
    assert server.run(database_login, check=True, password=OLD)["changed"]
    assert server.given == ""


def test_a_refusal_is_shown_without_the_verifier(server: Server) -> None:
    server.told["error"] = "ERROR: permission denied "
    result = server.run(database_login, password=OLD)
    assert result["failed"]
    assert "permission denied" in result["msg"]
    assert "SCRAM-SHA-256$4096" not in result["msg"]


@pytest.mark.parametrize("name", ["Litellm", "a b", 'x"; drop', "x" * 55, ""])
def test_odd_owners_are_refused(server: Server, name: str) -> None:
    assert server.run(database_login, password=OLD, owner=name)["failed"]


def test_roles_are_told_apart_by_their_password_alone() -> None:
    roles = {entry["name"]: Role(**entry) for entry in (owner(), with_password(OLD))}
    assert to_have("litellm", OLD, roles) == []
    assert to_have("litellm", NEW, roles) != []


# The proof


def test_both_passwords_are_tried(server: Server) -> None:
    server.told["passwords"] = {NEW_LOGIN: NEW}
    proofs = server.run(database_login_proof, address="127.0.0.1", accepted=NEW, refused=OLD)["proofs"]
    assert [proof["result"] for proof in proofs] == ["acts as litellm", "refused"]


def test_an_old_password_that_lives_on_is_found(server: Server) -> None:
    server.told["passwords"] = {NEW_LOGIN: NEW, OLD_LOGIN: OLD}
    result = server.run(database_login_proof, address="127.0.0.1", accepted=NEW, refused=OLD)
    assert result["failed"]
    assert OLD_LOGIN in result["msg"]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ('FATAL:  password authentication failed for user "litellm_1"', True),
        ("FATAL:  Passwort-Authentifizierung für Benutzer »litellm_1« fehlgeschlagen", True),
        ('FATAL:  no pg_hba.conf entry for host "::1", user "litellm_1"', False),
        ("connection to server failed: Connection refused", False),
        ("FATAL:  the database system is starting up", False),
    ],
)
def test_only_the_servers_own_word_is_a_refusal(words: str, refusal: bool) -> None:
    assert is_refusal("litellm_1", words) is refusal


@pytest.mark.parametrize("count", [0, 2])
def test_what_litellm_uses_is_seen_in_its_connections(server: Server, count: int) -> None:
    server.told |= {"passwords": {NEW_LOGIN: NEW}, "sessions": [NEW_LOGIN] * count}
    result = server.run(
        database_login_proof, address="127.0.0.1", accepted=NEW, used_by="http://127.0.0.1:1", patience=0
    )
    assert result.get("failed", False) is (count == 0)
    assert "does not log in" in result.get("msg", "") or result["proofs"][-1]["result"] == "2"


def test_the_same_password_twice_is_refused(server: Server) -> None:
    assert server.run(database_login_proof, address="127.0.0.1", accepted=NEW, refused=NEW)["failed"]
