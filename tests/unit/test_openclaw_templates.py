"""What the templates of the gateway render to: a configuration that is data with comments, a unit, a command."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible.plugins.test.core import TestModule as CoreTests

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles/openclaw_gateway"
CONFIG = ROOT / "templates/openclaw/openclaw.json5.j2"
MODEL = {
    "name": "claude-sonnet-4-5-20250929",
    "display_name": "Claude Sonnet 4.5",
    "context_window": 200000,
    "max_tokens": 64000,
    "reasoning": True,
    "input": ["text", "image"],
}
VARIABLES = {
    **yaml.safe_load((ROLE / "defaults/main.yml").read_text()),
    "ansible_managed": "Managed by Ansible.",
    "openclaw_gateway_models": [MODEL],
    "openclaw_gateway_primary_model": MODEL["name"],
    "openclaw_gateway_allowed_origins": ["http://192.0.2.1:4321"],
    "openclaw_gateway_state_dir": "/var/lib/openclaw/.openclaw",
    "openclaw_gateway_log_file": "/var/log/openclaw/openclaw.log",
    "openclaw_gateway_config_revision": "0123456789ab",
    "openclaw_gateway_bind_mode": "lan",
    "openclaw_gateway_tls_directory": "/var/lib/openclaw/tls",
    "openclaw_gateway_custom_bind_host": "",
    "__openclaw_gateway_bind_arguments": "",
    "__openclaw_gateway_bind_watched": False,
    "__openclaw_gateway_bind_program": "/opt/openclaw/openclaw_bind.py",
    "openclaw_gateway_group": "openclaw",
    "openclaw_gateway_node": "/opt/nodejs/current/bin/node",
    "openclaw_gateway_entry": "/opt/openclaw/current/node_modules/openclaw/openclaw.mjs",
    "__openclaw_gateway_environment": {
        "HOME": "/var/lib/openclaw",
        "NODE_OPTIONS": "",
        "OPENCLAW_CONFIG_READONLY": "1",
    },
}


def render(template: Path, **variables: Any) -> str:
    """A template with the role's defaults, as Ansible's template module sets Jinja up."""
    engine = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    engine.filters.update({name: do for name, do in FilterModule().filters().items() if name not in engine.filters})
    engine.tests.update({name: do for name, do in CoreTests().tests().items() if name not in engine.tests})
    return engine.from_string(template.read_text()).render({**VARIABLES, **variables})


def read(text: str) -> Any:
    """The data of a rendered configuration: JSON with comment lines and commas at the end of lines."""
    bare = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    return json.loads(re.sub(r",\n(\s*[}\]])", r"\1", bare))


def config(**variables: Any) -> Any:
    """The rendered configuration, read back."""
    return read(render(CONFIG, **variables))


def test_the_gateway_is_local_with_a_token_that_is_not_in_the_file() -> None:
    gateway = config()["gateway"]
    assert gateway["mode"] == "local"
    assert gateway["auth"]["mode"] == "token"
    assert gateway["auth"]["token"] == {"source": "file", "provider": "deploy", "id": "/gateway/token"}
    assert gateway["auth"]["allowTailscale"] is False


def test_the_file_is_marked_as_current_so_that_it_is_not_reverted() -> None:
    assert config(openclaw_gateway_version="2027.1.2")["meta"] == {"lastTouchedVersion": "2027.1.2"}


@pytest.mark.parametrize("bind", ["lan", "loopback", "tailnet"])
def test_a_bind_needs_no_address(bind: str) -> None:
    gateway = config(openclaw_gateway_bind_mode=bind, openclaw_gateway_custom_bind_host="192.0.2.7")["gateway"]
    assert gateway["bind"] == bind
    assert "customBindHost" not in gateway


def test_a_named_address_is_a_custom_bind() -> None:
    gateway = config(openclaw_gateway_bind_mode="custom", openclaw_gateway_custom_bind_host="192.0.2.7")["gateway"]
    assert (gateway["bind"], gateway["customBindHost"]) == ("custom", "192.0.2.7")


def test_all_models_go_through_litellm_and_no_other_catalog_counts() -> None:
    models = config(openclaw_gateway_litellm_url="http://192.0.2.9:4000")["models"]
    assert models["mode"] == "replace"
    assert list(models["providers"]) == ["litellm"]
    provider = models["providers"]["litellm"]
    assert (provider["baseUrl"], provider["api"]) == ("http://192.0.2.9:4000", "anthropic-messages")
    assert provider["apiKey"] == {"source": "file", "provider": "deploy", "id": "/litellm/apiKey"}
    assert provider["models"] == [
        {
            "id": "claude-sonnet-4-5-20250929",
            "name": "Claude Sonnet 4.5",
            "reasoning": True,
            "input": ["text", "image"],
            "contextWindow": 200000,
            "maxTokens": 64000,
        }
    ]


def test_a_model_with_nothing_but_a_name_is_enough() -> None:
    given = config(openclaw_gateway_models=[{"name": "azure/gpt-4o"}])
    assert given["models"]["providers"]["litellm"]["models"] == [{"id": "azure/gpt-4o", "name": "azure/gpt-4o"}]


def test_the_primary_model_and_its_fallbacks_carry_the_provider() -> None:
    assert config()["agents"]["defaults"]["model"] == {"primary": "litellm/claude-sonnet-4-5-20250929"}
    model = config(openclaw_gateway_fallback_models=["azure/gpt-4o"])["agents"]["defaults"]["model"]
    assert model["fallbacks"] == ["litellm/azure/gpt-4o"]


def test_nothing_that_costs_or_opens_is_on_by_itself() -> None:
    given = config()
    assert given["agents"]["defaults"]["heartbeat"]["every"] == "0m"
    assert given["plugins"]["entries"]["memory-core"]["config"]["dreaming"]["enabled"] is False
    assert given["browser"]["enabled"] is False
    assert given["gateway"]["terminal"]["enabled"] is False
    assert given["tools"]["elevated"]["enabled"] is False
    assert given["tools"]["exec"]["mode"] == "ask"
    assert given["discovery"]["mdns"]["mode"] == "off"
    assert given["telemetry"]["enabled"] is False
    assert given["update"] == {"checkOnStart": False, "auto": {"enabled": False}}


def test_the_rate_limit_is_given_in_milliseconds() -> None:
    limit = {"max_attempts": 3, "window_seconds": 2, "lockout_seconds": 7}
    rendered = config(openclaw_gateway_rate_limit=limit)["gateway"]["auth"]["rateLimit"]
    assert rendered == {"maxAttempts": 3, "windowMs": 2000, "lockoutMs": 7000}


def test_a_changed_secret_changes_the_configuration() -> None:
    assert render(CONFIG) != render(CONFIG, openclaw_gateway_config_revision="ba9876543210")


def test_further_settings_are_merged_at_any_depth_and_win() -> None:
    extra = {"gateway": {"port": 5000, "auth": {"rateLimit": {"maxAttempts": 1}}}, "cron": {"enabled": False}}
    given = config(openclaw_gateway_config_extra=extra)
    assert given["gateway"]["port"] == 5000
    assert given["gateway"]["mode"] == "local"
    assert given["gateway"]["auth"]["rateLimit"] == {"maxAttempts": 1, "windowMs": 60000, "lockoutMs": 300000}
    assert given["cron"] == {"enabled": False}


def test_a_null_in_the_further_settings_removes_a_line() -> None:
    extra = {"logging": None, "agents": {"defaults": {"skipBootstrap": None}}}
    given = config(openclaw_gateway_config_extra=extra)
    assert "logging" not in given
    assert "skipBootstrap" not in given["agents"]["defaults"]
    assert "heartbeat" in given["agents"]["defaults"]


def test_a_list_in_the_further_settings_replaces_ours() -> None:
    extra = {"models": {"providers": {"litellm": {"models": [{"id": "x", "name": "X", "cost": {"input": 1}}]}}}}
    given = config(openclaw_gateway_config_extra=extra)["models"]["providers"]["litellm"]
    assert given["models"] == extra["models"]["providers"]["litellm"]["models"]


@pytest.mark.parametrize(
    "value",
    [
        'say "hi"',
        "back\\slash",
        "two\nlines",
        "// no comment",
        "a, ]",
        "{{ 7 * 7 }}",
        "café",
        "",
        0,
        False,
        [],
        [[1], {}],
        {},
    ],
)
def test_any_value_survives_the_way_into_the_file(value: Any) -> None:
    extra = {"env": {"vars": {"A": value, "B": 1}}, "ui": {"assistant": {"name": value, "more": {"x": [value]}}}}
    given = config(openclaw_gateway_config_extra=extra)
    assert given["env"] == extra["env"]
    assert given["ui"] == extra["ui"]


def test_a_key_that_is_no_text_becomes_one() -> None:
    assert config(openclaw_gateway_config_extra={"x": {5: {6: 7}}})["x"] == {"5": {"6": 7}}


def test_every_section_says_why() -> None:
    lines = render(CONFIG).splitlines()
    sections = [number for number, line in enumerate(lines) if re.match(r'  "\w+": ', line)]
    assert len(sections) >= 10
    assert [lines[number] for number in sections if not lines[number - 1].startswith("  // ")] == []


def test_the_file_begins_with_the_mark_of_ansible() -> None:
    assert "Managed by Ansible." in render(CONFIG).split("{")[0]


def unit() -> list[str]:
    """The lines of the unit."""
    return render(ROLE / "templates/openclaw-gateway.service.j2").splitlines()


def test_the_unit_does_not_restart_what_a_restart_cannot_help() -> None:
    assert {"Restart=always", "RestartPreventExitStatus=78", "StartLimitBurst=10"} <= set(unit())


def test_the_unit_has_no_directive_that_the_gateway_cannot_run_with() -> None:
    assert [line for line in unit() if re.match("RestrictSUIDSGID|MemoryDenyWriteExecute|DynamicUser", line)] == []


def test_the_unit_and_the_command_share_their_environment() -> None:
    command = render(ROLE / "templates/openclaw.sh.j2")
    assert 'Environment="OPENCLAW_CONFIG_READONLY=1"' in unit()
    assert "    OPENCLAW_CONFIG_READONLY=1 \\\n" in command
    assert "    NODE_OPTIONS='' \\\n" in command


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """The operator's command for the user who runs this test, with a node that prints what it was given."""
    node = tmp_path / "node"
    node.write_text('#!/bin/sh\npwd; printf "<%s>" "$@"; cat; env; exit 7\n')
    node.chmod(0o755)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    script = tmp_path / "openclaw"
    script.write_text(
        render(
            ROLE / "templates/openclaw.sh.j2",
            openclaw_gateway_user=user,
            openclaw_gateway_group=user,
            openclaw_gateway_home=str(tmp_path),
            openclaw_gateway_node=str(node),
            openclaw_gateway_entry="/entry.mjs",
            __openclaw_gateway_environment={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SPACED": "a 'b' $c"},
        )
    )
    script.chmod(0o755)
    return script


def test_the_command_keeps_arguments_input_and_exit_code(command: Path) -> None:
    arguments = ["say", 'it\'s "quoted" $HOME', "", "a  b"]
    done = subprocess.run([command, *arguments], input="from stdin\n", capture_output=True, text=True, check=False)
    assert done.returncode == 7
    home, rest = done.stdout.split("\n", 1)
    assert home == str(command.parent)
    assert rest.startswith("".join(f"<{argument}>" for argument in ["/entry.mjs", *arguments]) + "from stdin\n")


def test_the_command_lets_nothing_of_the_callers_environment_through(command: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "OPENCLAW_STATE_DIR": "/elsewhere",
        "NODE_OPTIONS": "--inspect",
        "LANG": "C",
    }
    done = subprocess.run([command], input="", env=environment, capture_output=True, text=True, check=False)
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen["SPACED"] == "a 'b' $c"
    assert seen["LANG"] == "C"
    assert "OPENCLAW_STATE_DIR" not in seen
    assert "NODE_OPTIONS" not in seen


def test_the_command_refuses_a_caller_who_may_not_become_the_service_user(command: Path) -> None:
    text = command.read_text().replace("id -un", "echo somebody").replace("id -u)", "echo 1000)")
    done = subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 77
    assert "sudo openclaw" in done.stderr


def test_the_lock_file_pins_the_release_by_integrity_and_names_no_server() -> None:
    lock = json.loads((ROLE / "files/npm/package-lock.json").read_text())["packages"]
    assert lock["node_modules/openclaw"]["version"] == VARIABLES["openclaw_gateway_version"]
    packages = [package for path, package in lock.items() if path]
    assert [package for package in packages if "resolved" in package] == []
    assert [package for package in packages if not ("integrity" in package or package.get("inBundle"))] == []


def test_install_scripts_are_allowed_for_openclaw_alone() -> None:
    lock = json.loads((ROLE / "files/npm/package-lock.json").read_text())["packages"]
    with_scripts = {
        path.rpartition("node_modules/")[2] for path, package in lock.items() if "hasInstallScript" in package
    }
    allowed = json.loads((ROLE / "files/npm/package.json").read_text())["allowScripts"]
    assert set(allowed) == with_scripts
    assert [name for name, is_allowed in allowed.items() if is_allowed] == ["openclaw"]


class Installer:
    """install_release.sh with an npm and a node of our own; npm leaves what `npm_script` makes."""

    def __init__(self, folder: Path, npm_script: str) -> None:
        """Make the doubles in `folder`."""
        self.release = folder / "releases/1.2.3"
        self.lock = folder / "lock"
        self.bin = folder / "bin"
        self.log = folder / "npm.log"
        for directory in (self.lock, self.bin):
            directory.mkdir(parents=True)
        (self.lock / "package.json").write_text("{}")
        (self.lock / "package-lock.json").write_text("{}")
        self.program("npm", f'echo "$@" >> {shlex.quote(str(self.log))}\n{npm_script}')
        self.program("node", "echo OpenClaw 1.2.3 \\(abc\\)")
        self.program("setpriv", 'while [ "$1" != env ]; do shift; done; exec "$@"')

    def program(self, name: str, script: str) -> None:
        """Write a double."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run the installer for the user who runs this test."""
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        paths = [ROLE / "files/install_release.sh", self.release, self.lock, self.bin]
        return subprocess.run([*map(str, paths), user], capture_output=True, text=True, check=False)


INSTALLS = "mkdir -p node_modules/openclaw"


def test_a_release_is_installed_once(tmp_path: Path) -> None:
    installer = Installer(tmp_path, INSTALLS)
    assert installer.run().stdout == "installed\n"
    assert installer.run().stdout == "unchanged\n"
    assert [line.split()[0] for line in installer.log.read_text().splitlines()] == ["ci", "rebuild"]
    assert [path.name for path in installer.release.parent.iterdir()] == ["1.2.3"]


def test_of_two_at_a_time_the_second_waits_and_finds_the_release(tmp_path: Path) -> None:
    installer = Installer(tmp_path, f"sleep 0.3; {INSTALLS}")
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _number: installer.run(), range(2)))
    assert sorted(done.stdout for done in both) == ["installed\n", "unchanged\n"]
    assert len(installer.log.read_text().splitlines()) == 2


