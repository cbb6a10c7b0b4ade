#!/usr/bin/env python3
"""Check a candidate OpenClaw configuration before it replaces the live one.

    openclaw_check.py --stage DIR --release DIR --node FILE --user NAME [--state DIR]

DIR of --stage holds the candidates `openclaw.json` and `secrets.json`. Three judges look at them:

* the installed binary, as the service user: `config validate` (valid, no warnings) and `secrets audit --check`;
* the promises of this deployment that OpenClaw would let slip (token always, marked as current ...);
* the running LiteLLM: it must offer every model that the gateway names to the gateway's key.

Exit code 0: nothing to say. 1: refused, one finding a line on standard error. No finding holds a secret.
The live state directory is not touched: OpenClaw works in a scratch directory under /run, removed afterwards.
Runs as root on the host; Python 3.10 or later, standard library only.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import http.client
import json
import os
import pwd
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

Config = dict[str, Any]
PROVIDER = "litellm"
MIN_TOKEN = 24  # characters; `openclaw security audit` warns below it, and nothing refuses
# A fixed place: OpenClaw leaves lock files in /tmp that are named after it, so a changing one would fill /tmp.
SCRATCH = Path("/run/openclaw-check")
COMMAND_TIMEOUT = 120  # seconds; a healthy host needs 2 to 3
HTTP_TIMEOUT = 20  # seconds
PARSE = "process.stdout.write(JSON.stringify(require(process.argv[1]).parse(require('fs').readFileSync(0, 'utf8'))))"


class Done(NamedTuple):
    """What came of a command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


# --- judging, no side effects -------------------------------------------------------------------------------------


def lookup(data: Any, *path: str) -> Any:
    """Return the value at `path` in nested dicts, or None where there is nothing."""
    for key in path:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


def pointer(data: Any, reference: Any) -> str | None:
    """Return the text that a file SecretRef's `id` (a JSON pointer such as /litellm/apiKey) finds in `data`."""
    identifier = lookup(reference, "id")
    if lookup(reference, "source") != "file" or not isinstance(identifier, str) or not identifier.startswith("/"):
        return None
    keys = (key.replace("~1", "/").replace("~0", "~") for key in identifier[1:].split("/"))
    found = lookup(data, *keys)
    return found if isinstance(found, str) else None


def texts(data: Any, path: str = "") -> list[tuple[str, str]]:
    """Return every string in `data` with its dotted path."""
    if isinstance(data, str):
        return [(path, data)]
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [found for key, value in pairs for found in texts(value, f"{path}.{key}" if path else str(key))]


def redact(text: str, secrets: list[str]) -> str:
    """Return `text` on one line, with each of `secrets` (of 8 characters or more) replaced by ***."""
    for secret in sorted((value for value in secrets if len(value) >= 8), key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())


def with_staged_secrets(config: Config, live: str, staged: str) -> Config:
    """Return a copy of `config` whose file secret providers read `staged` where they would read `live`."""
    changed = copy.deepcopy(config)
    providers = lookup(changed, "secrets", "providers")
    for provider in providers.values() if isinstance(providers, dict) else ():
        if lookup(provider, "source") == "file" and lookup(provider, "path") == live:
            provider["path"] = staged
    return changed


def promise_findings(config: Config, secrets: Any) -> list[str]:
    """Return what `config` breaks of the promises of this deployment; `config validate` accepts all of it."""
    findings = []
    if not lookup(config, "meta", "lastTouchedVersion"):
        findings.append("meta.lastTouchedVersion is missing: OpenClaw would put an older configuration back")
    if lookup(config, "gateway", "mode") != "local":
        findings.append('gateway.mode must be "local", or the gateway does not start')
    if lookup(config, "gateway", "auth", "mode") != "token":
        findings.append('gateway.auth.mode must be "token": remove it from openclaw_gateway_config_extra')
    if lookup(config, "gateway", "bind") == "custom" and not lookup(config, "gateway", "customBindHost"):
        findings.append("gateway.bind is custom without gateway.customBindHost: set openclaw_gateway_bind_address")
    token = pointer(secrets, lookup(config, "gateway", "auth", "token"))
    if token is not None and len(token) < MIN_TOKEN:
        findings.append(
            f"the gateway token is shorter than {MIN_TOKEN} characters: set a longer openclaw_gateway_token"
        )
    return findings


