"""Filters that turn the results of gateway.toolkit.health_probe into a table for people and a report for machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

OK = "ok"
WARNING = "warning"
FAILED = "failed"
NOT_RUN = "not run"
FIELDS = ("name", "group", "status", "detail", "cause", "remedy", "seconds", "captured")
NO_ANSWER = {
    "name": "answer",
    "group": "host",
    "status": FAILED,
    "detail": "no results from this host",
    "cause": "The host could not be reached, or the play stopped there before its checks.",
    "remedy": "Look at the first error that the play shows for this host.",
}


def host_results(host: str, given: Any) -> list[dict[str, Any]]:
    """Return the results of a host as plain dicts.

    given: a list of results, or what gateway.toolkit.health_probe returned, or a list of such returns (a task that
    looped). A return without results (the module failed, the host is unreachable) counts as one failed check, unless
    its task was skipped; so does a host that has nothing at all. Raises AnsibleFilterError for anything else.
    """
    found = list(_flatten(host, given))
    plain = [{name: result[name] for name in FIELDS if name in result} for result in found]
    return plain or [dict(NO_ANSWER)]


def _flatten(host: str, given: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(given, Mapping) and "status" in given and "name" in given:
        if given["status"] not in (OK, WARNING, FAILED, NOT_RUN):
            raise AnsibleFilterError(f"health results of {host}: unknown status {given['status']!r}")
        yield given
    elif isinstance(given, Mapping) and "results" in given:
        yield from _flatten(host, given["results"])
    elif isinstance(given, Mapping):
        if not given.get("skipped"):
            yield NO_ANSWER
    elif isinstance(given, Sequence) and not isinstance(given, str):
        for item in given:
            yield from _flatten(host, item)
    elif given is not None:
        raise AnsibleFilterError(f"health results of {host}: expected a list of results, got {type(given).__name__}")


def all_results(results_by_host: Any) -> dict[str, list[dict[str, Any]]]:
    """Return host -> results, with the hosts in the given order."""
    if not isinstance(results_by_host, Mapping):
        raise AnsibleFilterError(f"expected a mapping from host to results, got {type(results_by_host).__name__}")
    return {str(host): host_results(str(host), given) for host, given in results_by_host.items()}


def summarize(hosts: Mapping[str, list[dict[str, Any]]]) -> dict[str, int]:
    """Count the checks of all hosts."""
    statuses = [result["status"] for results in hosts.values() for result in results]
    counts = {name.replace(" ", "_"): statuses.count(name) for name in (OK, FAILED, NOT_RUN)}
    if WARNING in statuses:
        counts[WARNING] = statuses.count(WARNING)
    return {"checks": len(statuses), **counts}


def health_report(results_by_host: Any, time: str | None = None) -> dict[str, Any]:
    """Return the report for machines: {ok, time, hosts: {host: [result]}, summary: {checks, ok, failed, not_run}}.

    time: text that the caller gives, best ISO 8601 in UTC. ok: at least one check, and none that did not pass.
    """
    hosts = all_results(results_by_host)
    summary = summarize(hosts)
    return {
        "ok": summary["checks"] > 0 and summary["ok"] + summary.get(WARNING, 0) == summary["checks"],
        "time": None if time is None else str(time),
        "hosts": hosts,
        "summary": summary,
    }


def health_table(results_by_host: Any) -> list[str]:
    """Return the table for people as a list of lines; below each failure stand its cause and its remedy."""
    hosts = all_results(results_by_host)
    rows = [(host, _title(result), result["status"], result) for host, results in hosts.items() for result in results]
    head = ("HOST", "CHECK", "STATUS")
    widths = [max(len(text) for text in column) for column in zip(head, *(row[:3] for row in rows), strict=True)]
    lines = [_line(head, widths, "DETAIL")]
    for host, title, status, result in rows:
        shown = status if status == OK else status.upper()
        lines.append(_line((host, title, shown), widths, _flat(result.get("detail"))))
        for word in ("cause", "remedy"):
            text = _flat(result.get(word))
            if status in (FAILED, WARNING) and text:
                lines.append(f"{'':{widths[0]}}  {word}: {text}")
    count = summarize(hosts)
    noun = "check" if count["checks"] == 1 else "checks"
    ends = f"{count['ok']} ok, {count['failed']} failed, {count['not_run']} not run"
    ends += f", {count[WARNING]} with a warning" if WARNING in count else ""
    return [*lines, f"{count['checks']} {noun}: {ends}"]


def _title(result: Mapping[str, Any]) -> str:
    return f"{result['group']}: {result['name']}" if result.get("group") else str(result["name"])


def _flat(text: Any) -> str:
    return " ".join(str(text or "").split())


def _line(cells: Sequence[str], widths: Sequence[int], detail: str) -> str:
    padded = [f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([*padded, detail]).rstrip()


class FilterModule:
    """The filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"health_report": health_report, "health_table": health_table}
