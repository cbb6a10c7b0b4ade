#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: run declared, read-only health checks on the host and say what is wrong and what to do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health_probe
short_description: Run declared, read-only health checks
version_added: "1.0.0"
author: Gateway toolkit contributors
description:
  - Runs all checks on the host in one call, at the same time where their O(checks[].needs) allow.
  - Never fails because a check fails; look at RV(ok). It fails only for checks that are wrongly defined.
  - Changes nothing, and runs in check mode too.
  - Secrets do not appear in the results. Anything that looks like C(sk-...) is shown as C(sk-****).
options:
  checks:
    description: The checks. An empty list is refused, because it would prove nothing.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name, unique in this call.
        type: str
        required: true
      kind:
        description:
          - V(unit), a systemd unit is active and running, and has not restarted within a window of time.
          - V(listen), a TCP port is open on exactly these addresses and belongs to this unit.
          - V(http), one request is answered as expected. No proxy is used, no redirect followed.
          - V(reach), this host can, or cannot, connect to a server on another host.
          - V(openclaw), an OpenClaw gateway lets the holder of a token in over WebSocket and answers one request; or
            it refuses a wrong token.
          - V(certificate), a TLS server shows a trusted certificate; a warning when it ends soon.
          - V(command), a program ends as expected. No shell is used. The folder is C(/).
        type: str
        choices: [unit, listen, http, openclaw, command, reach, certificate]
        required: true
      group:
        description: What the check belongs to, for reports.
        type: str
      explain:
        description:
          - What a failure means. The first O(checks[].explain[].match) that is found in the failure's detail wins, then
            in the answer's body or the program's output, then come the explanations of O(explain_defaults).
          - In O(checks[].explain[].cause) and O(checks[].explain[].remedy), C(<unit>) stands for O(checks[].unit).
        type: list
        elements: dict
        suboptions:
          match:
            description: Regular expression of Python.
            type: str
            required: true
          cause:
            description: Why it failed, one sentence.
            type: str
          remedy:
            description: What to do, one sentence.
            type: str
      cause:
        description: Why it failed, if no explanation matches.
        type: str
      remedy:
        description: What to do, if no explanation matches.
        type: str
      needs:
        description: Names of checks that must have passed; otherwise this check has the status C(not run).
        type: list
        elements: str
      retries:
        description: Try again while the check fails. Without it there is one try.
        type: dict
        suboptions:
          timeout:
            description: Seconds in which a new try may begin.
            type: float
            required: true
          delay:
            description: Seconds between two tries.
            type: float
            default: 1
      unit:
        description:
          - Name of a systemd unit. Required for kind V(unit); for kind V(listen) the owner of the port.
          - For the other kinds it only fills in C(<unit>) in cause and remedy.
        type: str
      still_seconds:
        description:
          - Kind V(unit), seconds in which process and restart counter must stay the same. 2 if not given.
          - It waits only for what systemd has not yet seen of them.
        type: float
      oneshot:
        description: Kind V(unit), the unit is not long-running. It passes unless its last run failed or goes on.
        type: bool
      port:
        description: Kind V(listen), TCP port.
        type: int
      addresses:
        description:
          - Kind V(listen), exactly the addresses on which the port is open, such as V(127.0.0.1), V(::1), V(0.0.0.0)
            or V(::). An empty list means that nothing may listen.
        type: list
        elements: str
      url:
        description: Kinds V(http), V(openclaw), V(reach) and V(certificate), a C(http://) or C(https://) address.
        type: str
      method:
        description:
          - Kind V(http). C(GET) if not given, or C(POST) with a O(checks[].body).
          - Kind V(openclaw), a request without parameters that only reads, such as V(health). None if not given.
        type: str
      headers:
        description: Kind V(http), header name to value. Secrets belong into O(checks[].header_files).
        type: dict
      header_files:
        description: Kind V(http), headers whose value is read from a file on the host. The value does not leave it.
        type: list
        elements: dict
        suboptions:
          header:
            description: Name of the header.
            type: str
            required: true
          path:
            description: File that holds the secret and nothing else.
            type: path
            required: true
          prefix:
            description: Text before the secret, such as C(Bearer) and a blank.
            type: str
      token_file:
        description:
          - Kind V(openclaw), file that holds the gateway's token, which must be let in. Its value does not leave the
            host. Without it a wrong token is sent, which must be refused.
        type: path
      body:
        description: Kind V(http), sent as JSON.
        type: dict
      status:
        description: Kind V(http), accepted status codes. V([200]) if not given.
        type: list
        elements: int
      body_matches:
        description:
          - Kinds V(http), V(openclaw) and V(reach), regular expression that the body must contain. For kind V(reach)
            it tells whether it is the expected server, whatever its certificate. For kind V(openclaw) the body is the
            answer to the request as JSON on one line, with sorted keys.
        type: str
      expect_refused:
        description: Kind V(http), the connection must be refused.
        type: bool
      reachable:
        description:
          - Kind V(reach), whether this host should be able to connect. If not, it passes when the connection is
            refused, gets no answer, or has no way.
        type: bool
      server_name:
        description:
          - Kinds V(http), V(openclaw) and V(certificate), name that the certificate must be for, if not the one in the
            URL.
        type: str
      warn_days:
        description: Kind V(certificate), days before its end from which there is a warning. 21 if not given.
        type: float
      ca_file:
        description:
          - Kinds V(http), V(openclaw) and V(certificate), file with the CA certificates to trust instead of the host's.
        type: path
      argv:
        description: Kind V(command), program and arguments. Arguments are visible to all users of the host.
        type: list
        elements: str
      stdin:
        description: Kind V(command), text for its standard input.
        type: str
      environment:
        description: Kind V(command), additional environment variables.
        type: dict
      rc:
        description: Kind V(command), accepted exit statuses. V([0]) if not given.
        type: list
        elements: int
      stdout_matches:
        description: Kind V(command), regular expression that the standard output must contain.
        type: str
      timeout:
        description:
          - Kinds V(http) and V(command), seconds for the whole exchange or run. 10 and 60 if not given. Kind V(reach),
            seconds until the connection must be made, 5 if not given. Kind V(openclaw), seconds for each answer, 10 if
            not given.
          - A program that takes longer is killed with all its children.
        type: float
      json:
        description:
          - Kinds V(http), V(openclaw) and V(command), path in the JSON document to the expected value.
          - A path is written as V(a.b), V(a[0]), V(data[].id) (a list of all ids) or V(.) (the whole document).
          - In a program's output the document is found among log lines.
        type: dict
      json_contains:
        description: Path to a list of values which must all be in the list that is found there.
        type: dict
      json_exactly:
        description: As O(checks[].json_contains), and no other value may be there. The order does not matter.
        type: dict
      json_at_least:
        description: Path to the smallest accepted number.
        type: dict
      json_at_most:
        description: Path to the largest accepted number.
        type: dict
      json_matches:
        description: Path to a regular expression.
        type: dict
      capture:
        description: Name to path. The values are handed back, censored, in RV(results[].captured).
        type: dict
  explain_defaults:
    description:
      - Add cause and remedy for the failures that LiteLLM and OpenClaw are known for. They tell apart a refused
        connection, an invalid virtual key, an invalid key of the model's provider, and a missing model, among others.
    type: bool
    default: true
  censor_files:
    description:
      - Files on the host whose contents must not appear in results, whatever a program prints. JSON files count with
        all their strings, other files with all their lines. Missing files are skipped.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Runs completely, as it changes nothing.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Ask LiteLLM
  gateway.toolkit.health_probe:
    censor_files: [/etc/litellm/secrets/master_key]
    checks:
      - name: unit
        group: litellm
        kind: unit
        unit: litellm.service
      - name: socket
        group: litellm
        kind: listen
        unit: litellm.service
        port: 4000
        addresses: [127.0.0.1]
      - name: readiness
        group: litellm
        kind: http
        url: http://127.0.0.1:4000/health/readiness
        json: {db: connected}
        retries: {timeout: 60, delay: 1}
      - name: models
        group: litellm
        kind: http
        needs: [readiness]
        url: http://127.0.0.1:4000/v1/models
        header_files: [{header: Authorization, prefix: "Bearer ", path: /etc/litellm/secrets/master_key}]
        json_exactly: {"data[].id": [claude-sonnet-4-5-20250929]}
  register: litellm_health

- name: Ask the gateway for an answer
  gateway.toolkit.health_probe:
    checks:
      - name: model turn
        group: openclaw_gateway
        kind: command
        argv: [/usr/local/bin/openclaw, infer, model, run, --gateway, --prompt, Say OK, --json]
        timeout: 120
        json: {ok: true}
  register: gateway_health
"""

RETURN = r"""
ok:
  description: Whether all checks passed. A check that was not run did not pass.
  returned: always
  type: bool
results:
  description: One result for each check, in the given order.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Name of the check., type: str, sample: readiness}
    group: {description: What it belongs to., type: str, sample: litellm}
    status: {description: "V(ok), V(warning), V(failed) or V(not run).", type: str, sample: failed}
    detail: {description: What was seen., type: str, sample: "HTTP 401: Authentication Error"}
    cause: {description: Why it failed; empty if it did not., type: str}
    remedy: {description: What to do; empty if it did not fail., type: str}
    seconds: {description: How long it took., type: float, sample: 0.02}
    captured: {description: The values that were asked for., type: dict, sample: {spend: 0.5}}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Censor
