"""Rules for the variables of role openclaw_gateway: all that can be judged before a host is touched."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.gateway.toolkit.plugins.module_utils import input_checks as checks

Variables = Mapping[str, Any]

BINDS = ("lan", "loopback", "tailnet", "custom")
TAILSCALE_SERVERS = ("controlplane.tailscale.com", "login.tailscale.com")
CHOICES = {
    "openclaw_gateway_exec_mode": ("deny", "ask", "full"),
    "openclaw_gateway_mdns": ("off", "minimal", "full"),
    "openclaw_gateway_log_level": ("silent", "fatal", "error", "warn", "info", "debug", "trace"),
}
BOOLEANS = (
    "openclaw_gateway_workspace_only",
    "openclaw_gateway_elevated_tools",
    "openclaw_gateway_browser",
    "openclaw_gateway_terminal",
    "openclaw_gateway_control_ui",
    "openclaw_gateway_telemetry",
    "openclaw_gateway_update_check",
    "openclaw_gateway_health_turn",
    "openclaw_gateway_token_rotate",
    "openclaw_gateway_tailnet_joins",
)
PATHS = (
    "openclaw_gateway_directory",
    "openclaw_gateway_nodejs",
    "openclaw_gateway_home",
    "openclaw_gateway_secrets_directory",
    "openclaw_gateway_rotation_directory",
)
LIMITS = {
    "openclaw_gateway_request_timeout": (1, 86_400, "seconds"),
    "openclaw_gateway_start_timeout": (10, 3_600, "seconds"),
    # Ten starts in 300 seconds are systemd's limit; the shortest wait and the pause after it stay above that.
    "openclaw_gateway_address_timeout": (30, 600, "seconds"),
}
RATE_LIMITS = {
    "max_attempts": (1, 1_000, "attempts"),
    "window_seconds": (1, 86_400, "seconds"),
    "lockout_seconds": (1, 604_800, "seconds"),
}
# OpenClaw 2026.9.6 itself warns below this length and accepts any.
TOKEN_LENGTH = 24
# Earlier releases have known holes, such as GHSA-qh2f-99mv-mrcf (2026.5.12) and CVE-2026-25253 (2026.1.29), and read
# another configuration.
OLDEST_VERSION = "2026.9.6"
_SECRET_SETTING = re.compile(r"(apiKey|api_key|token|password|secret|privateKey|credentials?)$", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{[A-Z_][A-Z0-9_]*\}")
# A path in config_extra -> what to do instead. All below the path is refused as well.
_OWN_SETTINGS = {
    "meta": "it is written for you",
    "gateway.bind": "set openclaw_gateway_bind",
    "gateway.customBindHost": "set openclaw_gateway_bind_address",
    "gateway.port": "set openclaw_gateway_port",
    "gateway.tailscale.mode": "set openclaw_gateway_tailscale",
    "gateway.tls": "set openclaw_gateway_tls",
    "gateway.auth.token": "set openclaw_gateway_token",
    "gateway.auth.password": "the gateway asks for its token",
    "gateway.controlUi.allowedOrigins": "set openclaw_gateway_allowed_origins",
    "secrets.providers.deploy": "it is where the token and the virtual key are read from",
    "models.providers.litellm.baseUrl": "set openclaw_gateway_litellm_url",
    "models.providers.litellm.apiKey": "the gateway's own virtual key is put there",
    "models.providers.litellm.models": "set openclaw_gateway_models",
    "agents.defaults.model.primary": "set openclaw_gateway_primary_model",
}
# A path in config_extra -> the only value that keeps the gateway safe or running.
_FIXED_SETTINGS = {"gateway.auth.mode": "token", "gateway.mode": "local"}


def bind_errors(variables: Variables) -> list[str]:
    """Check where the gateway listens: openclaw_gateway_bind, _bind_address and _port."""
    errors: list[str] = []
    if "openclaw_gateway_bind" in variables:
        bind, address = variables["openclaw_gateway_bind"], checks.value_of(variables, "openclaw_gateway_bind_address")
        errors += checks.choice_errors("openclaw_gateway_bind", bind, BINDS)
        if not checks.is_unset(address):
            errors += _bind_address_errors(address)
            if bind in ("loopback", "tailnet"):
                errors.append(
                    f"openclaw_gateway_bind_address is set, but openclaw_gateway_bind is {bind}: empty the address, or "
                    "set the bind to custom."
                )
        elif bind == "custom":
            errors.append("openclaw_gateway_bind_address is empty: custom needs the one IP address to listen on.")
    if "openclaw_gateway_port" in variables:
        errors += checks.port_errors("openclaw_gateway_port", variables["openclaw_gateway_port"])
    return errors


def _bind_address_errors(value: Any) -> list[str]:
    """Refuse what OpenClaw cannot listen on: it knows plain IPv4 addresses only (2026.9.6)."""
    label = "openclaw_gateway_bind_address"
    errors = checks.network_errors(label, value) if "/" in str(value) else checks.address_errors(label, value)
    if errors:
        return errors
    first = ipaddress.ip_network(value).network_address
    if first.version == 6:
        return [f"{label} is {value}, but OpenClaw listens on IPv4 addresses only: write one of those."]
    if first.is_loopback or first.is_unspecified or first.is_multicast:
        return [f"{label} is {value}, no address of a network: set openclaw_gateway_bind to loopback or lan instead."]
    return []


def tailscale_errors(variables: Variables) -> list[str]:
    """Check Tailscale Serve, which goes with loopback and with Tailscale's own control server only."""
    errors: list[str] = []
    if "openclaw_gateway_tailscale" in variables:
        mode, label = variables["openclaw_gateway_tailscale"], "openclaw_gateway_tailscale"
        if mode == "funnel":
            return [
                f"{label} is funnel, which opens the gateway to the whole internet; OpenClaw wants a password there, "
                "and this gateway has a token: set it to serve, which stays in the tailnet."
            ]
        errors += checks.choice_errors(label, mode, ("off", "serve"))
        bind, server = variables.get("openclaw_gateway_bind"), variables.get("openclaw_gateway_tailnet_login_server")
        if mode == "serve" and bind != "loopback":
            errors.append(f"{label} is serve, but openclaw_gateway_bind is {checks.shown(bind)}: set it to loopback.")
        if mode == "serve" and not checks.is_unset(server) and urlsplit(str(server)).hostname not in TAILSCALE_SERVERS:
            errors.append(
                f"{label} is serve, which the control server {checks.shown(server)} cannot do (headscale makes no "
                "certificates): set openclaw_gateway_bind to tailnet and this to off."
            )
    if "openclaw_gateway_tailnet_interface" in variables:
        label, name = "openclaw_gateway_tailnet_interface", variables["openclaw_gateway_tailnet_interface"]
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", name):
            errors.append(f"{label} is {checks.shown(name)}: write the name of an interface, such as tailscale0.")
    return errors


