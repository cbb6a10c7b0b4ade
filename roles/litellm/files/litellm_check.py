"""Check a candidate LiteLLM configuration before it replaces the live one.

    litellm_check.py --stage DIRECTORY [--release DIRECTORY] [--config-dir DIRECTORY] [--user NAME] [--allow-name NAME]

Run it with the Python of the release (it brings PyYAML), as root. The folder of --stage holds the candidate
config.yaml and litellm.env. First come our own rules, for what `litellm --validate_config` (1.106.2) lets pass: unknown
keys, unset os.environ/ names, fallbacks to nowhere, weak keys and the like. Then, if all is well, LiteLLM's own
validation, as the service user and with the candidate's environment; models that it drops are a finding.

Prints every finding on its own line of stderr and exits with 1, or exits with 0. Lines of stdout that begin with
"note:" are worth knowing and stop nothing. Values of variables and of secret settings are never printed.

The names that LiteLLM knows are read from the source of the installed release, so they follow the pin.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import fnmatch
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

REFERENCE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")
ENVIRONMENT_ENTRY = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"[ \t]*(?:\n|\Z)', re.DOTALL)
IGNORED_LINE = re.compile(r"[ \t]*(?:[#;][^\n]*)?(?:\n|\Z)")
SECRET_NAME = re.compile(r"(api_key|secret|password|access_key|session_token|private_key|bearer|^token$|_token$)")
PUBLIC_SECRET_NAME = re.compile(r"(_id|_file|_ref|_name|_source|_duration)$")
LITERAL_SECRET_LENGTH = 16
MASTER_KEY_LENGTH = 20
VALIDATION_SECONDS = 180

# Read by LiteLLM's command line (proxy_cli.py, envvar=...) under names that anything may set.
ACCIDENTAL_NAMES = frozenset({"HOST", "PORT", "NUM_WORKERS", "DEBUG", "DETAILED_DEBUG"})
# Each would replace the file that was checked, or the protection of the master key.
FORBIDDEN_NAMES = frozenset(
    {
        "CONFIG_FILE_PATH",
        "LITELLM_CONFIG_BUCKET_NAME",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY",
        "WORKER_CONFIG",
    }
)
# Set by this toolkit; check_environment looks at them.
OWN_NAMES = frozenset({"LITELLM_MASTER_KEY", "LITELLM_SALT_KEY", "DATABASE_URL"})
FALLBACK_SETTINGS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
# What the unit sets; the validation has no other environment than this and the candidate's.
SERVICE_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "DISABLE_SCHEMA_UPDATE": "true",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Known:
    """The names that a LiteLLM release understands, by place; `priced` are the models whose price it knows."""

    top: frozenset[str]
    general: frozenset[str]
    settings: frozenset[str]
    router: frozenset[str]
    entry: frozenset[str]
    params: frozenset[str]
    providers: frozenset[str]
    priced: frozenset[str]


class CheckError(Exception):
    """The check itself cannot be done; the text says why and what to do."""


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice in one mapping is an error instead of a silent override."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build one mapping; raises ConstructorError on a repeated key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' stands twice", key_node.start_mark)
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)


# --- Reading the candidate ----------------------------------------------------------------------------------------


def parse_environment(text: str) -> tuple[dict[str, str], list[str]]:
    """Variables and findings of an EnvironmentFile in which every value is in double quotes.

    Quoting as in systemd.exec: a backslash protects the characters " \\ ` $ and joins lines before a newline; before
    anything else it stays.
    """
    variables: dict[str, str] = {}
    findings: list[str] = []
    position = 0
    while position < len(text):
        ignored = IGNORED_LINE.match(text, position)
        entry = ENVIRONMENT_ENTRY.match(text, position)
        if entry:
            name, quoted = entry.groups()
            if name in variables:
                findings.append(f"litellm.env: {name} is set twice")
            variables[name] = re.sub(r"\\([\"\\`$])", r"\1", quoted.replace("\\\n", ""))
            position = entry.end()
        elif ignored:
            position = ignored.end()
        else:
            line = text.count("\n", 0, position) + 1
            findings.append(f'litellm.env: line {line} is not NAME="value"')
            position = (text.find("\n", position) + 1) or len(text)
    return variables, findings


def parse_config(text: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The configuration and no finding, or None and the one thing that stops us from reading it."""
    try:
        config = yaml.load(text, UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        return None, [f"config.yaml:{where} {getattr(error, 'problem', None) or 'is not YAML'}"]
    if not isinstance(config, dict):
        return None, ["config.yaml: is not a mapping"]
    return config, []


# --- What LiteLLM knows -------------------------------------------------------------------------------------------


def class_fields(tree: ast.Module, name: str) -> set[str]:
    """Annotated attributes of a top-level class."""
    bodies = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        item.target.id
        for body in bodies
        for item in body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }


