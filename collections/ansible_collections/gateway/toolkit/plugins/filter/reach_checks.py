"""Filter that turns what other hosts should reach into checks of gateway.toolkit.health_probe, with their causes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Probe = Mapping[str, Any]


def reach_checks(probes: Iterable[Probe]) -> list[dict[str, Any]]:
    """Return {from, checks} for each host that asks, with the checks that it makes.

    probes: mappings with from (the host that asks; "localhost" is the one that runs Ansible), reachable, group, what
    (in the operator's words), url, body_matches (of the right answer, or None), service (its unit), setting (the
    variable that says where it listens) and list (the variable that names the host that asks).
    """
    by_host: dict[str, list[dict[str, Any]]] = {}
    for probe in probes:
        by_host.setdefault(str(probe["from"]), []).append(_check(probe, str(probe["from"])))
    return [{"from": host, "checks": checks} for host, checks in by_host.items()]


def _check(probe: Probe, vantage: str) -> dict[str, Any]:
    who = "the controller" if vantage == "localhost" else vantage
    verb = "is reached" if probe["reachable"] else "is out of reach"
    check = {
        "name": f"{probe['what']} {verb} from {who}",
        "group": probe["group"],
        "kind": "reach",
        "url": probe["url"],
        "reachable": probe["reachable"],
        "body_matches": probe.get("body_matches"),
        "explain": _explanations(probe, who),
    }
    return {key: value for key, value in check.items() if value is not None}


def _explanations(probe: Probe, who: str) -> list[dict[str, str]]:
    unless = f"if {who} need not reach it, take it out of {probe['list']}."
    if not probe["reachable"]:
        return [
            {
                "match": "is open to this host",
                "cause": f"The {probe['what']} is open to {who}, which should not reach it.",
                "remedy": f"Set {probe['setting']} to where it should listen, or let the firewall keep {who} out; "
                f"if it may reach it, take it out of {probe['list']}.",
            }
        ]
    return [
        {
            "match": "connection refused",
            "cause": "Nothing listens there, or a firewall rejects: the service is down or listens elsewhere.",
            "remedy": f"Look at the checks of {probe['service']} on its host: if one failed, that is the cause; if all "
            f"are ok, compare {probe['setting']} with the address, then look at the firewall.",
        },
        {
            "match": "no answer from",
            "cause": f"A firewall between {who} and the host drops the packets, or nobody has that address.",
            "remedy": f"Let {who} in (firewall of the host, security group of the cloud); {unless}",
        },
        {
            "match": "no route to host|unreachable|cannot resolve",
            "cause": f"{who[0].upper()}{who[1:]} has no way to that address.",
            "remedy": f"Correct the address, the name or the routes; {unless}",
        },
        {
            "match": "does not answer as expected|another server",
            "cause": "Another program answers there, or this one speaks another protocol (TLS or not).",
            "remedy": f"Stop that program, or give the service another port; {unless}",
        },
    ]


class FilterModule:
    """The filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name -> filter."""
        return {"reach_checks": reach_checks}
