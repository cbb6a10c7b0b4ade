"""Each role's argument_specs say the same as its defaults, and cover what can be run and set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(path.parent.parent.name for path in ROLES.glob("*/defaults/main.yml"))
ENTRY_POINTS = {
    *("main", "validate", "virtual_key", "health", "spend", "inventory", "rotation", "apply_secrets", "prove_turn"),
    *("rotate_virtual_key", "prove_virtual_key", "retire_virtual_key", "undo_virtual_key", "revoke_virtual_key"),
    *("rotate_gateway_token", "begin_install", "release", "preflight", "reach"),
    *("rotate_password", "finish_password"),
    *("rotate_secrets", "deploy_secrets", "return_secrets", "finish_secrets"),
    *("register_virtual_key", "stop", "run_unit"),
}
SECRET = re.compile(r"(_token|_password|_key|_provider_keys|_database_url|_environment)$")
# Files on the controller and names of hosts: the first task that uses one says when it is missing. Aliases have a task
# of their own.
NOT_JUDGED = re.compile(r"_config_template$|_host$|_other_(aliases|proxies)$")


def load(role: str, path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROLES / role / path).read_text())
    return content


def specs(role: str) -> dict[str, Any]:
    return load(role, "meta/argument_specs.yml")["argument_specs"]


def is_templated(value: Any) -> bool:
    return "{{" in str(value)


def all_options(options: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        pair for name, option in options.items() for pair in [(name, option), *all_options(option.get("options", {}))]
    ]


@pytest.mark.parametrize("role", NAMES)
def test_every_default_is_specified_with_the_same_value(role: str) -> None:
    options = specs(role)["main"]["options"]
    for name, value in load(role, "defaults/main.yml").items():
        assert name in options, f"{name} has no spec"
        if is_templated(value):
            assert "default" not in options[name], f"{name}: a computed default belongs into the description"
            assert "default" in str(options[name]["description"]), f"{name}: say what the default is"
        else:
            assert options[name]["default"] == value, name
            assert type(options[name]["default"]) is type(value), name


@pytest.mark.parametrize("role", NAMES)
def test_every_option_has_a_default_or_says_that_it_has_none(role: str) -> None:
    defaults = load(role, "defaults/main.yml")
    for name, option in specs(role)["main"]["options"].items():
        assert name in defaults or "No default" in str(option["description"]), name


@pytest.mark.parametrize("role", NAMES)
def test_every_option_has_a_type_and_a_description(role: str) -> None:
    for name, option in all_options(specs(role)["main"]["options"]):
        assert option.get("type"), name
        assert option.get("description"), name
        assert option["type"] != "list" or option.get("elements"), name


@pytest.mark.parametrize("role", NAMES)
def test_secrets_are_hidden(role: str) -> None:
    for name, option in specs(role)["main"]["options"].items():
        if SECRET.search(name):
            assert option.get("no_log") is True, name
            assert option["type"] in ("str", "dict"), name


@pytest.mark.parametrize("role", NAMES)
def test_every_entry_point_has_a_spec_and_every_spec_an_entry_point(role: str) -> None:
    tasks = {path.stem for path in (ROLES / role / "tasks").glob("*.yml")}
    assert set(specs(role)) == tasks & ENTRY_POINTS
    assert all(spec["short_description"] for spec in specs(role).values())


@pytest.mark.parametrize("role", ["firewall", "litellm", "openclaw_gateway", "postgresql", "tailscale"])
def test_validate_judges_every_variable(role: str) -> None:
    task = yaml.safe_load((ROLES / role / "tasks/validate.yml").read_text())[0]
    wanted = {name for name in load(role, "defaults/main.yml") if not NOT_JUDGED.search(name)}
    assert set(task["vars"][f"__{role}_names"]) == wanted
