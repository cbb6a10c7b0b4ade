"""Rules for the variables of role tailscale: all that can be judged before a host is touched."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils import input_checks as checks

Variables = Mapping[str, Any]

BOOLEANS = (
    *("tailscale_oauth_ephemeral", "tailscale_oauth_preauthorized", "tailscale_force_reauth", "tailscale_ssh"),
    *("tailscale_accept_dns", "tailscale_accept_routes", "tailscale_no_logs", "tailscale_userspace"),
)
CHOICES: Mapping[str, tuple[str, ...]] = {
    "tailscale_state": ("present", "absent"),
    "tailscale_install_method": ("repository", "binaries"),
    "tailscale_netfilter_mode": ("on", "nodivert", "off"),
}
NUMBERS: Mapping[str, tuple[int, int, str]] = {
    "tailscale_up_timeout": (5, 3600, "seconds"),
    "tailscale_key_expiry_days": (0, 365, "days"),
    "tailscale_port": (0, 65535, "as a UDP port"),
}
_TAG = re.compile(r"(tag:)?[A-Za-z][A-Za-z0-9-]*")
_HOST_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_FLAG = re.compile(r"--?[a-z][a-z0-9-]*(=[A-Za-z0-9._:/@,+-]*)?")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_OURS = ("port", "state", "statedir", "socket", "no-logs-no-support", "cleanup")


def simple_errors(variables: Variables) -> list[str]:
    """Check what stands for itself: switches, choices, numbers, paths."""
    errors: list[str] = []
    for name in BOOLEANS:
        if name in variables:
            errors += checks.boolean_errors(name, variables[name])
    for name, choices in CHOICES.items():
        if name in variables:
            errors += checks.choice_errors(name, variables[name], choices)
    for name, (low, high, unit) in NUMBERS.items():
        if name in variables:
            errors += checks.integer_errors(name, variables[name], low, high, unit)
    if variables.get("tailscale_accept_risk", "") not in ("", "lose-ssh"):
        shown = checks.shown(variables["tailscale_accept_risk"])
        errors.append(f"tailscale_accept_risk is {shown}: set it to lose-ssh, or leave it empty.")
    if not checks.is_unset(variables.get("tailscale_version")):
        errors += checks.version_errors("tailscale_version", variables["tailscale_version"])
    if "tailscale_install_environment" in variables:
        errors += checks.environment_errors("tailscale_install_environment", variables["tailscale_install_environment"])
    return errors


def key_errors(variables: Variables) -> list[str]:
    """Check the auth key and the OAuth secret. Neither is ever shown."""
    errors: list[str] = []
    key, secret = (variables.get(name) or "" for name in ("tailscale_auth_key", "tailscale_oauth_secret"))
    for name, value in (("tailscale_auth_key", key), ("tailscale_oauth_secret", secret)):
        if value:
            problems = checks.carried_secret_errors(name, value)
            if not problems and re.search(r"\s", value):
                problems = [f"{name} has blanks in it: give the key alone."]
            if not problems and value.startswith("tskey-api-"):
                problems = [f"{name} is an API token, which cannot join a host: make an auth key or an OAuth client."]
            errors += problems
    if key and secret:
        errors.append("tailscale_auth_key and tailscale_oauth_secret are both set: leave one of them empty.")
    if isinstance(key, str) and key.startswith("tskey-client-"):
        errors.append("tailscale_auth_key is the secret of an OAuth client: put it into tailscale_oauth_secret.")
    if isinstance(secret, str) and secret.startswith("tskey-auth-"):
        errors.append("tailscale_oauth_secret is an auth key: put it into tailscale_auth_key.")
    if secret and not variables.get("tailscale_tags"):
        errors.append("tailscale_oauth_secret needs tailscale_tags: an OAuth client makes keys for tagged nodes only.")
    return errors


def node_errors(variables: Variables) -> list[str]:
    """Check what describes the node: server, name, tags, routes, operator."""
    errors: list[str] = []
    if "tailscale_login_server" in variables:
        example = "https://headscale.example.org"
        errors += checks.url_errors(
            "tailscale_login_server", variables["tailscale_login_server"], path=False, example=example
        )
    name = variables.get("tailscale_hostname", "")
    if name != "" and not (isinstance(name, str) and _HOST_LABEL.fullmatch(name)):
        errors.append(
            f"tailscale_hostname is {checks.shown(name)}: use up to 63 letters, digits and -, without a domain."
        )
    tags = variables.get("tailscale_tags", [])
    errors += checks.list_errors("tailscale_tags", tags)
    for tag in tags if isinstance(tags, (list, tuple)) else []:
        if not (isinstance(tag, str) and _TAG.fullmatch(tag)):
            errors.append(
                f"tailscale_tags has {checks.shown(tag)}: a tag is a letter, then letters, digits and -, like gateway."
            )
    errors += route_errors(variables.get("tailscale_advertise_routes", []))
    if variables.get("tailscale_operator", ""):
        errors += checks.user_errors("tailscale_operator", variables["tailscale_operator"])
    return errors


def route_errors(routes: Any) -> list[str]:
    """Check the advertised networks: CIDR form, without host bits."""
    label = "tailscale_advertise_routes"
    errors = checks.list_errors(label, routes)
    for route in [] if errors else routes:
        if isinstance(route, str) and "/" not in route:
            errors.append(f"{label} has {checks.shown(route)}, which has no length: write for example 192.0.2.0/24.")
        else:
            problems = checks.network_errors(label, route)
            errors += problems
            if not problems and str(ipaddress.ip_network(route)) != route:
                errors.append(f"{label} has {route}: write it as {ipaddress.ip_network(route)}.")
    return errors


def install_errors(variables: Variables) -> list[str]:
    """Check where the program comes from, and the daemon's flags."""
    errors: list[str] = []
    if variables.get("tailscale_install_method") == "binaries":
        folder = variables.get("tailscale_binaries_directory", "")
        if not (isinstance(folder, str) and folder):
            errors.append(
                "tailscale_install_method is binaries, and tailscale_binaries_directory is empty: name the folder on "
                "the controller that holds tailscale and tailscaled."
            )
    url = variables.get("tailscale_repository_url")
    if url is not None:
        errors += checks.url_errors(
            "tailscale_repository_url", url, example="https://mirror.example.org/tailscale/stable/debian"
        )
    key = variables.get("tailscale_repository_key_source")
    if key is not None and isinstance(key, str) and "://" in key:
        errors += checks.url_errors(
            "tailscale_repository_key_source",
            key,
            example="https://mirror.example.org/tailscale/stable/debian/trixie.gpg",
        )
    elif key is not None and not (isinstance(key, str) and key):
        errors.append("tailscale_repository_key_source is empty: give the URL of the repository's key, or a file.")
    if "tailscale_repository_keyring" in variables:
        errors += checks.path_errors("tailscale_repository_keyring", variables["tailscale_repository_keyring"])
    packages = variables.get("tailscale_packages", ["tailscale"])
    errors += checks.list_errors("tailscale_packages", packages)
    if isinstance(packages, (list, tuple)):
        wrong = [name for name in packages if not (isinstance(name, str) and _PACKAGE.fullmatch(name))]
        errors += [f"tailscale_packages has {checks.shown(name)}, not the name of a package." for name in wrong]
        if "tailscale" not in packages:
            errors.append("tailscale_packages lacks tailscale itself: add it.")
    return errors + flag_errors(variables)


