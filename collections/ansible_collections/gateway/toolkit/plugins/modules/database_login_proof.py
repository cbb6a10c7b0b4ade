#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: which passwords PostgreSQL accepts, by real logins. The work is in module_utils/database_login.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_login_proof
short_description: Prove that PostgreSQL accepts one password and refuses another
description:
  - Logs in with psql over TCP, as M(gateway.toolkit.database_login) set it up. A password is in no argument.
author: gateway.toolkit
options:
  address:
    description: Where the server listens.
    type: str
    required: true
  port:
    description: Its TCP port.
    type: int
    default: 5432
  database:
    description: The database.
    type: str
    required: true
  owner:
    description: The database's owner.
    type: str
    required: true
  accepted:
    description: The password that must be accepted.
    type: str
    required: true
  refused:
    description: The password that must be refused; empty when there is none.
    type: str
    default: ""
  used_by:
    description:
      - URL of the LiteLLM on this host, which must be logged in with O(accepted); empty when that is not asked. It is
        asked about an unknown key, which it has to look up, since it closes connections that it does not need.
    type: str
    default: ""
  patience:
    description: Seconds until LiteLLM must have logged in.
    type: int
    default: 30
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Prove the new password
  gateway.toolkit.database_login_proof:
    address: 127.0.0.1
    database: litellm
    owner: litellm
    accepted: "{{ __rotation.secrets.new }}"
    refused: "{{ __rotation.secrets.old }}"
"""

RETURN = r"""
proofs:
  description: What was proved, objects with C(proof) and C(result). They hold no password.
  type: list
  elements: dict
  returned: success
"""

import secrets as random_source
import time
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.database_login import (
    DatabaseProblem,
    Place,
    is_refusal,
    login_name,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import LiteLLMClient, LiteLLMError
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import censor, seal, secrets_in

ARGUMENTS: dict[str, dict[str, Any]] = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
    "database": {"type": "str", "required": True},
    "owner": {"type": "str", "required": True},
    "accepted": {"type": "str", "required": True, "no_log": True},
    "refused": {"type": "str", "default": "", "no_log": True},
    "used_by": {"type": "str", "default": ""},
    "patience": {"type": "int", "default": 30},
}
PAUSE = 1.0
"""Seconds between two looks."""

# As the owner it would not see the addresses of the login's sessions.
SESSIONS = (
    "set role none; select usename from pg_stat_activity where datname = current_database()"
    " and usename = session_user and pid <> pg_backend_pid() and client_addr = inet_client_addr()"
)


def stir(url: str) -> None:
    """Have LiteLLM ask its database."""
    with suppress(LiteLLMError):
        LiteLLMClient(url, "", retries=0).probe("sk-" + random_source.token_hex(16))


def sessions(place: Place, params: dict[str, Any]) -> int:
    """How many sessions from here, but this one, are logged in with ``accepted``."""
    stir(params["used_by"])
    done, words = place.ask(login_name(params["owner"], params["accepted"]), params["accepted"], SESSIONS)
    return len(words.split()) if done else 0


def prove(place: Place, params: dict[str, Any]) -> list[dict[str, str]]:
    """The proofs; DatabaseProblem says what is not as it should be."""
    owner, accepted, refused = params["owner"], params["accepted"], params["refused"]
    user = login_name(owner, accepted)
    where = f"{place.address}:{place.port}"
    done, words = place.ask(user, accepted, "select current_user")
    if not done or words != owner:
        raise DatabaseProblem(f"PostgreSQL at {where} does not let {user} in with its password: {words}")
    proofs = [{"proof": f"PostgreSQL at {where} accepts the password of {user}", "result": f"acts as {owner}"}]
    if refused:
        former = login_name(owner, refused)
        done, words = place.ask(former, refused, "select current_user")
        if done or not is_refusal(former, words):
            raise DatabaseProblem(f"PostgreSQL at {where} does not refuse the other password, of {former}: {words}")
        proofs.append({"proof": f"PostgreSQL at {where} refuses the password of {former}", "result": "refused"})
    if not params["used_by"]:
        return proofs
    end = time.monotonic() + params["patience"]
    count = sessions(place, params)
    while not count and time.monotonic() < end:
        time.sleep(PAUSE)
        count = sessions(place, params)
    if not count:
        raise DatabaseProblem(f"The password of {user} is right, but LiteLLM at {params['used_by']} does not log in.")
    return [*proofs, {"proof": f"connections of LiteLLM at {params['used_by']} as {user}", "result": str(count)}]


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    secrets = secrets_in([], [params[name] for name in ("accepted", "refused")])
    seal(module, secrets)
    if not params["accepted"] or params["accepted"] == params["refused"]:
        module.fail_json(msg="accepted must be a password, another one than refused.")
    place = Place(module.get_bin_path("psql", required=True), params["address"], params["port"], params["database"])
    try:
        proofs = prove(place, params)
    except DatabaseProblem as problem:
        module.fail_json(msg=censor(str(problem), secrets))
    module.exit_json(changed=False, proofs=proofs)


if __name__ == "__main__":
    main()
