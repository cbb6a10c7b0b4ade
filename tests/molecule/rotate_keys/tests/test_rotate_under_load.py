"""Nobody who works while keys rotate notices, but those who hold the old value."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ROOT, Playbooks, address_of
from gateway_keys import LOG, ROTATE, TOKEN, VIRTUAL_KEY, Gateway
from testinfra.host import Host

ONE = "--limit=gateway1"
CLIENTS = ROOT / "tests/molecule/rotate_keys/clients.py"
DOOR = ROOT / "collections/ansible_collections/gateway/toolkit/plugins/module_utils/openclaw_door.py"
Met = dict[str, Any]


@pytest.fixture
def gateway(hosts: dict[str, Host]) -> Gateway:
    return Gateway.of(hosts, "gateway1")


def while_clients_work(gateway: Gateway, names: str, act: Callable[[], object], enough: Callable[[Met], bool]) -> Met:
    """What these clients met before, during and after `act`; they go on until it is enough."""
    host, litellm = gateway.host, f"http://{address_of(gateway.proxy)}:4000"
    host.run_expect([0], "rm -f /run/clients.*; mkdir -p /srv/clients")
    for path in (CLIENTS, DOOR):
        host.run_expect([0], f"printf %s {shlex.quote(path.read_text())} > /srv/clients/{path.name}")
    program = f"python3 -B /srv/clients/clients.py {litellm} {names}"
    host.run_expect([0], f"systemd-run --unit clients -p StandardOutput=file:/run/clients.json {program}")

    def met() -> Met:
        text = host.run("cat /run/clients.ready").stdout
        return dict(json.loads(text)) if text else {}

    def wait_for(condition: Callable[[Met], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition(met()):
            assert time.monotonic() < end, met()
            time.sleep(0.5)

    try:
        wait_for(lambda seen: seen != {} and all(seen.values()), 180)
        act()
        wait_for(enough, 300)
    finally:
        host.run("touch /run/clients.stop")
        wait = "for i in $(seq 200); do systemctl is-active -q clients || break; sleep 0.5; done"
        host.run(f"{wait}; systemctl stop clients; systemctl reset-failed clients")
    return dict(json.loads(host.file("/run/clients.json").content_string))


def test_no_request_fails_while_a_virtual_key_rotates(playbooks: Playbooks, gateway: Gateway) -> None:
    """Most are calls to LiteLLM with OpenClaw's key; a prompt through OpenClaw takes seconds, so those are some."""

    def rotate() -> None:
        run = playbooks.run(ROTATE, ONE, variables={"rotate": "virtual_keys"})
        assert run.rc == 0, run.output

    def enough(seen: Met) -> bool:
        return bool(seen["calls"]["asked"] >= 500 and seen["turns"]["asked"] >= 3)

    met = while_clients_work(gateway, "calls turns live", rotate, enough)
    assert [client["failed"] for client in met.values()] == [[], [], []]
    assert met["calls"]["asked"] >= 500
    assert met["turns"]["asked"] >= 3
    assert gateway.set_aside() == {}


def test_a_new_token_is_in_force_at_once_and_those_with_the_old_one_are_cut(
    playbooks: Playbooks, gateway: Gateway
) -> None:
    def rotate() -> None:
        run = playbooks.run(ROTATE, ONE, variables={"rotate": "gateway_token"})
        assert run.rc == 0, run.output

    met = while_clients_work(gateway, "live old_token socket", rotate, lambda _seen: True)
    assert met["live"]["failed"] == [], "the gateway answered all the time"
    assert met["live"]["asked"] > 50
    assert (met["old_token"]["refused"], met["old_token"]["then"]) == (401, 404)
    assert met["socket"]["connected"] == "connected"
    assert met["socket"]["closed"] == "4001 gateway auth changed"
    assert abs(met["socket"]["at"] - met["old_token"]["at"]) < 30


def test_an_emergency_revokes_first_and_the_gateway_works_right_after_it(
    playbooks: Playbooks, gateway: Gateway
) -> None:
    """Although somebody sends prompts all the time: a refused one would have OpenClaw set the new key aside, too."""
    old = gateway.copy(VIRTUAL_KEY)
    runs = []

    def revoke() -> None:
        wishes = {"rotate": "virtual_keys", "rotate_emergency": True}
        runs.append(playbooks.run(ROTATE, ONE, variables=wishes))
        assert gateway.set_aside() == {}
        assert gateway.prompt()

    while_clients_work(gateway, "turns", revoke, lambda _seen: True)
    (run,) = runs
    assert run.rc == 0, run.output
    said = " ".join(run.output.split())
    assert said.index("Emergency: the old one is revoked first") < said.index("Register the new key")
    assert (gateway.key_in_use(), gateway.models(VIRTUAL_KEY), gateway.models(old)) == (200, 200, 401)
    assert gateway.receipt()["emergency"] is True
    assert gateway.set_aside() == {}


def test_forgotten_copies_of_the_old_values_are_named(playbooks: Playbooks, gateway: Gateway) -> None:
    drop_ins = "/etc/systemd/system/openclaw-gateway.service.d"
    forgotten = {path: f"{drop_ins}/forgotten_{path.rpartition('/')[2]}.conf" for path in (VIRTUAL_KEY, TOKEN)}
    gateway.host.run_expect([0], f"mkdir -p {drop_ins}")
    for path, copy in forgotten.items():
        gateway.host.run_expect([0], f"(echo '# not read by anyone'; sed 's/^/# /' {path}) > {copy}")
    try:
        run = playbooks.run(ROTATE, ONE, variables={"rotate": "virtual_keys,gateway_token"})
    finally:
        gateway.host.run_expect([0], f"rm -r {drop_ins}")
    assert run.rc == 0, run.output
    receipts = [json.loads(line) for line in gateway.host.run_expect([0], f"tail -n 2 {LOG}").stdout.splitlines()]
    assert [receipt["searched"] for receipt in receipts] == [True, True]
    for receipt, copy in zip(receipts, forgotten.values(), strict=True):
        assert f"is still written in {copy}: remove it there" in " ".join(run.output.split())
        assert receipt["copies"] == [copy]


def test_no_copy_is_left_by_the_toolkit_or_openclaw(gateway: Gateway) -> None:
    """Each receipt of this host but those of the test before, which planted one."""
    receipts = [json.loads(line) for line in gateway.host.file(LOG).content_string.splitlines()]
    assert len(receipts) > 2
    assert {path for receipt in receipts for path in receipt["copies"] if "forgotten" not in path} == set()
