"""openclaw_bind.py waits for the gateway's address and tells a socket that is in the wrong place."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

import pytest
from script import load

bind = load("roles/openclaw_gateway/files/openclaw_bind.py")

LAN = bind.Place("eth0", "192.0.2.7")
TAILNET = bind.Place("tailscale0", "100.64.0.5")
OTHER = bind.Place("eth1", "100.72.0.5")
WANTED = bind.Wanted("tailscale0", "")


def test_the_tailnets_address_is_chosen_whatever_else_the_host_has() -> None:
    assert bind.choose([LAN, TAILNET], WANTED) == ("100.64.0.5", "")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([LAN], "tailscale0 has no address"),
        # OpenClaw would take this one, which is not the tailnet's.
        ([LAN, OTHER], "tailscale0 has no address"),
        ([OTHER, TAILNET], "100.72.0.5 on eth1, 100.64.0.5 on tailscale0"),
        ([bind.Place("tailscale0", "192.0.2.9")], "tailscale0 has no address"),
    ],
)
def test_without_exactly_one_tailnet_address_there_is_none(places: list[bind.Place], words: str) -> None:
    address, reason = bind.choose(places, WANTED)
    assert address == ""
    assert words in reason


def test_a_named_address_counts_on_any_interface() -> None:
    wanted = bind.Wanted("", "192.0.2.7")
    assert bind.choose([TAILNET, LAN], wanted) == ("192.0.2.7", "")
    assert "192.0.2.7" in bind.choose([TAILNET], wanted)[1]


@pytest.mark.parametrize(
    ("listening", "words"),
    [
        (set(), ""),
        ({"100.64.0.5", "127.0.0.1"}, ""),
        ({"127.0.0.1", "::1"}, "but not on 100.64.0.5"),
        ({"100.64.0.9", "127.0.0.1"}, "but not on 100.64.0.5"),
        ({"0.0.0.0"}, "but not on 100.64.0.5"),
        ({"0.0.0.0", "100.64.0.5"}, "listens on 0.0.0.0 besides 100.64.0.5"),
    ],
)
def test_a_socket_in_the_wrong_place_is_trouble(listening: set[str], words: str) -> None:
    found = bind.trouble(listening, "100.64.0.5")
    assert words in found
    assert bool(found) == bool(words)


def test_nothing_is_wrong_while_the_address_is_away() -> None:
    """The socket stays and works again when the address comes back."""
    assert bind.trouble({"100.64.0.5", "127.0.0.1"}, "") == ""


def test_the_kernels_answer_is_read() -> None:
    assert bind.Place("lo", "127.0.0.1") in bind.addresses()


def test_the_other_end_of_a_point_to_point_link_is_not_taken_for_ours() -> None:
    local, other = socket.inet_aton("100.64.0.5"), socket.inet_aton("10.0.0.1")
    attributes = b"".join(struct.pack("=HH", 8, kind) + data for kind, data in ((1, other), (2, local)))
    message = struct.pack("=IHHIIBBBBI", 24 + len(attributes), bind.RTM_NEWADDR, 0, 1, 0, 2, 32, 0, 0, 7) + attributes
    assert list(bind.parse_addresses(message)) == [(7, "100.64.0.5")]


def test_real_sockets_are_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert bind.listeners(server.getsockname()[1]) == {"127.0.0.1"}


def test_it_waits_until_the_address_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([[LAN], [LAN], [LAN, TAILNET]])
    monkeypatch.setattr(bind, "addresses", lambda: next(answers))
    monkeypatch.setattr(bind, "LOOK", 0.01)
    assert bind.wait(WANTED, 5) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "tailscale0 has no address" in said[0]
    assert "100.64.0.5 is there" in said[1]


@pytest.mark.parametrize("places", [[LAN], [OTHER, TAILNET]])
def test_it_fails_only_after_all_the_time(
    places: list[bind.Place], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Failing at once, systemd's limit of starts would be reached, and the gateway would stay down for good."""
    monkeypatch.setattr(bind, "addresses", lambda: places)
    begin = time.monotonic()
    assert bind.wait(WANTED, 0.3) == 1
    assert time.monotonic() - begin >= 0.3
    assert "The gateway is not started" in capsys.readouterr().err


def test_restarts_that_do_not_help_become_rare(tmp_path: Path) -> None:
    restarts = bind.Restarts(tmp_path / "restarts")
    assert restarts.due_in() == 0
    pauses = []
    for _number in range(8):
        restarts.add()
        pauses.append(round(bind.Restarts(restarts.path).due_in(), -1))
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]
    os.utime(restarts.path, (0, 0))
    assert restarts.due_in() == 0
    restarts.forget()
    assert restarts.count() == 0
