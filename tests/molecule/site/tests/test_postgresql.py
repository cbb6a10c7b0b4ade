"""PostgreSQL is there for LiteLLM, and for nobody else."""

from __future__ import annotations

import hashlib

from conftest import address_of, listeners, psql, secret
from testinfra.host import Host

PASSWORD_FILE = "/etc/litellm-database/secrets/password"


def test_it_listens_on_loopback_only_because_the_proxy_is_on_the_same_host(proxy1: Host) -> None:
    assert listeners(proxy1, 5432) == {"127.0.0.1"}


def test_the_gateways_host_cannot_reach_it(proxy1: Host, gateway1: Host) -> None:
    probe = f"python3 -c \"import socket; socket.create_connection(('{address_of(proxy1)}', 5432), 3)\""
    assert "refused" in gateway1.run(probe).stderr


def login(proxy1: Host) -> str:
    """The role that logs in with the password; the owner itself cannot."""
    return f"litellm_{hashlib.sha256(secret(proxy1, PASSWORD_FILE).encode()).hexdigest()[:8]}"


def test_the_password_is_stored_as_scram(proxy1: Host) -> None:
    question = "select rolname, left(rolpassword, 14) from pg_authid where rolname like 'litellm%' order by 1"
    assert psql(proxy1, question).splitlines() == ["litellm|", f"{login(proxy1)}|SCRAM-SHA-256$"]


def test_neither_the_owner_nor_its_login_has_rights_beyond_the_database(proxy1: Host) -> None:
    powers = "rolsuper or rolcreatedb or rolcreaterole or rolreplication"
    question = f"select rolcanlogin, {powers} from pg_roles where rolname like 'litellm%' order by rolname"
    assert psql(proxy1, question).splitlines() == ["f|f", "t|f"]


def test_everything_in_the_database_belongs_to_the_owner(proxy1: Host) -> None:
    assert psql(proxy1, "select distinct tableowner from pg_tables where schemaname = 'public'") == "litellm"


def test_a_wrong_password_is_refused(proxy1: Host) -> None:
    wrong = proxy1.run(f"PGPASSWORD=wrong psql -XAtw -h 127.0.0.1 -U {login(proxy1)} litellm -c 'select 1'")
    assert wrong.rc != 0
    assert "password authentication failed" in wrong.stderr


def test_the_password_is_for_root_alone(proxy1: Host) -> None:
    assert len(secret(proxy1, PASSWORD_FILE)) >= 32
    assert proxy1.run("stat -c '%a %U' /etc/litellm-database/secrets " + PASSWORD_FILE).stdout == "700 root\n600 root\n"
