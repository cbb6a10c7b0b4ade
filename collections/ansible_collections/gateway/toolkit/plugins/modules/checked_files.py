#!/usr/bin/python
"""Ansible module gateway.toolkit.checked_files: files that belong together, installed after a check, all or nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checked_files
short_description: Install files that belong together after checking them, all or nothing
description:
  - Compares every file with the live one. When the content of one differs, all candidates are written to a private
    staging directory and the installed program judges them there. Only when it accepts them are the files replaced.
  - New files are completely on the disk before the first one is renamed into place. When a rename fails, the ones
    already done are taken back.
  - When only owner or mode differ, they are put right without a check.
  - Symbolic links at a destination are refused, not followed. Destination directories must exist.
  - Secrets (C(secret_content), I(check_environment), I(redact)) are kept out of diff, output and the host's log.
    C(no_log) is not needed on the task; it would hide the diff of the other files.
  - In check mode the check runs too when its program, its user and the owners exist; otherwise files are only compared.
options:
  files:
    description: The files. Two of them must not have the same base name.
    type: list
    elements: dict
    required: true
    suboptions:
      dest:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The text, shown in diff. Exactly one of I(content) and I(secret_content) is needed.
        type: str
      secret_content:
        description: The text of a file that holds secrets.
        type: str
      owner:
        description: User name or number.
        type: str
        default: root
      group:
        description: Group name or number.
        type: str
        default: root
      mode:
        description: Four octal digits in quotes.
        type: str
        default: "0600"
  check:
    description:
      - A command as a list of words, or a list of such commands that run in order until one fails.
      - C({stage}) in a word stands for the staging directory. A command accepts the files by exit status 0.
    type: list
    elements: raw
    default: []
  check_user:
    description: User the check runs as. Without it the check runs as the user of the task.
    type: str
  check_environment:
    description: Environment of the check, besides a standard PATH and LANG. C({stage}) is replaced here too.
    type: dict
    default: {}
  check_timeout:
    description: Seconds after which a command of the check is killed and counts as failed.
    type: int
    default: 180
  redact:
    description: Further strings (at least 4 characters each) that must not appear in the output of the check.
    type: list
    elements: str
    default: []
  always_check:
    description: Run the check also when nothing differs.
    type: bool
    default: false
  staging_directory:
    description: Where staging directories are made.
    type: path
    default: /run/gateway-toolkit
"""

EXAMPLES = r"""
- name: Install the gateway's configuration
  gateway.toolkit.checked_files:
    files:
      - dest: /var/lib/openclaw/.openclaw/openclaw.json
        content: "{{ lookup('ansible.builtin.template', openclaw_gateway_config_template) }}"
        group: openclaw
        mode: "0640"
      - dest: /var/lib/openclaw/.openclaw/secrets.json
        secret_content: "{{ __openclaw_gateway_secrets | to_nice_json }}"
        owner: openclaw
        group: openclaw
    check: [/opt/openclaw/current/bin/openclaw, config, validate, --json]
    check_user: openclaw
    check_environment:
      OPENCLAW_CONFIG_PATH: "{stage}/openclaw.json"
"""

RETURN = r"""
changed_files:
  description: Paths that were (or in check mode would be) replaced or given another owner or mode.
  returned: success
  type: list
checked:
  description: Whether the check ran.
  returned: success
  type: bool
check_status:
  description: Exit status of the refusing command; none when it did not end in time or could not be started.
  returned: when the check refused the files
  type: int
"""

