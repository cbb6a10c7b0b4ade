"""Rules of roles/litellm/files/litellm_check.py, on plain data."""

from __future__ import annotations

import copy
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from script import load

check = load("roles/litellm/files/litellm_check.py")

MASTER = "sk-" + "0123456789abcdefghij"
SALT = "sk-" + "ABCDEFGHIJ9876543210"
ENVIRONMENT = {
    "LITELLM_MASTER_KEY": MASTER,
    "LITELLM_SALT_KEY": SALT,
    "DATABASE_URL": "postgresql://litellm:pw-of-database@127.0.0.1:5432/litellm",
    "AZURE_API_KEY": "azure-secret-0123456789",
}
CONFIG: dict[str, Any] = {
    "model_list": [
        {
            "model_name": "claude",
            "litellm_params": {
                "model": "azure/gpt-4o",
                "api_key": "os.environ/AZURE_API_KEY",
                "api_base": "https://example.openai.azure.com",
                "api_version": "2024-10-21",
            },
        },
        {
            "model_name": "local",
            "litellm_params": {"model": "hosted_vllm/llama", "api_base": "http://127.0.0.1:8081/v1"},
        },
    ],
    "litellm_settings": {"num_retries": 2, "fallbacks": [{"claude": ["local"]}]},
    "router_settings": {"routing_strategy": "simple-shuffle"},
    "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY", "database_url": "os.environ/DATABASE_URL"},
}
KNOWN = check.Known(
    top=frozenset({"model_list", "litellm_settings", "router_settings", "general_settings", "environment_variables"}),
    general=frozenset({"master_key", "database_url", "proxy_batch_write_at"}),
    settings=frozenset({"num_retries", "fallbacks", "default_fallbacks", "drop_params", "custom_provider_map"}),
    router=frozenset({"routing_strategy", "model_group_alias", "fallbacks", "context_window_fallbacks"}),
    entry=frozenset({"model_name", "litellm_params", "model_info"}),
    params=frozenset({"model", "api_key", "api_base", "api_version", "input_cost_per_token", "custom_llm_provider"}),
    providers=frozenset({"azure", "anthropic", "openai", "hosted_vllm", "ollama", "bedrock"}),
    priced=frozenset({"gpt-4o", "azure/gpt-4o"}),
)


def changed(path: str, value: Any) -> dict[str, Any]:
    """CONFIG with one value set; `path` is dotted, list indexes are numbers."""
    config: Any = copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    target = config
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    if isinstance(target, list):
        target.insert(int(last), value)
    else:
        target[last] = value
    return config


def test_a_right_configuration_has_no_findings() -> None:
    assert check.lint(CONFIG, ENVIRONMENT, KNOWN) == []
    assert check.notes(CONFIG, KNOWN) == [
        "model 'local' has no known price, so its spend stays 0 and no budget stops it; set "
        "params.input_cost_per_token and params.output_cost_per_token"
    ]