def tls_errors(variables: Variables) -> list[str]:
    """Check openclaw_gateway_tls and what each choice needs; the files themselves are judged elsewhere."""
    if "openclaw_gateway_tls" not in variables:
        return []
    label, mode = "openclaw_gateway_tls", variables["openclaw_gateway_tls"]
    errors = checks.choice_errors(label, mode, ("off", "files", "host", "tailscale"))
    for name in ("openclaw_gateway_tls_certificate", "openclaw_gateway_tls_key"):
        path = checks.value_of(variables, name)
        if checks.is_unset(path):
            if mode in ("files", "host"):
                errors.append(f"{name} is empty, but {label} is {mode}: name the file.")
        elif mode == "host":
            errors += checks.path_errors(name, path)
        elif mode in ("off", "tailscale"):
            errors.append(f"{name} is set, but {label} is {mode}: empty it, or set {label} to files or host.")
        elif "-----BEGIN" in str(path):
            errors.append(f"{name} holds the thing itself (not shown): write it to a file, and its path here.")
    server = variables.get("openclaw_gateway_tailnet_login_server")
    if mode == "tailscale":
        if not checks.is_unset(server) and urlsplit(str(server)).hostname not in TAILSCALE_SERVERS:
            errors.append(
                f"{label} is tailscale, but the control server {checks.shown(server)} makes no certificates "
                "(headscale): set it to files or host."
            )
        name = str(checks.value_of(variables, "openclaw_gateway_address"))
        if not name.endswith(".ts.net"):
            errors.append(
                f"openclaw_gateway_address is {checks.shown(name)}, for which Tailscale makes none: set it to "
                "the host's full name in the tailnet, like gateway.tail1234.ts.net."
            )
    if mode not in ("off", None) and str(variables.get("openclaw_gateway_tailscale") or "off") == "serve":
        errors.append(
            f"{label} is {checks.shown(mode)}, but openclaw_gateway_tailscale is serve, which does TLS: set {label} "
            "to off."
        )
    return errors


