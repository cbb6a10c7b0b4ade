"""Rules for the LiteLLM model list and the provider keys that it uses.

Provider names and the environment variables that LiteLLM falls back to come from LiteLLM 1.106.2
(`litellm.provider_list`, `litellm.validate_environment`); see https://docs.litellm.ai/docs/providers.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils import input_checks as checks

MODEL_KEYS = (
    "name",
    "model",
    "api_key",
    "api_base",
    "params",
    "info",
    "display_name",
    "context_window",
    "max_tokens",
    "reasoning",
    "input",
)
INPUT_KINDS = ("text", "image")
SECRET_SETTING = re.compile(
    r"(^|(?<!per)_)(api_key|secret|secret_key|password|passwd|access_key|access_key_id|token|credentials|private_key|master_key"
    r"|salt_key|database_url|redis_url|connection_string)$",
    re.IGNORECASE,
)
ENVIRONMENT_REFERENCE = "os.environ/"

# Provider -> the names under which LiteLLM finds its key when a model names none; the first is the usual one.
_PROVIDER_KEYS: dict[str, tuple[str, ...]] = {
    "ai21": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    "azure_ai": ("AZURE_AI_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "codestral": ("CODESTRAL_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "novita": ("NOVITA_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "voyage": ("VOYAGE_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}
# Providers without a key of the kind above: local servers, or clouds that authenticate in their own way.
_KEYLESS_PROVIDERS = (
    "bedrock",
    "databricks",
    "docker_model_runner",
    "github_copilot",
    "hosted_vllm",
    "huggingface",
    "litellm_proxy",
    "llamafile",
    "lm_studio",
    "oci",
    "ollama",
    "ollama_chat",
    "oobabooga",
    "openai_like",
    "sagemaker",
    "sagemaker_chat",
    "text-completion-openai",
    "triton",
    "vertex_ai",
    "vertex_ai_beta",
    "vllm",
    "volcengine",
    "watsonx",
    "xinference",
)
# Real providers whose names resemble another one, so that they are not taken for typing errors.
_LOOKALIKES = (
    "anthropic_text",
    "nvidia_riva",
    "sagemaker_nova",
    "text-completion-codestral",
    "text-completion-inception",
)
_MODEL = re.compile(r"([a-z0-9][a-z0-9_-]*)/([A-Za-z0-9._:/@+=,~-]+)")
_OTHER_AZURE_LOGIN = ("azure_ad_token", "tenant_id", "client_id")


def model_names(models: Any) -> list[str]:
    """Return the names that clients may ask for; items of a wrong shape are left out."""
    if not isinstance(models, (list, tuple)):
        return []
    names = [checks.value_of(item, "name") if isinstance(item, Mapping) else item for item in models]
    return [name for name in names if isinstance(name, str)]


def environment_names(variables: Mapping[str, Any]) -> set[str]:
    """Return the names that the service's environment will hold with a value in it."""
    merged: dict[Any, Any] = {}
    for source in ("litellm_environment", "litellm_provider_keys"):
        values = checks.value_of(variables, source)
        if isinstance(values, Mapping):
            merged.update(values)
    return {str(name) for name, value in merged.items() if not checks.is_unset(value)}