FIRST = "model_list.0.litellm_params"
BAD_CONFIGS = {
    "unknown top-level key": ("litelm_settings", {}, "config.yaml: unknown key 'litelm_settings', did you mean"),
    "unknown general setting": ("general_settings.masterkey", "x", "general_settings: unknown key 'masterkey'"),
    "unknown litellm setting": ("litellm_settings.num_retires", 2, "litellm_settings: unknown key 'num_retires'"),
    "setting in the wrong section": ("router_settings.master_key", 1, "router_settings: unknown key 'master_key'"),
    "unknown model parameter": (f"{FIRST}.api_bse", "x", "model 'claude': litellm_params: unknown key 'api_bse'"),
    "unknown key beside parameters": ("model_list.0.rpm", 5, "model 'claude': unknown key 'rpm'"),
    "section of a wrong type": ("router_settings", ["a"], "router_settings: is not a mapping"),
    "variable that is not set": (f"{FIRST}.api_key", "os.environ/NOPE", "api_key: NOPE is not set in litellm.env"),
    "variable deep inside": ("litellm_settings.cache_params", {"a": [{"b": "os.environ/NOPE"}]}, "NOPE is not set"),
    "reference with a dot": (f"{FIRST}.api_key", "os.environ.AZURE_API_KEY", "write it as os.environ/NAME"),
    "reference in shell style": (f"{FIRST}.api_key", "${AZURE_API_KEY}", "write it as os.environ/NAME"),
    "key in the file": (f"{FIRST}.api_key", "azure-secret-0123456789", "api_key: holds a secret"),
    "secret in a nested list": ("litellm_settings.x", [{"client_secret": "c" * 20}], "client_secret: holds a secret"),
    "password in a URL": (f"{FIRST}.api_base", "http://u:hunter2@h/v1", "api_base: holds a secret"),
    "no models": ("model_list", [], "model_list: is empty"),
    "models as a mapping": ("model_list", {"a": 1}, "model_list: is empty"),
    "model without a name": (
        "model_list.0",
        {"litellm_params": {"model": "azure/x"}},
        "model_list[0]: needs model_name",
    ),
    "model name as a number": ("model_list.0.model_name", 4, "model_list[0]: needs model_name"),
    "model without parameters": ("model_list.1", {"model_name": "x"}, "model_list[1]: needs model_name"),
    "unknown provider": (f"{FIRST}.model", "azur/gpt-4o", "knows no provider for 'azur/gpt-4o'"),
    "no provider": (f"{FIRST}.model", "my-llama", "knows no provider for 'my-llama'"),
    "anthropic base with /v1": (
        "model_list.0",
        {"model_name": "a", "litellm_params": {"model": "anthropic/x", "api_base": "https://h/v1/"}},
        "goes without /v1",
    ),
    "ollama without a base": (
        "model_list.0",
        {"model_name": "a", "litellm_params": {"model": "ollama/llama3"}},
        "LiteLLM would start an Ollama of its own",
    ),
    "identical twin": (
        "model_list.0",
        CONFIG["model_list"][1],
        "model 'local': is there twice with the same parameters",
    ),
    "same name": (
        "model_list.0",
        {"model_name": "local", "litellm_params": {"model": "openai/other"}},
        "model 'local': is there twice; names are unique",
    ),
    "fallback from nowhere": ("litellm_settings.fallbacks", [{"no": ["local"]}], "no model 'no' to fall back from"),
    "fallback to nowhere": ("litellm_settings.fallbacks", [{"claude": ["no"]}], "no model 'no' to fall back to"),
    "fallback in the router": ("router_settings.context_window_fallbacks", [{"claude": ["no"]}], "fall back to"),
    "fallback that is no mapping": ("litellm_settings.fallbacks", ["claude"], "no model 'None' to fall back from"),
    "fallback to a bare name": ("litellm_settings.fallbacks", [{"claude": "local"}], "no model 'None' to fall back to"),
    "fallback to itself": ("litellm_settings.fallbacks", [{"claude": ["claude"]}], "'claude' falls back to itself"),
    "default fallback to nowhere": (
        "litellm_settings.default_fallbacks",
        ["no"],
        "default_fallbacks: there is no model",
    ),
    "literal master key": ("general_settings.master_key", MASTER, "master_key: must be os.environ/LITELLM_MASTER_KEY"),
    "no database": ("general_settings.database_url", None, "database_url: must be os.environ/DATABASE_URL"),
    "weak keys permitted": (
        "general_settings.dangerously_permit_weak_or_unset_master_key",
        True,
        "dangerously_permit_weak_or_unset_master_key: is for development only",
    ),
    "accidental name in the file": ("environment_variables", {"PORT": "1"}, "command line reads PORT"),
}