def access_errors(variables: Variables) -> list[str]:
    """Check the token, the origins of web pages and the rate limit."""
    errors: list[str] = []
    token = checks.value_of(variables, "openclaw_gateway_token")
    if not checks.is_unset(token):
        remedy = "leave it empty, then one is made on the host"
        errors += checks.secret_errors("openclaw_gateway_token", token, minimum=TOKEN_LENGTH, remedy=remedy)
    if "openclaw_gateway_allowed_origins" in variables:
        origins = variables["openclaw_gateway_allowed_origins"]
        errors += checks.list_errors("openclaw_gateway_allowed_origins", origins)
        for origin in origins if isinstance(origins, (list, tuple)) else ():
            errors += checks.origin_errors("openclaw_gateway_allowed_origins", origin)
    if "openclaw_gateway_address" in variables:
        errors += checks.host_errors("openclaw_gateway_address", variables["openclaw_gateway_address"])
    if "openclaw_gateway_rate_limit" in variables:
        errors += _rate_limit_errors(variables["openclaw_gateway_rate_limit"])
    return errors


def _rate_limit_errors(limit: Any) -> list[str]:
    label = "openclaw_gateway_rate_limit"
    if not isinstance(limit, Mapping):
        return checks.dictionary_errors(label, limit)
    errors = checks.unknown_key_errors(label, limit, tuple(RATE_LIMITS))
    for field, (low, high, unit) in RATE_LIMITS.items():
        if field in limit:
            errors += checks.integer_errors(f"{label} {field}", limit[field], low, high, unit)
        else:
            errors.append(f"{label} has no {field}: set it to {low} to {high} {unit}.")
    return errors


def model_errors(variables: Variables) -> list[str]:
    """Check the models the gateway may ask for, and those it uses, against each other and against LiteLLM's."""
    if "openclaw_gateway_models" not in variables:
        return []
    models = variables["openclaw_gateway_models"]
    if checks.is_unset(models) or models == []:
        return ["openclaw_gateway_models is empty: list at least one of LiteLLM's models, by its name."]
    errors = checks.list_errors("openclaw_gateway_models", models)
    if errors:
        return errors
    offered = checks.value_of(variables, "openclaw_gateway_offered_models")
    for position, item in enumerate(models, start=1):
        errors += _model_item_errors(f"openclaw_gateway_models item {position}", item, offered)
    names = [
        checks.value_of(item, "name")
        for item in models
        if isinstance(item, Mapping) and isinstance(checks.value_of(item, "name"), str)
    ]
    errors += [
        f"openclaw_gateway_models has the name {checks.shown(name)} more than once: keep one."
        for name in checks.repeated(names)
    ]
    if "openclaw_gateway_primary_model" in variables:
        primary = variables["openclaw_gateway_primary_model"]
        errors += _chosen_errors("openclaw_gateway_primary_model", primary, names)
    return errors + _fallback_errors(variables, names) + _health_model_errors(variables, names)