from ansible_collections.gateway.toolkit.plugins.module_utils.health_define import errors_in
from ansible_collections.gateway.toolkit.plugins.module_utils.health_http import SECRET_HEADERS
from ansible_collections.gateway.toolkit.plugins.module_utils.health_run import OK, WARNING, run_checks
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import seal

SECRET_NAME = re.compile(r"(?i)key|token|secret|passw")


def check_options() -> dict[str, Any]:
    """The parameters of one check. Those of one kind have no default here, so that a misplaced one is noticed."""
    texts = {"type": "list", "elements": "str"}
    numbers = {"type": "list", "elements": "int"}
    needed = {"type": "str", "required": True}
    explanation = {"match": needed, "cause": {"type": "str"}, "remedy": {"type": "str"}}
    header_file = {"header": needed, "path": {"type": "path", "required": True}, "prefix": {"type": "str"}}
    retries = {"timeout": {"type": "float", "required": True}, "delay": {"type": "float", "default": 1}}
    options: dict[str, Any] = {
        "name": needed,
        "kind": {
            "type": "str",
            "required": True,
            "choices": ["unit", "listen", "http", "openclaw", "command", "reach", "certificate"],
        },
        "explain": {"type": "list", "elements": "dict", "options": explanation},
        "needs": texts,
        "retries": {"type": "dict", "options": retries},
        "header_files": {"type": "list", "elements": "dict", "options": header_file},
        "addresses": texts,
        "argv": texts,
        "status": numbers,
        "rc": numbers,
        "port": {"type": "int"},
        "ca_file": {"type": "path"},
        "token_file": {"type": "path", "no_log": False},
    }
    for kind, names in {
        "str": (
            "group", "cause", "remedy", "unit", "url", "server_name", "method", "body_matches", "stdin",
            "stdout_matches",
        ),
        "float": ("still_seconds", "timeout", "warn_days"),
        "bool": ("oneshot", "expect_refused", "reachable"),
        "dict": (
            "headers", "body", "environment", "capture",
            "json", "json_contains", "json_exactly", "json_at_least", "json_at_most", "json_matches",
        ),
    }.items():  # fmt: skip
        options.update({name: {"type": kind} for name in names})
    return options