@pytest.mark.parametrize(("path", "value", "finding"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_a_bad_configuration_is_found(path: str, value: Any, finding: str) -> None:
    findings = check.lint(changed(path, value), ENVIRONMENT, KNOWN)
    assert any(finding in line for line in findings), findings
    secrets = ("azure-secret", "hunter2", "cccccccc", "pw-of-database", MASTER)
    assert not any(secret in line for line in findings for secret in secrets)


BAD_ENVIRONMENTS = {
    "no master key": ({"LITELLM_MASTER_KEY": ""}, "LITELLM_MASTER_KEY: is not set"),
    "the well-known key": ({"LITELLM_MASTER_KEY": "sk-1234"}, "LITELLM_MASTER_KEY: is weak"),
    "key without prefix": ({"LITELLM_MASTER_KEY": MASTER[3:] + "klm"}, "LITELLM_MASTER_KEY: must start with sk-"),
    "one letter repeated": ({"LITELLM_MASTER_KEY": "sk-" + "a" * 40}, "LITELLM_MASTER_KEY: is weak"),
    "key with a space": ({"LITELLM_MASTER_KEY": MASTER + " x"}, "LITELLM_MASTER_KEY: may only have printable"),
    "no salt key": ({"LITELLM_SALT_KEY": ""}, "LITELLM_SALT_KEY: is not set"),
    "empty provider key": ({"AZURE_API_KEY": ""}, "AZURE_API_KEY is empty in litellm.env"),
    "no database": ({"DATABASE_URL": ""}, "DATABASE_URL: is not set; LiteLLM would start without a database"),
    "another database": ({"DATABASE_URL": "mysql://u:p@h/d"}, "DATABASE_URL: is not postgresql://"),
    "database without a name": ({"DATABASE_URL": "postgresql://u:p@h:5432"}, "DATABASE_URL: is not postgresql://"),
    "database with a bad port": ({"DATABASE_URL": "postgresql://u:p@h:abc/d"}, "DATABASE_URL: is not postgresql://"),
    "HOST": ({"HOST": "x"}, "command line reads HOST"),
    "NUM_WORKERS": ({"NUM_WORKERS": "2"}, "command line reads NUM_WORKERS"),
    "another source of the configuration": (
        {"LITELLM_CONFIG_BUCKET_NAME": "b"},
        "LITELLM_CONFIG_BUCKET_NAME would undo",
    ),
}


@pytest.mark.parametrize(("change", "finding"), BAD_ENVIRONMENTS.values(), ids=BAD_ENVIRONMENTS)
def test_a_bad_environment_is_found(change: dict[str, str], finding: str) -> None:
    findings = check.lint(CONFIG, {**ENVIRONMENT, **change}, KNOWN)
    assert len(findings) == 1, findings
    assert finding in findings[0]


def test_all_findings_come_at_once() -> None:
    config = changed("general_settings.masterkey", "x")
    config["litellm_settings"]["fallbacks"] = [{"no": ["nor"]}]
    assert len(check.lint(config, {**ENVIRONMENT, "PORT": "1"}, KNOWN)) == 4


def test_an_operator_can_vouch_for_a_name_and_for_a_group_of_deployments() -> None:
    config = changed(f"{FIRST}.num_gpu", 1)
    assert check.lint(config, ENVIRONMENT, KNOWN, frozenset({"num_gpu"})) == []
    config["model_list"].append({"model_name": "local", "litellm_params": {"model": "openai/other"}})
    assert check.lint(config, ENVIRONMENT, KNOWN, frozenset({"num_gpu"}), same_name_allowed=True) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("litellm_settings.custom_provider_map", [{"provider": "mine"}]),
        ("router_settings.model_group_alias", {"mine": "local"}),
        ("model_list.0", {"model_name": "mine", "litellm_params": {"model": "gpt-4o"}}),
        ("model_list.0", {"model_name": "azure/*", "litellm_params": {"model": "azure/*"}}),
        ("model_list.0", {"model_name": "m", "litellm_params": {"model": "m", "custom_llm_provider": "openai"}}),
        ("litellm_settings.fallbacks", [{"*": ["local"]}]),
        ("litellm_settings.fallbacks", None),
        (f"{FIRST}.api_key", "none"),
        ("environment_variables", {"MINE": "x"}),
    ],
)
def test_what_litellm_accepts_is_accepted(path: str, value: Any) -> None:
    assert check.lint(changed(path, value), ENVIRONMENT, KNOWN) == []


def test_fallbacks_may_name_aliases_wildcards_and_own_variables() -> None:
    config = changed("router_settings.model_group_alias", {"alias": "local"})
    config["model_list"].append({"model_name": "azure/*", "litellm_params": {"model": "azure/*"}})
    config["litellm_settings"]["fallbacks"] = [{"alias": ["azure/gpt-4o"]}]
    config["environment_variables"] = {"MINE": "x"}
    config["model_list"][1]["litellm_params"]["api_key"] = "os.environ/MINE"
    assert check.lint(config, ENVIRONMENT, KNOWN) == []


