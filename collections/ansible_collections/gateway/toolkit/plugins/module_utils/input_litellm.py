"""Rules for the variables of role litellm: all that can be judged before a host is touched."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.gateway.toolkit.plugins.module_utils import input_checks as checks
from ansible_collections.gateway.toolkit.plugins.module_utils import input_litellm_models as model_rules

Variables = Mapping[str, Any]

# Compromised releases: 1.82.7 and 1.82.8 in March 2026 (litellm_init.pth), 1.107.0 on 2026-10-21 (cook.pth).
MALICIOUS_VERSIONS = ("1.82.7", "1.82.8", "1.107.0")
# CVE-2026-114612, salt key reuse to remote code, is fixed in 1.103.1; CVE-2026-42208 in 1.83.7.
OLDEST_VERSION = "1.103.1"
KEY_LENGTH = 20
PASSWORD_LENGTH = 16
# The toolkit sets these itself, LiteLLM's command line reads HOST to DETAILED_DEBUG from the environment, and the
# rest changes how programs are found and loaded.
RESERVED_ENVIRONMENT = frozenset(
    [
        "HOST",
        "PORT",
        "NUM_WORKERS",
        "DEFAULT_NUM_WORKERS_LITELLM_PROXY",
        "FORWARDED_ALLOW_IPS",
        "TOOLKIT_MANAGEMENT_CLIENTS",
        "DEBUG",
        "DETAILED_DEBUG",
        "CONFIG",
        "DATABASE_URL",
        "DIRECT_URL",
        "DISABLE_SCHEMA_UPDATE",
        "LITELLM_MASTER_KEY",
        "LITELLM_SALT_KEY",
        "LITELLM_MODE",
        "LITELLM_MIGRATE_FROM_MASTER_KEY",
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "IFS",
        "ENV",
        "BASH_ENV",
        "TMPDIR",
        "VIRTUAL_ENV",
        "NODE_OPTIONS",
        "NODE_PATH",
        "OVERWRITE_DATASOURCES",
    ]
)
RESERVED_PREFIXES = ("LD_", "PYTHON", "PRISMA_", "NOTIFY_", "LISTEN_", "UV_")
# litellm_core_utils/duration_parser.py reads a wrong form as "until midnight", without an error.
_DURATION_UNITS = ("d", "h", "m", "s", "w", "mo")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
PATHS = (
    "litellm_directory",
    "litellm_uv",
    "litellm_nodejs",
    "litellm_secrets_directory",
    "litellm_database_secrets_directory",
    "litellm_virtual_key_directory",
    "litellm_virtual_key_rotation_directory",
    "litellm_rotation_directory",
    "litellm_database_rotation_directory",
)
BOOLEANS = (
    "litellm_use_chat_completions",
    "litellm_admin_ui",
    "litellm_migrate",
    "litellm_no_log",
    "litellm_master_key_rotate",
    "litellm_provider_key_prompts",
    "litellm_virtual_key_rotate",
    "litellm_virtual_key_rotate_emergency",
)
LIMITS = {
    "litellm_num_retries": (0, 20, "retries"),
    "litellm_request_timeout": (1, 86_400, "seconds"),
    "litellm_start_timeout": (10, 3_600, "seconds"),
    "litellm_spend_flush_seconds": (1, 3_600, "seconds"),
    "litellm_database_connection_pool_limit": (1, 500, "connections"),
    "litellm_virtual_key_max_age": (0, 3_650, "days"),
    "litellm_virtual_key_overlap": (0, 3_600, "seconds"),
}
_OWN_SETTINGS = {
    "model_list": "litellm_models",
    "general_settings.master_key": "litellm_master_key",
    "general_settings.database_url": "litellm_database_url",
    "litellm_settings.fallbacks": "litellm_fallbacks",
    "router_settings.fallbacks": "litellm_fallbacks",
}


def _given(variables: Variables, name: str) -> bool:
    return not checks.is_unset(checks.value_of(variables, name))


def version_errors(variables: Variables) -> list[str]:
    """Check litellm_version: an exact version, none that was compromised, none with known holes."""
    if "litellm_version" not in variables:
        return []
    version = variables["litellm_version"]
    errors = checks.version_errors("litellm_version", version)
    if errors:
        return errors
    if version in MALICIOUS_VERSIONS:
        return [
            f"litellm_version is {version}, a compromised release that steals keys: use 1.106.2; if it ever ran on a "
            "host of yours, change every key that the host held."
        ]
    if checks.version_key(version) < checks.version_key(OLDEST_VERSION):
        return [
            f"litellm_version is {version}, which has known holes (CVE-2026-114612, remote code): use {OLDEST_VERSION} "
            "or later."
        ]
    return []


def environment_errors(variables: Variables) -> list[str]:
    """Check litellm_provider_keys and litellm_environment: names that are safe to set, values that fit one line."""
    errors: list[str] = []
    for source in ("litellm_provider_keys", "litellm_environment"):
        values = checks.value_of(variables, source)
        if checks.is_unset(values):
            continue
        if not isinstance(values, Mapping):
            errors += checks.dictionary_errors(source, "" if isinstance(values, str) else values)
            continue
        secret = source == "litellm_provider_keys"
        for position, (name, value) in enumerate(values.items(), start=1):
            errors += _environment_entry_errors(source, position, name, value, secret)
    return errors + _shared_name_errors(variables)


def _environment_entry_errors(source: str, position: int, name: Any, value: Any, secret: bool) -> list[str]:
    wanted = checks.ENVIRONMENT_NAME if secret else checks.VARIABLE_NAME
    if not isinstance(name, str) or not wanted.fullmatch(name) or checks.looks_secret(name):
        form = "capital letters, digits and _ only, such as OPENAI_API_KEY" if secret else "letters, digits and _ only"
        return [f"{source} entry {position} has a name that cannot be an environment variable: use {form}."]
    if name in RESERVED_ENVIRONMENT or name.startswith(RESERVED_PREFIXES):
        return [f"{source} has the name {name}, which would change how the service itself runs: choose another name."]
    label = f"{source} {name}"
    if checks.is_unset(value):
        return []
    if secret:
        return checks.carried_secret_errors(label, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return []
    return checks.text_errors(label, value, secret=True) or checks.line_errors(label, value)


def _shared_name_errors(variables: Variables) -> list[str]:
    keys, environment = (checks.value_of(variables, name) for name in ("litellm_provider_keys", "litellm_environment"))
    if not isinstance(keys, Mapping) or not isinstance(environment, Mapping):
        return []
    both = [name for name in environment if name in keys]
    return [
        f"litellm_environment has {checks.shown(n)}, as litellm_provider_keys does: keep one of them." for n in both
    ]


def fallback_errors(variables: Variables) -> list[str]:
    """Check litellm_fallbacks: each from a known model to other known models."""
    fallbacks = checks.value_of(variables, "litellm_fallbacks")
    if checks.is_unset(fallbacks):
        return []
    errors = checks.list_errors("litellm_fallbacks", fallbacks)
    if errors:
        return errors
    known = model_rules.model_names(checks.value_of(variables, "litellm_models"))
    for position, item in enumerate(fallbacks, start=1):
        errors += _fallback_item_errors(f"litellm_fallbacks item {position}", item, known)
    sources = [
        checks.value_of(item, "model")
        for item in fallbacks
        if isinstance(item, Mapping) and checks.value_of(item, "model")
    ]
    errors += [
        f"litellm_fallbacks has the model {checks.shown(name)} more than once: write one item with all targets."
        for name in checks.repeated(sources)
    ]
    return errors


def _fallback_item_errors(label: str, item: Any, known: list[str]) -> list[str]:
    if not isinstance(item, Mapping):
        return [f"{label} is {checks.shown(item)}: write it as {{model: a, to: [b, c]}}."]
    source, targets = checks.value_of(item, "model"), checks.value_of(item, "to")
    errors = checks.unknown_key_errors(label, item, ("model", "to"))
    if checks.is_unset(source):
        errors.append(f"{label} has no model: add the name of the model that may fail.")
    else:
        errors += _known_model_errors(f"{label} model", source, known)
    if not isinstance(targets, (list, tuple)) or not targets:
        return [*errors, f"{label} has no list `to`: add the models to try instead, such as to: [b, c]."]
    for target in targets:
        errors += _known_model_errors(f"{label} to", target, known)
    if source in targets:
        errors.append(f"{label} sends {checks.shown(source)} to itself: remove it from `to`.")
    errors += [
        f"{label} has {checks.shown(n)} more than once in `to`: keep one." for n in checks.repeated(list(targets))
    ]
    return errors


def _known_model_errors(label: str, name: Any, known: list[str]) -> list[str]:
    if not isinstance(name, str):
        return checks.text_errors(label, name)
    if name in known or not known:
        return []
    return [f"{label} is {checks.shown(name)}, not a name in litellm_models: use one of {checks.listing(known)}."]


def key_errors(variables: Variables) -> list[str]:
    """Check the master key, the salt key and the virtual key; empty means that one is made and kept on the host."""
    errors: list[str] = []
    remedy = "leave it empty, then one is made on the host"
    names = ("litellm_master_key", "litellm_salt_key", "litellm_virtual_key")
    given = {name: variables[name] for name in names if _given(variables, name)}
    for name, value in given.items():
        errors += checks.secret_errors(name, value, minimum=KEY_LENGTH, remedy=remedy)
        if isinstance(value, str) and not value.startswith("sk-"):
            errors.append(f"{name} does not start with sk-: put that before it, or {remedy}.")
    for first, second in itertools.combinations(given, 2):
        if given[first] == given[second]:
            errors.append(f"{second} equals {first}: use different values, or {remedy}.")
    if _given(variables, "litellm_database_password"):
        password = variables["litellm_database_password"]
        errors += checks.secret_errors(
            "litellm_database_password",
            password,
            minimum=PASSWORD_LENGTH,
            remedy="leave it empty, then it is read there",
        )
    return errors


def database_errors(variables: Variables) -> list[str]:
    """Check where the database is: litellm_database_url alone, or litellm_database_address, _port, _name, _user."""
    errors = database_url_errors(variables)
    for name, longest in (("litellm_database_name", 63), ("litellm_database_user", checks.OWNER_LENGTH)):
        if name in variables:
            errors += checks.identifier_errors(name, variables[name], longest)
    if "litellm_database_address" in variables:
        errors += checks.host_errors("litellm_database_address", variables["litellm_database_address"])
    return errors


def database_url_errors(variables: Variables) -> list[str]:
    """Check litellm_database_url: postgresql://user:password@host:port/name, nothing of it is shown."""
    url = checks.value_of(variables, "litellm_database_url")
    if checks.is_unset(url):
        return []
    label, form = "litellm_database_url", "postgresql://user:password@host:5432/database"
    if not isinstance(url, str):
        return checks.text_errors(label, url, secret=True)
    if checks.is_placeholder(url):
        return [f"{label} has example text in it: put the real values there, or leave it empty for a database here."]
    if not url.isprintable() or re.search(r"[\s\"'\\`]", url):
        return [f"{label} has blanks, quotes or line breaks in it: percent-encode them (a blank is %20)."]
    try:
        parts = urlsplit(url)
        _port = parts.port
    except ValueError:
        return [f"{label} has a wrong host or port: write {form} and percent-encode / : @ ? # in the password."]
    if parts.scheme != "postgresql":
        return [f"{label} does not start with postgresql://: write {form}."]
    if not parts.hostname or not parts.username or not parts.path.strip("/"):
        return [f"{label} lacks a user, host or database: write {form} and percent-encode / : @ ? # in the password."]
    return []