def argument_spec() -> dict[str, Any]:
    """The parameters. `checks` is no_log as a whole, so that the log line on the host shows nothing of it."""
    return {
        "checks": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "no_log": True,
            "options": check_options(),
        },
        "explain_defaults": {"type": "bool", "default": True},
        "censor_files": {"type": "list", "elements": "path", "default": []},
    }


def learn(censor: Censor, params: dict[str, Any]) -> None:
    """Teach the censor the secrets that the parameters hold or point to."""
    for path in params["censor_files"]:
        censor.add_file(path)
    for check in params["checks"]:
        for path in [source["path"] for source in check["header_files"] or []] + [check["token_file"]]:
            if path:
                censor.add_file(path)
        for name, value in (check["headers"] or {}).items():
            if str(name).lower() in SECRET_HEADERS and str(value).strip():
                censor.add(str(value).split()[-1])
        for name, value in (check["environment"] or {}).items():
            if SECRET_NAME.search(str(name)):
                censor.add(str(value))


def main() -> None:
    """Read the parameters, run the checks, hand back the results."""
    module = AnsibleModule(argument_spec(), supports_check_mode=True)
    checks, censor = module.params["checks"], Censor()
    learn(censor, module.params)
    seal(module, censor.secrets)
    errors = errors_in(checks)
    if errors:
        module.fail_json(msg=f"health_probe: {'; '.join(errors)}", errors=errors)
    results = run_checks(checks, censor, module.params["explain_defaults"])
    seal(module, censor.secrets)
    module.exit_json(changed=False, ok=all(result["status"] in (OK, WARNING) for result in results), results=results)


if __name__ == "__main__":
    main()
