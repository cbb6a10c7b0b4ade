"""The hosts themselves are as a real server should be after a deployment."""

from __future__ import annotations

from testinfra.host import Host


def test_systemd_started_everything(hosts: dict[str, Host]) -> None:
    for name, host in hosts.items():
        failed = host.run("systemctl --failed --no-legend --plain").stdout
        assert failed == "", f"{name}: {failed}"
        assert host.run("systemctl is-system-running").stdout.strip() == "running", name


def test_hosts_run_the_distributions_that_the_scenario_names(proxy1: Host, gateway1: Host) -> None:
    assert (proxy1.system_info.distribution, proxy1.system_info.release.split(".")[0]) == ("debian", "12")
    assert (gateway1.system_info.distribution, gateway1.system_info.release.split(".")[0]) == ("debian", "13")
