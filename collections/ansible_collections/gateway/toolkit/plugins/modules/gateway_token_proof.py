#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: which of two tokens an OpenClaw gateway accepts. The work is in module_utils/openclaw_door.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_token_proof
short_description: Prove that a gateway accepts one token and refuses another
description:
  - Asks the running gateway over HTTP and over WebSocket, each by itself. A token is in no argument of a program.
  - Waits for the gateway to take over its new configuration.
author: gateway.toolkit
options:
  url:
    description: Where the gateway listens, like V(http://127.0.0.1:4321).
    type: str
    required: true
  ca_file:
    description: For https, file with the CA certificates to trust; empty for the host's own.
    type: str
    default: ""
  server_name:
    description: For https, name in the gateway's certificate; empty for that in O(url).
    type: str
    default: ""
  accepted:
    description: The token that must be accepted.
    type: str
    required: true
  refused:
    description: The token that must be refused; empty when it is not known.
    type: str
    default: ""
  patience:
    description: Seconds until all answers must be right.
    type: int
    default: 60
  timeout:
    description: Seconds for one answer. The gateway delays answers to wrong tokens.
    type: int
    default: 20
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Prove the new token
  gateway.toolkit.gateway_token_proof:
    url: http://127.0.0.1:4321
    accepted: "{{ __rotation.secrets.new }}"
    refused: "{{ __rotation.secrets.old }}"
"""

RETURN = r"""
proofs:
  description: What was proved, objects with C(proof) and C(result). They hold no token.
  type: list
  elements: dict
  returned: always
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.openclaw_door import (
    Answer,
    Trust,
    ask_http,
    ask_websocket,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import seal, secrets_in

PAUSE = 1.0
"""Seconds between two tries."""

Question = tuple[str, bool, Callable[[], Answer]]


def questions(url: str, accepted: str, refused: str, timeout: float, trust: Trust) -> list[Question]:
    """(what is proved, whether to be let in, how to ask)."""
    asked: list[Question] = []
    for way, ask in (("HTTP", ask_http), ("WebSocket", ask_websocket)):
        asked.append((f"gateway accepts its token over {way}", True, partial(ask, url, accepted, timeout, trust)))
        if refused:
            asked.append((f"gateway refuses the other over {way}", False, partial(ask, url, refused, timeout, trust)))
    return asked


def prove(asked: list[Question], patience: float) -> tuple[list[dict[str, str]], list[str]]:
    """(proofs, what is wrong). Each question is asked until its answer is right, until the patience is over."""
    end = time.monotonic() + patience
    proofs, wrong = [], []
    for what, wanted, ask in asked:
        answer = ask()
        while answer.let_in is not wanted and time.monotonic() < end:
            time.sleep(PAUSE)
            answer = ask()
        proofs.append({"proof": what, "result": answer.words})
        if answer.let_in is not wanted:
            wrong.append(f"{what}: no, {answer.words}.")
    return proofs, wrong


def main() -> None:
    arguments = {
        "url": {"type": "str", "required": True},
        "ca_file": {"type": "str", "default": ""},
        "server_name": {"type": "str", "default": ""},
        "accepted": {"type": "str", "required": True, "no_log": True},
        "refused": {"type": "str", "default": "", "no_log": True},
        "patience": {"type": "int", "default": 60},
        "timeout": {"type": "int", "default": 20},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    params: dict[str, Any] = module.params
    seal(module, secrets_in([], [params["accepted"], params["refused"]]))
    if not params["accepted"] or params["accepted"] == params["refused"]:
        module.fail_json(msg="accepted must be a token, another one than refused.", proofs=[])
    trust = Trust(params["ca_file"], params["server_name"])
    asked = questions(params["url"], params["accepted"], params["refused"], params["timeout"], trust)
    proofs, wrong = prove(asked, params["patience"])
    if wrong:
        module.fail_json(
            msg=f"The gateway at {params['url']} does not do what its token says: {' '.join(wrong)}", proofs=proofs
        )
    module.exit_json(changed=False, proofs=proofs)


if __name__ == "__main__":
    main()
