#!/usr/bin/python
"""Ansible module gateway.toolkit.slurp_secrets: read files of the host that nobody may see."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurp_secrets
short_description: Read files that hold secrets
description:
  - Like M(ansible.builtin.slurp) for text, but the contents are in no output. Also at C(-vvv), where Ansible prints
    what a module returns even under C(no_log).
options:
  files:
    description: Absolute paths, each under the name that its content gets in the result.
    type: dict
    required: true
  transport_key:
    description: Set by the controller for each call; the contents come back unreadable without it.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Read a private key
  gateway.toolkit.slurp_secrets:
    files:
      key: /etc/ssl/private/gateway.key
  register: __gateway_files
"""

RETURN = r"""
secrets:
  description: The text of every file by its name. Never displayed.
  returned: success
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.one_time_pad import hide


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "transport_key": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    key, found = module.params["transport_key"], {}
    for name, path in module.params["files"].items():
        try:
            found[name] = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            module.fail_json(msg=f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}.")
    module.exit_json(
        changed=False, secrets={name: hide(key, name, text) if key else text for name, text in found.items()}
    )


if __name__ == "__main__":
    main()
