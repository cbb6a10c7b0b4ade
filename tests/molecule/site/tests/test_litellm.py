"""LiteLLM runs the pinned release, in its sandbox, with its database, for those who hold a key."""

from __future__ import annotations

import subprocess
from collections.abc import Generator

import pytest
from conftest import MASTER_KEY_FILE, address_of, http, listeners, psql, secret, show, state_directory
from testinfra.host import Host

VIEWS = {
    "LiteLLM_VerificationTokenView",
    "MonthlyGlobalSpend",
    "Last30dKeysBySpend",
    "Last30dModelsBySpend",
    "MonthlyGlobalSpendPerKey",
    "MonthlyGlobalSpendPerUserPerKey",
    "Last30dTopEndUsersSpend",
    "DailyTagSpend",
}


@pytest.fixture(scope="module")
def url(proxy1: Host) -> str:
    return f"http://{address_of(proxy1)}:4000"


def test_it_listens_only_on_the_address_that_the_gateway_uses(proxy1: Host) -> None:
    assert listeners(proxy1, 4000) == {address_of(proxy1)}


def test_it_runs_the_pinned_release(proxy1: Host, url: str) -> None:
    details = http(proxy1, f"{url}/health/readiness/details", key_file=MASTER_KEY_FILE)
    assert details.json["litellm_version"] == "1.106.2"
    assert proxy1.file("/opt/litellm/current").linked_to == "/opt/litellm/releases/1.106.2"


def test_it_has_its_database(proxy1: Host, url: str) -> None:
    assert http(proxy1, f"{url}/health/readiness").json["db"] == "connected"


def test_every_migration_is_recorded_as_prisma_does(proxy1: Host) -> None:
    shipped = proxy1.run(
        "ls -d /opt/litellm/current/venv/lib/python3*/site-packages/litellm_proxy_extras/migrations/*/ | wc -l"
    )
    recorded = psql(
        proxy1,
        "select count(distinct migration_name) from _prisma_migrations"
        " where finished_at is not null and applied_steps_count = 1 and length(checksum) = 64",
    )
    assert int(recorded) == int(shipped.stdout) > 200


def test_the_spend_views_came_up(proxy1: Host) -> None:
    there = psql(proxy1, "select viewname from pg_views where schemaname = 'public'").split("\n")
    assert set(there) >= VIEWS


@pytest.mark.parametrize("path", ["/v1/models", "/v1/messages", "/key/list"])
def test_without_a_key_it_refuses(proxy1: Host, url: str, path: str) -> None:
    answer = http(proxy1, url + path, body={} if path == "/v1/messages" else None)
    assert answer.status == 401


def test_a_wrong_key_is_refused(proxy1: Host, url: str) -> None:
    assert http(proxy1, f"{url}/v1/models", headers={"Authorization": "Bearer sk-wrong"}).status == 401


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_the_documentation_is_off(proxy1: Host, url: str, path: str) -> None:
    assert http(proxy1, url + path).status == 404


@pytest.fixture(scope="module")
def copied_master_key(pytestconfig: pytest.Config, proxy1: Host, gateway1: Host) -> Generator[str]:
    """A file with the master key on a host that has no business with it; sudo logs commands, so not in one."""
    path = "/root/master_key.tmp"
    write = ["ssh", "-F", str(state_directory(pytestconfig) / "ssh_config"), "gateway1"]
    write.append(f"sudo sh -c 'umask 077; cat > {path}'")
    subprocess.run(write, input=secret(proxy1, MASTER_KEY_FILE), text=True, check=True)
    yield path
    gateway1.run_expect([0], f"rm {path}")


@pytest.mark.parametrize(
    "path", ["/key/list", "/key/generate", "/user/list", "/spend/logs", "/ui/", "/", "/health", "/x"]
)
def test_another_host_reaches_the_models_and_no_management(
    gateway1: Host, copied_master_key: str, url: str, path: str
) -> None:
    """Not even with the master key."""
    closed = http(gateway1, url + path, key_file=copied_master_key)
    assert (closed.status, closed.json["error"]["type"]) == (403, "management_closed")
    assert http(gateway1, f"{url}/v1/models", key_file=copied_master_key).status == 200
    assert http(gateway1, f"{url}/health/readiness").status == 200


def test_the_proxys_own_host_manages(proxy1: Host, url: str) -> None:
    assert http(proxy1, f"{url}/key/list", key_file=MASTER_KEY_FILE).status == 200
    # Nobody can claim to be that host.
    forged = http(proxy1, f"{url}/key/list", headers={"X-Forwarded-For": "127.0.0.1"})
    assert forged.status == 401


def test_the_unit_runs_in_a_sandbox(proxy1: Host) -> None:
    unit = show(proxy1, "litellm.service")
    assert unit["User"] == "litellm"
    assert unit["CapabilityBoundingSet"] == ""
    assert (unit["NoNewPrivileges"], unit["ProtectSystem"], unit["PrivateTmp"]) == ("yes", "strict", "yes")
    score = proxy1.run("systemd-analyze security --no-pager litellm.service | tail -1").stdout
    assert float(score.split()[-3]) <= 2.5, score


def test_the_process_cannot_write_its_release_or_read_the_secrets(proxy1: Host) -> None:
    pid = show(proxy1, "litellm.service")["MainPID"]
    inside = f"nsenter --target {pid} --mount setpriv --reuid litellm --regid litellm --clear-groups"
    assert proxy1.run(f"{inside} touch /opt/litellm/current/x").rc != 0
    assert proxy1.run(f"{inside} ls /etc/litellm/secrets").rc != 0
    assert proxy1.run(f"{inside} cat /etc/litellm/litellm.env").rc != 0


def test_no_argument_of_any_process_holds_the_database_password(proxy1: Host) -> None:
    """LiteLLM by itself runs `prisma migrate diff --from-url <DATABASE_URL>` at every start."""
    password = secret(proxy1, "/etc/litellm-database/secrets/password")
    proxy1.run_expect([0], "systemctl restart litellm.service")
    # Every process of a start, until LiteLLM is alive.
    watch = (
        "for i in $(seq 200); do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; "
        f"python3 -c \"import urllib.request as u; u.urlopen('http://{address_of(proxy1)}:4000/health/liveliness')\" "
        "2>/dev/null && break; sleep 0.1; done"
    )
    assert password not in proxy1.run(watch).stdout


def test_a_taken_port_is_refused_with_one_sentence(proxy1: Host) -> None:
    """LiteLLM by itself would take a random port when 4000 is busy."""
    check = "/opt/litellm/current/venv/bin/python -I /opt/litellm/current/libexec/litellm_port.py"
    taken = proxy1.run(f"{check} {address_of(proxy1)} 4000")
    assert taken.rc == 1
    assert "litellm_port" in taken.stderr
    assert check.split()[-1] in proxy1.run("systemctl cat litellm.service").stdout


def test_the_query_engine_serves_nobody_but_litellm(proxy1: Host) -> None:
    """It runs any SQL that it is sent and asks for no password, and every user of the host can reach its port."""
    port = proxy1.run("ss -Hltnp | grep query-engine").stdout.split()[3].rsplit(":", 1)[1]
    ask = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/status', timeout=5).status)"
    allowed = proxy1.run(f'setpriv --reuid litellm --clear-groups python3 -c "{ask}"')
    assert allowed.stdout == "200\n", allowed.stderr
    refused = proxy1.run(f'setpriv --reuid nobody --clear-groups python3 -c "{ask}"')
    assert refused.rc != 0
    assert refused.stdout == ""
