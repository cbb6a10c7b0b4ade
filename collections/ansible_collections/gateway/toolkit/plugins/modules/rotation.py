#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: the state of a secret's rotation. The work is in module_utils/rotation_state.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rotation
short_description: Keep the state of a secret's rotation on the host that has the secret
description:
  - Decides whether a secret is to be rotated, makes the new value, puts it in use, takes it back, and writes receipts.
    It talks to no service; what a step means there is done by other tasks between two calls.
  - The steps are prepared, registered, switched, proved and retired. They are kept with fingerprints only, so that the
    next run finishes or undoes what a killed one has left.
  - The values are in O(directory) as NAME, NAME.next and NAME.old, for root only. A result that holds them is not
    displayed.
author: gateway.toolkit
options:
  action:
    description:
      - V(begin) takes up the unfinished rotation or starts one that is due, and writes the new value to NAME.next.
      - V(record) notes O(step) and O(proofs).
      - V(switch) puts the new value in use and keeps the old one as NAME.old.
      - V(back) puts the old value in use again, because of O(cause).
      - V(finish) removes what is left of the other value, looks for copies of it and writes the receipt.
    type: str
    choices: [begin, record, switch, back, finish]
    required: true
  name:
    description: File name of the secret.
    type: str
    required: true
  kind:
    description: What it is, for messages and receipts. Without it, O(name).
    type: str
    default: ""
  subject:
    description: Whose secret it is, for messages and receipts.
    type: str
    required: true
  directory:
    description: Root-only directory that holds the secret.
    type: path
    required: true
  state_directory:
    description: Root-only directory of the state; it is made.
    type: path
    required: true
  log:
    description: File that receipts are appended to, one JSON object in each line.
    type: path
    default: /var/log/gateway-toolkit/rotation.log
  requested:
    description: For V(begin), whether a rotation was asked for.
    type: bool
    default: false
  emergency:
    description: For V(begin), whether the old value is to be revoked first.
    type: bool
    default: false
  max_age:
    description: For V(begin), days after which a generated value is rotated; 0 is never.
    type: float
    default: 0
  max_age_variable:
    description: Name of the operator's variable, for messages.
    type: str
    default: max_age
  value:
    description: For V(begin), the operator's value. Another one than the value in use is rotated to.
    type: str
    default: ""
  variable:
    description: Name of the operator's variable, for messages.
    type: str
    default: value
  keyed:
    description:
      - For V(begin), the value is a set of keys, a JSON object of texts. Names that came or went are taken over as they
        are; other values of a name are rotated to, all at once, and the receipt names each.
    type: bool
    default: false
  prefix:
    description: Start of a generated value.
    type: str
    default: ""
  bytes:
    description: How many random bytes a generated value has; they are written as hexadecimal digits.
    type: int
    default: 32
  overlap:
    description: For V(begin) and V(record), seconds that the old value lives on after the switch.
    type: int
    default: 0
  step:
    description: For V(record), the step that was done.
    type: str
    choices: [prepared, registered, switched, proved, retired]
  proofs:
    description: For V(record) and V(back), objects with C(proof) and C(result).
    type: list
    elements: dict
    default: []
  usable:
    description: For V(record), whether a model can be asked with the new value; false when its budget is used up.
    type: bool
  interruption:
    description: For V(record), the seconds for which the service did not answer because of the rotation.
    type: float
  search:
    description:
      - For V(finish), folders in which copies of the value that is dead now are looked for. Files that hold one are
        named in the receipt and in a warning. Without a folder nothing is searched, and the receipt does not speak
        of it.
    type: list
    elements: path
    default: []
  search_seconds:
    description: How long that may take.
    type: int
    default: 30
  cause:
    description: For V(back), why.
    type: str
    default: a proof failed
  transport_key:
    description: Set by the controller for each call; the values come back unreadable without it.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Begin
  gateway.toolkit.rotation:
    action: begin
    name: virtual_key
    subject: openclaw-gateway1
    directory: /etc/openclaw-gateway/secrets
    state_directory: /etc/openclaw-gateway/rotation
    max_age: 30
    prefix: sk-
  register: __rotation
