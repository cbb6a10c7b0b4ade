#!/usr/bin/python
"""Ansible module gateway.toolkit.host_secrets: secrets that live on the host, readable by root only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_secrets
short_description: Keep secrets on the host that uses them
description:
  - Keeps one secret per file in a directory that only root can read, several secrets in one call.
  - The operator's value wins and is stored. Without one, the stored value is read back. Without that, one is generated.
  - All secrets are judged first. When one of them cannot be used, nothing is written and every problem is reported.
  - A successful result is never displayed, with or without C(no_log) on the task; it can be registered and used. A
    failed result holds no secret and is displayed, so C(no_log) is not needed on the task.
  - In check mode nothing is written. A missing secret is generated for this run only, so that templates can be
    rendered.
options:
  directory:
    description: Absolute path of the directory. It is created with mode C(0700); missing parents with C(0755).
    type: path
    required: true
  owner:
    description: User that owns the directory and the files.
    type: str
    default: root
  group:
    description: Group that owns the directory and the files.
    type: str
    default: root
  rotation_directory:
    description:
      - Where M(gateway.toolkit.rotation) keeps its state. With it the result says for which secrets that module has
        something to do, so that it need not be asked when there is nothing.
    type: path
    default: ""
  transport_key:
    description: Set by the controller for each call; the values come back unreadable without it.
    type: str
    default: ""
  secrets:
    description: The secrets.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: File name, made of letters, digits, dots, hyphens and underscores.
        type: str
        required: true
      value:
        description: The operator's value, one line. Empty or left out means not given.
        type: str
        default: ""
      prefix:
        description: Start of a generated value. Another value must start with it too.
        type: str
        default: ""
      bytes:
        description: How many random bytes a generated value has (16 to 128); they are written as hexadecimal digits.
        type: int
        default: 32
      generate:
        description: Whether a missing secret is generated. If not, it must be given or be there.
        type: bool
        default: true
      keep_stored:
        description:
          - Whether a stored value wins over the operator's. For secrets that M(gateway.toolkit.rotation) changes, which
            proves the operator's new value before the old one ends.
        type: bool
        default: false
      immutable:
        description: Whether a value that differs from the stored one is refused.
        type: bool
        default: false
      variable:
        description: Name of the operator's variable, for messages. Without it messages use the file's path.
        type: str
        default: ""
      min_length:
        description: Shortest accepted value, in characters.
        type: int
        default: 1
"""

EXAMPLES = r"""
- name: Keep the proxy's secrets
  gateway.toolkit.host_secrets:
    directory: /etc/litellm/secrets
    secrets:
      - name: master_key
        value: "{{ litellm_master_key | default('') }}"
        prefix: sk-
        min_length: 20
        variable: litellm_master_key
      - name: salt_key
        value: "{{ litellm_salt_key | default('') }}"
        immutable: true
        variable: litellm_salt_key
  register: __litellm_secrets

- name: Use one
  ansible.builtin.set_fact:
    __litellm_key: "{{ __litellm_secrets.secrets.master_key }}"
  no_log: true
"""

RETURN = r"""
secrets:
  description: Every secret's value by its name. Never displayed.
  returned: success
  type: dict
fingerprints:
  description: First 12 hexadecimal digits of the SHA-256 of every value, by name.
  returned: success
  type: dict
generated:
  description: Names of the secrets that were generated in this run.
  returned: success
  type: list
changed_names:
  description: Names of the secrets whose stored value changed in this run (generated ones included).
  returned: success
  type: list
pending:
  description:
    - Names of the secrets with C(keep_stored) whose given value is not the stored one, or whose rotation is not
      finished.
  returned: success
  type: list
repaired:
  description: Paths whose owner or mode was put right.
  returned: success
  type: list
errors:
  description: One sentence for each secret that cannot be used.
  returned: failure
  type: list
"""