def _model_item_errors(label: str, item: Any, offered: Any) -> list[str]:
    if not isinstance(item, Mapping):
        return [f"{label} is {checks.shown(item)}: write it as `- name: {item if _plain(item) else 'model'}`."]
    name = checks.value_of(item, "name")
    if checks.is_unset(name):
        return [f"{label} has no name: add `name:`, the model's name in LiteLLM."]
    if not isinstance(name, str):
        return checks.text_errors(f"{label} name", name)
    if not checks.SAFE_NAME.fullmatch(name):
        return [f"{label} name is {checks.shown(name)}: use letters, digits and . _ : / - only, as in LiteLLM."]
    if isinstance(offered, (list, tuple)) and offered and name not in offered:
        return [
            f'{label} is "{name}", which LiteLLM does not offer to this gateway\'s key: use one of '
            f"{checks.listing(offered)}, or add it to LiteLLM's models and to the models of the key."
        ]
    errors: list[str] = []
    for field in ("context_window", "max_tokens"):
        if checks.value_of(item, field) is not None:
            errors += checks.integer_errors(f"{label} {field}", item[field], 1, 100_000_000, "tokens")
    if checks.value_of(item, "reasoning") is not None:
        errors += checks.boolean_errors(f"{label} reasoning", item["reasoning"])
    return errors


def _plain(value: Any) -> bool:
    return isinstance(value, str) and bool(checks.SAFE_NAME.fullmatch(value)) and not checks.looks_secret(value)


def _chosen_errors(label: str, name: Any, names: list[str]) -> list[str]:
    if not isinstance(name, str):
        return checks.text_errors(label, name)
    if name in names or not names:
        return []
    hint = "name" if not name.startswith("litellm/") else "name without litellm/ before it"
    return [
        f"{label} is {checks.shown(name)}, not a {hint} in openclaw_gateway_models: use one of {checks.listing(names)}."
    ]


def _fallback_errors(variables: Variables, names: list[str]) -> list[str]:
    label = "openclaw_gateway_fallback_models"
    fallbacks = checks.value_of(variables, label)
    if checks.is_unset(fallbacks):
        return []
    errors = checks.list_errors(label, fallbacks)
    if errors:
        return errors
    for name in fallbacks:
        errors += _chosen_errors(label, name, names)
    if checks.value_of(variables, "openclaw_gateway_primary_model") in fallbacks:
        errors.append(
            f"{label} has openclaw_gateway_primary_model in it: remove it, it is what the others stand in for."
        )
    errors += [
        f"{label} has {checks.shown(name)} more than once: keep one." for name in checks.repeated(list(fallbacks))
    ]
    return errors


def _health_model_errors(variables: Variables, names: list[str]) -> list[str]:
    model = checks.value_of(variables, "openclaw_gateway_health_model")
    return [] if checks.is_unset(model) else _chosen_errors("openclaw_gateway_health_model", model, names)


def route_errors(variables: Variables) -> list[str]:
    """Check openclaw_gateway_litellm_url: http or https, without /v1, which OpenClaw adds."""
    if "openclaw_gateway_litellm_url" not in variables:
        return []
    label, url = "openclaw_gateway_litellm_url", variables["openclaw_gateway_litellm_url"]
    errors = checks.url_errors(label, url, example="http://127.0.0.1:4000")
    if not errors and re.search(r"/v1(/|$)", url):
        return [f"{label} ends with /v1, which OpenClaw adds itself: write only scheme, host and port."]
    return errors


def behaviour_errors(variables: Variables) -> list[str]:
    """Check the heartbeat, the choices, the switches and the timeouts."""
    errors: list[str] = []
    if "openclaw_gateway_heartbeat" in variables:
        heartbeat = variables["openclaw_gateway_heartbeat"]
        errors += checks.duration_errors("openclaw_gateway_heartbeat", heartbeat, ("m", "h", "s", "d"), zero=True)
    for name, choices in CHOICES.items():
        if name in variables:
            errors += checks.choice_errors(name, variables[name], choices)
    for name in BOOLEANS:
        if name in variables:
            errors += checks.boolean_errors(name, variables[name])
    for name, (low, high, unit) in LIMITS.items():
        if name in variables:
            errors += checks.integer_errors(name, variables[name], low, high, unit)
    for name in ("openclaw_gateway_health_reachable_from", "openclaw_gateway_health_unreachable_from"):
        if name in variables:
            errors += checks.list_errors(name, variables[name])
    return errors