def test_a_changed_lock_file_installs_the_release_again(tmp_path: Path) -> None:
    installer = Installer(tmp_path, INSTALLS)
    installer.run()
    (installer.lock / "package-lock.json").write_text('{"changed": true}')
    assert installer.run().stdout == "installed\n"
    assert len(list(installer.release.glob(".complete-*"))) == 1
    assert [path.name for path in installer.release.parent.iterdir()] == ["1.2.3"]


def test_a_left_over_lifecycle_marker_fails_the_installation(tmp_path: Path) -> None:
    installer = Installer(tmp_path, f"{INSTALLS}; touch node_modules/openclaw/.openclaw-lifecycle-pending")
    done = installer.run()
    assert done.returncode != 0
    assert ".openclaw-lifecycle-pending" in done.stderr
    assert not installer.release.exists()


@pytest.mark.parametrize("printed", ["OpenClaw 1.2.30 (abc)", "OpenClaw 1.2.2 (abc)", ""])
def test_another_version_than_the_pinned_one_fails_the_installation(tmp_path: Path, printed: str) -> None:
    installer = Installer(tmp_path, INSTALLS)
    installer.program("node", f"echo '{printed}'")
    assert "expected version 1.2.3" in installer.run().stderr
    assert not installer.release.exists()


def test_a_failed_installation_leaves_the_release_before_it_and_can_be_repeated(tmp_path: Path) -> None:
    installer = Installer(tmp_path, INSTALLS)
    installer.run()
    (installer.lock / "package-lock.json").write_text('{"changed": true}')
    installer.program("npm", "exit 3")
    before = sorted(installer.release.iterdir())
    assert installer.run().returncode == 3
    assert sorted(installer.release.iterdir()) == before
    installer.program("npm", INSTALLS)
    assert installer.run().stdout == "installed\n"