def model_list_errors(variables: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with litellm_models, all items at once."""
    if "litellm_models" not in variables:
        return []
    models = variables["litellm_models"]
    if checks.is_unset(models) or models == []:
        return [
            "litellm_models is empty: list at least one model with `name` (what clients ask for) and `model` "
            "(provider/model) in inventory/group_vars/all/main.yml."
        ]
    errors = checks.list_errors("litellm_models", models)
    if errors:
        return errors
    for position, item in enumerate(models, start=1):
        errors += _item_errors(position, item, variables)
    twice = checks.repeated([name for name in model_names(models) if name])
    errors += [
        f"litellm_models has the name {checks.shown(name)} more than once: use each name once." for name in twice
    ]
    return errors


def _item_errors(position: int, item: Any, variables: Mapping[str, Any]) -> list[str]:
    label = f"litellm_models item {position}"
    if not isinstance(item, Mapping):
        return [f"{label} is {checks.shown(item)}: write `- name: ...` and below it `model: provider/model`."]
    name = checks.value_of(item, "name")
    if isinstance(name, str) and checks.SAFE_NAME.fullmatch(name) and not checks.looks_secret(name):
        label = f'{label} ("{name}")'
    return [
        *checks.unknown_key_errors(label, item, MODEL_KEYS),
        *_name_errors(label, name),
        *_target_errors(label, item),
        *_key_errors(label, item, variables),
        *_base_errors(label, item, variables),
        *_setting_errors(label, item, variables),
        *_client_errors(label, item),
    ]


def _name_errors(label: str, name: Any) -> list[str]:
    if checks.is_unset(name):
        return [f"{label} has no name: add `name:`, what clients ask for."]
    if not isinstance(name, str):
        return checks.text_errors(f"{label} name", name)
    if not checks.SAFE_NAME.fullmatch(name) or len(name) > 200:
        return [
            f"{label} name is {checks.shown(name)}: use up to 200 letters, digits and . _ : / - only, "
            "a letter or digit first."
        ]
    return []


def _provider(item: Mapping[str, Any]) -> str:
    """Return the provider of a well-formed `model`, else an empty text."""
    model = checks.value_of(item, "model")
    match = _MODEL.fullmatch(model) if isinstance(model, str) else None
    return match.group(1) if match else ""


def _target_errors(label: str, item: Mapping[str, Any]) -> list[str]:
    model = checks.value_of(item, "model")
    if checks.is_unset(model):
        return [f"{label} has no model: add `model:` with provider/model, such as anthropic/claude-sonnet-4-5."]
    if not isinstance(model, str):
        return checks.text_errors(f"{label} model", model)
    provider = _provider(item)
    if not provider:
        return [
            f"{label} model is {checks.shown(model)}: write provider/model, such as azure/gpt-4o, without "
            "blanks or quotes."
        ]
    meant = _intended_provider(provider)
    return [f'{label} model has the unknown provider "{provider}": did you mean {meant}/?'] if meant else []


def _intended_provider(provider: str) -> str:
    """Return the well-known provider that a misspelt name resembles, or an empty text.

    LiteLLM drops a model with an unknown provider and starts without it. The list of providers grows with each
    release, so a name that resembles none is left to the check of the finished configuration.
    """
    known = (*_PROVIDER_KEYS, *_KEYLESS_PROVIDERS)
    if provider in known or provider in _LOOKALIKES or len(provider) < 4:
        return ""
    close = difflib.get_close_matches(provider, known, n=1, cutoff=0.75)
    return close[0] if close else ""


def _key_errors(label: str, item: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
    key = checks.value_of(item, "api_key")
    if checks.is_unset(key):
        return _missing_key_errors(label, item, variables)
    if not isinstance(key, str):
        return checks.text_errors(f"{label} api_key", key, secret=True)
    if not checks.ENVIRONMENT_NAME.fullmatch(key) or checks.looks_secret(key):
        return [
            f"{label} api_key is not the name of a key (its value is not shown): write a name such as "
            "ANTHROPIC_API_KEY, "
            "and put the key itself under that name in litellm_provider_keys."
        ]
    keys = checks.value_of(variables, "litellm_provider_keys")
    if not isinstance(keys, Mapping) or key not in keys:
        return [f"{label} api_key is {key}, which litellm_provider_keys does not have: add it there."]
    if checks.is_unset(keys[key]):
        return [f"{label} needs {key}, which is empty in litellm_provider_keys: put the provider's key in the vault."]
    return []


def _missing_key_errors(label: str, item: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
    provider = _provider(item)
    wanted = _PROVIDER_KEYS.get(provider, ())
    params = checks.value_of(item, "params")
    params = params if isinstance(params, Mapping) else {}
    if not wanted or "mock_response" in params or environment_names(variables) & set(wanted):
        return []
    if provider.startswith("azure") and any(name in params for name in _OTHER_AZURE_LOGIN):
        return []
    sentence = (
        f"{label} has no api_key, but {provider} needs one: add `api_key: {wanted[0]}` and that key in "
        "litellm_provider_keys"
    )
    if provider == "openai" and not checks.is_unset(checks.value_of(item, "api_base")):
        sentence += "; for a server of your own that asks for no key write model: hosted_vllm/..."
    return [f"{sentence}."]


def _base_errors(label: str, item: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
    base, provider = checks.value_of(item, "api_base"), _provider(item)
    if checks.is_unset(base):
        if provider == "azure" and "AZURE_API_BASE" not in environment_names(variables):
            return [f"{label} has no api_base, but azure needs it: add https://<your resource>.openai.azure.com there."]
        return []
    if isinstance(base, str) and base.startswith(ENVIRONMENT_REFERENCE):
        return _reference_errors(f"{label} api_base", base, variables)
    errors = checks.url_errors(f"{label} api_base", base, example="https://models.example.org")
    if not errors and provider == "anthropic" and base.rstrip("/").endswith("/v1"):
        return [f"{label} api_base ends with /v1, which LiteLLM adds itself for anthropic: remove it."]
    return errors


def _reference_errors(label: str, value: str, variables: Mapping[str, Any]) -> list[str]:
    name = value[len(ENVIRONMENT_REFERENCE) :]
    if name in environment_names(variables):
        return []
    what = name if checks.ENVIRONMENT_NAME.fullmatch(name) and not checks.looks_secret(name) else "a name"
    return [
        f"{label} refers to {what} in the environment, which is not set: add it to "
        "litellm_provider_keys (secrets) or "
        "litellm_environment."
    ]


def _setting_errors(label: str, item: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
    errors: list[str] = []
    for field in ("params", "info"):
        settings = checks.value_of(item, field)
        if settings is not None:
            errors += checks.dictionary_errors(f"{label} {field}", settings)
    params = checks.value_of(item, "params")
    if not isinstance(params, Mapping):
        return errors
    errors += [
        f"{label} params has {field}: write {field} beside name instead, where it is checked."
        for field in ("model", "api_key", "api_base")
        if field in params
    ]
    for path, value in checks.leaves({key: value for key, value in params.items() if key != "api_key"}):
        where = f"{label} params {'.'.join(path)}"
        if isinstance(value, str) and value.startswith(ENVIRONMENT_REFERENCE):
            errors += _reference_errors(where, value, variables)
        elif isinstance(value, datetime.date):
            errors.append(f"{where} is a date, because YAML reads {value} so: put it in quotes.")
        elif SECRET_SETTING.search(path[-1]) and not checks.is_unset(value):
            errors.append(
                f"{where} holds a secret in plain text (not shown): put it in litellm_provider_keys and write "
                "os.environ/ and its name here."
            )
    return errors


def _client_errors(label: str, item: Mapping[str, Any]) -> list[str]:
    """Check what OpenClaw is told about the model: sizes in tokens, abilities."""
    errors: list[str] = []
    for field in ("context_window", "max_tokens"):
        if checks.value_of(item, field) is not None:
            errors += checks.integer_errors(f"{label} {field}", item[field], 1, 100_000_000, "tokens")
    window, answer = (
        checks.as_integer(checks.value_of(item, "context_window")),
        checks.as_integer(checks.value_of(item, "max_tokens")),
    )
    if window and answer and answer > window:
        errors.append(f"{label} max_tokens is {answer}, more than its context_window {window}: lower it.")
    if checks.value_of(item, "reasoning") is not None:
        errors += checks.boolean_errors(f"{label} reasoning", item["reasoning"])
    if checks.value_of(item, "display_name") is not None:
        errors += _line_errors(f"{label} display_name", item["display_name"])
    if checks.value_of(item, "input") is not None:
        kinds = item["input"]
        errors += checks.list_errors(f"{label} input", kinds)
        for kind in kinds if isinstance(kinds, (list, tuple)) else ():
            errors += checks.choice_errors(f"{label} input", kind, INPUT_KINDS)
    return errors


def _line_errors(label: str, value: Any) -> list[str]:
    errors = checks.text_errors(label, value)
    if not errors and (not value.isprintable() or not value.strip()):
        return [f"{label} is {checks.shown(value)}: write one line of printable text."]
    return errors