"""

RETURN = r"""
due:
  description: Whether there is a rotation to do, in check mode too.
  type: bool
  returned: success
active:
  description: Whether there is one to do in this run; false in check mode.
  type: bool
  returned: success
step:
  description: The last step that was done.
  type: str
  returned: success
direction:
  description: forward or back.
  type: str
  returned: success
members:
  description: For a set of keys, the names whose value changes.
  type: list
  elements: str
  returned: success
reason:
  description: Why it rotates.
  type: str
  returned: success
old:
  description: Fingerprint of the old value.
  type: str
  returned: success
new:
  description: Fingerprint of the new value.
  type: str
  returned: success
message:
  description: One sentence for the operator, empty when nothing is to be done.
  type: str
  returned: success
wait:
  description: Seconds until the old value may be revoked.
  type: int
  returned: success
secrets:
  description: The values C(old) and C(new), while a rotation is active. Never displayed.
  type: dict
  returned: success
receipt:
  description: For V(finish), what was written to the log.
  type: dict
  returned: success
"""

import platform
import secrets as random_source
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils import rotation_state as rules
from ansible_collections.gateway.toolkit.plugins.module_utils.one_time_pad import hide
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import seal, secrets_in
from ansible_collections.gateway.toolkit.plugins.module_utils.rotation_store import SUFFIXES, Store
from ansible_collections.gateway.toolkit.plugins.module_utils.stray_copies import Search, search

ARGUMENTS: dict[str, dict[str, Any]] = {
    "action": {"type": "str", "required": True, "choices": ["begin", "record", "switch", "back", "finish"]},
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "default": ""},
    "subject": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "state_directory": {"type": "path", "required": True},
    "log": {"type": "path", "default": "/var/log/gateway-toolkit/rotation.log"},
    "requested": {"type": "bool", "default": False},
    "emergency": {"type": "bool", "default": False},
    "max_age": {"type": "float", "default": 0},
    "max_age_variable": {"type": "str", "default": "max_age"},
    "value": {"type": "str", "default": "", "no_log": True},
    "variable": {"type": "str", "default": "value"},
    "keyed": {"type": "bool", "default": False},
    "prefix": {"type": "str", "default": ""},
    "bytes": {"type": "int", "default": 32},
    "overlap": {"type": "int", "default": 0},
    "step": {"type": "str", "choices": list(rules.STEPS)},
    "proofs": {"type": "list", "elements": "dict", "default": []},
    "usable": {"type": "bool"},
    "interruption": {"type": "float"},
    "search": {"type": "list", "elements": "path", "default": []},
    "search_seconds": {"type": "int", "default": 30},
    "cause": {"type": "str", "default": "a proof failed"},
    "transport_key": {"type": "str", "default": "", "no_log": True},
}


def change_of(params: dict[str, Any], ledger: rules.Ledger, files: rules.Files, now: datetime) -> rules.Change:
    """What the action does to the files and the ledger."""
    proofs = [{"proof": str(item.get("proof")), "result": str(item.get("result"))} for item in params["proofs"]]
    if params["action"] == "begin":
        names = ("requested", "emergency", "max_age", "value", "variable", "max_age_variable", "keyed")
        wish = rules.Wish(**{name: params[name] for name in names})
        return rules.begin(
            ledger, files, wish, now, lambda: params["prefix"] + random_source.token_hex(params["bytes"])
        )
    if params["action"] == "switch":
        return rules.switch(ledger, files, now)
    if params["action"] == "finish":
        return rules.finish(ledger, files, now)
    usable = rules.required(ledger).usable if params["usable"] is None else params["usable"]
    noted = rules.record(ledger, params["step"], proofs, usable, params["interruption"])
    return rules.back(noted.ledger, files, params["cause"]) if params["action"] == "back" else noted


def summary(rotation: rules.Rotation | None, params: dict[str, Any], now: datetime, fresh: bool) -> dict[str, Any]:
    """The module's return values but for secrets and receipt."""
    if rotation is None:
        none = dict.fromkeys(("step", "direction", "reason", "old", "new", "message"), "")
        return {"due": False, "active": False, **none, "members": [], "emergency": False, "usable": True, "wait": 0}
    kind = (params["kind"] or params["name"]).replace("_", " ")
    return {
        "due": True,
        "active": True,
        "step": rotation.step,
        "direction": rotation.direction,
        "members": [member["name"] for member in rotation.members],
        "reason": rotation.reason,
        "old": rotation.old,
        "new": rotation.new,
        "message": rules.sentence(kind, params["subject"], rotation, fresh),
        "emergency": rotation.emergency,
        "usable": rotation.usable,
        "wait": rules.seconds_left(rotation, params["overlap"], now),
    }


