#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: a virtual key in LiteLLM. The work is in module_utils/litellm_keys.py and litellm_api.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_virtual_key
short_description: Make a virtual key exist in LiteLLM with given limits
description:
  - Runs on a host of LiteLLM, because the master key never leaves it.
  - The key's value is made beforehand on the gateway's host; LiteLLM is brought to it. Exactly one live key holds the
    alias afterwards. A key with another value that holds the alias is replaced, and its spend carried over.
  - Changed limits update the key in place. Each change is read back, and the key is proved by a request with it.
  - A run that was killed, or whose answer was lost, is finished by the next run.
author: gateway.toolkit
options:
  url:
    description: Where LiteLLM listens, like V(http://127.0.0.1:4000).
    type: str
    required: true
  master_key_file:
    description: File on that host that holds LiteLLM's master key, readable by root only.
    type: path
    required: true
  key:
    description:
      - The virtual key, V(sk-) and further letters, digits, V(-) and V(_), at least 16 characters in all.
      - Required for O(state=present); may be empty in check mode, when it has not been made yet.
    type: str
  alias:
    description: Name of the key in LiteLLM, one for each gateway. Required for O(state=present).
    type: str
  max_budget:
    description: Limit in USD for one O(budget_duration). Without it there is no limit.
    type: float
  budget_duration:
    description: When the spend starts at 0 again, like V(30d). Without it never.
    type: str
  models:
    description: Names of the models that the key may use; empty means all.
    type: list
    elements: str
    default: []
  key_type:
    description: Which routes the key may use. V(llm_api) is models only.
    type: str
    choices: [llm_api, management, read_only, default]
    default: llm_api
  metadata:
    description: Entries that have to be in the key's metadata; others are left alone.
    type: dict
    default: {}
  state:
    description: V(info) only reads. V(present) and V(absent) do what they say.
    type: str
    choices: [present, absent, info]
    default: present
  timeout:
    description: Seconds that LiteLLM may take for one answer.
    type: int
    default: 30
  ca_file:
    description: PEM file with the authority that signed LiteLLM's certificate, if O(url) is https with a private one.
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Register the gateway's key
  gateway.toolkit.litellm_virtual_key:
    url: http://127.0.0.1:4000
    master_key_file: /etc/litellm/secrets/master_key
    key: "{{ __litellm_key_value }}"
    alias: gateway1
    max_budget: 50
    budget_duration: 30d
    models: [claude-sonnet-4-5-20250929]
  no_log: "{{ litellm_no_log }}"

- name: Read what the gateway has spent
  gateway.toolkit.litellm_virtual_key:
    url: http://127.0.0.1:4000
    master_key_file: /etc/litellm/secrets/master_key
    alias: gateway1
    state: info
  register: __litellm_key
"""

RETURN = r"""
action:
  description: created, updated, unchanged, replaced or deleted; what would be done in check mode.
  type: str
  returned: success
differences:
  description: Field to [old, new]. V(key) holds fingerprints.
  type: dict
  returned: success
exists:
  description: Whether LiteLLM has a live key after the run.
  type: bool
  returned: success
status:
  description: active, revoked (blocked), expired, deleted or missing.
  type: str
  returned: success
alias:
  description: The key's alias.
  type: str
  returned: success
key_hash:
  description: sha256 of the key in hex, LiteLLM's name for it; empty if there is no key.
  type: str
  returned: success
fingerprint:
  description: First 12 digits of O(key_hash).
  type: str
  returned: success
spend:
  description: USD spent in the current budget window.
  type: float
  returned: success
usable:
  description: True when LiteLLM answered 200 to a request with the key; false when it is over its budget.
  type: bool
  returned: success
models:
  description: Models that LiteLLM lists to the key.
  type: list
  elements: str
  returned: success
unknown_models:
  description: Allowed names that LiteLLM does not serve, wildcards and access groups among them.
  type: list
  elements: str
  returned: success
note:
  description: In check mode, why the answer is a guess.
  type: str
  returned: success
"""

import math
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import (
    ROUTES_OF_KEY_TYPE,
    KeyLimits,
    LiteLLMClient,
    LiteLLMError,
    key_hash,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_keys import (
    Action,
    KeyProblem,
    Outcome,
    ensure_absent,
    ensure_present,
    find,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "master_key_file": {"type": "path", "required": True, "no_log": False},
    "key": {"type": "str", "no_log": True},
    "alias": {"type": "str"},
    "max_budget": {"type": "float"},
    "budget_duration": {"type": "str"},
    "models": {"type": "list", "elements": "str", "default": []},
    "key_type": {"type": "str", "choices": list(ROUTES_OF_KEY_TYPE), "default": "llm_api", "no_log": False},
    "metadata": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "absent", "info"], "default": "present"},
    "timeout": {"type": "int", "default": 30},
    "ca_file": {"type": "path"},
}


def problems(params: dict[str, Any], check_mode: bool) -> list[str]:
    """Every wrong value at once, each a sentence; empty if all is well."""
    found = []
    key, budget = params["key"], params["max_budget"]
    if not re.fullmatch(r"https?://[^\s@?#]+", params["url"]):
        found.append("url has to be like http://127.0.0.1:4000, without user or query.")
    if key and not re.fullmatch(r"sk-[A-Za-z0-9_-]{13,}", key):
        found.append("key (litellm_virtual_key) has to be sk- and 13 or more letters, digits, - or _.")
    if params["state"] == "present" and not key and not check_mode:
        found.append("key is empty: make it on the gateway's host first.")
    if params["state"] == "present" and not params["alias"]:
        found.append("alias is empty: set litellm_virtual_key_alias.")
    if params["state"] != "present" and not key and not params["alias"]:
        found.append("key or alias has to say which key is meant.")
    if budget is not None and not (math.isfinite(budget) and budget >= 0):
        found.append("max_budget (litellm_virtual_key_max_budget) has to be 0 or more USD.")
    if params["budget_duration"] is not None and not re.fullmatch(
        r"[1-9][0-9]*(s|m|h|d|w|mo)", params["budget_duration"]
    ):
        found.append("budget_duration (litellm_virtual_key_budget_duration) has to be like 12h, 30d or 1mo.")
    if params["timeout"] < 1:
        found.append("timeout has to be 1 second or more.")
    return found


def result_of(outcome: Outcome, params: dict[str, Any], changed: bool) -> dict[str, Any]:
    """The module's return values."""
    record = outcome.record
    token_hash = record.hash if record else key_hash(params["key"]) if params["key"] else ""
    return {
        "changed": changed,
        "action": outcome.action,
        "differences": {name: list(pair) for name, pair in outcome.differences.items()},
        "diff": {
            "before": {name: old for name, (old, _new) in outcome.differences.items()},
            "after": {name: new for name, (_old, new) in outcome.differences.items()},
        },
        "exists": record is not None and record.status != "deleted",
        "status": record.status if record else "missing",
        "alias": (record.alias if record else None) or params["alias"] or "",
        "key_hash": token_hash,
        "fingerprint": token_hash[:12],
        "spend": record.spend if record else 0.0,
        "usable": outcome.models is not None,
        "models": list(outcome.models or ()),
        "unknown_models": list(outcome.unknown_models),
        "note": "",
    }


def run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Do what ``state`` says. LiteLLMError and KeyProblem carry a sentence for the operator."""
    client = LiteLLMClient.from_file(
        params["url"],
        params["master_key_file"],
        timeout=params["timeout"],
        ca_file=params["ca_file"],
        retries=0 if check_mode else 2,
    )
    if params["state"] == "info":
        return result_of(Outcome("unchanged", {}, find(client, params["key"], params["alias"])), params, False)
    if params["state"] == "absent":
        outcome = ensure_absent(client, params["key"], params["alias"], check_mode)
    else:
        limits = KeyLimits(
            alias=params["alias"],
            max_budget=params["max_budget"],
            budget_duration=params["budget_duration"],
            models=tuple(params["models"]),
            key_type=params["key_type"],
            metadata=params["metadata"],
        )
        outcome = ensure_present(client, params["key"], limits, check_mode)
    return result_of(outcome, params, outcome.action != "unchanged")


def guess(params: dict[str, Any], note: str) -> dict[str, Any]:
    """Check mode on a host where something is still to be deployed."""
    actions: dict[str, Action] = {"present": "created", "absent": "deleted", "info": "unchanged"}
    action = actions[params["state"]]
    return {**result_of(Outcome(action, {}, None), params, action != "unchanged"), "note": note}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = {**module.params, "key": (module.params["key"] or "").strip()}
    wrong = problems(params, module.check_mode)
    if wrong:
        module.fail_json(msg=" ".join(wrong))
    if module.check_mode and params["state"] == "present" and not params["key"]:
        module.exit_json(**guess(params, "The key has not been made yet on the gateway's host."))
    try:
        result = run(params, module.check_mode)
    except LiteLLMError as error:
        if module.check_mode and error.kind in ("unreachable", "master_key_missing"):
            module.exit_json(**guess(params, f"LiteLLM is not there yet: {error}"))
        module.fail_json(msg=str(error), kind=error.kind, http_status=error.status)
    except KeyProblem as error:
        module.fail_json(msg=str(error))
    if params["state"] == "present" and not module.check_mode and not result["usable"]:
        module.warn(
            f"The key {result['fingerprint']} has used up its budget ({result['spend']} USD spent): the gateway gets "
            "no answers until the budget starts again, or raise litellm_virtual_key_max_budget."
        )
    unserved = [name for name in result["unknown_models"] if "*" not in name]
    if unserved:
        module.warn(
            f"LiteLLM serves no model {', '.join(unserved)}: compare litellm_virtual_key_models and litellm_models."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