def network_errors(variables: Variables) -> list[str]:
    """Check where the proxy listens, and where it is reached for the virtual key."""
    errors: list[str] = []
    for name in ("litellm_port", "litellm_database_port"):
        if name in variables:
            errors += checks.port_errors(name, variables[name])
    ports = [checks.as_integer(checks.value_of(variables, name)) for name in ("litellm_port", "litellm_database_port")]
    if (
        ports[0] is not None
        and ports[0] == ports[1]
        and checks.value_of(variables, "litellm_database_address") in _LOOPBACK
    ):
        errors.append(f"litellm_port is {ports[0]}, where the database of this host listens: choose another port.")
    if "litellm_bind_address" in variables:
        errors += checks.address_errors("litellm_bind_address", variables["litellm_bind_address"])
    if "litellm_management_clients" in variables:
        clients = variables["litellm_management_clients"]
        errors += checks.list_errors("litellm_management_clients", clients)
        for client in clients if isinstance(clients, (list, tuple)) else ():
            errors += checks.network_errors("litellm_management_clients", client)
    if "litellm_virtual_key_url" in variables:
        errors += checks.url_errors(
            "litellm_virtual_key_url", variables["litellm_virtual_key_url"], path=False, example="http://127.0.0.1:4000"
        )
    return errors


