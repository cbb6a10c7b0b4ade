"""Runs a list of health checks concurrently, each after the checks that it needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from ansible_collections.gateway.toolkit.plugins.module_utils.health_certificate import check_certificate
from ansible_collections.gateway.toolkit.plugins.module_utils.health_command import check_command
from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Censor, CheckError, Outcome
from ansible_collections.gateway.toolkit.plugins.module_utils.health_explain import explain
from ansible_collections.gateway.toolkit.plugins.module_utils.health_http import check_http
from ansible_collections.gateway.toolkit.plugins.module_utils.health_listen import check_listen
from ansible_collections.gateway.toolkit.plugins.module_utils.health_openclaw import check_openclaw
from ansible_collections.gateway.toolkit.plugins.module_utils.health_reach import check_reach
from ansible_collections.gateway.toolkit.plugins.module_utils.health_unit import check_unit

Check = Mapping[str, Any]
OK, WARNING, FAILED, NOT_RUN = "ok", "warning", "failed", "not run"
MOST_THREADS = 32


def attempt(check: Check, censor: Censor) -> Outcome:
    """Try a check once. Whatever goes wrong is a failed outcome: one odd answer must not hide the other checks."""
    try:
        if check["kind"] == "unit":
            return check_unit(check)
        if check["kind"] == "listen":
            return check_listen(check)
        if check["kind"] == "http":
            return check_http(check, censor)
        if check["kind"] == "openclaw":
            return check_openclaw(check, censor)
        if check["kind"] == "certificate":
            return check_certificate(check)
        if check["kind"] == "reach":
            return check_reach(check)
        return check_command(check)
    except CheckError as error:
        return Outcome(False, str(error), str(error))
    except Exception as error:
        return Outcome(False, f"this check broke: {type(error).__name__}: {error}")


def persist(
    check: Check,
    try_once: Callable[[Check], Outcome],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Try a check, and as long as it fails again and again within its `retries` (seconds: timeout, delay)."""
    retries = check.get("retries") or {}
    start, tries = clock(), 1
    outcome = try_once(check)
    while not outcome.ok and clock() - start + (retries.get("delay") or 0) < (retries.get("timeout") or 0):
        sleep(retries.get("delay") or 0)
        outcome, tries = try_once(check), tries + 1
    if outcome.ok or tries == 1:
        return outcome
    detail = f"{outcome.detail} (still after {tries} tries in {clock() - start:.0f} s)"
    return Outcome(False, detail, outcome.evidence, outcome.captured)


def result(check: Check, outcome: Outcome, censor: Censor, use_defaults: bool, seconds: float) -> dict[str, Any]:
    """Return the result of a check as the module hands it back: without secrets, with cause and remedy on failure."""
    detail, evidence = censor.text(" ".join(outcome.detail.split())), censor.text(outcome.evidence)
    cause, remedy = "", ""
    if not outcome.ok or outcome.warning:
        fallback = (check.get("cause") or "", check.get("remedy") or "")
        cause, remedy = explain(detail, evidence, check.get("explain") or [], fallback, use_defaults)
        unit = check.get("unit") or "<unit>"
        cause, remedy = (censor.text(text.replace("<unit>", unit)) for text in (cause, remedy))
    return {
        "name": check["name"],
        "group": check.get("group") or "",
        "status": (WARNING if outcome.warning else OK) if outcome.ok else FAILED,
        "detail": detail,
        "cause": cause,
        "remedy": remedy,
        "seconds": round(seconds, 2),
        "captured": censor.value(dict(outcome.captured)),
    }


def not_run(check: Check, blockers: Sequence[str]) -> dict[str, Any]:
    """Return the result of a check whose needs did not pass."""
    return {
        "name": check["name"],
        "group": check.get("group") or "",
        "status": NOT_RUN,
        "detail": f"needs {', '.join(blockers)}, which did not pass",
        "cause": "",
        "remedy": "",
        "seconds": 0.0,
        "captured": {},
    }


def run_checks(
    checks: Sequence[Check],
    censor: Censor,
    use_defaults: bool = True,
    try_once: Callable[[Check, Censor], Outcome] = attempt,
) -> list[dict[str, Any]]:
    """Run all checks, as many at a time as their needs allow; return their results in the given order."""

    def one(check: Check) -> dict[str, Any]:
        start = time.monotonic()
        outcome = persist(check, lambda item: try_once(item, censor))
        return result(check, outcome, censor, use_defaults, time.monotonic() - start)

    results: dict[str, dict[str, Any]] = {}
    waiting, running = list(checks), dict[Future[dict[str, Any]], str]()
    with ThreadPoolExecutor(max_workers=max(1, min(len(checks), MOST_THREADS))) as pool:
        while waiting or running:
            for check in list(waiting):
                needs = check.get("needs") or []
                blockers = [name for name in needs if name in results and results[name]["status"] not in (OK, WARNING)]
                if blockers:
                    results[check["name"]] = not_run(check, blockers)
                elif all(name in results for name in needs):
                    running[pool.submit(one, check)] = check["name"]
                else:
                    continue
                waiting.remove(check)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                results[running.pop(future)] = future.result()
    return [results[check["name"]] for check in checks]