import os
import shlex
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import (
    Access,
    FileProblem,
    LiveFile,
    group_id,
    open_directory,
    parse_mode,
    put_in_place,
    read_live,
    remove_stale,
    repair_access,
    user_id,
    write_atomic,
    write_candidate,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import censor, readable, seal, secrets_in
from ansible_collections.gateway.toolkit.plugins.module_utils.staged_check import (
    BASE_ENVIRONMENT,
    Outcome,
    run_check,
    staged,
)


@dataclass(frozen=True)
class Item:
    """One file: what it shall be and what it is. `wanted` is None when its owner does not exist (yet)."""

    dest: str
    data: bytes
    secret: bool
    wanted: Access | None
    live: LiveFile | None

    @property
    def access(self) -> Access:
        """Owner and mode it shall have."""
        if self.wanted is None:
            raise FileProblem(f"The owner or group of {self.dest} does not exist.")
        return self.wanted

    @property
    def new_content(self) -> bool:
        """Whether the content on the host differs."""
        return self.live is None or self.live.data != self.data

    @property
    def new_access(self) -> bool:
        """Whether owner, group or mode on the host differ."""
        return self.live is None or self.live.access != self.wanted


def commands_of(check: list[Any]) -> list[list[str]]:
    """The parameter `check` as a list of commands; FileProblem when it is neither of the two accepted shapes."""
    commands = [check] if check and not isinstance(check[0], list) else check
    for command in commands:
        if not isinstance(command, list) or not command or any(isinstance(word, (list, dict)) for word in command):
            raise FileProblem("check must be a list of words or a list of such lists.")
    return [[str(word) for word in command] for command in commands]


def name_problems(dests: list[str]) -> list[str]:
    """Sentences about paths that are not absolute or share a base name (they would collide in the stage)."""
    names = [os.path.basename(dest) for dest in dests]
    shared = sorted({name for name in names if names.count(name) > 1})
    relative = [f"{dest} is not the absolute path of a file." for dest in dests if dest[:1] != "/" or dest[-1:] == "/"]
    return relative + [f"Two files have the base name {name}." for name in shared]


def inspect(params: list[dict[str, Any]], check_mode: bool) -> tuple[list[Item], list[str]]:
    """Every file with its live state, and all problems found. A host that is not ready is no problem in check mode."""
    items: list[Item] = []
    problems = name_problems([entry["dest"] for entry in params])
    for entry in params:
        text = entry["content"] if entry["secret_content"] is None else entry["secret_content"]
        access, live = None, None
        try:
            mode = parse_mode(entry["mode"])
            live = read_live(entry["dest"])
            try:
                access = Access(user_id(entry["owner"]), group_id(entry["group"]), mode)
                with open_directory(os.path.dirname(entry["dest"])):
                    pass
            except FileProblem:
                if not check_mode:
                    raise
        except FileProblem as problem:
            problems.append(str(problem))
        items.append(Item(entry["dest"], text.encode(), entry["secret_content"] is not None, access, live))
    return items, list(dict.fromkeys(problems))


def can_check(commands: list[list[str]], user: str | None, items: Iterable[Item]) -> bool:
    """Whether the host already has what the check needs: its programs, its user and the files' owners."""
    try:
        user_id(user or "0")
    except FileProblem:
        return False
    programs = [shutil.which(command[0], path=BASE_ENVIRONMENT["PATH"]) for command in commands]
    return all(programs) and all(item.wanted for item in items)


def difference(item: Item) -> dict[str, str]:
    """One entry of the module's diff. A secret file says only that it changes."""
    if item.secret:
        what = "changed (content hidden)" if item.new_content else "owner or mode changed"
        return {"prepared": f"{item.dest}: {what}\n"}
    if not item.new_content:
        return {"prepared": f"{item.dest}: owner or mode changed\n"}
    before = item.live.data.decode(errors="replace") if item.live else ""
    return {
        "before_header": item.dest,
        "after_header": item.dest,
        "before": before,
        "after": item.data.decode(),
    }


def install(items: list[Item]) -> None:
    """Write all new files completely, then rename them all. After a FileProblem the live files are as they were."""
    with ExitStack() as stack:
        ready: list[tuple[int, str, Item]] = []
        done: list[Item] = []
        try:
            for item in items:
                directory = stack.enter_context(open_directory(os.path.dirname(item.dest)))
                name = os.path.basename(item.dest)
                remove_stale(directory, name)
                ready.append((directory, write_candidate(directory, name, item.data, item.access), item))
            for directory, candidate, item in ready:
                put_in_place(directory, candidate, os.path.basename(item.dest))
                done.append(item)
        except BaseException as error:
            for directory, candidate, _item in ready[len(done) :]:
                with suppress(OSError):
                    os.unlink(candidate, dir_fd=directory)
            for item in done:
                take_back(item)
            if isinstance(error, OSError):
                raise FileProblem(f"No file was replaced: {error}.") from None
            raise


def take_back(item: Item) -> None:
    """Restore the file that was there before, or none."""
    try:
        if item.live is None:
            os.unlink(item.dest)
        else:
            write_atomic(item.dest, item.live.data, item.live.access)
    except OSError as error:
        raise FileProblem(f"{item.dest} was replaced, others were not; putting it back failed: {error}.") from None


def refusal(outcome: Outcome, secrets: Iterable[str]) -> dict[str, Any]:
    """What the module reports when the check refuses the files."""
    output = "\n".join(filter(None, (readable(text, secrets) for text in (outcome.stderr, outcome.stdout))))
    ending = "did not complete" if outcome.status is None else f"ended with exit status {outcome.status}"
    command = censor(shlex.join(outcome.argv), secrets)
    message = (
        f"The new files were refused: {command} {ending}. "
        f"No file was replaced and the running service was not touched. It said:\n{output or '(nothing)'}"
    )
    return {"msg": message, "check_status": outcome.status}


def check_items(items: list[Item], commands: list[list[str]], params: dict[str, Any]) -> Outcome | None:
    """Run the check on all candidates; None when every command accepted them."""
    environment = {name: str(value) for name, value in params["check_environment"].items()}
    files = {os.path.basename(item.dest): (item.data, item.access) for item in items}
    with staged(params["staging_directory"], files) as stage:
        for command in commands:
            outcome = run_check(command, stage, environment, params["check_user"], params["check_timeout"])
            if outcome.status != 0:
                return outcome
    return None


def argument_spec() -> dict[str, Any]:
    """The parameters. Those with secrets are no_log as a whole, so that the host's log line shows nothing of them."""
    file = {
        "dest": {"type": "path", "required": True},
        "content": {"type": "str"},
        "secret_content": {"type": "str", "no_log": True},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "mode": {"type": "str", "default": "0600"},
    }
    alternatives = [["content", "secret_content"]]
    return {
        "files": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "no_log": True,
            "options": file,
            "mutually_exclusive": alternatives,
            "required_one_of": alternatives,
        },
        "check": {"type": "list", "elements": "raw", "default": []},
        "check_user": {"type": "str"},
        "check_environment": {"type": "dict", "default": {}, "no_log": True},
        "check_timeout": {"type": "int", "default": 180},
        "redact": {"type": "list", "elements": "str", "default": [], "no_log": True},
        "always_check": {"type": "bool", "default": False},
        "staging_directory": {"type": "path", "default": "/run/gateway-toolkit"},
    }