def engine_errors(variables: Variables) -> list[str]:
    """Check where Prisma's query engine comes from."""
    errors: list[str] = []
    engine = checks.value_of(variables, "litellm_prisma_engine")
    if "litellm_prisma_engine" in variables:
        errors += checks.choice_errors("litellm_prisma_engine", engine, ("native", "wasm"))
    paths = ("litellm_prisma_query_engine", "litellm_prisma_schema_engine")
    given = [name for name in (*paths, "litellm_prisma_engines_mirror") if _given(variables, name)]
    for name in given:
        value = variables[name]
        mirror = name.endswith("mirror")
        errors += (
            checks.url_errors(name, value, example="https://mirror.example.com/prisma")
            if mirror
            else checks.path_errors(name, value)
        )
    if engine == "wasm":
        errors += [f"{name} is for native, but litellm_prisma_engine is wasm: empty one of them." for name in given]
    if len(set(given) & set(paths)) == 1:
        missing = next(name for name in paths if name not in given)
        errors.append(f"{missing} is empty: give the paths of both programs of the same release, or of none.")
    elif len(given) == 3:
        errors.append("litellm_prisma_engines_mirror is given beside the paths of the programs: empty one of them.")
    return errors


def place_errors(variables: Variables) -> list[str]:
    """Check the paths, the user and the switches."""
    errors: list[str] = []
    for name in PATHS:
        if name in variables:
            errors += checks.path_errors(name, variables[name])
    errors += checks.path_list_errors("litellm_virtual_key_search", variables.get("litellm_virtual_key_search"))
    for name in BOOLEANS:
        if name in variables:
            errors += checks.boolean_errors(name, variables[name])
    if "litellm_user" in variables:
        errors += checks.user_errors("litellm_user", variables["litellm_user"])
    if "litellm_install_environment" in variables:
        errors += checks.environment_errors("litellm_install_environment", variables["litellm_install_environment"])
    return errors