def all_annotated(tree: ast.Module) -> set[str]:
    """Annotated attributes of all top-level classes."""
    return set().union(*(class_fields(tree, node.name) for node in tree.body if isinstance(node, ast.ClassDef)))


def assigned_names(body: Sequence[ast.stmt]) -> set[str]:
    """Names that a module assigns at its top level, also within if and try."""
    names: set[str] = set()
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
        for part in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, (ast.If, ast.Try, ast.ExceptHandler, ast.With)):
                names |= assigned_names(getattr(node, part, []))
    return names


def init_arguments(tree: ast.Module, name: str) -> set[str]:
    """Arguments of a top-level class's __init__, without self."""
    found = {
        argument.arg
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == name
        for item in node.body
        if isinstance(item, ast.FunctionDef) and item.name == "__init__"
        for argument in [*item.args.args, *item.args.kwonlyargs]
    }
    return found - {"self"}


def literal_strings(tree: ast.Module, name: str) -> set[str]:
    """All strings within the value that a module assigns to a name."""
    values = (
        node.value
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and name in assigned_names([node]) and node.value
    )
    return {
        part.value
        for value in values
        for part in ast.walk(value)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def keys_read(source: str, *variables: str) -> set[str]:
    """Keys that source text reads from one of the variables: name.get("key"), name.pop("key") or name["key"]."""
    names = "|".join(variables)
    return set(re.findall(rf'\b(?:{names})(?:\.get\(|\.pop\(|\[)\s*"([A-Za-z0-9_]+)"', source))


def provider_names(tree: ast.Module) -> set[str]:
    """Values of the LlmProviders enum."""
    return {
        item.value.value
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "LlmProviders"
        for item in node.body
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)
    }


def known_names(package: Path) -> Known:
    """Read what the LiteLLM at `package` (…/site-packages/litellm) understands.

    Raises CheckError when the source does not look as expected, rather than calling everything unknown.
    """

    def text(*names: str) -> str:
        paths = [package / name for name in names]
        files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
        return "\n".join(file.read_text(encoding="utf-8") for file in files)

    def tree(name: str) -> ast.Module:
        return ast.parse(text(name))

    try:
        server = text("proxy/proxy_server.py")
        loader = re.split(r"\n(?=\S)", server.partition("\nclass ProxyConfig:")[2])[0]
        proxy = text("proxy", *(["../litellm_enterprise"] if (package / "../litellm_enterprise").is_dir() else []))
        calls = text("llms", "main.py", "utils.py", "router.py", "router_utils", "litellm_core_utils")
        types, router_types, constants = tree("proxy/_types.py"), tree("types/router.py"), tree("constants.py")
        shared_types = tree("types/utils.py")
        prices = json.loads(text("model_prices_and_context_window_backup.json"))
        priced_by = {entry.get("litellm_provider") for entry in prices.values()}
        compatible = json.loads(text("llms/openai_like/providers.json"))
        known = Known(
            top=frozenset(class_fields(types, "ConfigYAML") | keys_read(loader, "config")),
            general=frozenset(class_fields(types, "ConfigGeneralSettings") | keys_read(proxy, "general_settings")),
            settings=frozenset(
                assigned_names(tree("__init__.py").body)
                | assigned_names(constants.body)
                | assigned_names(tree("_logging.py").body)
                | set(re.findall(r'\bkey == "(\w+)"', loader))
                | keys_read(proxy, "litellm_settings")
            ),
            router=frozenset(
                init_arguments(tree("router.py"), "Router")
                - literal_strings(constants, "ROUTER_SETTINGS_MANAGED_OUTSIDE_CONFIG")
            ),
            entry=frozenset(class_fields(router_types, "Deployment")),
            params=frozenset(
                all_annotated(tree("types/litellm_params.py"))
                | class_fields(router_types, "GenericLiteLLMParams")
                | class_fields(router_types, "CredentialLiteLLMParams")
                | class_fields(router_types, "LiteLLM_Params")
                | class_fields(router_types, "LiteLLMParamsTypedDict")
                | class_fields(shared_types, "CustomPricingLiteLLMParams")
                | class_fields(shared_types, "StandardCallbackDynamicParams")
                | literal_strings(constants, "OPENAI_CHAT_COMPLETION_PARAMS")
                | literal_strings(constants, "DEFAULT_CHAT_COMPLETION_PARAM_VALUES")
                | set(re.findall(r"^ {4}(\w+): [^=\n]*= None$", text("llms"), re.MULTILINE))
                | keys_read(calls, "optional_params", "litellm_params", "non_default_params", "kwargs")
            ),
            providers=frozenset(
                provider_names(shared_types) | compatible.keys() | {name for name in priced_by if name}
            ),
            priced=frozenset(prices),
        )
    except (OSError, SyntaxError, ValueError) as error:
        raise CheckError(f"cannot read what LiteLLM in {package} understands: {type(error).__name__}") from error
    expected = {
        "top": {"model_list", "guardrails"},
        "general": {"master_key", "database_url", "background_health_checks"},
        "settings": {"num_retries", "request_timeout", "callbacks", "cache_params", "drop_params"},
        "router": {"routing_strategy", "fallbacks"},
        "entry": {"model_name", "litellm_params", "model_info"},
        "params": {"model", "api_key", "api_version", "aws_region_name", "vertex_project", "temperature", "rpm"},
        "providers": {"openai", "anthropic", "azure", "bedrock", "vertex_ai", "hosted_vllm"},
        "priced": {"gpt-4o", "azure/gpt-4o"},
    }
    for place, names in expected.items():
        if missing := names - getattr(known, place):
            raise CheckError(f"this check does not understand this LiteLLM release: no {sorted(missing)} in {place}")
    return known


