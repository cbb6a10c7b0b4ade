"""Runs the main() of an Ansible module in this process, as a host would, and shows everything that leaves it."""

from __future__ import annotations

import contextlib
import grp
import io
import json
import os
import pwd
from dataclasses import dataclass
from typing import Any
from unittest import mock

from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name


@dataclass(frozen=True)
class Ran:
    """A finished module: its result, and the lines it sent to the host's log."""

    result: dict[str, Any]
    log: str

    @property
    def text(self) -> str:
        """The result as the text that travels to the controller."""
        return json.dumps(self.result)


def run_main(module: Any, params: dict[str, Any], check_mode: bool = False) -> Ran:
    """The result of a module's main() with these parameters, as with -vvv (the invocation is part of the result)."""
    internal = {"_ansible_check_mode": check_mode, "_ansible_diff": True}
    if "inject_invocation" in basic.PASS_VARS:  # ansible-core 2.19 always adds the invocation
        internal["_ansible_inject_invocation"] = True
    lines: list[str] = []
    output = io.StringIO()
    with (
        patch_module_args({**params, **internal}),
        mock.patch.object(basic, "has_journal", False),
        mock.patch.object(basic.syslog, "syslog", lambda _priority, line: lines.append(line)),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    return Ran(json.loads(output.getvalue()), "\n".join(lines))
