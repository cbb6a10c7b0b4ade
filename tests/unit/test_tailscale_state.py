"""What a Tailscale node needs is decided on what the real programs answered (tests/unit/tailscale)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils import tailscale_state as rules
from ansible_collections.gateway.toolkit.plugins.module_utils.tailscale_health import CHECKS, findings
from ansible_collections.gateway.toolkit.plugins.module_utils.tailscale_state import Node, Plan, Prefs, Wish

RECORDED = Path(__file__).parent / "tailscale"
SERVER = "https://192.0.2.1:8443"
NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


RUNNING = rules.node_of(recorded("running"))
LOGGED_OUT = rules.node_of(recorded("logged_out"))
PREFS = rules.prefs_of(recorded("prefs"))
WISH = Wish(login_server=SERVER, tags=("tag:gateway",), has_key=True)


def plan(node: Node = RUNNING, prefs: Prefs = PREFS, wish: Wish = WISH, on_tailnet: bool = False) -> Plan:
    return rules.plan_of(node, prefs, wish, on_tailnet)


def problem(node: Node = RUNNING, prefs: Prefs = PREFS, wish: Wish = WISH, on_tailnet: bool = False) -> str:
    with pytest.raises(rules.TailscaleProblem) as raised:
        plan(node, prefs, wish, on_tailnet)
    return str(raised.value)


def test_a_running_node_is_read() -> None:
    assert (RUNNING.ipv4, RUNNING.ipv6) == ("100.64.0.1", "fd7a:115c:a1e0::1")
    assert (RUNNING.dns_name, RUNNING.tags, RUNNING.version) == ("node1.tailnet.test", ("tag:gateway",), "1.102.3")
    assert RUNNING.key_expiry is None
    assert (LOGGED_OUT.ipv4, LOGGED_OUT.tags) == ("", ())


def test_preferences_are_read() -> None:
    assert Prefs(login_server=SERVER) == PREFS
    assert rules.prefs_of({**recorded("prefs"), "NetfilterMode": 1}).netfilter_mode == "nodivert"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
        ("2026-11-23T02:52:33.810293063Z", datetime(2026, 11, 23, 2, 52, 33, tzinfo=timezone.utc)),
        ("2026-11-23T04:52:33+02:00", datetime(2026, 11, 23, 2, 52, 33, tzinfo=timezone.utc)),
    ],
)
def test_times_of_go_are_read(text: str | None, read: datetime | None) -> None:
    assert rules.moment(text) == read


def test_a_node_as_wanted_is_left_alone() -> None:
    assert plan() == Plan("none")


@pytest.mark.parametrize("has_key", [True, False])
def test_a_key_that_changed_or_went_is_no_reason(has_key: bool) -> None:
    assert plan(wish=replace(WISH, has_key=has_key)).action == "none"


@pytest.mark.parametrize(
    ("node", "prefs", "wish", "why"),
    [
        (LOGGED_OUT, PREFS, WISH, "logged out"),
        (replace(RUNNING, state="NeedsLogin", expired=True), PREFS, WISH, "expired"),
        (RUNNING, replace(PREFS, login_server=rules.DEFAULT_SERVER), WISH, "control server"),
        (RUNNING, PREFS, replace(WISH, force_reauth=True), "tailscale_force_reauth"),
        (Node("NoState"), replace(PREFS, login_server="https://gone.example.org"), WISH, "control server"),
    ],
)
def test_a_login_happens_on_need_and_needs_a_key(node: Node, prefs: Prefs, wish: Wish, why: str) -> None:
    needed = plan(node, prefs, wish)
    assert needed.action == "login"
    assert why in needed.reasons[0]
    refusal = problem(node, prefs, replace(wish, has_key=False))
    assert why in refusal
    assert "tailscale_auth_key" in refusal


def test_the_names_of_tailscales_own_server_are_one() -> None:
    prefs = replace(PREFS, login_server=rules.server_of("https://login.tailscale.com/"))
    assert plan(prefs=prefs, wish=replace(WISH, login_server=rules.DEFAULT_SERVER)).action == "none"


@pytest.mark.parametrize("state", ["NoState", "Starting"])
def test_a_daemon_that_has_not_settled_is_waited_for(state: str) -> None:
    assert plan(Node(state)).action == "wait"


def test_a_stopped_node_is_started_without_a_login() -> None:
    started = plan(replace(RUNNING, state="Stopped"), wish=replace(WISH, has_key=False))
    assert started.action == "up"
    assert not any("auth-key" in word for word in rules.up_arguments(WISH, started, "key", 60))


def test_approval_is_asked_for() -> None:
    assert "approve" in problem(replace(RUNNING, state="NeedsMachineAuth"))


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"hostname": "other"}, "--hostname="),
        ({"ssh": True}, "--ssh=false"),
        ({"accept_dns": False}, "--accept-dns=true"),
        ({"accept_routes": True}, "--accept-routes=false"),
        ({"advertise_routes": ("192.0.2.0/24",)}, "--advertise-routes="),
        ({"operator": "ada"}, "--operator="),
        ({"netfilter_mode": "off"}, "--netfilter-mode=on"),
    ],
)
def test_a_preference_that_drifted_is_set_alone(change: dict[str, Any], flag: str) -> None:
    needed = plan(prefs=replace(PREFS, **change))
    assert rules.up_arguments(WISH, needed, "", 60) == ["set", flag]


def test_a_name_that_is_taken_away_becomes_the_hosts_own() -> None:
    # An empty one would be in the preferences alone: the daemon goes by the name of before until its next start.
    wish = replace(WISH, own_name="host1")
    needed = plan(prefs=replace(PREFS, hostname="other"), wish=wish)
    assert rules.up_arguments(wish, needed, "", 60) == ["set", "--hostname=host1"]
    assert plan(prefs=replace(PREFS, hostname="host1"), wish=wish).action == "none"
    assert plan(prefs=PREFS, wish=wish).action == "none"


def test_the_order_of_routes_is_no_drift() -> None:
    routes = ("198.51.100.0/24", "192.0.2.0/24")
    prefs = rules.prefs_of({**recorded("prefs"), "AdvertiseRoutes": [*reversed(routes)]})
    assert plan(prefs=prefs, wish=replace(WISH, advertise_routes=routes)).action == "none"


@pytest.mark.parametrize(
    ("server", "tags", "remedy"),
    [
        (rules.DEFAULT_SERVER, ("tag:other",), "tailscale_force_reauth"),
        (SERVER, (), "tailscale_force_reauth"),
        (SERVER, ("tag:other",), "headscale nodes tag --identifier NUMBER --tags tag:gateway"),
    ],
)
def test_wrong_tags_say_how_they_change(server: str, tags: tuple[str, ...], remedy: str) -> None:
    refusal = problem(
        replace(RUNNING, tags=tags), replace(PREFS, login_server=server), replace(WISH, login_server=server)
    )
    assert f"The node has the tags {tags[0] if tags else 'none'}, and tailscale_tags wants tag:gateway" in refusal
    assert remedy in refusal


def test_without_tags_any_will_do() -> None:
    assert plan(replace(RUNNING, tags=("tag:other",)), wish=replace(WISH, tags=())).action == "none"


def test_userspace_networking_is_refused_unless_accepted() -> None:
    node = replace(RUNNING, tun=False)
    assert "tailscale_userspace" in problem(node)
    assert plan(node, wish=replace(WISH, userspace=True)).action == "none"


@pytest.mark.parametrize(
    ("connection", "answer"),
    [
        ("100.64.0.7 50000 100.64.0.1 22", True),
        ("100.127.255.254 50000 192.0.2.1 22", True),
        ("fd7a:115c:a1e0::7 50000 fd7a:115c:a1e0::1 22", True),
        ("::ffff:100.64.0.7 50000 ::ffff:100.64.0.1 22", True),
        ("100.63.0.7 50000 100.128.0.1 22", False),
        ("192.0.2.7 50000 192.0.2.1 22", False),
        ("fe80::1%eth0 50000 fe80::2%eth0 22", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_a_connection_over_the_tailnet_is_recognised(connection: str, answer: bool) -> None:
    assert rules.over_tailnet(connection) is answer


@pytest.mark.parametrize(
    ("prefs", "wish"),
    [
        (PREFS, replace(WISH, force_reauth=True)),
        (replace(PREFS, login_server="https://old.example.org"), WISH),
        (PREFS, replace(WISH, ssh=True)),
        (replace(PREFS, ssh=True), replace(WISH, ssh=True, version="1.103.0")),
    ],
)
def test_the_connection_that_ansible_uses_is_not_cut(prefs: Prefs, wish: Wish) -> None:
    assert "tailscale_accept_risk" in problem(prefs=prefs, wish=wish, on_tailnet=True)
    assert plan(prefs=prefs, wish=wish).action in ("login", "set", "none")
    risked = replace(wish, accept_risk=True)
    needed = plan(prefs=prefs, wish=risked, on_tailnet=True)
    assert needed.action == "none" or "--accept-risk=lose-ssh" in rules.up_arguments(risked, needed, "", 60)


def test_other_drift_is_mended_over_the_tailnet() -> None:
    assert plan(wish=replace(WISH, hostname="other"), on_tailnet=True).action == "set"


def test_a_login_names_all_settings_and_the_key_by_its_file_only() -> None:
    arguments = rules.up_arguments(WISH, plan(LOGGED_OUT), "/proc/self/fd/3", 60)
    assert arguments[:2] == ["up", "--reset"]
    assert {"--hostname=", "--ssh=false", "--netfilter-mode=on"} <= {*arguments}
    assert {"--timeout=60s", f"--login-server={SERVER}", "--auth-key=file:/proc/self/fd/3"} <= {*arguments}


@pytest.mark.parametrize(
    ("wish", "asks"),
    [
        (WISH, False),
        (replace(WISH, login_server=rules.DEFAULT_SERVER), True),
        (replace(WISH, has_oauth=True), True),
        (replace(WISH, login_server=rules.DEFAULT_SERVER, tags=()), False),
    ],
)
def test_tags_are_asked_for_where_they_do_not_come_from_the_key(wish: Wish, asks: bool) -> None:
    arguments = rules.up_arguments(wish, Plan("login"), "", 60)
    assert ("--advertise-tags=tag:gateway" in arguments) is asks


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("tskey-client-x", "tskey-client-x?ephemeral=false&preauthorized=true"),
        ("tskey-client-x?ephemeral=true", "tskey-client-x?ephemeral=true&preauthorized=true"),
        ("tskey-client-x?baseURL=http://a", "tskey-client-x?baseURL=http://a&ephemeral=false&preauthorized=true"),
    ],
)
def test_an_oauth_secret_makes_a_node_that_stays(secret: str, key: str) -> None:
    assert rules.oauth_key(secret, ephemeral=False, preauthorized=True) == key


def test_a_key_that_ends_soon_is_warned_of() -> None:
    node = replace(RUNNING, key_expiry=NOW + timedelta(days=10))
    assert "2026-12-03 (in 10 days)" in rules.expiry_warning(node, 14, NOW)
    assert rules.expiry_warning(node, 9, NOW) == ""
    assert rules.expiry_warning(RUNNING, 14, NOW) == ""


@pytest.mark.parametrize(
    ("words", "means"),
    [
        ("backend error: handling register with auth key: AuthKey not found", "refused the key"),
        ("backend error: authkey expired", "refused the key"),
        ("backend error: authkey already used", "refused the key"),
        ("requested tags [tag:gateway] are invalid or not permitted", "does not let this key give these tags"),
        ("timeout waiting for Tailscale service to enter a Running state", "reachable"),
        ("timeout waiting; weird: regen=true but server says NodeKeyExpired: nodekey:0", "Delete the node there"),
        ("something new", "something new"),
    ],
)
def test_a_failed_login_is_explained(words: str, means: str) -> None:
    assert means in rules.explain_failure(words, SERVER)


def statuses(node: Node, interface: set[str] | None = None) -> dict[str, bool]:
    there = {"100.64.0.1", "fd7a:115c:a1e0::1"} if interface is None else interface
    return {name: outcome.ok for name, outcome, _cause, _remedy in findings(node, there, "tailscale0", 14, NOW)}


def test_a_good_node_is_healthy() -> None:
    assert statuses(RUNNING) == dict.fromkeys(CHECKS, True)


@pytest.mark.parametrize(
    ("node", "interface", "failed"),
    [
        (replace(RUNNING, state="NeedsLogin", expired=True), None, CHECKS[0]),
        (replace(RUNNING, state="Stopped"), None, CHECKS[0]),
        (Node("NoState"), None, CHECKS[0]),
        (RUNNING, set(), CHECKS[1]),
        (replace(RUNNING, online=False), None, CHECKS[2]),
        (replace(RUNNING, key_expiry=NOW + timedelta(days=3)), None, CHECKS[3]),
    ],
)
def test_health_names_what_is_wrong(node: Node, interface: set[str] | None, failed: str) -> None:
    assert [name for name, ok in statuses(node, interface).items() if not ok] == [failed]