def strays(params: dict[str, Any], store: Store, dead: str) -> Search | None:
    """Where the dead value is, beside the files that are about to be removed; None without places to search."""
    if not params["search"]:
        return None
    if not dead:
        return Search((), False)
    own = [store.path(which) for which in SUFFIXES]
    return search(dead, params["search"], own, params["search_seconds"])


def warnings_of(params: dict[str, Any], receipt: dict[str, Any]) -> list[str]:
    """What the operator has to look at."""
    kind = f"{(params['kind'] or params['name']).replace('_', ' ')} of {params['subject']}"
    dead = receipt["old"] if receipt["result"] == "rotated" else receipt["new"]
    copies = receipt.get("copies", [])
    found = [f"The dead {kind}, {dead}, is still written in {path}: remove it there." for path in copies]
    if not receipt.get("searched", True):
        found.append(f"The search for copies of the dead {kind}, {dead}, is not complete.")
    return found


def run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Do it. RotationProblem carries a sentence for the operator."""
    store = Store(params["directory"], params["state_directory"], params["log"], params["name"])
    now = datetime.now(timezone.utc)
    ledger, files = store.ledger(), store.files()
    change = change_of(params, ledger, files, now)
    after = change.ledger.rotation
    if params["action"] == "begin" and after is None and not change.operations:
        return {"changed": False, "secrets": {}, **summary(None, params, now, False)}
    if check_mode:
        # The value that was made for this answer only is thrown away, and so is its fingerprint.
        fresh = ledger.rotation is None
        shown = replace(after, new="") if after and fresh and not params["value"] else after
        return {"changed": True, "secrets": {}, **summary(shown, params, now, fresh), "active": False}
    result: dict[str, Any] = {}
    if params["action"] == "finish":
        rotation = rules.required(ledger)
        copies = strays(params, store, rules.values_of(rotation, files)["old" if rotation.forward else "new"])
        kind = params["kind"] or params["name"]
        receipt = rules.receipt(rotation, kind, params["subject"], platform.node(), now, copies)
        store.append(receipt)
        result = {"receipt": receipt}
    store.apply(change)
    values = rules.values_of(after, store.files()) if after else {}
    changed = change.ledger != ledger or bool(change.operations)
    return {"changed": changed, "secrets": values, **summary(after, params, now, ledger.rotation is None), **result}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    seal(module, secrets_in([params["value"]] if params["keyed"] else [], [params["value"]]))
    shown = {"module_args": {name: params[name] for name in ("action", "name", "subject", "directory")}}
    try:
        result = run(params, module.check_mode)
    except rules.RotationProblem as problem:
        module.fail_json(msg=str(problem), invocation=shown)
    for sentence in warnings_of(params, result["receipt"]) if "receipt" in result else ():
        module.warn(sentence)
    # From here on the values are the result; the action plugin keeps them from being displayed.
    seal(module, [])
    key = params["transport_key"]
    hidden = {name: hide(key, name, value) if key else value for name, value in result["secrets"].items()}
    module.exit_json(**{**result, "secrets": hidden}, invocation=shown)


if __name__ == "__main__":
    main()
