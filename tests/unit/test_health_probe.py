"""The module as Ansible runs it."""

from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gateway.toolkit.plugins.module_utils.health_define import COMMON, OF_KIND, REQUIRED
from ansible_collections.gateway.toolkit.plugins.modules import health_probe

TOKEN = "gateway-token-0123456789"


def run(capsys: pytest.CaptureFixture[str], **params: object) -> dict:
    with patch_module_args(params), pytest.raises(SystemExit):
        health_probe.main()
    return json.loads(capsys.readouterr().out)


def command(name: str, script: str, **fields: object) -> dict:
    return {"name": name, "kind": "command", "argv": ["/bin/sh", "-c", script], **fields}


def test_failed_checks_do_not_fail_the_module(capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(capsys, checks=[command("good", "exit 0"), command("bad", "exit 1")])
    assert not answer.get("failed")
    assert answer["ok"] is False
    assert answer["changed"] is False
    assert [result["status"] for result in answer["results"]] == ["ok", "failed"]


def test_all_passed_is_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, checks=[command("good", "exit 0")])["ok"] is True


def test_a_check_that_was_not_run_is_not_ok(capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(capsys, checks=[command("a", "exit 1"), command("b", "exit 0", needs=["a"])])
    assert [result["status"] for result in answer["results"]] == ["failed", "not run"]
    assert answer["ok"] is False


def test_check_mode_runs_everything(capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(capsys, checks=[command("bad", "exit 1")], _ansible_check_mode=True)
    assert answer["results"][0]["status"] == "failed"


def test_wrong_definitions_fail_the_module_with_all_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [command("a", "exit 0", port=4000), command("a", "exit 0", needs=["z"])]
    answer = run(capsys, checks=checks)
    assert answer["failed"]
    assert sorted(answer["errors"]) == [
        "check 'a': kind command has no port",
        "check 'a': needs the unknown check 'z'",
        "two checks are named 'a'",
    ]


@pytest.mark.parametrize("checks", [[{"name": "a"}], [{"name": "a", "kind": "ping"}], [{"kind": "unit", "unit": "a"}]])
def test_wrong_types_fail_the_module(capsys: pytest.CaptureFixture[str], checks: list[dict]) -> None:
    assert run(capsys, checks=checks)["failed"]


def test_default_explanations_can_be_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    check = command("a", "echo connection refused; exit 1")
    assert run(capsys, checks=[check])["results"][0]["cause"]
    assert not run(capsys, checks=[check], explain_defaults=False)["results"][0]["cause"]


def test_secrets_of_files_environment_and_headers_are_nowhere_in_the_answer(
    capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"gateway": {"token": TOKEN}}))
    checks = [
        command("a", f"cat {secrets}; exit 1"),
        command("b", "echo $API_KEY; exit 1", environment={"API_KEY": "environment-secret"}),
        {"name": "c", "kind": "http", "url": "http://127.0.0.1:1/", "headers": {"X-Api-Key": "header-secret"}},
    ]
    text = json.dumps(run(capsys, checks=checks, censor_files=[str(secrets), "/nonexistent"]))
    for secret in (TOKEN, "environment-secret", "header-secret"):
        assert secret not in text
    assert "****" in text


def test_ordinary_words_of_the_parameters_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(capsys, checks=[command("readiness", "echo readiness litellm; exit 1", group="litellm")])
    assert answer["results"][0]["name"] == "readiness"
    assert answer["results"][0]["detail"] == "exit status 1: readiness litellm"


def test_the_log_line_on_the_host_shows_no_check() -> None:
    assert health_probe.argument_spec()["checks"]["no_log"] is True


def test_the_documentation_names_exactly_the_parameters() -> None:
    documented = yaml.safe_load(health_probe.DOCUMENTATION)["options"]
    spec = health_probe.argument_spec()
    assert set(documented) == set(spec)

    def same(options: dict, suboptions: dict) -> None:
        assert set(options) == set(suboptions)
        for name, option in options.items():
            for key in ("type", "elements", "default", "choices", "required"):
                assert option.get(key) == suboptions[name].get(key), (name, key)
            if "options" in option:
                same(option["options"], suboptions[name]["suboptions"])

    same(spec["checks"]["options"], documented["checks"]["suboptions"])


def test_every_parameter_of_a_check_belongs_to_a_kind() -> None:
    assert set(health_probe.check_options()) == {*COMMON, *(name for names in OF_KIND.values() for name in names)}
    assert set(health_probe.check_options()["kind"]["choices"]) == set(OF_KIND) == set(REQUIRED)
