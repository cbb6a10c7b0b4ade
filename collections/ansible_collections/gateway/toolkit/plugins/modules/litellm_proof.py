#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: what a running LiteLLM does with the secrets that it was started with."""

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_proof
short_description: Prove that a running LiteLLM uses its new secrets, and no longer the old ones
description:
  - Asks LiteLLM itself, and looks into the environment of its process. No secret is in an argument.
author: gateway.toolkit
options:
  url:
    description: Where LiteLLM listens, like V(http://127.0.0.1:4000).
    type: str
    required: true
  master_key_file:
    description: File that holds the master key that must be accepted.
    type: path
    required: true
  refused_master_key:
    description: The one that must be refused; empty when there is none.
    type: str
    default: ""
  unit:
    description: The unit whose process is looked at for O(environment).
    type: str
    default: litellm.service
  environment:
    description: Variables that the process must have, with their values.
    type: dict
    default: {}
  models:
    description: For some of O(environment), a model that is asked for one token, so that its provider judges the key.
    type: dict
    default: {}
  lenient:
    description: Whether a model that does not answer is reported among the proofs, and is no failure.
    type: bool
    default: false
  patience:
    description: Seconds until all must be right. Where processes share a cache, an old master key may live for 60.
    type: int
    default: 90
  timeout:
    description: Seconds that a model may take.
    type: int
    default: 120
attributes:
  check_mode:
    support: none
"""

EXAMPLES = r"""
- name: Prove the new master key
  gateway.toolkit.litellm_proof:
    url: http://127.0.0.1:4000
    master_key_file: /etc/litellm/secrets/master_key
    refused_master_key: "{{ __rotation.secrets.old }}"
"""

RETURN = r"""
proofs:
  description: What was proved, objects with C(proof) and C(result). They hold no key.
  type: list
  elements: dict
  returned: success
"""

import subprocess
import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import (
    LiteLLMClient,
    LiteLLMError,
    fingerprint,
    key_hash,
    read_master_key,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_keys import KeyProblem
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import seal, secrets_in

ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "master_key_file": {"type": "path", "required": True, "no_log": False},
    "refused_master_key": {"type": "str", "default": "", "no_log": True},
    "unit": {"type": "str", "default": "litellm.service"},
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "models": {"type": "dict", "default": {}},
    "lenient": {"type": "bool", "default": False},
    "patience": {"type": "int", "default": 90},
    "timeout": {"type": "int", "default": 120},
}

Proof = dict[str, str]


def proof(what: str, result: object) -> Proof:
    return {"proof": what, "result": str(result)}


def environment_of(systemctl: str, unit: str) -> dict[str, str]:
    """The environment of a unit's main process. KeyProblem when it does not run."""
    argv = [systemctl, "show", "--property=MainPID", "--value", unit]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    try:
        with open(f"/proc/{int(done.stdout or 0)}/environ", encoding="utf-8", errors="surrogateescape") as stream:
            return dict(entry.split("=", 1) for entry in stream.read().split("\0") if "=" in entry)
    except (OSError, ValueError):
        raise KeyProblem(f"{unit} does not run.") from None


def prove_environment(running: Mapping[str, str], wanted: Mapping[str, str]) -> list[Proof]:
    """Each variable has its value in the running process; shown by fingerprint."""
    wrong = [name for name in sorted(wanted) if running.get(name) != wanted[name]]
    if wrong:
        raise KeyProblem(f"LiteLLM runs with another {', '.join(wrong)} than its file holds: restart it.")
    return [proof(f"LiteLLM runs with {name}", fingerprint(wanted[name])) for name in sorted(wanted)]


def prove_master_key(client: LiteLLMClient, url: str, accepted: str, refused: str) -> list[Proof]:
    """The one may look at other keys, which only the administrator may; the other is no key at all."""
    client.find_by_hash(key_hash(accepted))
    proofs = [proof(f"master key {fingerprint(accepted)} administers LiteLLM at {url}", "200")]
    if not refused:
        return proofs
    begun = time.monotonic()
    last = client.wait_rejected(refused)
    if last.verdict != "unknown_key":
        raise KeyProblem(
            f"LiteLLM still answers {last.status} ({last.verdict}) to the other master key {fingerprint(refused)} "
            f"after {client.patience:.0f} s."
        )
    waited = time.monotonic() - begun
    return [*proofs, proof(f"master key {fingerprint(refused)} is refused, after {waited:.0f} s", last.status)]


def prove_models(client: LiteLLMClient, master_key: str, params: Mapping[str, Any]) -> list[Proof]:
    """Each named model gives one token, so its provider accepts the key."""
    proofs = []
    for name, model in sorted(params["models"].items()):
        answer = client.probe_message(master_key, model, params["timeout"])
        if answer.verdict != "accepted" and not params["lenient"]:
            raise KeyProblem(
                f"{model} does not answer with {name} {fingerprint(str(params['environment'][name]))}: {answer.status} "
                f"({answer.verdict}) {answer.message}"
            )
        proofs.append(proof(f"{model} answers with {name}", answer.status))
    return proofs


def run(params: Mapping[str, Any], running: Mapping[str, str]) -> list[Proof]:
    """All proofs. LiteLLMError and KeyProblem carry a sentence for the operator."""
    master_key = read_master_key(params["master_key_file"])
    if master_key == params["refused_master_key"]:
        raise KeyProblem("refused_master_key is the master key in use.")
    client = LiteLLMClient(params["url"], master_key)
    client.patience = float(params["patience"])
    proofs = prove_environment(running, {name: str(value) for name, value in params["environment"].items()})
    proofs += prove_master_key(client, params["url"], master_key, params["refused_master_key"])
    return proofs + prove_models(client, master_key, params)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS)
    params = module.params
    values = [str(value) for value in params["environment"].values()]
    seal(module, secrets_in([], [params["refused_master_key"], *values]))
    try:
        running = environment_of(module.get_bin_path("systemctl", required=True), params["unit"]) if values else {}
        proofs = run(params, running)
    except (LiteLLMError, KeyProblem) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(changed=False, proofs=proofs)


if __name__ == "__main__":
    main()