def virtual_key_errors(variables: Variables) -> list[str]:
    """Check the limits of the gateway's own key: litellm_virtual_key_alias, _max_budget, _budget_duration, _models."""
    errors: list[str] = []
    alias = checks.value_of(variables, "litellm_virtual_key_alias")
    if not checks.is_unset(alias):
        errors += _alias_errors(alias)
    budget = checks.value_of(variables, "litellm_virtual_key_max_budget")
    if not checks.is_unset(budget):
        errors += _budget_errors(budget)
    duration = checks.value_of(variables, "litellm_virtual_key_budget_duration")
    if not checks.is_unset(duration):
        errors += checks.duration_errors("litellm_virtual_key_budget_duration", duration, _DURATION_UNITS)
    models = checks.value_of(variables, "litellm_virtual_key_models")
    if not checks.is_unset(models):
        errors += checks.list_errors("litellm_virtual_key_models", models)
        if not errors and "litellm_models" in variables:
            known = model_rules.model_names(variables["litellm_models"])
            for name in models:
                errors += _known_model_errors("litellm_virtual_key_models", name, known)
    return errors


def _alias_errors(alias: Any) -> list[str]:
    label = "litellm_virtual_key_alias"
    if not isinstance(alias, str):
        return checks.text_errors(label, alias)
    if _ALIAS.fullmatch(alias):
        return []
    return [f"{label} is {checks.shown(alias)}: use up to 128 letters, digits and . _ @ -, a letter or digit first."]


