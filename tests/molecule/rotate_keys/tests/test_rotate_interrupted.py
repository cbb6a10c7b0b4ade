"""A rotation that is killed after any step, or loses its services there, ends with one value that works."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from conftest import Playbooks
from gateway_keys import ROTATE, TOKEN, UNIT, VIRTUAL_KEY, Gateway, all_run, copies
from testinfra.host import Host

ONE = "--limit=gateway1"
# Each step, and the task that begins right after it was noted.
OF_A_VIRTUAL_KEY = {
    "prepared": "rotate_virtual_key | Say what",
    "registered": "register_virtual_key | Refuse a key",
    "switched": "secrets | Keep the gateway token",
    "proved": "retire_virtual_key | Let the old key",
    "retired": "retire_virtual_key | Forget",
}
OF_A_TOKEN = {
    "prepared": "rotate_gateway_token | Say what",
    "switched": "secrets | Keep the gateway token",
    "retired": "finish_gateway_token | Forget",
}


@pytest.fixture
def gateway(hosts: dict[str, Host]) -> Gateway:
    return Gateway.of(hosts, "gateway1")


def kill_after_each_step(
    playbooks: Playbooks, gateway: Gateway, kind: str, ledger: str, steps: dict[str, str], works: Callable[[], bool]
) -> None:
    """Each run goes on from where the one before was killed, without being asked for it; the last one finishes."""
    pid, wishes = gateway.pid, {"rotate": kind}
    for step, task in steps.items():
        playbooks.run_killed(ROTATE, task, ONE, variables=wishes)
        wishes = {}
        assert gateway.step(ledger) == step
        assert works(), f"a working value exists after {step}"
    finished = playbooks.run(ROTATE, ONE)
    assert finished.rc == 0, finished.output
    assert gateway.pid == pid


def test_a_virtual_key_that_is_killed_after_each_step(playbooks: Playbooks, gateway: Gateway) -> None:
    def works() -> bool:
        return gateway.key_in_use() == 200

    old = gateway.copy(VIRTUAL_KEY)
    kill_after_each_step(playbooks, gateway, "virtual_keys", "virtual_key", OF_A_VIRTUAL_KEY, works)
    assert gateway.value(VIRTUAL_KEY) != gateway.value(old)
    assert_one_virtual_key(gateway, old)


def test_a_gateway_token_that_is_killed_after_each_step(playbooks: Playbooks, gateway: Gateway) -> None:
    def works() -> bool:
        return 404 in [gateway.door(path) for path in copies(gateway.host, TOKEN)]

    old = gateway.copy(TOKEN)
    kill_after_each_step(playbooks, gateway, "gateway_token", "gateway_token", OF_A_TOKEN, works)
    assert gateway.value(TOKEN) != gateway.value(old)
    assert_one_token(gateway, old)


def assert_one_virtual_key(gateway: Gateway, dead: str) -> None:
    assert (gateway.key_in_use(), gateway.models(VIRTUAL_KEY), gateway.models(dead)) == (200, 200, 401)
    assert gateway.live_keys() == [gateway.alias]
    assert gateway.unfinished() == []
    assert gateway.set_aside() == {}, "no request of OpenClaw was refused"


def assert_one_token(gateway: Gateway, dead: str) -> None:
    assert (gateway.door(TOKEN), gateway.door(dead)) == (404, 401)
    assert (gateway.websocket(TOKEN), gateway.websocket(dead)) == ("connected", "refused")
    assert gateway.unfinished() == []


def rotate_with_deaths(
    playbooks: Playbooks, gateway: Gateway, hosts: dict[str, Host], kind: str, tasks: Iterable[str]
) -> None:
    """A rotation for each task, at which LiteLLM and the gateway are killed. systemd starts them again.

    The run waits for them, or undoes the rotation and fails; then the next plain run has nothing left to do but that.
    """

    def die(_processes: list[int]) -> None:
        hosts["proxy1"].run_expect([0], "systemctl kill --signal=SIGKILL litellm.service")
        hosts["gateway1"].run_expect([0], f"systemctl kill --signal=SIGKILL {UNIT}")

    for task in tasks:
        run = playbooks.run_until(ROTATE, task, die, ONE, variables={"rotate": kind})
        all_run(hosts)
        finished = run if run.rc == 0 else playbooks.run(ROTATE, ONE)
        assert finished.rc == 0, finished.output
        assert gateway.key_in_use() == 200, f"after {task}"
        assert gateway.door(TOKEN) == 404, f"after {task}"
        assert gateway.unfinished() == [], f"after {task}"


def test_a_virtual_key_whose_services_die_after_each_step(
    playbooks: Playbooks, gateway: Gateway, hosts: dict[str, Host]
) -> None:
    old = gateway.copy(VIRTUAL_KEY)
    rotate_with_deaths(playbooks, gateway, hosts, "virtual_keys", OF_A_VIRTUAL_KEY.values())
    # The last one was finished: it had only files to write.
    assert gateway.value(VIRTUAL_KEY) != gateway.value(old)
    assert_one_virtual_key(gateway, old)


def test_a_gateway_token_whose_services_die_after_each_step(
    playbooks: Playbooks, gateway: Gateway, hosts: dict[str, Host]
) -> None:
    old = gateway.copy(TOKEN)
    rotate_with_deaths(playbooks, gateway, hosts, "gateway_token", OF_A_TOKEN.values())
    assert gateway.value(TOKEN) != gateway.value(old)
    assert_one_token(gateway, old)