# --- Our own rules ------------------------------------------------------------------------------------------------


def strings_in(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string of a nested value with its path, as in "model_list[0].litellm_params.api_key"."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings_in(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, Sequence):
        for index, item in enumerate(value):
            yield from strings_in(item, f"{path}[{index}]")


def unknown_keys(place: str, section: Any, known: frozenset[str], allowed: frozenset[str]) -> list[str]:
    """Keys of a section that LiteLLM would ignore without a word; a likely spelling is offered."""
    if section is None:
        return []
    if not isinstance(section, Mapping):
        return [f"{place}: is not a mapping"]
    findings = []
    for key in section:
        if key not in known and key not in allowed:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.75)
            findings.append(f"{place}: unknown key '{key}'" + (f", did you mean '{near[0]}'?" if near else ""))
    return findings


def mapping_of(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A section of the configuration, or an empty one where it is missing or of a wrong type."""
    section = config.get(key)
    return section if isinstance(section, Mapping) else {}


def models_of(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of model_list that are complete enough to look into."""
    entries = config.get("model_list")
    return [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping)
        and isinstance(entry.get("model_name"), str)
        and isinstance(entry.get("litellm_params"), Mapping)
        and isinstance(entry["litellm_params"].get("model"), str)
    ]


def check_keys(config: Mapping[str, Any], known: Known, allowed: frozenset[str]) -> list[str]:
    """Findings about keys that LiteLLM does not know."""
    findings = unknown_keys("config.yaml", config, known.top, allowed)
    for place, names in (
        ("general_settings", known.general),
        ("litellm_settings", known.settings),
        ("router_settings", known.router),
    ):
        findings += unknown_keys(place, config.get(place), names, allowed)
    for entry in models_of(config):
        name = f"model '{entry['model_name']}'"
        findings += unknown_keys(name, entry, known.entry, allowed)
        findings += unknown_keys(f"{name}: litellm_params", entry["litellm_params"], known.params, allowed)
    return findings