def flag_errors(variables: Variables) -> list[str]:
    """Check tailscale_daemon_flags: one flag an item, none that the role sets, no userspace networking by accident."""
    label = "tailscale_daemon_flags"
    flags = variables.get(label, [])
    errors = checks.list_errors(label, flags)
    for flag in [] if errors else flags:
        if not (isinstance(flag, str) and _FLAG.fullmatch(flag)):
            errors.append(f"{label} has {checks.shown(flag)}: write one flag an item, like --debug=127.0.0.1:8088.")
            continue
        name, _is, value = flag.lstrip("-").partition("=")
        if name in _OURS:
            errors.append(f"{label} has {flag}, which the role sets itself: take it out.")
        if name == "tun" and value == "userspace-networking" and variables.get("tailscale_userspace") is not True:
            errors.append(
                f"{label} asks for userspace networking, which opens every loopback port of the host to the tailnet "
                "and gives the host no address: take it out, or set tailscale_userspace to true."
            )
    return errors


def tailscale_input_errors(variables: Variables) -> list[str]:
    """Return everything that is wrong with role tailscale's variables, one sentence each, else an empty list.

    variables holds the role's variables under their names; one that is left out is not judged.
    """
    rules = (simple_errors, key_errors, node_errors, install_errors)
    return [sentence for rule in rules for sentence in rule(variables)]