import hashlib
import json
import os
import re
import secrets as random_source
import stat
from dataclasses import dataclass, fields
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import (
    Access,
    FileProblem,
    LiveFile,
    group_id,
    read_live,
    repair_access,
    user_id,
    write_atomic,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.one_time_pad import hide
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import seal, secrets_in

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Wanted:
    """One item of the parameter `secrets`; the meaning of each field is in DOCUMENTATION."""

    name: str
    value: str = ""
    prefix: str = ""
    bytes: int = 32
    generate: bool = True
    keep_stored: bool = False
    immutable: bool = False
    variable: str = ""
    min_length: int = 1


@dataclass(frozen=True)
class Kept:
    """What a secret will be after this run: its value and whether it must be stored and was generated."""

    value: str
    store: bool
    generated: bool


def flaw(value: str, wanted: Wanted) -> str:
    """What is wrong with a value, as the end of a sentence; empty when nothing is."""
    if UNPRINTABLE.search(value) or value != value.strip():
        return "has a line break, a control character, or a blank at its start or end; it must be one plain line"
    if not value.startswith(wanted.prefix):
        return f'does not start with "{wanted.prefix}"'
    if len(value) < wanted.min_length:
        return f"is shorter than {wanted.min_length} characters"
    return ""


def demand_flaws(wanted: list[Wanted]) -> list[str]:
    """Sentences about the parameters themselves: unsafe or repeated names, numbers of random bytes."""
    names = [item.name for item in wanted]
    unsafe = [f'"{name}" is not a safe file name for a secret.' for name in names if not NAME.fullmatch(name)]
    repeated = [f"The secret {name} is listed more than once." for name in sorted(set(names)) if names.count(name) > 1]
    sizes = [f"{item.name}: bytes must be 16 to 128." for item in wanted if not 16 <= item.bytes <= 128]
    return unsafe + repeated + sizes


def stored_value(path: str, live: LiveFile, wanted: Wanted) -> str:
    """The value in a secret's file; FileProblem with what to do when the file does not hold a usable one."""
    remedy = "Restore it from a backup"
    if wanted.variable:
        remedy += f", or set {wanted.variable}" + (" to the old value and remove the file" if wanted.immutable else "")
    elif wanted.generate:
        remedy += ", or remove it to have a new one made"
    try:
        value = live.data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise FileProblem(f"{path} does not hold text. {remedy}.") from None
    if not value.strip():
        raise FileProblem(f"{path} is empty. {remedy}.")
    problem = flaw(value, wanted)
    if problem:
        raise FileProblem(f"The value in {path} {problem}. {remedy}.")
    return value


def decide(wanted: Wanted, path: str, live: LiveFile | None) -> Kept:
    """Which value counts: the operator's, the stored one, or a new one. FileProblem when none can be used."""
    label = wanted.variable or f"The given value for {path}"
    if wanted.value and not (wanted.keep_stored and live is not None):
        problem = flaw(wanted.value, wanted)
        if problem:
            raise FileProblem(f"{label} {problem}.")
        if live is None or live.data == f"{wanted.value}\n".encode():
            return Kept(wanted.value, store=live is None, generated=False)
        if wanted.immutable and stored_value(path, live, wanted) != wanted.value:
            raise FileProblem(
                f"{label} differs from the value in {path}, and this secret cannot be changed once it is in use. "
                f"Set it to the stored value, or leave it out."
            )
        return Kept(wanted.value, store=True, generated=False)
    if live is not None:
        return Kept(stored_value(path, live, wanted), store=False, generated=False)
    if wanted.generate:
        return Kept(wanted.prefix + random_source.token_hex(wanted.bytes), store=True, generated=True)
    raise FileProblem(f"{path} does not exist and no value is given. Set {wanted.variable or 'its value'}.")


def directory_access(path: str) -> Access | None:
    """Owner and mode of the directory, None when it is missing; FileProblem for a link or something else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        raise FileProblem(f"{path} is not a directory (a symbolic link is not followed).")
    return Access(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def make_parents(path: str) -> None:
    """Make missing directories with mode 0755 whatever the umask is: service users must get past them."""
    if not os.path.isdir(path):
        make_parents(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)


def prepare_directory(path: str, current: Access | None, access: Access) -> None:
    """Make the directory with exactly this owner and mode."""
    if current is None:
        make_parents(os.path.dirname(path))
        os.mkdir(path, 0o700)
    os.chown(path, access.uid, access.gid, follow_symlinks=False)
    os.chmod(path, access.mode)


def is_pending(item: Wanted, kept: str, directory: str, rotation_directory: str) -> bool:
    """Whether gateway.toolkit.rotation has something to do: another value, or what a killed run left behind."""
    if not item.keep_stored:
        return False
    path = os.path.join(directory, item.name)
    if (item.value and item.value != kept) or any(os.path.lexists(path + end) for end in (".next", ".old")):
        return True
    try:
        with open(os.path.join(rotation_directory, f"{item.name}.json"), encoding="utf-8") as stream:
            return json.load(stream)["rotation"] is not None
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


def argument_spec() -> dict[str, Any]:
    """The parameters. `secrets` as a whole is no_log, so that the host's log line shows nothing of it."""
    secret = {
        "name": {"type": "str", "required": True},
        "value": {"type": "str", "default": "", "no_log": True},
        "prefix": {"type": "str", "default": ""},
        "bytes": {"type": "int", "default": 32},
        "generate": {"type": "bool", "default": True},
        "keep_stored": {"type": "bool", "default": False},
        "immutable": {"type": "bool", "default": False},
        "variable": {"type": "str", "default": ""},
        "min_length": {"type": "int", "default": 1},
    }
    return {
        "directory": {"type": "path", "required": True},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "rotation_directory": {"type": "path", "default": ""},
        "transport_key": {"type": "str", "default": "", "no_log": True},
        "secrets": {"type": "list", "elements": "dict", "required": True, "no_log": True, "options": secret},
    }


def main() -> None:
    """Judge all secrets, then write what must be written, then return the values."""
    module = AnsibleModule(argument_spec(), supports_check_mode=True)
    directory, key = module.params["directory"], module.params["transport_key"]
    names = [field.name for field in fields(Wanted)]
    wanted = [Wanted(**{name: item[name] for name in names}) for item in module.params["secrets"]]
    seal(module, secrets_in([], [item.value for item in wanted]))
    shown = {"module_args": {"directory": directory, "secrets": [item.name for item in wanted]}}

    errors = demand_flaws(wanted)
    live: dict[str, LiveFile | None] = {}
    kept: dict[str, Kept] = {}
    try:
        owner, group = user_id(module.params["owner"]), group_id(module.params["group"])
        current = directory_access(directory)
    except FileProblem as problem:
        module.fail_json(msg=str(problem), errors=[str(problem)], invocation=shown)
    for item in [] if errors else wanted:
        path = os.path.join(directory, item.name)
        try:
            live[item.name] = read_live(path)
            kept[item.name] = decide(item, path, live[item.name])
        except FileProblem as problem:
            errors.append(str(problem))
    if errors:
        module.fail_json(msg="Nothing was changed. " + " ".join(errors), errors=errors, invocation=shown)

    folder, file = Access(owner, group, 0o700), Access(owner, group, 0o600)
    repaired = [directory] if current not in (None, folder) else []
    changed_names = [name for name, item in kept.items() if item.store]
    kept_files = {os.path.join(directory, name): old for name, old in live.items() if name not in changed_names}
    to_repair = {path: old for path, old in kept_files.items() if old and old.access != file}
    repaired += to_repair
    try:
        if not module.check_mode:
            if current != folder:
                prepare_directory(directory, current, folder)
            for name in changed_names:
                write_atomic(os.path.join(directory, name), f"{kept[name].value}\n".encode(), file)
            for path, old in to_repair.items():
                repair_access(path, old, file)
    except (OSError, FileProblem) as error:
        text = f"The secrets in {directory} could not be written: {error}"
        module.fail_json(msg=text, errors=[text], invocation=shown)

    # From here on the values are the result; the action plugin keeps them from being displayed.
    seal(module, [])
    module.exit_json(
        changed=bool(changed_names or repaired or current is None),
        secrets={name: hide(key, name, item.value) if key else item.value for name, item in kept.items()},
        fingerprints={name: hashlib.sha256(item.value.encode()).hexdigest()[:12] for name, item in kept.items()},
        generated=[name for name, item in kept.items() if item.generated],
        changed_names=changed_names,
        pending=[
            item.name
            for item in wanted
            if is_pending(item, kept[item.name].value, directory, module.params["rotation_directory"])
        ],
        repaired=repaired,
        invocation=shown,
    )


if __name__ == "__main__":
    main()
