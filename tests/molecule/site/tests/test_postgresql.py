"""PostgreSQL is there for LiteLLM, and for nobody else."""

from __future__ import annotations

from conftest import address_of, listeners, psql, secret
from testinfra.host import Host

PASSWORD_FILE = "/etc/litellm-database/secrets/password"


def test_it_listens_on_loopback_only_because_the_proxy_is_on_the_same_host(proxy1: Host) -> None:
    assert listeners(proxy1, 5432) == {"127.0.0.1"}


def test_the_gateways_host_cannot_reach_it(proxy1: Host, gateway1: Host) -> None:
    probe = f"python3 -c \"import socket; socket.create_connection(('{address_of(proxy1)}', 5432), 3)\""
    assert "refused" in gateway1.run(probe).stderr


def test_the_password_is_stored_as_scram(proxy1: Host) -> None:
    stored = proxy1.run("sudo -u postgres psql -XAtc \"select rolpassword from pg_authid where rolname = 'litellm'\"")
    assert stored.stdout.startswith("SCRAM-SHA-256$")


def test_the_owner_has_no_rights_beyond_its_database(proxy1: Host) -> None:
    question = "select rolsuper or rolcreatedb or rolcreaterole or rolreplication from pg_roles where rolname='litellm'"
    assert psql(proxy1, question) == "f"


def test_a_wrong_password_is_refused(proxy1: Host) -> None:
    wrong = proxy1.run("PGPASSWORD=wrong psql -XAtw -h 127.0.0.1 -U litellm litellm -c 'select 1'")
    assert wrong.rc != 0
    assert "password authentication failed" in wrong.stderr


def test_the_password_is_for_root_alone(proxy1: Host) -> None:
    assert len(secret(proxy1, PASSWORD_FILE)) >= 32
    assert proxy1.run("stat -c '%a %U' /etc/litellm-database/secrets " + PASSWORD_FILE).stdout == "700 root\n600 root\n"