def test_openai_compatible_servers_without_a_responses_endpoint_are_noted() -> None:
    config = changed("model_list.1.litellm_params", {"model": "openai/llama", "api_base": "http://h/v1"})
    assert "calls that think go to http://h/v1/responses" in check.notes(config, KNOWN)[1]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"plain"', "plain"),
        ('""', ""),
        (r'"a\"b\\c\$d\`e"', 'a"b\\c$d`e'),
        (r'"C:\new"', r"C:\new"),
        (r'"\\"', "\\"),
        (r'"\\\""', '\\"'),
        ('"it\'s # 100% ; a b "', "it's # 100% ; a b "),
        ('"two\nlines"', "two\nlines"),
        ('"joined \\\nline"', "joined line"),
        ('"ünï→"', "ünï→"),
    ],
)
def test_values_are_read_as_systemd_reads_them(written: str, value: str) -> None:
    assert check.parse_environment(f"# comment\n\nNAME={written}\n; end") == ({"NAME": value}, [])


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("A=plain\n", 'litellm.env: line 1 is not NAME="value"'),
        ('# x\nA-B="1"\nC="2"\n', 'litellm.env: line 2 is not NAME="value"'),
        ('A="1" trailing\n', 'litellm.env: line 1 is not NAME="value"'),
        ('A="open\n', 'litellm.env: line 1 is not NAME="value"'),
        ('A="1"\nA="2"\n', "litellm.env: A is set twice"),
    ],
)
def test_a_broken_environment_file_is_found_without_its_values(text: str, finding: str) -> None:
    assert check.parse_environment(text)[1] == [finding]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("a: [", "config.yaml: line 1"),
        ("- a\n", "config.yaml: is not a mapping"),
        ("", "config.yaml: is not a mapping"),
        ("a: 1\nb: 2\na: 3\n", "config.yaml: line 3 'a' stands twice"),
        ("a: {b: 1, b: 2}\n", "config.yaml: line 1 'b' stands twice"),
        ("a: !!python/object/apply:os.system ['true']\n", "config.yaml: line 1"),
    ],
)
def test_a_broken_file_is_found(text: str, finding: str) -> None:
    config, findings = check.parse_config(text)
    assert config is None
    assert len(findings) == 1 and findings[0].startswith(finding)


@pytest.mark.parametrize(
    ("code", "output", "finding"),
    [
        (0, "LiteLLM: config OK (2 models)", None),
        (0, "LiteLLM: config OK (1 models)", "keeps only 1 of 2 models"),
        (0, "nothing said", "LiteLLM refuses the file (exit code 0): nothing said"),
        (1, "noise\nLiteLLM: config validation failed: bad strategy\n", "config validation failed: bad strategy"),
        (1, "", "no output"),
        (-9, "one\ntwo\nthree\nfour", "(exit code -9): two three four"),
    ],
)
def test_the_verdict_of_litellm_is_read(code: int, output: str, finding: str | None) -> None:
    findings = check.verdict_of(code, output, 2)
    assert (findings == []) if finding is None else (finding in findings[0])


def test_no_secret_survives_in_what_litellm_says() -> None:
    environment = {"A": "secret-value", "B": 'with"quote', "C": "short"}
    text = '\x1b[32mfailed secret-value {"b": "with\\"quote"} sk-abcdefghijk short'
    assert check.without_secrets(text, environment) == 'failed *** {"b": "***"} sk-*** short'


def test_names_are_read_from_source() -> None:
    tree = check.ast.parse(
        "import os\nfirst: int = 1\nif os.sep:\n    second = 2\ntry:\n    third = 3\nexcept OSError:\n    fourth = 4\n"
        "class Router:\n    field: str\n    plain = 1\n    def __init__(self, a, b=1, *, c=None): ...\n"
        "class LlmProviders:\n    OPENAI = 'openai'\nNAMES: set = frozenset({'x', 'y'})\n"
    )
    assert check.assigned_names(tree.body) == {"first", "second", "third", "fourth", "NAMES"}
    assert check.class_fields(tree, "Router") == {"field"}
    assert check.init_arguments(tree, "Router") == {"a", "b", "c"}
    assert check.provider_names(tree) == {"openai"}
    assert check.literal_strings(tree, "NAMES") == {"x", "y"}
    assert check.keys_read('a.get("one") + a["two"] + b.pop(\n "three") + ba.get("four")', "a", "b") == {
        "one",
        "two",
        "three",
    }


