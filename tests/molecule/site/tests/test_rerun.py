"""What an operator changes takes effect with the smallest interruption; what is wrong is refused and harms nothing."""

from __future__ import annotations

from conftest import Playbooks, address_of, http, main_pid, psql, show
from testinfra.host import Host

LITELLM, GATEWAY = "litellm.service", "openclaw-gateway.service"


def test_a_dry_run_of_a_deployed_host_changes_nothing(playbooks: Playbooks) -> None:
    dry = playbooks.run("site.yml", "--check", "--diff")
    assert (dry.rc, dry.changed) == (0, 0), dry.output


def test_a_setting_that_litellm_does_not_know_is_refused(playbooks: Playbooks, proxy1: Host) -> None:
    pid = main_pid(proxy1, LITELLM)
    before = proxy1.file("/etc/litellm/config.yaml").sha256sum
    wrong = {"litellm_config_extra": {"litellm_settings": {"num_retriess": 3}}}
    refused = playbooks.run("playbooks/proxy.yml", variables=wrong)
    assert refused.rc != 0
    assert "num_retriess" in refused.output
    assert proxy1.file("/etc/litellm/config.yaml").sha256sum == before
    assert main_pid(proxy1, LITELLM) == pid


def test_a_setting_that_openclaw_does_not_know_is_refused(playbooks: Playbooks, gateway1: Host) -> None:
    pid = main_pid(gateway1, GATEWAY)
    refused = playbooks.run(
        "playbooks/gateway.yml", variables={"openclaw_gateway_config_extra": {"gateway": {"nonsense": 1}}}
    )
    assert refused.rc != 0
    assert "nonsense" in refused.output
    assert main_pid(gateway1, GATEWAY) == pid
    assert http(gateway1, "http://127.0.0.1:4321/readyz").json["ready"]


def test_a_model_that_litellm_does_not_offer_is_refused(playbooks: Playbooks, gateway1: Host) -> None:
    """The agent would fail at its first prompt; OpenClaw's own validation finds nothing wrong with it."""
    models = [
        {"name": name, "model": "hosted_vllm/demo-model"} for name in ("claude-sonnet-4-5-20250929", "no-such-model")
    ]
    refused = playbooks.run("playbooks/gateway.yml", variables={"litellm_models": models})
    assert refused.rc != 0
    assert "no-such-model" in refused.output
    assert "no-such-model" not in gateway1.file("/var/lib/openclaw/.openclaw/openclaw.json").content_string


def test_a_changed_salt_key_is_refused(playbooks: Playbooks, proxy1: Host) -> None:
    pid = main_pid(proxy1, LITELLM)
    refused = playbooks.run("playbooks/proxy.yml", variables={"litellm_salt_key": "sk-another-salt-key-1234567890"})
    assert refused.rc != 0
    assert "litellm_salt_key" in refused.output
    assert "sk-another-salt-key-1234567890" not in refused.output
    assert main_pid(proxy1, LITELLM) == pid


def test_a_lost_salt_key_is_not_replaced_while_the_database_is_filled(playbooks: Playbooks, proxy1: Host) -> None:
    """The proxy's host was rebuilt, its database was not: a new salt key would make what is stored unreadable."""
    folder = "/etc/litellm/secrets"
    proxy1.run_expect([0], f"mv {folder}/salt_key /root/salt_key.kept")
    try:
        refused = playbooks.run("playbooks/proxy.yml")
        assert refused.rc != 0
        assert "salt" in refused.output
    finally:
        proxy1.run_expect([0], f"mv /root/salt_key.kept {folder}/salt_key")
    restored = playbooks.run("playbooks/proxy.yml")
    assert restored.rc == 0, restored.output


def test_changed_limits_update_the_key_in_place_and_the_gateway_does_not_restart(
    playbooks: Playbooks, proxy1: Host, gateway1: Host
) -> None:
    question = "select token, max_budget from \"LiteLLM_VerificationToken\" where key_alias = 'openclaw-gateway1'"
    token = psql(proxy1, question).split("|")[0]
    pid = main_pid(gateway1, GATEWAY)
    changed = {"litellm_virtual_key_max_budget": 7, "openclaw_gateway_log_level": "debug"}
    assert playbooks.run("playbooks/gateway.yml", variables=changed).rc == 0
    assert psql(proxy1, question) == f"{token}|7"
    assert main_pid(gateway1, GATEWAY) == pid
    assert playbooks.run("playbooks/gateway.yml").rc == 0
    assert psql(proxy1, question) == f"{token}|5"


def test_a_native_engine_that_cannot_be_had_is_one_clear_error(playbooks: Playbooks, proxy1: Host) -> None:
    pid = main_pid(proxy1, LITELLM)
    nowhere = {"litellm_prisma_engine": "native", "litellm_prisma_engines_mirror": "http://127.0.0.1:9"}
    refused = playbooks.run("playbooks/proxy.yml", variables=nowhere)
    assert refused.rc != 0
    assert "the native Prisma engines cannot be had from http://127.0.0.1:9" in refused.output
    assert main_pid(proxy1, LITELLM) == pid
    back = playbooks.run("playbooks/proxy.yml")
    assert back.rc == 0, back.output


def test_a_taken_port_fails_with_its_name_and_the_next_run_converges(playbooks: Playbooks, proxy1: Host) -> None:
    squatter = f"python3 -m http.server 4000 --bind {address_of(proxy1)}"
    proxy1.run_expect([0], "systemctl stop litellm.service")
    proxy1.run_expect([0], f"systemd-run --unit squatter {squatter}")
    try:
        refused = playbooks.run("playbooks/proxy.yml")
        assert refused.rc != 0
        assert "litellm_port" in refused.output
    finally:
        proxy1.run("systemctl stop squatter.service")
    converged = playbooks.run("playbooks/proxy.yml")
    assert converged.rc == 0, converged.output
    assert show(proxy1, LITELLM)["SubState"] == "running"


def test_a_run_that_was_killed_before_the_restart_is_finished_by_the_next(playbooks: Playbooks, proxy1: Host) -> None:
    change = {"litellm_num_retries": 3}
    pid = main_pid(proxy1, LITELLM)
    playbooks.run_killed("playbooks/proxy.yml", "litellm : migrate", variables=change)
    assert "num_retries: 3" in proxy1.file("/etc/litellm/config.yaml").content_string
    assert main_pid(proxy1, LITELLM) == pid
    assert playbooks.run("playbooks/proxy.yml", variables=change).rc == 0
    assert main_pid(proxy1, LITELLM) != pid
    assert playbooks.run("playbooks/proxy.yml").rc == 0


def test_a_file_that_runs_at_every_start_of_python_is_refused(playbooks: Playbooks, proxy1: Host) -> None:
    """The malicious releases of LiteLLM hid their code in such files."""
    planted = proxy1.run("ls -d /opt/litellm/current/venv/lib/python3.*/site-packages").stdout.strip() + "/cook.pth"
    proxy1.run_expect([0], f"touch {planted}; rm /opt/litellm/current/.complete-*")
    try:
        refused = playbooks.run("playbooks/proxy.yml")
        assert refused.rc != 0
        assert "cook.pth" in refused.output
    finally:
        proxy1.run_expect([0], f"rm {planted}")
    completed = playbooks.run("playbooks/proxy.yml")
    assert completed.rc == 0, completed.output