def place_errors(variables: Variables) -> list[str]:
    """Check the version, the paths, the user and the environment of the installation."""
    errors: list[str] = []
    if "openclaw_gateway_version" in variables:
        errors += _version_errors(variables["openclaw_gateway_version"])
    for name in PATHS:
        if name in variables:
            errors += checks.path_errors(name, variables[name])
    errors += checks.path_list_errors(
        "openclaw_gateway_rotation_search", variables.get("openclaw_gateway_rotation_search")
    )
    if "openclaw_gateway_user" in variables:
        errors += checks.user_errors("openclaw_gateway_user", variables["openclaw_gateway_user"])
    label = "openclaw_gateway_install_environment"
    return errors + (checks.environment_errors(label, variables[label]) if label in variables else [])


def _version_errors(version: Any) -> list[str]:
    label = "openclaw_gateway_version"
    errors = checks.version_errors(label, version)
    if not errors and checks.version_key(version) < checks.version_key(OLDEST_VERSION):
        return [
            f"{label} is {version}, which has known holes and another configuration: use {OLDEST_VERSION} or later."
        ]
    return errors


def extra_errors(variables: Variables) -> list[str]:
    """Check openclaw_gateway_config_extra: no second place for a variable, no open door, no literal secret."""
    label, extra = "openclaw_gateway_config_extra", checks.value_of(variables, "openclaw_gateway_config_extra")
    if checks.is_unset(extra):
        return []
    if not isinstance(extra, Mapping):
        return checks.dictionary_errors(label, extra)
    errors = [
        f"{label} has {path}: remove it there, {advice}."
        for path, advice in _OWN_SETTINGS.items()
        if _value_at(extra, path) is not _ABSENT
    ]
    errors += [
        f"{label} changes {path}: it has to stay {value}, remove it there."
        for path, value in _FIXED_SETTINGS.items()
        if _value_at(extra, path) not in (_ABSENT, value)
    ]
    errors += _removed_section_errors(label, extra)
    for path, value in checks.leaves(extra):
        dotted = ".".join(path)
        if not any(dotted == own or dotted.startswith(f"{own}.") for own in (*_OWN_SETTINGS, *_FIXED_SETTINGS)):
            errors += _leaf_errors(f"{label} {dotted}", path, value)
    return errors


_ABSENT = object()


def _value_at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return _ABSENT
        tree = tree[part]
    return tree


def _removed_section_errors(label: str, extra: Mapping[str, Any]) -> list[str]:
    """Refuse to replace a section by something else: merging would remove all that it protects."""
    sections = ("gateway", "gateway.auth", "gateway.auth.rateLimit", "secrets", "secrets.providers", "models")
    return [
        f"{label} {path} is {checks.shown(value)}: write only the settings below it that you want to add."
        for path in (*sections, "models.providers", "models.providers.litellm")
        if (value := _value_at(extra, path)) is not _ABSENT and not isinstance(value, Mapping)
    ]


def _leaf_errors(where: str, path: tuple[str, ...], value: Any) -> list[str]:
    key = path[-1]
    if (key.startswith("dangerously") or key == "allowInsecureAuth") and value:
        return [f"{where} switches a protection of the gateway off: remove it."]
    if key == "mode" and isinstance(value, bool):
        return checks.text_errors(where, value)
    literal = isinstance(value, (str, int, float)) and not isinstance(value, bool) and not checks.is_unset(value)
    if literal and _SECRET_SETTING.search(key) and not _REFERENCE.fullmatch(str(value)):
        return [
            f"{where} holds a secret in plain text (not shown): put it in a file of the service user and write a "
            "reference, see https://docs.openclaw.ai/gateway/secrets."
        ]
    return []


RULES: tuple[Callable[[Variables], list[str]], ...] = (
    bind_errors,
    tailscale_errors,
    tls_errors,
    access_errors,
    model_errors,
    route_errors,
    behaviour_errors,
    place_errors,
    extra_errors,
)


def openclaw_gateway_input_errors(variables: Variables) -> list[str]:
    """Return everything that is wrong with role openclaw_gateway's variables, one sentence each, else an empty list.

    variables holds the role's variables under their names; one that is left out is not judged.
    """
    return [sentence for rule in RULES for sentence in rule(variables)]