def check_references(config: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Findings about os.environ/NAME: not set, empty, or not written as LiteLLM wants it."""
    here = {**environment, **{key: str(value) for key, value in mapping_of(config, "environment_variables").items()}}
    findings = []
    for path, text in strings_in(config):
        reference = REFERENCE.fullmatch(text)
        if reference is None and re.match(r"\s*(os\.environ|environ/|\$\{)", text):
            findings.append(f"{path}: write it as os.environ/NAME, with nothing before or after")
        elif reference and not here.get(reference[1]) and reference[1] not in OWN_NAMES:
            state = "empty" if reference[1] in here else "not set"
            findings.append(f"{path}: {reference[1]} is {state} in litellm.env; add it to litellm_provider_keys")
    return findings


def check_literal_secrets(config: Mapping[str, Any]) -> list[str]:
    """Findings about secrets that stand in the configuration itself."""
    findings = []
    for path, text in strings_in(config):
        key = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2].lower()
        named = SECRET_NAME.search(key) and not PUBLIC_SECRET_NAME.search(key)
        literal = not text.startswith("os.environ/") and len(text) >= LITERAL_SECRET_LENGTH
        if (named and literal) or "PRIVATE KEY-----" in text or re.search(r"://[^/@\s:]+:[^/@\s]+@", text):
            findings.append(f"{path}: holds a secret; put it into litellm_provider_keys and write os.environ/NAME here")
    return findings


def check_models(config: Mapping[str, Any], known: Known, same_name_allowed: bool) -> list[str]:
    """Findings about the model list: shape, providers, duplicates, traps of single providers."""
    entries = config.get("model_list")
    if not isinstance(entries, list) or not entries:
        return ["model_list: is empty; LiteLLM would have nothing to serve"]
    findings = [
        f"model_list[{index}]: needs model_name and litellm_params.model, both text"
        for index, entry in enumerate(entries)
        if not any(entry is complete for complete in models_of(config))
    ]
    own = mapping_of(config, "litellm_settings").get("custom_provider_map")
    own_providers = {item.get("provider") for item in own or [] if isinstance(item, Mapping)}
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for entry in models_of(config):
        name, params = entry["model_name"], entry["litellm_params"]
        model = params["model"]
        provider = params.get("custom_llm_provider") or (model.partition("/")[0] if "/" in model else None)
        if provider not in known.providers | own_providers and model not in known.priced:
            findings.append(f"model '{name}': LiteLLM knows no provider for '{model}'; write provider/model")
        base = params.get("api_base")
        if provider == "anthropic" and isinstance(base, str) and base.rstrip("/").endswith("/v1"):
            findings.append(f"model '{name}': api_base of an anthropic/ model goes without /v1, LiteLLM adds it")
        if "ollama" in model and not base:
            findings.append(f"model '{name}': set api_base; without it LiteLLM would start an Ollama of its own")
        if params in seen.get(name, []):
            findings.append(f"model '{name}': is there twice with the same parameters")
        elif name in seen and not same_name_allowed:
            findings.append(f"model '{name}': is there twice; names are unique")
        seen.setdefault(name, []).append(params)
    return findings


def check_fallbacks(config: Mapping[str, Any]) -> list[str]:
    """Findings about fallbacks from or to models that do not exist, and from a model to itself."""
    router, settings = mapping_of(config, "router_settings"), mapping_of(config, "litellm_settings")
    aliases = router.get("model_group_alias")
    names = {entry["model_name"] for entry in models_of(config)} | set(aliases if isinstance(aliases, Mapping) else ())

    def exists(model: Any) -> bool:
        return isinstance(model, str) and (model == "*" or any(fnmatch.fnmatchcase(model, name) for name in names))

    findings = []
    for place, section in (("litellm_settings", settings), ("router_settings", router)):
        for key in FALLBACK_SETTINGS:
            for item in section.get(key) or []:
                for source, targets in item.items() if isinstance(item, Mapping) else [(None, [])]:
                    where = f"{place}.{key}"
                    targets = targets if isinstance(targets, list) else [None]
                    if not exists(source):
                        findings.append(f"{where}: there is no model '{source}' to fall back from")
                    findings += [
                        f"{where}: there is no model '{to}' to fall back to" for to in targets if not exists(to)
                    ]
                    findings += [f"{where}: '{source}' falls back to itself" for to in targets if to == source]
        findings += [
            f"{place}.default_fallbacks: there is no model '{to}'"
            for to in section.get("default_fallbacks") or []
            if not exists(to)
        ]
    return findings


def check_environment(config: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Findings about the environment: keys, database, names that LiteLLM reads by accident."""
    own = {str(name) for name in mapping_of(config, "environment_variables")}
    findings = [
        f"environment: LiteLLM's command line reads {name}; use another name"
        for name in sorted(ACCIDENTAL_NAMES & (environment.keys() | own))
    ]
    findings += [
        f"environment: {name} would undo what this deployment guarantees; remove it"
        for name in sorted(FORBIDDEN_NAMES & (environment.keys() | own))
    ]
    general = mapping_of(config, "general_settings")
    if general.get("dangerously_permit_weak_or_unset_master_key"):
        findings.append("general_settings.dangerously_permit_weak_or_unset_master_key: is for development only")
    for key, name in (("master_key", "LITELLM_MASTER_KEY"), ("database_url", "DATABASE_URL")):
        if general.get(key) != f"os.environ/{name}":
            findings.append(f"general_settings.{key}: must be os.environ/{name}")
    findings += [
        f"LITELLM_MASTER_KEY: {why}" for why in key_weaknesses(environment.get("LITELLM_MASTER_KEY", ""), "sk-")
    ]
    findings += [f"LITELLM_SALT_KEY: {why}" for why in key_weaknesses(environment.get("LITELLM_SALT_KEY", ""), "")]
    url = environment.get("DATABASE_URL", "")
    if not url:
        findings.append("DATABASE_URL: is not set; LiteLLM would start without a database and say nothing")
    elif not is_database_url(url):
        findings.append("DATABASE_URL: is not postgresql://user:password@host:port/database")
    return findings


def key_weaknesses(key: str, prefix: str) -> list[str]:
    """Why a key is not fit to guard anything; the key itself is never part of the text."""
    if not key:
        return ["is not set"]
    found = []
    if not key.startswith(prefix):
        found.append(f"must start with {prefix}")
    if len(key) < MASTER_KEY_LENGTH or len(set(key)) < MASTER_KEY_LENGTH // 2:
        found.append(f"is weak; it needs {MASTER_KEY_LENGTH} random characters or more")
    if not re.fullmatch(r"[!-~]+", key):
        found.append("may only have printable ASCII characters without spaces, to fit into an HTTP header")
    return found


def is_database_url(url: str) -> bool:
    """Whether a text is a PostgreSQL URL with host and database, as Prisma reads it."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("postgresql", "postgres")
            and bool(parts.hostname)
            and len(parts.path) > 1
            and parts.port != 0
        )
    except ValueError:
        return False


def lint(
    config: Mapping[str, Any],
    environment: Mapping[str, str],
    known: Known,
    allowed: frozenset[str] = frozenset(),
    same_name_allowed: bool = False,
) -> list[str]:
    """All findings of our own rules, in the order of the file; an empty list is a pass."""
    findings = check_keys(config, known, allowed)
    findings += check_references(config, environment)
    findings += check_literal_secrets(config)
    findings += check_models(config, known, same_name_allowed)
    findings += check_fallbacks(config)
    findings += check_environment(config, environment)
    return list(dict.fromkeys(findings))


def notes(config: Mapping[str, Any], known: Known) -> list[str]:
    """What an operator should know about a configuration that is nevertheless right."""
    found = []
    for entry in models_of(config):
        name, params = entry["model_name"], entry["litellm_params"]
        model, info = params["model"], entry.get("model_info")
        base_model = info.get("base_model") if isinstance(info, Mapping) else None
        names = {model, model.partition("/")[2], base_model or params.get("base_model")}
        has_price = any(
            key.startswith("input_cost_per") for key in [*params, *(info if isinstance(info, Mapping) else ())]
        )
        if "*" not in model and not has_price and not names & known.priced:
            found.append(
                f"model '{name}' has no known price, so its spend stays 0 and no budget stops it; set "
                "params.input_cost_per_token and params.output_cost_per_token"
            )
        base = params.get("api_base")
        if model.startswith("openai/") and isinstance(base, str) and "openai.com" not in base:
            found.append(
                f"model '{name}': calls that think go to {base.rstrip('/')}/responses; if that server has no such "
                "endpoint, write hosted_vllm/ in place of openai/"
            )
    if mapping_of(config, "general_settings").get("allow_requests_on_db_unavailable"):
        found.append("allow_requests_on_db_unavailable lets any key pass while the database is away")
    return found


# --- LiteLLM's own validation -------------------------------------------------------------------------------------


def without_secrets(text: str, environment: Mapping[str, str]) -> str:
    """A text in which no value of the environment is left, and no terminal colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    for value in sorted((v for v in environment.values() if len(v) >= 6), key=len, reverse=True):
        text = text.replace(value, "***").replace(json.dumps(value)[1:-1], "***")
    return re.sub(r"\bsk-[A-Za-z0-9_-]{6,}", "sk-***", text)


def verdict_of(exit_code: int, output: str, expected: int) -> list[str]:
    """Findings from LiteLLM's validation: its error, or models that it dropped from `expected` ones."""
    counted = re.search(r"config OK \((\d+) models?\)", output)
    if exit_code == 0 and counted:
        count = int(counted[1])
        lost = f"LiteLLM accepts the file but keeps only {count} of {expected} models; check the others' parameters"
        return [] if count == expected else [lost]
    said = [line.strip() for line in output.splitlines() if line.strip()]
    failed = [line for line in said if "config validation failed" in line] or said[-3:] or ["no output"]
    return [f"LiteLLM refuses the file (exit code {exit_code}): {' '.join(failed)}"]


def validate(release: Path, config: Path, live: Path, environment: Mapping[str, str], user: str) -> tuple[int, str]:
    """Exit code and output of `litellm --validate_config` as `user`, with nothing but `environment`.

    The candidate is read from a folder of its own in which the other files of the live folder are linked, because
    LiteLLM looks for an operator's Python modules next to the configuration.
    """
    account = pwd.getpwnam(user)
    switch: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="litellm-check-") as folder:
        candidate = Path(folder) / "config.yaml"
        shutil.copyfile(config, candidate)
        candidate.chmod(0o640)
        for other in live.iterdir() if live.is_dir() else ():
            if other.is_file() and other.name not in ("config.yaml", "litellm.env"):
                (Path(folder) / other.name).symlink_to(other)
        if os.geteuid() == 0 and account.pw_uid != 0:
            switch = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            for path in (Path(folder), candidate):
                os.chown(path, 0, account.pw_gid)
            Path(folder).chmod(0o750)
        done = subprocess.run(
            [str(release / "venv/bin/litellm"), "--config", str(candidate), "--validate_config"],
            env={**SERVICE_ENVIRONMENT, "PATH": f"{release}/venv/bin:/usr/bin:/bin", **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=VALIDATION_SECONDS,
            check=False,
            **switch,
        )
    return done.returncode, done.stdout


def package_of(release: Path) -> Path:
    """The litellm package of a release. Raises CheckError when it is not there exactly once."""
    found = sorted((release / "venv").glob("lib/python3*/site-packages/litellm"))
    if len(found) != 1:
        raise CheckError(f"there is no LiteLLM in {release}/venv")
    return found[0]


def findings_of(options: argparse.Namespace) -> list[str]:
    """Do the whole check; print notes; return the findings."""
    stage, release = Path(options.stage).absolute(), Path(options.release).absolute()
    known = known_names(package_of(release))
    environment, findings = parse_environment((stage / "litellm.env").read_text(encoding="utf-8"))
    config, trouble = parse_config((stage / "config.yaml").read_text(encoding="utf-8"))
    if config is None:
        return findings + trouble
    findings += lint(config, environment, known, frozenset(options.allow_name), options.allow_same_name)
    if findings:
        return findings
    code, output = validate(release, stage / "config.yaml", Path(options.config_dir), environment, options.user)
    findings = verdict_of(code, without_secrets(output, environment), len(config["model_list"]))
    for note in [] if findings else notes(config, known):
        sys.stdout.write(f"note: {note}\n")
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, check, report; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check a candidate LiteLLM configuration.")
    parser.add_argument("--stage", required=True, help="folder with the candidate config.yaml and litellm.env")
    parser.add_argument("--release", default="/opt/litellm/current", help="release to check against")
    parser.add_argument("--config-dir", default="/etc/litellm", help="live folder with further files of the operator")
    parser.add_argument("--user", default="litellm", help="account of the service")
    parser.add_argument("--allow-name", action="append", default=[], help="a key that is right although unknown here")
    parser.add_argument("--allow-same-name", action="store_true", help="let several models share one name")
    try:
        findings = findings_of(parser.parse_args(arguments))
    except CheckError as error:
        findings = [str(error)]
    except OSError as error:
        findings = [f"cannot check: {error.filename}: {error.strerror}"]
    except KeyError:
        findings = ["cannot check: the service user does not exist"]
    except UnicodeDecodeError:
        findings = ["cannot check: a candidate file is not UTF-8"]
    except subprocess.TimeoutExpired:
        findings = [f"cannot check: LiteLLM's validation took longer than {VALIDATION_SECONDS} seconds"]
    for finding in findings:
        sys.stderr.write(f"{finding}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