def model_references(config: Config) -> list[tuple[str, str]]:
    """Return (where, "provider/model") for each model that the agents' settings name.

    Model settings are `model`, `fallbacks`, `utilityModel`, `imageModel` and the like: any text under `agents` that
    begins with a configured provider's name, and every text of `model`. https://docs.openclaw.ai/concepts/models
    """
    providers = tuple(f"{name}/" for name in lookup(config, "models", "providers") or {})
    default = "agents.defaults.model"
    return [
        (path, text)
        for path, text in texts(config.get("agents"), "agents")
        if text.startswith(providers) or path == default or path.startswith(f"{default}.")
    ]


def configured_models(config: Config, provider: str) -> list[str]:
    """Return the ids of the models of `provider`."""
    models = lookup(config, "models", "providers", provider, "models")
    return [model["id"] for model in models or [] if isinstance(lookup(model, "id"), str)]


def reference_findings(config: Config) -> list[str]:
    """Return the model references that OpenClaw would answer with "Unknown model" at the first turn.

    Says nothing unless models.mode is "replace": otherwise OpenClaw's own catalog counts too.
    """
    if lookup(config, "models", "mode") != "replace":
        return []
    findings = []
    for path, reference in model_references(config):
        provider, _, model = reference.partition("/")
        if model not in configured_models(config, provider):
            findings.append(
                f"{path} names '{reference}', which is not among the gateway's models: "
                f"add it to openclaw_gateway_models or choose one of them"
            )
    return findings


def named_models(config: Config) -> list[str]:
    """Return the names of all models that the gateway may ask LiteLLM for, sorted."""
    prefix = f"{PROVIDER}/"
    referenced = {text[len(prefix) :] for _, text in model_references(config) if text.startswith(prefix)}
    return sorted(referenced | set(configured_models(config, PROVIDER)))


def listing_findings(wanted: list[str], listed: list[str]) -> list[str]:
    """Return a finding for each wanted model that LiteLLM's list (which may hold patterns such as openai/*) lacks."""
    return [
        f"model not found: LiteLLM does not offer '{model}' to this gateway's key; add it to litellm_models "
        f"(and to litellm_virtual_key_models if that is set), or take it out of openclaw_gateway_models"
        for model in wanted
        if not any(model == name or ("*" in name and fnmatch.fnmatchcase(model, name)) for name in listed)
    ]


def status_finding(url: str, status: int, body: str) -> str:
    """Return cause and remedy for a refusal by LiteLLM: HTTP `status` and `body` of its answer at `url`.

    The wordings were observed on LiteLLM 1.106.2.
    """
    if status == 400 and "No connected db" in body:
        return f"LiteLLM at {url} has no database and so knows no virtual keys: check its database connection"
    if status in (401, 403):
        for word, cause in (
            ("expired", "has expired"),
            ("blocked", "is blocked"),
            ("budget", "has used up its budget"),
        ):
            if word in body.lower():
                return f"invalid API key: this gateway's virtual key {cause} (LiteLLM at {url}, HTTP {status})"
        return (
            f"invalid API key: LiteLLM at {url} does not know this gateway's virtual key (HTTP {status}); run "
            f"site.yml, which makes one, and check that openclaw_gateway_litellm_url is the LiteLLM that made it"
        )
    if status == 404:
        return f"what answers at {url} is not LiteLLM: check openclaw_gateway_litellm_url, which is given without /v1"
    return f"LiteLLM at {url} answers HTTP {status}: see 'journalctl -u litellm' on its host"


