#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: the login roles of a database's owner. The work is in module_utils/database_login.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_login
short_description: Give the owner of a PostgreSQL database a login for each of its passwords
description:
  - The owner cannot log in itself. Each password has a login role of its own, named after the owner and the first 8
    hexadecimal digits of the password's SHA-256, which acts as the owner. So an old and a new password work side by
    side while LiteLLM changes from one to the other.
  - Runs psql over the server's socket, as the user of the task, a superuser of the server. The server never sees a
    password, only its SCRAM-SHA-256 verifier.
author: gateway.toolkit
options:
  state:
    description:
      - V(present), there is a login for O(password), whatever others there are.
      - V(only), and it is the only one. The others are dropped, and their sessions ended.
    type: str
    choices: [present, only]
    default: present
  owner:
    description: Owner of the database; lower-case letters, digits and C(_), at most 54.
    type: str
    required: true
  password:
    description: The password, printable ASCII.
    type: str
    required: true
  database:
    description: The owner's database. Needed for V(only), since what a dropped role owns there goes to the owner.
    type: str
    default: postgres
  port:
    description: TCP port that the server's socket is named after.
    type: int
    default: 5432
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Have a login
  gateway.toolkit.database_login:
    owner: litellm
    password: "{{ __postgresql_secrets.secrets.password }}"
  become: true
  become_user: postgres
"""

RETURN = r"""
login:
  description: Name of the login role.
  type: str
  returned: success
ended:
  description: For V(only), the login roles that were dropped.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.database_login import (
    NAME,
    DatabaseProblem,
    Psql,
    login_name,
    to_end,
    to_have,
    to_lock,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import seal, secrets_in

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "only"], "default": "present"},
    "owner": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "database": {"type": "str", "default": "postgres"},
    "port": {"type": "int", "default": 5432},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    owner, password = module.params["owner"], module.params["password"]
    seal(module, secrets_in([], [password]))
    if not NAME.fullmatch(owner):
        module.fail_json(msg=f"{owner} cannot be the owner: use lower-case letters, digits and _, at most 54.")
    if not password or not password.isascii() or not password.isprintable():
        module.fail_json(msg="The password has to be printable ASCII.")
    psql = Psql(module.get_bin_path("psql", required=True), module.params["port"], module.params["database"])
    login = login_name(owner, password)
    try:
        roles = psql.roles(owner)
        statements = to_have(owner, password, roles)
        others = [name for name in roles if name not in (owner, login)] if module.params["state"] == "only" else []
        if not module.check_mode:
            # Locked first, and for good: a pool would come back between the end of its sessions and that of the role.
            for change in (statements, to_lock(others), to_end(owner, others)):
                if change:
                    psql.change(change)
    except DatabaseProblem as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(changed=bool(statements or others), login=login, ended=others)


if __name__ == "__main__":
    main()
