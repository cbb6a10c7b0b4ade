"""The database of two proxies on other hosts lets in those two, and nobody else."""

from __future__ import annotations

import hashlib
import socket
import struct

import pytest
from conftest import Playbooks, address_of, database_clients, listeners, psql, secret
from testinfra.host import Host

PASSWORD_ASKED = "a password"


def login(db1: Host) -> str:
    """The login role of the password; the owner itself cannot log in."""
    password = secret(db1, "/etc/litellm-database/secrets/password")
    return f"litellm_{hashlib.sha256(password.encode()).hexdigest()[:8]}"


def knock(db1: Host) -> str:
    """What PostgreSQL answers to this machine, which is no proxy: PASSWORD_ASKED, or its refusal.

    https://www.postgresql.org/docs/current/protocol-message-formats.html
    """
    parameters = f"user\0{login(db1)}\0database\0litellm\0\0".encode()
    with socket.create_connection((address_of(db1), 5432), timeout=10) as connection:
        connection.sendall(struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters)
        with connection.makefile("rb") as answer:
            kind, length = answer.read(1), struct.unpack("!i", answer.read(4))[0]
            text = answer.read(length - 4)
    return PASSWORD_ASKED if kind == b"R" else text.decode()


def refusal(host: Host, address: str, user: str, database: str = "litellm") -> str:
    """What psql says on `host`, with no password."""
    done = host.run(f"psql -XAtw -h {address} -U {user} {database} -c 'select 1'")
    assert done.rc == 2
    return str(done.stderr)


def start_of(db1: Host) -> str:
    """When the server started; a reload leaves it."""
    return psql(db1, "select pg_postmaster_start_time()")


@pytest.fixture
def our_address(db1: Host) -> str:
    """The address from which this machine reaches the database."""
    with socket.create_connection((address_of(db1), 5432), timeout=10) as connection:
        return str(connection.getsockname()[0])


def test_it_listens_on_loopback_and_on_its_own_address_alone(db1: Host) -> None:
    assert listeners(db1, 5432) == {"127.0.0.1", address_of(db1)}


def test_both_proxies_are_connected(db1: Host, proxy1: Host, proxy2: Host) -> None:
    assert database_clients(db1, "litellm", proxy1, proxy2) == {address_of(proxy1), address_of(proxy2)}


def test_a_stranger_is_refused_by_postgresql_itself(db1: Host, our_address: str) -> None:
    answer = knock(db1)
    assert "no pg_hba.conf entry" in answer
    assert our_address in answer
    assert "no pg_hba.conf entry" in refusal(db1, address_of(db1), login(db1))


def test_a_proxy_is_asked_for_a_password_and_gets_no_other_user_or_database(db1: Host, proxy1: Host) -> None:
    address = address_of(db1)
    assert "no password supplied" in refusal(proxy1, address, login(db1))
    assert "no pg_hba.conf entry" in refusal(proxy1, address, "postgres")
    assert "no pg_hba.conf entry" in refusal(proxy1, address, login(db1), database="postgres")


def test_changed_clients_take_effect_without_a_restart(
    playbooks: Playbooks, db1: Host, proxy1: Host, proxy2: Host, our_address: str
) -> None:
    start = start_of(db1)
    clients = [f"{client}/32" for client in (address_of(proxy1), address_of(proxy2), our_address)]
    try:
        more = playbooks.run("playbooks/database.yml", variables={"postgresql_clients": clients})
        assert more.rc == 0, more.output
        assert knock(db1) == PASSWORD_ASKED
    finally:
        fewer = playbooks.run("playbooks/database.yml")
    assert fewer.rc == 0, fewer.output
    assert "no pg_hba.conf entry" in knock(db1)
    assert start_of(db1) == start


def test_a_run_that_was_killed_before_the_reload_is_finished_by_the_next(
    playbooks: Playbooks, db1: Host, our_address: str
) -> None:
    """The next run finds the file as it should be, and a server that has not read it."""
    start, rules = start_of(db1), psql(db1, "show hba_file")
    db1.run_expect([0], f"echo 'host litellm +litellm {our_address}/32 scram-sha-256' >> {rules}")
    try:
        assert "no pg_hba.conf entry" in knock(db1)
        finished = playbooks.run("playbooks/database.yml")
        assert finished.rc == 0, finished.output
        assert knock(db1) == PASSWORD_ASKED
    finally:
        db1.run_expect([0], f"sed -i '$d' {rules} && systemctl reload postgresql.service")
    assert start_of(db1) == start
