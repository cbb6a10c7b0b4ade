"""The rules for the operator's variables: sentences that name the variable, say what to do, and show no secret."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gateway.toolkit.plugins.filter.input_errors import FilterModule, port_clash_errors
from ansible_collections.gateway.toolkit.plugins.module_utils import input_checks as checks
from ansible_collections.gateway.toolkit.plugins.module_utils.input_litellm import (
    RESERVED_ENVIRONMENT,
    litellm_input_errors,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.input_openclaw import openclaw_gateway_input_errors
from ansible_collections.gateway.toolkit.plugins.module_utils.input_postgresql import postgresql_input_errors

# litellm.provider_list of LiteLLM 1.106.2
PROVIDERS = """
a2a a2a_agent ai21 ai21_chat aiml aiohttp_openai amazon_nova anthropic anthropic_text apertis assemblyai
auto_router aws_polly aws_textract azure azure_ai azure_speech azure_text baseten bedrock bedrock_mantle
black_forest_labs bytez cerebras charity_engine chatgpt chutes clarifai cloudflare codestral cognition cohere
cohere_chat cometapi compactifai cortecs cursor custom custom_openai darkbloom dashscope databricks datarobot
deepgram deepinfra deepseek docker_model_runner dotprompt edenai elevenlabs empower fal_ai featherless_ai
fireworks_ai friendliai galadriel gdc gemini gigachat github github_copilot gradient_ai groq helicone heroku
hosted_vllm huggingface humanloop hyperbolic inception infinity jina_ai lambda_ai langflow langfuse langgraph
lemonade libertai litellm_agent litellm_proxy llamafile lm_studio manus maritalk meta meta_llama milvus minimax
mistral modelscope mongodb moonshot morph nadir nano-gpt nebius neosantara nlp_cloud novita nscale nvidia_nim
nvidia_riva oci ollama ollama_chat oobabooga openai openai_like openrouter ovhcloud parasail perplexity petals
pg_vector pinstripes poe predibase prism publicai qwen_ai_platform qwencloud ragflow recraft reducto reka
replicate runwayml s3_vectors sagemaker sagemaker_chat sagemaker_nova sail sambanova sap scaleway scx-ai snowflake
soniox stability strands_decider synthetic tencent tensormesh text-completion-codestral text-completion-inception
text-completion-openai together_ai topaz transcribe triton typesafe v0 valkey vercel_ai_gateway vertex_ai
vertex_ai_beta vllm volcengine voyage wandb watsonx watsonx_text xai xiaomi_mimo xinference zai
"""
KEYS = {"OPENAI_API_KEY": "hush-openai", "EMPTY_API_KEY": ""}
GOOD_MODEL = {"name": "fast", "model": "openai/gpt-4o-mini", "api_key": "OPENAI_API_KEY"}


def litellm_errors(**variables: Any) -> list[str]:
    return litellm_input_errors({"litellm_models": [GOOD_MODEL], "litellm_provider_keys": KEYS} | variables)


def model_errors(**changes: Any) -> list[str]:
    return litellm_errors(litellm_models=[GOOD_MODEL | changes])


def gateway_errors(**variables: Any) -> list[str]:
    models = [{"name": "fast"}, {"name": "deep"}]
    return openclaw_gateway_input_errors({"openclaw_gateway_models": models} | variables)


def extra_errors(extra: Any) -> list[str]:
    return gateway_errors(openclaw_gateway_config_extra=extra)


def test_good_variables_give_no_sentence() -> None:
    assert litellm_errors() == gateway_errors() == []


def test_variables_that_are_left_out_are_not_judged() -> None:
    assert litellm_input_errors({}) == openclaw_gateway_input_errors({}) == postgresql_input_errors({}) == []


def test_all_mistakes_are_reported_at_once_in_sentences() -> None:
    errors = litellm_errors(litellm_port=0, litellm_user="root", litellm_num_retries="x", litellm_bind_address="a b")
    assert len(errors) == 4
    assert all(error.endswith(".") and "\n" not in error and ": " in error for error in errors)


@pytest.mark.parametrize(
    "value", ["changeme", "change-me-now", "sk-...", "<your key>", "your-api-key", "sk-1234", "xxx"]
)
def test_example_text_is_no_secret(value: str) -> None:
    assert checks.is_placeholder(value)
    assert "example text" in checks.secret_errors("x", value, minimum=1, remedy="y")[0]


@pytest.mark.parametrize(
    "value", ["sk-8f3a0c55d1e94a7bb0c2", "none", "dummy", "9f86d081884c7d659a2feaa0c55ad015", "a+b/c=="]
)
def test_real_secrets_are_not_taken_for_example_text(value: str) -> None:
    assert not checks.is_placeholder(value)


@pytest.mark.parametrize(
    "value", ["sk-proj-abc", "AIzaSyA", "ghp_abc", "https://me:pw@host", "9f86d081884c7d659a2feaa0c55ad015", "hf_abcd"]
)
def test_what_looks_like_a_key_is_never_shown(value: str) -> None:
    assert value not in checks.shown(value)


@pytest.mark.parametrize("value", ["claude-sonnet-4-5-20250929", "AZURE_OPENAI_API_KEY_EUROPE", "azure/gpt-4o"])
def test_plain_values_are_shown(value: str) -> None:
    assert value in checks.shown(value)


def test_a_shown_value_stays_on_one_short_line() -> None:
    text = checks.shown("a\nb\u2028" * 100)
    assert text.isprintable()
    assert len(text) <= 60


@pytest.mark.parametrize("provider", PROVIDERS.split())
def test_no_provider_of_litellm_is_taken_for_a_typing_error(provider: str) -> None:
    assert not [error for error in model_errors(model=f"{provider}/x") if "did you mean" in error]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("antropic", "anthropic"), ("open_ai", "openai"), ("openia", "openai"), ("vertex", "vertex_ai"), ("grok", "groq")],
)
def test_a_misspelt_provider_is_named(wrong: str, right: str) -> None:
    assert f"did you mean {right}/?" in model_errors(model=f"{wrong}/x")[0]


@pytest.mark.parametrize(
    "provider", ["anthropic", "openai", "gemini", "mistral", "groq", "deepseek", "xai", "openrouter"]
)
def test_a_hosted_provider_needs_a_key(provider: str) -> None:
    models = [{"name": "a", "model": f"{provider}/x"}]
    (error,) = litellm_input_errors({"litellm_models": models, "litellm_provider_keys": {}})
    assert "api_key" in error
    assert "litellm_provider_keys" in error


@pytest.mark.parametrize("provider", ["bedrock", "vertex_ai", "ollama", "hosted_vllm", "some_new_provider"])
def test_other_providers_need_none(provider: str) -> None:
    assert litellm_input_errors({"litellm_models": [{"name": "a", "model": f"{provider}/x"}]}) == []


def test_a_key_under_the_providers_usual_name_needs_no_mention() -> None:
    assert model_errors(api_key=None) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"api_key": "EMPTY_API_KEY"}, "empty in litellm_provider_keys"),
        ({"api_key": "OTHER_API_KEY"}, "does not have"),
        ({"api_key": 5}, "quotes"),
        ({"name": "a" * 201}, "200"),
        ({"name": ""}, "has no name"),
        ({"name": 1.5}, "the number 1.5"),
        ({"model": 4}, "the number 4"),
        ({"model": "openai/a\nb"}, "provider/model"),
        ({"api_base": "ftp://host"}, "http or https"),
        ({"api_base": "http://host:99999"}, "host or port"),
        ({"api_base": "os.environ/NOT_SET"}, "NOT_SET"),
        ({"params": ["a"]}, "not a dictionary"),
        ({"params": {"model": "x"}}, "has model"),
        ({"params": {"nested": {"password": "hush"}}}, "nested.password"),
        ({"info": "x"}, "not a dictionary"),
        ({"max_tokens": True}, "not an integer"),
        ({"reasoning": "yes"}, "not a boolean"),
        ({"display_name": "a\nb"}, "one line"),
        ({"input": "text"}, "not a list"),
        ({"colour": 1}, "unknown key"),
    ],
)
def test_each_field_of_a_model_is_judged(changes: dict[str, Any], words: str) -> None:
    (error,) = model_errors(**changes)
    assert words in error
    assert error.startswith("litellm_models item 1")
    assert "hush" not in error


def test_a_price_per_token_is_no_secret() -> None:
    assert model_errors(params={"input_cost_per_token": 0.000001, "max_tokens": 5}) == []


@pytest.mark.parametrize("name", [*sorted(RESERVED_ENVIRONMENT), "LD_PRELOAD", "PYTHONPATH", "PRISMA_OFFLINE_MODE"])
def test_names_that_change_the_service_are_reserved(name: str) -> None:
    for variable in ("litellm_environment", "litellm_provider_keys"):
        (error,) = litellm_input_errors({variable: {name: "x"}})
        assert error.startswith(f"{variable} has the name {name},")


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.107.0"])
def test_compromised_releases_are_refused(version: str) -> None:
    assert "compromised" in litellm_errors(litellm_version=version)[0]


@pytest.mark.parametrize("version", ["1.103.1", "1.106.2", "1.109.1", "2.0.0"])
def test_other_releases_are_accepted(version: str) -> None:
    assert litellm_errors(litellm_version=version) == []


@pytest.mark.parametrize("value", ["1s", "30m", "24h", "30d", "2w", "1mo"])
def test_durations_that_litellm_reads_are_accepted(value: str) -> None:
    assert litellm_errors(litellm_virtual_key_budget_duration=value) == []


@pytest.mark.parametrize("value", ["0d", "30", "d", "1.5h", "30 d", "30days", "-1d", "monthly", 30, True, "30d\n"])
def test_other_durations_are_refused(value: Any) -> None:
    (error,) = litellm_errors(litellm_virtual_key_budget_duration=value)
    assert "litellm_virtual_key_budget_duration" in error


@pytest.mark.parametrize("value", [-1, 0, True, "50", "fifty", float("nan"), float("inf"), [5]])
def test_other_budgets_are_refused(value: Any) -> None:
    assert "litellm_virtual_key_max_budget" in litellm_errors(litellm_virtual_key_max_budget=value)[0]


@pytest.mark.parametrize("value", [0.5, 50, None])
def test_budgets_in_dollars_are_accepted(value: Any) -> None:
    assert litellm_errors(litellm_virtual_key_max_budget=value) == []


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:hush@h/d",
        "postgresql://h/d",
        "postgresql://u:hush@h",
        "postgresql://u:hush@/d",
        "postgresql://u:hush@h:x/d",
        "postgresql://u:hush word@h/d",
        "postgresql://u:hush@h/d\n",
        "postgresql://u:changeme@h/d",
        5,
    ],
)
def test_database_urls_are_judged_and_never_shown(url: Any) -> None:
    (error,) = litellm_errors(litellm_database_url=url)
    assert error.startswith("litellm_database_url ")
    assert "hush" not in error


def test_keys_of_different_use_must_differ() -> None:
    key = "sk-hush-0123456789012"
    errors = litellm_errors(litellm_master_key=key, litellm_salt_key=key, litellm_virtual_key=key)
    assert len(errors) == 3
    assert not any("hush" in error for error in errors)


def test_extra_settings_of_litellm_may_refer_to_the_environment() -> None:
    extra = {"litellm_settings": {"cache_params": {"password": "os.environ/OPENAI_API_KEY"}}}
    assert litellm_errors(litellm_config_extra=extra) == []
    extra = {"litellm_settings": {"cache_params": {"password": "os.environ/NOT_SET"}}}
    assert "NOT_SET" in litellm_errors(litellm_config_extra=extra)[0]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"gateway": {"auth": {"mode": "none"}}}, "gateway.auth.mode"),
        ({"gateway": {"auth": {"token": "hush"}}}, "openclaw_gateway_token"),
        ({"gateway": {"auth": {"password": "hush"}}}, "gateway.auth.password"),
        ({"gateway": {"auth": None}}, "gateway.auth"),
        ({"gateway": {"auth": {"rateLimit": False}}}, "gateway.auth.rateLimit"),
        ({"gateway": None}, "gateway is empty"),
        ({"gateway": {"mode": "remote"}}, "gateway.mode"),
        ({"gateway": {"bind": "lan"}}, "openclaw_gateway_bind"),
        ({"gateway": {"customBindHost": "192.0.2.1"}}, "openclaw_gateway_bind_address"),
        ({"gateway": {"controlUi": {"allowInsecureAuth": True}}}, "allowInsecureAuth"),
        ({"models": {"providers": {"litellm": {"baseUrl": "http://x"}}}}, "openclaw_gateway_litellm_url"),
        ({"models": {"providers": {"litellm": {"apiKey": "hush"}}}}, "virtual key"),
        ({"models": {"providers": {"other": {"apiKey": "hush"}}}}, "models.providers.other.apiKey"),
        ({"meta": {"lastTouchedVersion": "1"}}, "meta"),
        ({"env": {"vars": {"X_TOKEN": "hush"}}}, "env.vars.X_TOKEN"),
        ({"tailscale": {"mode": False}}, "tailscale.mode"),
        (["gateway"], "not a dictionary"),
    ],
)
def test_extra_settings_of_openclaw_keep_the_gateway_safe(extra: Any, words: str) -> None:
    (error,) = extra_errors(extra)
    assert error.startswith("openclaw_gateway_config_extra ")
    assert words in error
    assert "hush" not in error


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"gateway": {"auth": {"mode": "token", "rateLimit": {"exemptLoopback": False}}}},
        {"models": {"providers": {"litellm": {"timeoutSeconds": 900}}}},
        {"channels": {"telegram": {"botToken": "${TELEGRAM_BOT_TOKEN}"}}},
        {"channels": {"telegram": {"botToken": {"source": "file", "provider": "deploy", "id": "/telegram"}}}},
        {"gateway": {"controlUi": {"allowInsecureAuth": False}}},
    ],
)
def test_other_extra_settings_of_openclaw_are_accepted(extra: Any) -> None:
    assert extra_errors(extra) == []


def test_the_gateways_models_have_to_be_offered_to_its_key() -> None:
    assert gateway_errors(openclaw_gateway_offered_models=["fast", "deep", "other"]) == []
    (error,) = gateway_errors(openclaw_gateway_offered_models=["fast"])
    assert '"deep"' in error


@pytest.mark.parametrize(
    "value", ["*", "http://*.example.com", "gateway.example.com", "http://h/", "http://h/x", "null", 5]
)
def test_origins_are_scheme_host_and_port(value: Any) -> None:
    (error,) = gateway_errors(openclaw_gateway_allowed_origins=[value])
    assert "openclaw_gateway_allowed_origins" in error


@pytest.mark.parametrize("value", ["0m", "30m", "1h", "90s", "1d"])
def test_heartbeats_are_accepted(value: str) -> None:
    assert gateway_errors(openclaw_gateway_heartbeat=value) == []


@pytest.mark.parametrize("version", ["2026.9.5", "2026.5.12", "2025.12.1"])
def test_earlier_openclaw_releases_are_refused(version: str) -> None:
    assert "2026.9.6" in gateway_errors(openclaw_gateway_version=version)[0]


@pytest.mark.parametrize("version", ["2026.9.6", "2026.10.1", "2027.1.1"])
def test_later_openclaw_releases_are_accepted(version: str) -> None:
    assert gateway_errors(openclaw_gateway_version=version) == []


@pytest.mark.parametrize("value", ["/", "relative", "/a/../b", "/a b", "/a\n", "/a/", "", "/a;b", None, 5])
def test_other_paths_are_refused(value: Any) -> None:
    assert checks.path_errors("x", value)


@pytest.mark.parametrize("value", ["/opt/litellm", "/var/lib/open-claw_1.2/@x+y"])
def test_plain_absolute_paths_are_accepted(value: str) -> None:
    assert checks.path_errors("x", value) == []


@pytest.mark.parametrize("value", ["192.0.2.9/32", "2001:db8::/64", "192.0.2.9"])
def test_networks_are_accepted(value: str) -> None:
    assert checks.network_errors("x", value) == []


def test_a_network_with_host_bits_gets_the_network_that_was_meant() -> None:
    assert "192.0.2.0/24" in checks.network_errors("x", "192.0.2.9/24")[0]


def test_two_variables_with_one_port_clash() -> None:
    (error,) = port_clash_errors({"litellm_port": 4000, "postgresql_port": 5432, "openclaw_gateway_port": 4000})
    assert "openclaw_gateway_port" in error
    assert "litellm_port" in error


def test_ports_of_a_wrong_type_do_not_clash() -> None:
    assert port_clash_errors({"a": "x", "b": "x", "c": True, "d": True}) == []


@pytest.mark.parametrize("name", sorted(FilterModule().filters()))
def test_every_filter_wants_a_dictionary(name: str) -> None:
    judge = FilterModule().filters()[name]
    assert judge({}) == []
    with pytest.raises(AnsibleFilterError, match="dictionary"):
        judge(["hush"])
