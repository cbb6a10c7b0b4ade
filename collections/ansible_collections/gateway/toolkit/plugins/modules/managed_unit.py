#!/usr/bin/python
"""Ansible module gateway.toolkit.managed_unit: a systemd unit that runs what was deployed, also after a killed run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: managed_unit
short_description: Make a systemd unit run what was deployed
description:
  - Enables, starts, restarts or stops a unit by looking at the host alone, so nothing is lost when a run is killed
    between a new file and the restart, as it is with handlers.
  - A running unit is restarted when one of I(restart_on), its unit file or a drop-in changed after it was started.
  - After a start it waits until the service is ready, and gives up at once when the unit has failed or restarts in a
    loop. A run that was killed or failed while waiting is made up for by the next one.
  - When nothing is to be done it makes a single call of systemctl.
options:
  name:
    description: The unit, with its suffix C(.service).
    type: str
    required: true
  enabled:
    description: Whether the unit starts at boot.
    type: bool
    default: true
  state:
    description: Whether the unit runs.
    type: str
    choices: [started, stopped]
    default: started
  restart_on:
    description:
      - Absolute paths of what the process reads when it starts. Of a symbolic link, the link itself counts. Missing
        ones are ignored until they appear.
    type: list
    elements: path
    default: []
  restart:
    description: Restart a running unit in any case.
    type: bool
    default: false
  ready:
    description: How to see over HTTP that the service is ready. Without it the unit must stay up for I(settle) seconds.
    type: dict
    suboptions:
      url:
        description: An C(http) or C(https) URL. No proxy is used and no redirect followed.
        type: str
        required: true
      status:
        description: Expected status.
        type: int
        default: 200
      json:
        description: Expected values in the body, by dotted path, compared with their types.
        type: dict
        default: {}
      timeout:
        description: Seconds to wait.
        type: int
        default: 120
      headers:
        description: Request headers; their values are treated as secrets.
        type: dict
        default: {}
  ready_always:
    description: Check I(ready) also when nothing was started.
    type: bool
    default: false
  settle:
    description: Seconds that a started unit must stay up when I(ready) is not given.
    type: int
    default: 2
  redact:
    description: Strings (at least 4 characters each) that must not appear in journal lines of an error.
    type: list
    elements: str
    default: []
  state_directory:
    description: Where the last start of each unit is remembered until the next boot.
    type: path
    default: /run/gateway-toolkit/units
"""

EXAMPLES = r"""
- name: Run the proxy
  gateway.toolkit.managed_unit:
    name: litellm.service
    restart_on: [/etc/litellm/config.yaml, /etc/litellm/litellm.env, /opt/litellm/current]
    ready:
      url: http://127.0.0.1:4000/health/readiness
      json: {db: connected}
    redact: "{{ __litellm_secrets.secrets.values() | list }}"
"""

RETURN = r"""
reasons:
  description: Why the unit was changed, one sentence each.
  returned: always
  type: list
started:
  description: Whether the unit was started or restarted.
  returned: success
  type: bool
interruption:
  description:
    - For how many seconds a service that was ready before did not answer I(ready), asked every tenth of a second from
      before the restart on. 0 when nothing was started.
  returned: success
  type: float
seconds:
  description: How long starting and waiting took.
  returned: success
  type: float
unit:
  description: The unit's properties as systemd shows them.
  returned: failure to come up
  type: dict
"""

import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gateway.toolkit.plugins.module_utils.atomic_file import FileProblem
from ansible_collections.gateway.toolkit.plugins.module_utils.readiness import not_ready
from ansible_collections.gateway.toolkit.plugins.module_utils.redaction import readable, seal, secrets_in
from ansible_collections.gateway.toolkit.plugins.module_utils.systemd_unit import (
    RUNNING,
    Plan,
    Stamp,
    Systemd,
    changed_since_start,
    clocks,
    decide,
    hopeless,
    identity,
    number,
    read_stamp,
    summary,
    watched_paths,
    write_stamp,
)

INTERVAL = 0.25
WATCH_SECONDS = 0.1
REQUEST_SECONDS = 5.0
STARTING_SECONDS = 60


class NotReady(Exception):
    """The unit did not come up; the text says why."""


class Watch:
    """Asks a service again and again, in a thread of its own, and tells how long it did not answer.

    ``probe``: (seconds for the answer) -> what is missing, or empty. What counts is from the last good answer before
    the first bad one to the next good one.
    """

    def __init__(self, probe: Callable[[float], str]) -> None:
        self._probe = probe
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._good: float | None = None
        self._longest = 0.0

    def __enter__(self) -> Watch:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def longest(self) -> float:
        """Seconds of the longest gap between two good answers, one of which came before the start of a bad one."""
        return round(self._longest, 1)

    def _look(self) -> bool:
        good = not self._probe(REQUEST_SECONDS)
        now = time.monotonic()
        if good and self._good is not None:
            self._longest = max(self._longest, now - self._good)
        if good:
            self._good = now
        return good

    def _run(self) -> None:
        while not self._end.wait(WATCH_SECONDS):
            self._look()
        # What was ready for the caller is so for the watch: the gap that is open ends here.
        self._look()


