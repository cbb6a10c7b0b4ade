"""The role acts on need only, stops before a change where it must, and says what to do."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest
from conftest import ROOT, Playbooks, Run, put_secret, state_directory
from tailnet import node, on_interface, reboot, registered, wait_for, without_cached_map
from testinfra.host import Host

WATCH = "while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; sleep 0.02; done"

Network = Callable[..., Run]


@pytest.fixture(scope="module")
def network(playbooks: Playbooks) -> Network:
    """playbooks/network.yml for the peer."""

    def run(*arguments: str, limit: str = "peer", **variables: object) -> Run:
        return playbooks.run("playbooks/network.yml", "--limit", limit, *arguments, variables=variables or None)

    return run


def test_the_nodes_reach_each_other(gateway1: Host, peer: Host) -> None:
    for one, other in ((gateway1, peer), (peer, gateway1)):
        assert node(one)["TUN"] is True
        assert on_interface(one) == node(one)["TailscaleIPs"][0]
        done = one.run(f"tailscale ping --timeout 10s --c 6 --until-direct=false {on_interface(other)}")
        assert "pong" in done.stdout, done.stdout + done.stderr
    assert node(gateway1)["Self"]["Tags"] == ["tag:gateway"]
    assert "Tags" not in node(peer)["Self"]


def test_the_unit_is_upstreams(gateway1: Host, peer: Host) -> None:
    for host in (gateway1, peer):
        unit = host.run("systemctl show --value -p FragmentPath tailscaled.service").stdout.strip()
        compared = host.run(f"cmp {unit} /var/cache/testbed/tailnet/current/tailscaled.service")
        assert compared.rc == 0, compared.stdout
    assert (ROOT / "roles/tailscale/files/tailscaled.service").read_text() == gateway1.file(unit).content_string


def test_the_package_is_the_pinned_one_of_the_signed_repository(peer: Host) -> None:
    assert peer.run("dpkg-query -W -f '${Version} ${db:Status-Want}' tailscale").stdout == "1.102.3 hold"
    assert ":8000/debian trixie/main" in peer.run("apt-cache policy tailscale").stdout
    # The same repository without its key is refused.
    unsigned = "grep -v Signed-By /etc/apt/sources.list.d/tailscale.sources >/run/no-key.sources"
    peer.run_expect([0], f"mkdir -p /run/no-key-lists/partial && {unsigned}")
    refused = peer.run(
        "apt-get update -o Dir::Etc::sourcelist=/run/no-key.sources -o Dir::Etc::sourceparts=-"
        " -o Dir::State::lists=/run/no-key-lists"
    )
    assert "NO_PUBKEY" in refused.stderr or "not signed" in refused.stderr, refused.stderr


@pytest.mark.parametrize("key", ["hskey-auth-another-one", ""])
def test_another_key_or_none_changes_nothing(network: Network, peer: Host, key: str) -> None:
    before = node(peer)["Self"]["PublicKey"]
    run = network(tailscale_auth_key=key)
    assert (run.rc, run.changed) == (0, 0), run.output
    assert node(peer)["Self"]["PublicKey"] == before


def test_a_setting_that_drifted_is_mended_once(network: Network, peer: Host, control: Host) -> None:
    first, second = network(tailscale_hostname="renamed"), network(tailscale_hostname="renamed")
    assert (first.changed, second.changed) == (1, 0), first.output + second.output
    wait_for(lambda: registered(control, "renamed"), "the control server knows the new name")
    back, again = network(), network()
    assert (back.changed, again.changed) == (1, 0), back.output + again.output
    assert wait_for(lambda: node(peer)["Self"]["HostName"] == "peer", "the node goes by the host's own name")
    wait_for(lambda: registered(control, "peer"), "the control server knows the old name")


def test_a_stopped_node_is_started_without_a_key(network: Network, peer: Host) -> None:
    address = on_interface(peer)
    peer.run_expect([0], "tailscale down")
    wait_for(lambda: on_interface(peer) == "", "the address goes")
    run = network(tailscale_auth_key="")
    assert (run.rc, run.changed) == (0, 1), run.output
    assert on_interface(peer) == address


def test_wrong_tags_stop_before_any_change_and_the_remedy_that_is_named_helps(
    network: Network, gateway1: Host, control: Host
) -> None:
    before = node(gateway1)["Self"]["PublicKey"]
    run = network(limit="gateway1", tailscale_tags=["other"])
    assert (run.rc, run.changed) == (2, 0), run.output
    assert "The node has the tags tag:gateway, and tailscale_tags wants tag:other" in run.output, run.output
    number = registered(control, "gateway1")["id"]
    remedy = "headscale nodes tag --identifier {} --tags {}"
    assert remedy.format("NUMBER", "tag:other") in run.output
    try:
        control.run_expect([0], remedy.format(number, "tag:other"))
        wait_for(lambda: node(gateway1)["Self"]["Tags"] == ["tag:other"], "the node has the other tag")
        again = network(limit="gateway1", tailscale_tags=["other"])
        assert (again.rc, again.changed) == (0, 0), again.output
    finally:
        control.run_expect([0], remedy.format(number, "tag:gateway"))
    wait_for(lambda: node(gateway1)["Self"]["Tags"] == ["tag:gateway"], "the node has its tag again")
    assert node(gateway1)["Self"]["PublicKey"] == before


def test_an_expired_key_is_seen_and_a_login_brings_the_node_back(
    network: Network, playbooks: Playbooks, peer: Host, control: Host
) -> None:
    control.run_expect([0], f"headscale nodes expire --identifier {registered(control, 'peer')['id']}")
    wait_for(lambda: node(peer).get("BackendState") == "NeedsLogin", "the node sees that its key has expired")
    keyless = network(tailscale_auth_key="")
    assert (keyless.rc, keyless.changed) == (2, 0), keyless.output
    assert "expired" in keyless.output
    assert "tailscale_auth_key" in keyless.output
    health = playbooks.run("playbooks/health.yml", "--limit", "peer")
    assert health.rc == 2
    assert "The node key has expired" in health.output, health.output

    wrong = network(tailscale_auth_key="hskey-auth-wrongwrong12-0123456789", tailscale_up_timeout=20)
    assert wrong.rc == 2
    assert "refused the key" in wrong.output, wrong.output

    right = network()
    assert (right.rc, right.changed) == (0, 1), right.output
    assert on_interface(peer) == node(peer)["TailscaleIPs"][0]
    health = playbooks.run("playbooks/health.yml", "--limit", "peer")
    assert health.rc == 0, health.output


def test_a_login_leaves_the_key_nowhere(network: Network, peer: Host, pytestconfig: pytest.Config) -> None:
    state = state_directory(pytestconfig)
    key = (state / "auth_key_untagged").read_text().strip()
    put_secret(state, peer, "/root/key", key)
    watch = f"systemd-run --unit watch -p StandardOutput=truncate:/run/arguments sh -c {shlex.quote(WATCH)}"
    peer.run_expect([0], watch)
    try:
        run = network("-vvv", "--diff", tailscale_force_reauth=True)
    finally:
        peer.run_expect([0], "systemctl stop watch.service")
    assert (run.rc, run.changed) == (0, 1), run.output
    assert key not in run.output
    # On the host itself: a journal holds bytes of any kind. Of each place first that it says something at all.
    places = {
        "cat /run/arguments": "--auth-key=file:/proc/self/fd/",
        "cat /var/lib/tailscale/tailscaled.state": "_machinekey",
        "journalctl --no-pager --output=export": "tailscaled",
    }
    for place, known in places.items():
        assert peer.run(f"{place} | grep --text --quiet --fixed-strings -e {known}").rc == 0, place
        assert peer.run(f"{place} | grep --text --quiet --fixed-strings --file /root/key").rc == 1, place


def test_a_host_that_was_logged_out_needs_a_key(network: Network, peer: Host) -> None:
    peer.run_expect([0], "tailscale logout")
    keyless = network("--check", tailscale_auth_key="")
    assert (keyless.rc, "logged out" in keyless.output) == (2, True), keyless.output
    would = network("--check")
    assert (would.rc, node(peer)["BackendState"]) == (0, "NeedsLogin"), would.output
    run = network()
    assert (run.rc, run.changed) == (0, 1), run.output
    assert on_interface(peer)


def test_the_connection_that_ansible_uses_is_not_cut(network: Network, peer: Host, pytestconfig: pytest.Config) -> None:
    """Over the tailnet, by way of the other node."""
    config, before = state_directory(pytestconfig) / "ssh_config", node(peer)["Self"]["PublicKey"]
    way = {
        "ansible_host": on_interface(peer),
        "ansible_user": "admin",
        "ansible_ssh_common_args": (
            f"-F {config} -o HostKeyAlias=peer -o IdentityFile={config.parent}/id_ed25519"
            f" -o UserKnownHostsFile={config.parent}/known_hosts"
            f" -o ProxyCommand='ssh -F {config} -W %h:%p gateway1'"
        ),
    }
    for wish in ({"tailscale_force_reauth": True}, {"tailscale_ssh": True}, {"tailscale_state": "absent"}):
        run = network(**way, **wish)
        assert (run.rc, run.changed) == (2, 0), run.output
        assert "tailscale_accept_risk" in run.output
    assert node(peer)["Self"]["PublicKey"] == before
    as_before = network(**way)
    assert (as_before.rc, as_before.changed) == (0, 0), as_before.output


def test_a_restart_of_the_daemon_needs_nothing(network: Network, peer: Host) -> None:
    address = on_interface(peer)
    peer.run_expect([0], "systemctl restart tailscaled.service")
    run = network(tailscale_auth_key="")
    assert (run.rc, run.changed, on_interface(peer)) == (0, 0, address), run.output


def test_a_boot_before_the_control_server_is_a_clear_failure_and_heals_by_itself(
    network: Network, peer: Host, control: Host, pytestconfig: pytest.Config
) -> None:
    address = on_interface(peer)
    control.run_expect([0], "systemctl stop headscale.service")
    try:
        with without_cached_map(peer), reboot(peer, "peer", state_directory(pytestconfig)):
            wait_for(lambda: peer.service("tailscaled").is_running, "the daemon runs")
            assert on_interface(peer) == ""
            run = network(tailscale_up_timeout=5)
    finally:
        control.run_expect([0], "systemctl start headscale.service")
    assert run.rc == 2
    assert "tailscaled has not settled within 5 s" in run.output, run.output
    assert ":8443" in run.output
    wait_for(lambda: on_interface(peer) == address, "the node comes back by itself", 240)
    after = network(tailscale_auth_key="")
    assert (after.rc, after.changed) == (0, 0), after.output


def test_absent_logs_out_and_removes_everything_and_present_brings_it_back(
    network: Network, peer: Host, control: Host
) -> None:
    run = network(tailscale_state="absent")
    assert (run.rc, run.changed > 0) == (0, True), run.output
    assert not peer.exists("tailscale")
    assert on_interface(peer) == ""
    assert peer.run("systemctl show --value -p LoadState tailscaled.service").stdout.strip() == "not-found"
    assert not peer.file("/var/lib/tailscale").exists
    assert ":8000" not in peer.run("apt-cache policy tailscale").stdout
    wait_for(lambda: not registered(control, "peer").get("online", False), "the control server sees that it left")
    assert network(tailscale_state="absent").changed == 0

    would = network("--check")
    assert (would.rc, would.changed > 0, peer.exists("tailscale")) == (0, True, False), would.output
    keyless = network(tailscale_auth_key="")
    assert (keyless.rc, keyless.changed, peer.exists("tailscale")) == (2, 0, False), keyless.output
    assert "never joined" in keyless.output
    again = network()
    assert again.rc == 0, again.output
    assert on_interface(peer)
    assert network().changed == 0
