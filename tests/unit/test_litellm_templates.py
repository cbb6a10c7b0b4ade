"""What the templates of LiteLLM's configuration and environment file render to, read as their programs read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible_collections.gateway.toolkit.plugins.module_utils.database_login import login_name
from script import ROOT, load

CONFIG_TEMPLATE = ROOT / "templates/litellm/config.yaml.j2"
ENVIRONMENT_TEMPLATE = ROOT / "roles/litellm/templates/litellm.env.j2"
DEFAULTS = yaml.safe_load((ROOT / "roles/litellm/defaults/main.yml").read_text())


check = load("roles/litellm/files/litellm_check.py")


def render(template: Path, **variables: Any) -> str:
    """A template with the role's defaults, as Ansible's template module sets Jinja up."""
    engine = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    engine.filters.update({name: do for name, do in FilterModule().filters().items() if name not in engine.filters})
    return engine.from_string(template.read_text()).render(
        {**DEFAULTS, "ansible_managed": "Managed by Ansible.", **variables}
    )


def config(**variables: Any) -> dict[str, Any]:
    """The rendered configuration, read back."""
    parsed, findings = check.parse_config(render(CONFIG_TEMPLATE, **variables))
    assert findings == []
    return parsed


MODEL = {"name": "claude", "model": "azure/gpt-4o"}


def test_a_model_is_mapped_to_a_provider_with_its_key_by_name() -> None:
    model = {
        **MODEL,
        "api_key": "AZURE_API_KEY",
        "api_base": "https://example.openai.azure.com",
        "params": {"api_version": "2024-10-21", "rpm": 60, "input_cost_per_token": 0.000003},
        "info": {"base_model": "azure/gpt-4o"},
        "display_name": "only for OpenClaw",
        "context_window": 200000,
    }
    assert config(litellm_models=[model])["model_list"] == [
        {
            "model_name": "claude",
            "litellm_params": {
                "model": "azure/gpt-4o",
                "api_key": "os.environ/AZURE_API_KEY",
                "api_base": "https://example.openai.azure.com",
                "api_version": "2024-10-21",
                "rpm": 60,
                "input_cost_per_token": 0.000003,
            },
            "model_info": {"base_model": "azure/gpt-4o"},
        }
    ]


def test_a_model_without_a_key_gets_none() -> None:
    model = {"name": "b", "model": "bedrock/x", "api_key": "", "params": {"aws_region_name": "eu-central-1"}}
    assert config(litellm_models=[model])["model_list"] == [
        {"model_name": "b", "litellm_params": {"model": "bedrock/x", "aws_region_name": "eu-central-1"}}
    ]


@pytest.mark.parametrize("name", ["yes", "1e3", "2024-10-21", "a: b", "#x", "- x", "{a}", "x'y\"z"])
def test_odd_names_stay_text(name: str) -> None:
    assert config(litellm_models=[{"name": name, "model": "openai/x"}])["model_list"][0]["model_name"] == name


def test_settings_follow_the_variables() -> None:
    rendered = config(
        litellm_models=[MODEL],
        litellm_fallbacks=[{"model": "claude", "to": ["b", "c"]}],
        litellm_num_retries=5,
        litellm_request_timeout=42,
        litellm_spend_flush_seconds=7,
        litellm_database_connection_pool_limit=3,
        litellm_use_chat_completions=False,
    )
    settings, general = rendered["litellm_settings"], rendered["general_settings"]
    assert (settings["num_retries"], settings["request_timeout"]) == (5, 42)
    assert settings["fallbacks"] == [{"claude": ["b", "c"]}]
    assert settings["use_chat_completions_url_for_anthropic_messages"] is False
    assert (general["proxy_batch_write_at"], general["database_connection_pool_limit"]) == (7, 3)
    assert general["master_key"] == "os.environ/LITELLM_MASTER_KEY"
    assert general["database_url"] == "os.environ/DATABASE_URL"


@pytest.mark.parametrize(("fallbacks", "disabled"), [([], True), ([{"model": "claude", "to": ["b"]}], False)])
def test_a_failed_model_rests_only_where_another_can_answer(fallbacks: list[Any], disabled: bool) -> None:
    rendered = config(litellm_models=[MODEL], litellm_fallbacks=fallbacks)
    assert rendered["router_settings"]["disable_cooldowns"] is disabled


def test_extra_configuration_is_merged_at_any_depth_and_wins() -> None:
    extra = {
        "litellm_settings": {"num_retries": 9, "cache_params": {"type": "local"}},
        "model_list": [{"model_name": "z", "litellm_params": {"model": "openai/z"}}],
        "guardrails": [{"guardrail_name": "g"}],
    }
    rendered = config(litellm_models=[MODEL], litellm_config_extra=extra)
    assert rendered["litellm_settings"]["num_retries"] == 9
    assert rendered["litellm_settings"]["cache_params"] == {"type": "local"}
    assert rendered["litellm_settings"]["drop_params"] is True
    assert rendered["model_list"] == extra["model_list"]
    assert rendered["guardrails"] == extra["guardrails"]


ODD = {
    "QUOTES": "a\"b'c",
    "BACKSLASHES": '\\ \\\\ \\n \\" C:\\new',
    "SHELL": "$HOME ${PATH} `id` $$",
    "SYSTEMD": "%n %% ; # comment",
    "SPACES": " lead and trail ",
    "LINES": "-----BEGIN\ntwo\n-----END",
    "LAST_BACKSLASH": "x\\",
    "UNICODE": "ünï→",
    "EMPTY": "",
    "NUMBER": 7,
}
SECRETS = {"__litellm_shared": {"secrets": {"master_key": "sk-master", "salt_key": "sk-salt"}}}


def environment(**variables: Any) -> dict[str, str]:
    """The rendered environment file, read back."""
    password = {"__litellm_database": {"secrets": {"password": "p/w@:x%y"}}}
    keys: dict[str, Any] = {"__litellm_provider_keys": {}}
    text = render(ENVIRONMENT_TEMPLATE, **{**SECRETS, **password, **keys, **variables})
    parsed, findings = check.parse_environment(text)
    assert findings == []
    return parsed


def test_odd_values_survive_the_environment_file() -> None:
    rendered = environment(__litellm_provider_keys={"KEY": "key"}, litellm_environment=ODD)
    assert {name: rendered[name] for name in ODD} == {name: str(value) for name, value in ODD.items()}
    assert (rendered["LITELLM_MASTER_KEY"], rendered["LITELLM_SALT_KEY"], rendered["KEY"]) == (
        "sk-master",
        "sk-salt",
        "key",
    )


def test_the_database_url_is_made_of_its_parts() -> None:
    login = login_name("litellm", "p/w@:x%y")
    assert environment()["DATABASE_URL"] == f"postgresql://{login}:p%2Fw%40%3Ax%25y@127.0.0.1:5432/litellm"
    assert "@[fd00::1]:5432/" in environment(litellm_database_address="fd00::1")["DATABASE_URL"]


def test_a_database_of_the_operators_own_wins() -> None:
    url = "postgresql://u:p@db.example.com:5432/x?sslmode=require"
    assert environment(litellm_database_url=url)["DATABASE_URL"] == url