def load_problem(name: str, unit: dict[str, str]) -> str:
    """A sentence when systemd cannot use the unit at all; empty when it can."""
    if unit["LoadState"] == "loaded":
        return ""
    if unit["LoadState"] == "not-found":
        return f"There is no unit {name} on this host; its unit file must be installed first."
    if unit["LoadState"] == "masked":
        return f"{name} is masked. Run: systemctl unmask {name}"
    return f"systemd cannot use {name} ({unit['LoadState']}): {unit['LoadError'] or 'see systemctl status'}."


def probe_of(ready: dict[str, Any] | None) -> Callable[[float], str]:
    """A function (seconds left -> what is missing, or empty) that asks the service; without `ready` it says nothing."""
    if ready is None:
        return lambda _left: ""
    headers = {name: str(value) for name, value in ready["headers"].items()}

    def probe(left: float) -> str:
        timeout = max(1.0, min(REQUEST_SECONDS, left))
        return not_ready(ready["url"], headers, ready["status"], ready["json"], timeout)

    return probe


def wait(
    show: Callable[[], dict[str, str]], probe: Callable[[float], str], restarts: int, limits: tuple[int, int]
) -> None:
    """Wait until the service answers as it should and the unit itself is up; NotReady when it will not.

    restarts: the unit's count of automatic restarts before. limits: seconds it must stay up first, seconds at most. A
    foreign process on the same port may answer as well: an answer counts only while the unit runs.
    """
    begin = time.monotonic()
    settle, longest = limits
    while True:
        elapsed = time.monotonic() - begin
        missing = probe(longest - elapsed)
        unit = show()
        verdict = hopeless(unit, restarts)
        if verdict:
            raise NotReady(verdict + (f"; {missing}" if missing else ""))
        up = unit["ActiveState"] in RUNNING
        if up and not missing and elapsed >= settle:
            return
        if elapsed >= longest:
            raise NotReady(f"it was not ready after {longest} seconds: {missing or unit['ActiveState']}")
        time.sleep(INTERVAL)


def apply(systemd: Systemd, name: str, plan: Plan) -> str:
    """Carry out a plan; returns what a failing start or restart said (the unit's state tells whether that is final)."""
    if plan.reload:
        systemd.call("daemon-reload")
    if plan.enable is not None:
        systemd.call("enable" if plan.enable else "disable", name)
    if plan.verb == "stop":
        systemd.call("stop", name)
    elif plan.verb:
        # Clears "start request repeated too quickly" and the count of earlier starts.
        systemd.attempt("reset-failed", name)
        return systemd.attempt(plan.verb, name)
    return ""


def argument_spec() -> dict[str, Any]:
    """The parameters. Those with secrets are no_log as a whole, so that the host's log line shows nothing of them."""
    ready = {
        "url": {"type": "str", "required": True},
        "status": {"type": "int", "default": 200},
        "json": {"type": "dict", "default": {}},
        "timeout": {"type": "int", "default": 120},
        "headers": {"type": "dict", "default": {}, "no_log": True},
    }
    return {
        "name": {"type": "str", "required": True},
        "enabled": {"type": "bool", "default": True},
        "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
        "restart_on": {"type": "list", "elements": "path", "default": []},
        "restart": {"type": "bool", "default": False},
        "ready": {"type": "dict", "options": ready, "no_log": True},
        "ready_always": {"type": "bool", "default": False},
        "settle": {"type": "int", "default": 2},
        "redact": {"type": "list", "elements": "str", "default": [], "no_log": True},
        "state_directory": {"type": "path", "default": "/run/gateway-toolkit/units"},
    }


def header_secrets(ready: dict[str, Any] | None) -> list[str]:
    """Values of request headers, and each word of them (the token after "Bearer")."""
    values = [str(value) for value in ready["headers"].values()] if ready else []
    return values + [word for value in values for word in value.split() if len(word) >= 8]


def examine(systemd: Systemd, name: str, look_only: bool) -> dict[str, str]:
    """The unit's properties, after a daemon-reload when systemd does not know it yet; FileProblem when it is unusable.

    look_only: a missing unit is returned as such, without a daemon-reload.
    """
    unit = systemd.show(name)
    if unit["LoadState"] == "not-found":
        if look_only:
            return unit
        systemd.call("daemon-reload")
        unit = systemd.show(name)
    problem = load_problem(name, unit)
    if problem:
        raise FileProblem(problem)
    return unit


