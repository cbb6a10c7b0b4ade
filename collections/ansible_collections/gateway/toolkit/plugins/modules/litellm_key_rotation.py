#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: one step of a virtual key's rotation. The work is in module_utils/litellm_rotation.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key_rotation
short_description: One step of the rotation of a virtual key in LiteLLM
description:
  - Each step proves what it did by asking LiteLLM, and may be repeated after a killed run or a lost answer.
  - V(registered), V(used), V(retired) and V(revoked) run on a host of LiteLLM, because the master key never leaves it;
    V(proved) runs where the key is used, and V(refused) on the host of each other proxy.
author: gateway.toolkit
options:
  state:
    description:
      - V(registered), the new key lives beside the old one, with the same limits and its spend.
      - V(proved), the new key is accepted and O(model) answers to it.
      - V(used), a call of the gateway is booked on the new key.
      - V(retired), the old key is deleted and refused, the new one has the alias and all the spend.
      - V(revoked), the old key is accepted; the new one is deleted and refused.
      - V(refused), O(old_key) was deleted and is refused here, too.
    type: str
    choices: [registered, proved, used, retired, revoked, refused]
    required: true
  url:
    description: Where LiteLLM listens, like V(http://127.0.0.1:4000).
    type: str
    required: true
  master_key_file:
    description: File that holds LiteLLM's master key; needed but for V(proved) and V(refused).
    type: path
  new_key:
    description: The new key's value.
    type: str
    default: ""
  old_key:
    description: The old key's value.
    type: str
    default: ""
  alias:
    description: The key's name in LiteLLM; needed for V(registered), V(retired) and V(revoked).
    type: str
    default: ""
  max_budget:
    description: For V(registered), limit in USD. Without it there is no limit.
    type: float
  budget_duration:
    description: For V(registered), when the spend starts at 0 again.
    type: str
  models:
    description: For V(registered), names of the models that the key may use; empty means all.
    type: list
    elements: str
    default: []
  emergency:
    description: For V(registered), delete the old key before anything else.
    type: bool
    default: false
  model:
    description: For V(proved), the model that is asked for one token; empty means that none is.
    type: str
    default: ""
  patience:
    description: >-
      Seconds for other processes of LiteLLM to notice a change, or for V(used) until the call is booked. A process
      may know a deleted key for 60 seconds.
    type: int
    default: 90
  proxy:
    description: For V(refused), name of the proxy, for the proof.
    type: str
    default: ""
  timeout:
    description: Seconds that LiteLLM may take for one answer.
    type: int
    default: 30
attributes:
  check_mode:
    support: none
"""

EXAMPLES = r"""
- name: Register the new key beside the old one
  gateway.toolkit.litellm_key_rotation:
    state: registered
    url: http://127.0.0.1:4000
    master_key_file: /etc/litellm/secrets/master_key
    new_key: "{{ __rotation.secrets.new }}"
    old_key: "{{ __rotation.secrets.old }}"
    alias: openclaw-gateway1
    max_budget: 50
"""

RETURN = r"""
proofs:
  description: What was proved, objects with C(proof) and C(result). They hold no key.
  type: list
  elements: dict
  returned: success
usable:
  description: False when the key's budget is used up, so that no model can be asked.
  type: bool
  returned: success
kind:
  description: For a failed call, what failed, such as C(unreachable) or C(database_away).
  type: str
  returned: failure
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils import litellm_rotation as steps
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import (
    KeyLimits,
    LiteLLMError,
    read_master_key,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_keys import KeyProblem
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import seal, secrets_in

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {
        "type": "str",
        "required": True,
        "choices": ["registered", "proved", "used", "retired", "revoked", "refused"],
    },
    "url": {"type": "str", "required": True},
    "master_key_file": {"type": "path", "no_log": False},
    "new_key": {"type": "str", "default": "", "no_log": True},
    "old_key": {"type": "str", "default": "", "no_log": True},
    "alias": {"type": "str", "default": ""},
    "max_budget": {"type": "float"},
    "budget_duration": {"type": "str"},
    "models": {"type": "list", "elements": "str", "default": []},
    "emergency": {"type": "bool", "default": False},
    "model": {"type": "str", "default": ""},
    "patience": {"type": "int", "default": 90},
    "proxy": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 30},
}
NEEDED = [
    ("state", "registered", ["master_key_file", "new_key", "alias"]),
    ("state", "proved", ["new_key"]),
    ("state", "used", ["master_key_file", "new_key"]),
    ("state", "retired", ["master_key_file", "new_key", "alias"]),
    ("state", "revoked", ["master_key_file", "old_key", "alias"]),
    ("state", "refused", ["old_key", "proxy"]),
]


def run(params: dict[str, Any]) -> steps.Result:
    """Do the step. LiteLLMError and KeyProblem carry a sentence for the operator."""
    old, new, alias = params["old_key"], params["new_key"], params["alias"]
    master_key = "" if params["state"] in ("proved", "refused") else read_master_key(params["master_key_file"])
    client = steps.RotationClient(params["url"], master_key, timeout=params["timeout"])
    if params["state"] != "used":
        client.patience = float(params["patience"])
    if params["state"] == "proved":
        return steps.prove_directly(client, new, params["model"], params["timeout"])
    if params["state"] == "refused":
        return steps.Result(False, (steps.refused(client, old, f"key at {params['proxy']}"),))
    if params["state"] == "used":
        return steps.prove_used(client, new, params["patience"])
    if params["state"] == "retired":
        return steps.retire(client, old, new, alias)
    if params["state"] == "revoked":
        return steps.revoke(client, old, new, alias)
    limits = KeyLimits(alias, params["max_budget"], params["budget_duration"], tuple(params["models"]))
    return steps.register(client, old, new, limits, params["emergency"])


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, required_if=NEEDED)
    params = module.params
    seal(module, secrets_in([], [params["new_key"], params["old_key"]]))
    needed = next(names for _state, value, names in NEEDED if value == params["state"])
    empty = [name for name in needed if not params[name]]
    if empty:
        module.fail_json(msg=f"{', '.join(empty)} must not be empty for {params['state']}.")
    try:
        result = run(params)
    except LiteLLMError as error:
        module.fail_json(msg=str(error), kind=error.kind)
    except KeyProblem as error:
        module.fail_json(msg=str(error), kind="problem")
    module.exit_json(changed=result.changed, proofs=list(result.proofs), usable=result.usable)


if __name__ == "__main__":
    main()