def test_an_unfamiliar_release_is_reported_instead_of_every_key(tmp_path: Path) -> None:
    with pytest.raises(check.CheckError, match="cannot read what LiteLLM"):
        check.known_names(tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A release with the bits of LiteLLM's source that are read, a stand-in for its command, and a right candidate."""
    sources = {
        "proxy/_types.py": "class ConfigYAML:\n    model_list: list\n    litellm_settings: dict\n"
        "    router_settings: dict\n    general_settings: dict\n"
        "class ConfigGeneralSettings:\n    master_key: str\n    database_url: str\n",
        "proxy/proxy_server.py": "x = general_settings.get('x')\nclass ProxyConfig:\n    config.get(\"guardrails\")\n"
        '    key == "cache_params"\ny = general_settings["background_health_checks"]\n',
        "__init__.py": "num_retries = 1\ncallbacks = []\nfallbacks = []\ndrop_params = False\n",
        "_logging.py": "json_logs = False\n",
        "constants.py": "request_timeout = 1\nOPENAI_CHAT_COMPLETION_PARAMS = ['temperature']\n"
        "ROUTER_SETTINGS_MANAGED_OUTSIDE_CONFIG = {'model_list'}\n",
        "router.py": "class Router:\n    def __init__(self, routing_strategy, fallbacks, model_list): ...\n",
        "router_utils/x.py": "",
        "litellm_core_utils/x.py": "",
        "utils.py": "",
        "main.py": "",
        "types/router.py": "class Deployment:\n    model_name: str\n    litellm_params: dict\n    model_info: dict\n"
        "class LiteLLM_Params:\n    model: str\n    rpm: int\n",
        "types/litellm_params.py": "class A:\n    api_key: str\nclass B:\n    api_base: str\n    api_version: str\n",
        "types/utils.py": "class LlmProviders:\n"
        + "".join(f"    {n} = '{n}'\n" for n in sorted(KNOWN.providers | {"vertex_ai"})),
        "llms/vertex.py": 'optional_params.pop("vertex_project")\nlitellm_params.get("aws_region_name")\n',
        "llms/openai_like/providers.json": "{}",
        "model_prices_and_context_window_backup.json": '{"gpt-4o": {}, "azure/gpt-4o": {}}',
    }
    package = tmp_path / "release/venv/lib/python3.11/site-packages/litellm"
    for name, text in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    for folder in ("release/venv/bin", "live", "stage"):
        (tmp_path / folder).mkdir()
    (tmp_path / "live/callbacks.py").write_text("")
    (tmp_path / "live/config.yaml").write_text("live")
    command = tmp_path / "release/venv/bin/litellm"
    command.write_text(
        '#!/bin/sh\nset -eu\n[ "$1 $3" = "--config --validate_config" ]\n[ -z "${HOME:-}" ]\n'
        "[ -e callbacks.py ]\ngrep -q model_name config.yaml\n"
        'echo "LiteLLM: config OK (${MODELS:-2} models) $LITELLM_MODE $LITELLM_MASTER_KEY"\n'
    )
    command.chmod(0o755)
    (tmp_path / "stage/config.yaml").write_text(check.yaml.safe_dump(CONFIG))
    write_environment(tmp_path, {})
    return tmp_path


def write_environment(host: Path, more: dict[str, str]) -> None:
    """Write the candidate litellm.env with further variables."""
    lines = [f'{name}="{value}"\n' for name, value in {**ENVIRONMENT, **more}.items()]
    (host / "stage/litellm.env").write_text("".join(lines))


def run(host: Path) -> int:
    """Check the candidate of the fixture as the user who runs the tests."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    options = [f"--stage={host}/stage", f"--release={host}/release", f"--config-dir={host}/live", f"--user={user}"]
    return check.main(options)


def test_a_right_candidate_passes_and_brings_notes(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(host) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("note: model 'local' has no known price")


def test_a_model_that_litellm_drops_is_found(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_environment(host, {"MODELS": "1"})
    assert run(host) == 1
    assert capsys.readouterr().err == (
        "LiteLLM accepts the file but keeps only 1 of 2 models; check the others' parameters\n"
    )


def test_findings_of_both_files_come_together_before_litellm_is_asked(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_environment(host, {"PORT": "1", "MODELS": "1"})
    (host / "stage/config.yaml").write_text(check.yaml.safe_dump(changed("router_settings.timeot", 1)))
    assert run(host) == 1
    assert capsys.readouterr().err.splitlines() == [
        "router_settings: unknown key 'timeot'",
        "environment: LiteLLM's command line reads PORT; use another name",
    ]


def test_a_candidate_that_is_no_yaml_is_one_finding(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (host / "stage/config.yaml").write_text("a: [")
    assert run(host) == 1
    assert capsys.readouterr().err.startswith("config.yaml: line 1")


def test_a_release_without_familiar_names_is_reported(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (host / "release/venv/lib/python3.11/site-packages/litellm/proxy/_types.py").write_text("")
    assert run(host) == 1
    assert capsys.readouterr().err.startswith("this check does not understand this LiteLLM release: no ")


def test_an_open_door_during_an_outage_is_noted() -> None:
    config = changed("general_settings.allow_requests_on_db_unavailable", True)
    assert "lets any key pass" in check.notes(config, KNOWN)[-1]


def test_a_missing_stage_ends_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--stage", str(tmp_path), "--release", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"there is no LiteLLM in {tmp_path}/venv\n"