def carry_out(systemd: Systemd, params: dict[str, Any], plan: Plan, unit: dict[str, str], stamp: Stamp) -> float:
    """Act, wait until the unit is ready, remember. NotReady when it does not come up.

    stamp: before a start, what the unit is started from; otherwise what is remembered of the last one. Returns for how
    many seconds a service that answered before did not.
    """
    if not (plan.verb == "restart" and params["ready"]):
        bring_up(systemd, params, plan, unit, stamp)
        return 0.0
    with Watch(probe_of(params["ready"])) as watch:
        bring_up(systemd, params, plan, unit, stamp)
    return watch.longest


def bring_up(systemd: Systemd, params: dict[str, Any], plan: Plan, unit: dict[str, str], stamp: Stamp) -> None:
    """carry_out without a look at the interruption."""
    name, ready = params["name"], params["ready"]
    path = os.path.join(params["state_directory"], f"{name}.json")
    starts = plan.verb in ("start", "restart")
    if starts:
        write_stamp(path, stamp)
    said = apply(systemd, name, plan)
    if params["state"] == "stopped" or not (starts or params["ready_always"] or not stamp.confirmed):
        return
    limits = (0, ready["timeout"]) if ready else (params["settle"], params["settle"] + STARTING_SECONDS)
    try:
        wait(lambda: systemd.show(name), probe_of(ready), 0 if starts else number(unit["NRestarts"]), limits)
    except NotReady as problem:
        raise NotReady(f"{problem}. {said}".strip()) from None
    if not stamp.confirmed:
        write_stamp(path, Stamp(systemd.show(name)["InvocationID"], stamp.files))


def report_failure(
    systemd: Systemd, name: str, problem: NotReady, since: float | None, secrets: set[str]
) -> dict[str, Any]:
    """The result of a unit that did not come up: its state and its last journal lines (since: seconds since epoch)."""
    unit = systemd.show(name)
    lines = readable(systemd.journal(name, since), secrets, lines=20).splitlines()
    head = f"{name} did not come up: {problem} {summary(unit)}"
    return {"msg": "\n".join([head, "Its last journal lines:", *(lines or ["(none)"])]), "unit": unit}


def main() -> None:
    """Look, decide, act."""
    module = AnsibleModule(argument_spec(), supports_check_mode=True)
    params, name, begin = module.params, module.params["name"], time.time()
    secrets = secrets_in([], params["redact"] + header_secrets(params["ready"]))
    seal(module, secrets)
    shown = {"module_args": {key: params[key] for key in ("name", "enabled", "state", "restart_on", "restart")}}
    if not re.fullmatch(r"[A-Za-z0-9:_.@\\-]+\.service", name):
        module.fail_json(msg=f'"{name}" is not the name of a service unit, such as litellm.service.', invocation=shown)
    systemd = Systemd(module.get_bin_path("systemctl", required=True), module.get_bin_path("journalctl"))
    wanted = params["state"] == "started"
    reasons: list[str] = []
    starts = False
    interruption = 0.0
    try:
        unit = examine(systemd, name, look_only=module.check_mode or not (wanted or params["enabled"]))
        if unit["LoadState"] == "not-found":
            reasons = [f"{name} does not exist yet."] if wanted or params["enabled"] else []
        else:
            stamp = read_stamp(os.path.join(params["state_directory"], f"{name}.json"))
            files = {path: identity(path) for path in watched_paths(unit, params["restart_on"])}
            changed = changed_since_start(unit, files, stamp, clocks())
            plan = decide(name, unit, changed, enabled=params["enabled"], started=wanted, restart=params["restart"])
            reasons, starts = plan.reasons, plan.verb in ("start", "restart") and not module.check_mode
            if not module.check_mode:
                stamp = Stamp("", files, confirmed=False) if starts else stamp
                interruption = carry_out(systemd, params, plan, unit, stamp)
    except NotReady as problem:
        failure = report_failure(systemd, name, problem, begin if starts else None, secrets)
        module.fail_json(**failure, reasons=reasons, invocation=shown)
    except (OSError, FileProblem) as problem:
        module.fail_json(msg=str(problem), reasons=reasons, invocation=shown)
    module.exit_json(
        changed=bool(reasons),
        reasons=reasons,
        started=starts,
        interruption=interruption,
        seconds=round(time.time() - begin, 1),
        diff={"prepared": "".join(f"{reason}\n" for reason in reasons)},
        invocation=shown,
    )


if __name__ == "__main__":
    main()
