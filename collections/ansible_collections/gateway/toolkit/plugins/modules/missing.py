#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module gateway.toolkit.missing: what a host lacks of what a role needs, in one call that changes nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: missing
short_description: See what a host lacks, all in one call
description:
  - Compares a host with what it should have. A task that would put something there can be skipped when it is.
  - Changes nothing, in check mode as well as otherwise. Every call of a module costs half a second, and opening apt's
    cache another; this one looks at everything at once.
options:
  packages:
    description: Names of Debian packages.
    type: list
    elements: str
    default: []
  paths:
    description: Absolute paths, which may hold shell patterns; one match is enough.
    type: list
    elements: str
    default: []
  directories:
    description: Directories.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the directory.
        type: str
        required: true
      owner:
        description: Name of the user and of the group that own it.
        type: str
        required: true
      mode:
        description: Its mode, four octal digits in quotes.
        type: str
        required: true
  links:
    description: Symbolic links.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the link.
        type: str
        required: true
      target:
        description: The text it must hold.
        type: str
        required: true
  units:
    description: Names of systemd units that must run and start at boot.
    type: list
    elements: str
    default: []
  users:
    description: Users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      home:
        description: Its home directory.
        type: str
        required: true
      shell:
        description: Its shell.
        type: str
        required: true
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: See what is missing
  gateway.toolkit.missing:
    packages: [postgresql-client]
    paths: [/opt/litellm/releases/1.106.2/.complete]
  register: __litellm_missing

- name: Install the PostgreSQL client
  ansible.builtin.apt:
    name: postgresql-client
  when: __litellm_missing.packages | length > 0
"""

RETURN = r"""
packages:
  description: Packages that are not installed completely.
  type: list
  returned: success
paths:
  description: Paths that do not exist.
  type: list
  returned: success
directories:
  description: Paths that are no such directory.
  type: list
  returned: success
links:
  description: Paths that are no such link.
  type: list
  returned: success
units:
  description: Units that do not run, or do not start at boot.
  type: list
  returned: success
users:
  description: Names of users that do not exist, or have another home or shell.
  type: list
  returned: success
"""

import glob
import grp
import os
import pwd
import stat
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# (argument list) -> standard output; the exit status does not matter.
Run = Callable[[list[str]], str]


def missing_packages(names: list[str], run: Run) -> list[str]:
    """The packages that dpkg does not call installed; all of them where there is no dpkg."""
    if not names:
        return []
    # With several architectures a package has several lines.
    lines = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names]).splitlines()
    return [name for name in names if f"{name} installed" not in lines]


def missing_units(names: list[str], run: Run) -> list[str]:
    """The units that are not both active and enabled; all of them where there is no systemd."""
    if not names:
        return []
    states = [run(["systemctl", verb, *names]).split() for verb in ("is-active", "is-enabled")]
    if any(len(words) != len(names) for words in states):
        return names
    return [name for name, *words in zip(names, *states, strict=True) if words != ["active", "enabled"]]


def is_link(path: str, target: str) -> bool:
    """Whether path is a symbolic link that holds exactly this text."""
    return os.path.islink(path) and os.readlink(path) == target


def is_directory(path: str, owner: str, mode: str) -> bool:
    """Whether path is a directory, no link to one, with this owner, a group of the same name and this mode."""
    try:
        status = os.lstat(path)
        ids = (pwd.getpwnam(owner).pw_uid, grp.getgrnam(owner).gr_gid)
    except (OSError, KeyError):
        return False
    right = stat.S_ISDIR(status.st_mode) and f"{stat.S_IMODE(status.st_mode):04o}" == mode
    return right and (status.st_uid, status.st_gid) == ids


def has_user(user: dict[str, str]) -> bool:
    """Whether there is a user with this name, home and shell."""
    try:
        entry = pwd.getpwnam(user["name"])
    except KeyError:
        return False
    return (entry.pw_dir, entry.pw_shell) == (user["home"], user["shell"])


def argument_spec() -> dict[str, Any]:
    """The parameters."""
    user = {name: {"type": "str", "required": True} for name in ("name", "home", "shell")}
    directory = {name: {"type": "str", "required": True} for name in ("path", "owner", "mode")}
    link = {name: {"type": "str", "required": True} for name in ("path", "target")}
    return {
        "packages": {"type": "list", "elements": "str", "default": []},
        "paths": {"type": "list", "elements": "str", "default": []},
        "directories": {"type": "list", "elements": "dict", "default": [], "options": directory},
        "links": {"type": "list", "elements": "dict", "default": [], "options": link},
        "units": {"type": "list", "elements": "str", "default": []},
        "users": {"type": "list", "elements": "dict", "default": [], "options": user},
    }


def main() -> None:
    """Look at everything."""
    module = AnsibleModule(argument_spec(), supports_check_mode=True)
    params = module.params

    def run(argv: list[str]) -> str:
        output: str = module.run_command(argv)[1] if module.get_bin_path(argv[0]) else ""
        return output

    module.exit_json(
        changed=False,
        packages=missing_packages(params["packages"], run),
        paths=[path for path in params["paths"] if not glob.glob(path)],
        directories=[item["path"] for item in params["directories"] if not is_directory(**item)],
        links=[link["path"] for link in params["links"] if not is_link(link["path"], link["target"])],
        units=missing_units(params["units"], run),
        users=[user["name"] for user in params["users"] if not has_user(user)],
    )


if __name__ == "__main__":
    main()
