# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logins of a database's owner, one for each password.

PostgreSQL keeps one password per role. So that a password can be changed without a moment in which none works, the
owner itself cannot log in; it has a login role for each password, named <owner>_<the first 8 hexadecimal digits of the
password's SHA-256>, which acts as the owner (ALTER ROLE ... SET role) and owns nothing. Two passwords work side by side
while a rotation runs, and a password ends with its role.

Passwords go to the server as SCRAM-SHA-256 verifiers (RFC 5803), as psql's \\password sends them: its log may hold
statements. Source: https://www.postgresql.org/docs/current/protocol-message-formats.html, catalog-pg-authid.html.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ITERATIONS = 4096
"""PostgreSQL's own number; a generated password has 256 bits, which no number of iterations makes safer."""

VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)")
NAME = re.compile(r"[a-z_][a-z0-9_]{0,53}")
"""What the owner's name may be; PostgreSQL cuts names after 63 characters."""

STATE = """
select coalesce(json_agg(json_build_object(
  'name', r.rolname, 'login', r.rolcanlogin, 'verifier', r.rolpassword,
  'powers', r.rolsuper or r.rolcreatedb or r.rolcreaterole or r.rolreplication or r.rolbypassrls,
  'member', exists (select from pg_auth_members m join pg_roles o on o.oid = m.roleid
                    where m.member = r.oid and o.rolname = '{owner}'),
  'acts', exists (select from pg_db_role_setting s
                  where s.setrole = r.oid and s.setdatabase = 0 and 'role={owner}' = any (s.setconfig)))), '[]')
from pg_authid r where r.rolname = '{owner}' or r.rolname ~ '^{owner}_[0-9a-f]{{8}}$';
"""

NO_POWERS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


class DatabaseProblem(Exception):
    """``str()`` is one sentence for the operator, without a password."""


@dataclass(frozen=True)
class Role:
    """What the server says of a role. ``acts``: every session of it is the owner's."""

    name: str
    login: bool
    verifier: str | None = field(repr=False)
    powers: bool
    member: bool
    acts: bool


def login_name(owner: str, password: str) -> str:
    """The login role for this password."""
    return f"{owner}_{hashlib.sha256(password.encode()).hexdigest()[:8]}"


def verifier_of(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """The SCRAM-SHA-256 verifier of a password of printable ASCII (other characters would need SASLprep)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    words = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{words[0]}${words[1]}:{words[2]}"


def fits(password: str, verifier: str | None) -> bool:
    """Whether a stored verifier is that of this password."""
    found = VERIFIER.fullmatch(verifier or "")
    if not found:
        return False
    expected = verifier_of(password, base64.b64decode(found.group(2)), int(found.group(1)))
    return hmac.compare_digest(expected, verifier or "")


def to_have(owner: str, password: str, roles: Mapping[str, Role]) -> list[str]:
    """The statements after which ``password`` has its login role, which acts as the owner, who cannot log in."""
    statements: list[str] = []
    former = roles.get(owner)
    if former is None:
        statements.append(f"CREATE ROLE {owner} NOLOGIN {NO_POWERS};")
    elif former.login or former.powers or former.verifier:
        statements.append(f"ALTER ROLE {owner} NOLOGIN {NO_POWERS} PASSWORD NULL;")
    name = login_name(owner, password)
    role = roles.get(name)
    verifier = verifier_of(password, secrets.token_bytes(16))
    if role is None:
        statements.append(f"CREATE ROLE {name} LOGIN {NO_POWERS} PASSWORD '{verifier}';")
    elif not role.login or role.powers or not fits(password, role.verifier):
        statements.append(f"ALTER ROLE {name} LOGIN {NO_POWERS} PASSWORD '{verifier}';")
    if role is None or not role.member:
        statements.append(f"GRANT {owner} TO {name};")
    if role is None or not role.acts:
        statements.append(f"ALTER ROLE {name} SET role = '{owner}';")
    return statements


def to_lock(names: Sequence[str]) -> list[str]:
    """The statements after which nobody new logs in with these roles."""
    return [f"ALTER ROLE {name} NOLOGIN;" for name in names]


def to_end(owner: str, names: Sequence[str]) -> list[str]:
    """The statements that end these login roles, once they are locked, and their sessions; what one of them might own
    goes to the owner."""
    statements: list[str] = []
    for name in names:
        statements += [
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}';",
            f"REASSIGN OWNED BY {name} TO {owner};",
            f"DROP OWNED BY {name};",
            f"DROP ROLE {name};",
        ]
    return statements


class Psql:
    """psql, as the user who runs this, over the server's socket."""

    def __init__(self, program: str, port: int, database: str) -> None:
        self._argv = [program, "-XAtq", "-v", "ON_ERROR_STOP=1", "-p", str(port), "-d", database, "-f", "-"]

    def run(self, statements: str) -> str:
        """What it printed. DatabaseProblem when the server refuses, or cannot be reached."""
        environment = {**os.environ, "PGCONNECT_TIMEOUT": "20", "PGOPTIONS": "-c client_min_messages=warning"}
        done = subprocess.run(
            self._argv,
            env=environment,
            input=statements,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
        if done.returncode:
            # The server repeats a statement that it refuses, and with it the verifier.
            said = VERIFIER.sub("<verifier>", " ".join(done.stderr.split()))[:400]
            raise DatabaseProblem(f"PostgreSQL did not do it: {said}")
        return done.stdout

    def change(self, statements: Sequence[str]) -> None:
        """All of them or none."""
        self.run("\n".join(["BEGIN;", *statements, "COMMIT;"]))

    def roles(self, owner: str) -> dict[str, Role]:
        """The owner and its login roles, by name."""
        rows: list[dict[str, Any]] = json.loads(self.run(STATE.format(owner=owner)))
        return {row["name"]: Role(**row) for row in rows}


@dataclass(frozen=True)
class Place:
    """Where a client logs in."""

    program: str
    address: str
    port: int
    database: str

    def ask(self, user: str, password: str, question: str) -> tuple[bool, str]:
        """(whether the login worked, the answer or what was said). The password is in no argument."""
        argv = [self.program, "-XAtqw", "-h", self.address, "-p", str(self.port), "-U", user, "-d", self.database]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"PGPASSWORD": password, "PGCONNECT_TIMEOUT": "10"}
        done = subprocess.run(
            [*argv, "-c", question],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
        words = " ".join((done.stdout if done.returncode == 0 else done.stderr).split())
        return done.returncode == 0, words


def is_refusal(user: str, words: str) -> bool:
    """Whether the server itself refused this user's password: it names the user, in whatever language it speaks, and
    an access rule that is missing, or a server that is away or starting, reads otherwise."""
    return "FATAL" in words and user in words and "pg_hba.conf" not in words