def connection_finding(url: str, reason: str) -> str:
    """Return cause and remedy for no answer at all from `url`; `reason` is the system's text for it."""
    return (
        f"no connection to LiteLLM at {url} ({reason}): see 'systemctl status litellm' on its host, "
        f"and check openclaw_gateway_litellm_url and the firewall between the two"
    )


def json_of(text: str) -> Any:
    """Return the JSON document `text`, or None if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def crash_finding(what: str, done: Done) -> str:
    """Return a finding for a command that did not give the answer asked for."""
    said = (done.err or done.out).strip().splitlines()
    return f"'openclaw {what}' failed (exit code {done.code}): {said[-1] if said else 'it said nothing'}"


def validate_findings(done: Done) -> list[str]:
    """Return the findings of `openclaw config validate --json`; a warning counts, as it is a missing variable."""
    answer = json_of(done.out)
    if not isinstance(answer, dict) or "valid" not in answer:
        return [crash_finding("config validate", done)]
    issues = (answer.get("issues") or []) + (answer.get("warnings") or [])
    findings = [f"openclaw.json: {issue.get('path')}: {issue.get('message')}" for issue in issues]
    if not findings and (answer["valid"] is not True or done.code != 0):
        return [crash_finding("config validate", done)]
    return findings


def audit_findings(done: Done) -> list[str]:
    """Return the findings of `openclaw secrets audit --check --json`: plaintext secrets, references to nothing."""
    answer = json_of(done.out)
    if not isinstance(answer, dict) or "findings" not in answer:
        return [crash_finding("secrets audit", done)]
    findings = [f"secrets: {finding.get('jsonPath')}: {finding.get('message')}" for finding in answer["findings"]]
    if not findings and (answer.get("status") != "clean" or done.code != 0):
        return [crash_finding("secrets audit", done)]
    return findings


# --- asking ---------------------------------------------------------------------------------------------------------


class Host:
    """The installed OpenClaw, run as the service user in a scratch directory."""

    def __init__(self, node: Path, release: Path, user: str) -> None:
        """Take the paths of node and of a release directory, and the name of the service user."""
        self.node = node
        self.modules = release / "node_modules"
        self.account = pwd.getpwnam(user)

    def place(self, folder: str, name: str, text: str) -> Path:
        """Write `text` to a file in the scratch directory that only the service user can read."""
        directory = SCRATCH / folder
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        for owned in (directory, path):
            os.chown(owned, self.account.pw_uid, self.account.pw_gid)
        return path

    def run(self, arguments: list[str], folder: Path, config: Path | None = None, stdin: str = "") -> Done:
        """Run node with `arguments` as the service user, at home in `folder`."""
        environment = {
            "PATH": f"{self.node.parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "OPENCLAW_STATE_DIR": str(folder / "state"),
            "OPENCLAW_CONFIG_READONLY": "1",
            "OPENCLAW_OFFLINE": "1",
            "NODE_DISABLE_COMPILE_CACHE": "1",
        } | ({"OPENCLAW_CONFIG_PATH": str(config)} if config else {})
        try:
            done = subprocess.run(
                [str(self.node), *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_TIMEOUT,
                check=False,
                cwd=folder,
                env=environment,
                user=self.account.pw_uid,
                group=self.account.pw_gid,
                extra_groups=[],
                umask=0o077,
            )
        except subprocess.TimeoutExpired:
            return Done(124, "", f"no answer after {COMMAND_TIMEOUT} s")
        except OSError as error:
            return Done(127, "", f"{self.node}: {error.strerror}")
        return Done(done.returncode, done.stdout, done.stderr)

    def parse(self, text: str) -> Config | None:
        """Return the JSON5 document `text`, read by the parser that OpenClaw uses, or None if it is not one."""
        answer = json_of(self.run(["-e", PARSE, str(self.modules / "json5")], SCRATCH, stdin=text).out)
        return answer if isinstance(answer, dict) else None

    def openclaw(self, config: Path, *arguments: str) -> Done:
        """Run the command line of OpenClaw on the configuration file `config`."""
        return self.run([str(self.modules / "openclaw/openclaw.mjs"), *arguments], config.parent, config)


def ask_litellm(config: Config, secrets: Any) -> list[str]:
    """Return what the running LiteLLM says against `config`: no answer, key refused, models missing."""
    base = lookup(config, "models", "providers", PROVIDER, "baseUrl")
    key = pointer(secrets, lookup(config, "models", "providers", PROVIDER, "apiKey"))
    if not isinstance(base, str) or not base.startswith(("http://", "https://")) or key is None:
        return [f"models.providers.{PROVIDER} needs a baseUrl and an apiKey that points into secrets.json"]
    url = base.rstrip("/")
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    # Without the proxies of the environment: those are for downloads, the gateway goes to LiteLLM directly.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=HTTP_TIMEOUT) as answer:
            listing = json_of(answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        return [status_finding(url, error.code, error.read().decode("utf-8", "replace"))]
    except (OSError, ValueError, http.client.HTTPException) as error:
        return [connection_finding(url, str(getattr(error, "reason", error)))]
    models = lookup(listing, "data")
    if not isinstance(models, list):
        return [status_finding(url, 404, "")]
    return listing_findings(named_models(config), [str(lookup(model, "id")) for model in models])


def check(host: Host, stage: Path, live_secrets: str) -> list[str]:
    """Return all findings about the candidates in `stage`, none of which holds a secret.

    `live_secrets` is the path under which the candidate secrets.json will be read when it is live.
    """
    text = (stage / "openclaw.json").read_text(encoding="utf-8")
    secrets_text = (stage / "secrets.json").read_text(encoding="utf-8")
    secrets = json_of(secrets_text)
    if not isinstance(secrets, dict):
        return ["secrets.json is not a JSON object"]
    validated = host.place("validate", "openclaw.json", text)
    with ThreadPoolExecutor() as pool:
        validate = pool.submit(host.openclaw, validated, "config", "validate", "--json")
        findings: list[str] = []
        config = host.parse(text)
        if config is not None:
            staged = host.place("audit", "secrets.json", secrets_text)
            rewritten = with_staged_secrets(config, live_secrets, str(staged))
            audited = host.place("audit", "openclaw.json", json.dumps(rewritten))
            audit = pool.submit(host.openclaw, audited, "secrets", "audit", "--check", "--json")
            findings = promise_findings(config, secrets) + reference_findings(config) + ask_litellm(config, secrets)
            # On an invalid file the audit says no more than that it is invalid.
            findings = (validate_findings(validate.result()) or audit_findings(audit.result())) + findings
        else:
            findings = validate_findings(validate.result()) or ["openclaw.json: not a JSON5 object"]
    values = [value for _, value in texts(secrets)]
    return list(dict.fromkeys(redact(finding, values) for finding in findings))


def main() -> int:
    """Check the candidates that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=Path, required=True, help="folder with openclaw.json and secrets.json")
    parser.add_argument("--release", type=Path, required=True, help="e.g. /opt/openclaw/releases/2026.9.6")
    parser.add_argument("--node", type=Path, required=True, help="e.g. /opt/nodejs/current/bin/node")
    parser.add_argument("--user", default="openclaw", help="the service user")
    parser.add_argument("--state", default="/var/lib/openclaw/.openclaw", help="where the files will be live")
    options = parser.parse_args()
    os.umask(0o077)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    try:
        host = Host(options.node, options.release, options.user)
        SCRATCH.mkdir()
        SCRATCH.chmod(0o711)
        findings = check(host, options.stage, f"{options.state.rstrip('/')}/secrets.json")
    except KeyError:
        findings = [f"there is no user {options.user}"]
    except (OSError, UnicodeDecodeError) as error:
        findings = [f"cannot check: {error}"]
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