def main() -> None:
    """Compare, check the candidates, install."""
    module = AnsibleModule(argument_spec(), supports_check_mode=True)
    params = module.params
    hidden = [entry["secret_content"] for entry in params["files"] if entry["secret_content"]]
    secrets = secrets_in(hidden + [str(value) for value in params["check_environment"].values()], params["redact"])
    seal(module, secrets)
    shown = {"module_args": {"files": [entry["dest"] for entry in params["files"]], "check": params["check"]}}

    items, problems = inspect(params["files"], module.check_mode)
    try:
        commands = commands_of(params["check"])
        if params["check_user"] and not module.check_mode:
            user_id(params["check_user"])
    except FileProblem as problem:
        problems.append(str(problem))
    if problems:
        module.fail_json(msg="No file was replaced. " + " ".join(problems), errors=problems, invocation=shown)

    replaced = [item for item in items if item.new_content]
    repaired = [item for item in items if not item.new_content and item.new_access]
    check_wanted = bool(commands) and bool(replaced or params["always_check"])
    checked = check_wanted and (not module.check_mode or can_check(commands, params["check_user"], items))
    try:
        refused = check_items(items, commands, params) if checked else None
        if refused:
            module.fail_json(**refusal(refused, secrets), invocation=shown)
        if not module.check_mode:
            install(replaced)
            for item in repaired:
                if item.live:
                    repair_access(item.dest, item.live, item.access)
    except (OSError, FileProblem) as error:
        module.fail_json(msg=f"The files could not be installed. {error}", invocation=shown)
    changes = replaced + repaired
    module.exit_json(
        changed=bool(changes),
        changed_files=[item.dest for item in changes],
        checked=checked,
        diff=[difference(item) for item in changes],
        invocation=shown,
    )


if __name__ == "__main__":
    main()