def _budget_errors(budget: Any) -> list[str]:
    label = "litellm_virtual_key_max_budget"
    number = checks.as_number(budget)
    if number is None:
        return [f"{label} is {checks.shown(budget)}: write the US dollars as a number, such as 50, or leave it empty."]
    if number <= 0:
        return [f"{label} is {checks.shown(budget)}: write more than 0 US dollars, or leave it empty for no limit."]
    return []


def number_errors(variables: Variables) -> list[str]:
    """Check retries, timeouts and sizes, and the lists of hosts."""
    errors: list[str] = []
    for name, (low, high, unit) in LIMITS.items():
        if name in variables:
            errors += checks.integer_errors(name, variables[name], low, high, unit)
    for name in ("litellm_health_reachable_from", "litellm_health_unreachable_from"):
        if name in variables:
            errors += checks.list_errors(name, variables[name])
    return errors


def extra_errors(variables: Variables) -> list[str]:
    """Check litellm_config_extra: nothing that has its own variable, no literal secret, no open door."""
    extra = checks.value_of(variables, "litellm_config_extra")
    if checks.is_unset(extra):
        return []
    if not isinstance(extra, Mapping):
        return checks.dictionary_errors("litellm_config_extra", extra)
    errors = []
    for own, variable in _OWN_SETTINGS.items():
        if _has_path(extra, own):
            errors.append(f"litellm_config_extra has {own}: set {variable} instead, where it is checked.")
    for section in ("general_settings", "litellm_settings", "router_settings"):
        if section in extra:
            errors += checks.dictionary_errors(f"litellm_config_extra {section}", extra[section])
    for path, value in checks.leaves(extra):
        errors += _extra_leaf_errors(".".join(path), path[-1], value, variables)
    return errors


def _has_path(tree: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


def _extra_leaf_errors(dotted: str, key: str, value: Any, variables: Variables) -> list[str]:
    where = f"litellm_config_extra {dotted}"
    if dotted.startswith("model_list.") or dotted in _OWN_SETTINGS:
        return []
    if key == "allow_requests_on_db_unavailable" and value:
        return [f"{where} lets any key in while the database is away: remove it."]
    if isinstance(value, str) and value.startswith(model_rules.ENVIRONMENT_REFERENCE):
        name = value[len(model_rules.ENVIRONMENT_REFERENCE) :]
        if name in model_rules.environment_names(variables):
            return []
        what = name if checks.VARIABLE_NAME.fullmatch(name) and not checks.looks_secret(name) else "a name"
        return [f"{where} refers to {what}, which is not set: add it to litellm_provider_keys or litellm_environment."]
    if model_rules.SECRET_SETTING.search(key) and not checks.is_unset(value) and not isinstance(value, bool):
        return [
            f"{where} holds a secret in plain text (not shown): put it in litellm_provider_keys and write os.environ/ "
            "and its name here."
        ]
    return []


RULES: tuple[Callable[[Variables], list[str]], ...] = (
    version_errors,
    model_rules.model_list_errors,
    environment_errors,
    fallback_errors,
    key_errors,
    database_errors,
    network_errors,
    engine_errors,
    place_errors,
    virtual_key_errors,
    number_errors,
    extra_errors,
)


def litellm_input_errors(variables: Variables) -> list[str]:
    """Return everything that is wrong with role litellm's variables, one sentence each, empty when all is well.

    variables holds the role's variables under their names; one that is left out is not judged.
    """
    return [sentence for rule in RULES for sentence in rule(variables)]