def test_an_installation_killed_half_way_can_be_repeated(tmp_path: Path) -> None:
    installer = Installer(tmp_path, f"{INSTALLS}; touch half; kill -KILL $PPID")
    assert installer.run().returncode < 0
    time.sleep(0.1)
    assert not installer.release.exists()
    installer.program("npm", INSTALLS)
    assert installer.run().stdout == "installed\n"
    assert not (installer.release / "half").exists()


def test_only_a_gateway_with_an_address_that_may_be_missing_waits_for_it() -> None:
    unit = ROLE / "templates/openclaw-gateway.service.j2"
    assert "ExecStartPre" not in render(unit)
    arguments = "--interface tailscale0"
    waits = render(unit, __openclaw_gateway_bind_arguments=arguments, openclaw_gateway_address_timeout=300)
    assert "openclaw_bind.py wait --interface tailscale0 --seconds 300" in waits
    assert "TimeoutStartSec=330" in waits
    assert "openclaw-gateway-bind" not in waits
    kept = render(unit, __openclaw_gateway_bind_arguments="--address 192.0.2.7", __openclaw_gateway_bind_watched=True)
    assert "Wants=openclaw-gateway-bind.service" in kept


def test_serve_is_openclaws_own() -> None:
    assert config()["gateway"]["tailscale"] == {"mode": "off"}
    assert config(openclaw_gateway_tailscale="serve")["gateway"]["tailscale"] == {"mode": "serve"}
