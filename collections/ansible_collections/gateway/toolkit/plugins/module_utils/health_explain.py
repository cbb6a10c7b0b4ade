"""From a failure to its cause and remedy.

The order of DEFAULTS matters: the first match wins, so a message that names the culprit comes before the general
classes. The texts that are matched were observed with LiteLLM 1.106.2 and OpenClaw 2026.9.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = (
    "None of the known causes fits this failure.",
    "Start with the first failing check, and read the service's journal (journalctl -u <unit> -n 50).",
)


@dataclass(frozen=True)
class Explanation:
    """A regular expression over a failure's text, with the cause and the remedy in an operator's words."""

    match: str
    cause: str
    remedy: str


DEFAULTS = (
    Explanation(
        r"(?i)litellm\.(BadRequestError: )?AuthenticationError|litellm\.PermissionDeniedError",
        "LiteLLM accepted the virtual key, but the model's provider refused the provider key that LiteLLM sent.",
        "Correct this provider's key in litellm_provider_keys (the name in the model's api_key), "
        "then run the site playbook again.",
    ),
    Explanation(
        r"(?i)budget[ _]has[ _]been[ _]exceeded|budget_exceeded",
        "The virtual key has spent its budget.",
        "Raise litellm_virtual_key_max_budget and run the site playbook, or wait until the budget's period "
        "(litellm_virtual_key_budget_duration) starts again.",
    ),
    Explanation(
        r"litellm\.RateLimitError|HTTP 429\b",
        "Too many requests: a rate limit or quota is used up, mostly that of the model's provider.",
        "Wait, or raise the quota at the provider, or give the model a fallback in litellm_fallbacks.",
    ),
    Explanation(
        r"no_db_connection|No connected db|\bdb is (missing|\"(?!connected\")|null)|\"db\": ?\"(?!connected\")"
        r"|provider rejected the request schema",
        "LiteLLM has no connection to its database, so it cannot look up virtual keys, budgets or spend.",
        "Check that PostgreSQL runs and accepts LiteLLM's host, role and password (systemctl status postgresql; "
        "journalctl -u litellm -n 50), then run the site playbook again.",
    ),
    Explanation(
        r"key_model_access_denied|is not available for this API key",
        "The virtual key is valid but may not use this model, or LiteLLM has no model of that name.",
        "Add the model to litellm_models and, if that list is set, to litellm_virtual_key_models; "
        "then run the site playbook, which updates the key.",
    ),
    Explanation(
        r"Invalid model name passed",
        "LiteLLM has no model of the name that was asked for.",
        "Compare the name with those in litellm_models (GET /v1/models lists what LiteLLM serves), "
        "correct it, then run the site playbook again.",
    ),
    Explanation(
        r"(?i)unknown model",
        "OpenClaw does not know the model: it is not in its own list, or the name lacks the prefix litellm/.",
        "Use a name from litellm_models in openclaw_gateway_primary_model and openclaw_gateway_models, "
        "then run the site playbook again.",
    ),
    Explanation(
        r"(?i)expired_key|\bexpired key\b|key is blocked",
        "The virtual key is expired or blocked in LiteLLM.",
        "Unblock the key in LiteLLM, or make a new one: run the site playbook, then the health checks.",
    ),
    Explanation(
        r"(?i)token_not_found_in_db|invalid proxy server token|virtual key expected",
        "Invalid API key: LiteLLM does not know the virtual key that was sent (it was deleted, belongs to "
        "another LiteLLM database, or was mistyped).",
        "Run the site playbook: it makes the key again and hands it to the gateway. "
        "If you set the key yourself, compare it with LiteLLM's; it must start with sk-.",
    ),
    Explanation(
        r"(?i)no api key passed in",
        "The request carried no key.",
        "Run the site playbook, which hands the virtual key to the gateway; "
        "a proxy in between must not remove the headers x-api-key and Authorization.",
    ),
    Explanation(
        r"(?i)temporarily disabled",
        "OpenClaw has set the provider's key aside after an earlier refusal (30 seconds to 5 minutes). "
        "Neither a new key nor a restart ends this.",
        "See first that the checks of LiteLLM and of the key pass, wait as long as the message says, "
        "then run the health checks again.",
    ),
    Explanation(
        r"(?i)token[ _]mismatch|gateway token",
        "The gateway runs with another token than the one that was sent: the secret changed without a reload.",
        "Restart the gateway (systemctl restart openclaw-gateway), then run the health checks again.",
    ),
    Explanation(
        r"litellm\.(InternalServerError|APIConnectionError|ServiceUnavailableError|Timeout|APIError|BadGatewayError)",
        "LiteLLM works, but the model's provider did not answer or answered with an error.",
        "Check the model's api_base and whether the LiteLLM host reaches it; if the provider has an outage, "
        "a model in litellm_fallbacks bridges it.",
    ),
    Explanation(
        r"restarted within|automatic restarts so far|\bauto-restart\b",
        "The service starts, but does not stay up.",
        "Read why it ends: journalctl -u <unit> -n 50.",
    ),
    Explanation(
        r"no systemctl|systemctl show",
        "This host's systemd does not answer.",
        "See whether this host was started with systemd (systemctl is-system-running), and run the health playbook "
        "with become.",
    ),
    Explanation(
        r"is not installed \(",
        "The unit does not exist on this host: the deployment did not get that far.",
        "Run the site playbook.",
    ),
    Explanation(
        r"unit \S+ is (failed|inactive|activating|deactivating)",
        "The service does not run.",
        "Read why: journalctl -u <unit> -n 50; then start it with systemctl start <unit>.",
    ),
    Explanation(
        r"(?i)does not belong to",
        "Another program took the port first.",
        "Stop that program or give the service another port, then run the site playbook again.",
    ),
    Explanation(
        r"(?i)connection refused|ECONNREFUSED",
        "Nothing listens at that address and port: the service is stopped, still starts, or listens elsewhere.",
        "Look at the service (systemctl status <unit>; journalctl -u <unit> -n 50) and compare where it listens "
        "(ss -ltn) with the configured address and port.",
    ),
    Explanation(
        r"(?i)cannot resolve|ENOTFOUND|EAI_AGAIN|name resolution|Name or service not known",
        "The host name does not resolve on this host.",
        "Correct the name, or add it to DNS or to /etc/hosts of this host.",
    ),
    Explanation(
        r"(?i)no route to host|network is unreachable|EHOSTUNREACH|ENETUNREACH",
        "This host has no way to the other one: wrong address, a network that is down, or a firewall.",
        "Check the address, the routes (ip route get <address>) and the firewall between the two hosts.",
    ),
    Explanation(
        r"cannot (run|read) /|cannot run \S+: No such file|\S is empty$",
        "A program or a secret that the check needs is not on this host, or may not be used: the deployment did not "
        "get that far, or the checks do not run as root.",
        "Run the site playbook; run the health playbook with become.",
    ),
    Explanation(
        r"(?i)TLS: |certificate verify failed|CERT_|self[- ]signed certificate",
        "The TLS connection could not be trusted or made.",
        "Check that the server's certificate is valid for this name and signed by a CA that this host trusts, "
        "and that http and https are not mixed up.",
    ),
    Explanation(
        r"(?i)timed out|ETIMEDOUT|timeout",
        "There was no answer in time: the service hangs or is overloaded, or a firewall drops the packets.",
        "Look at load and memory of the host (uptime; free -m), at the service's journal, and at the firewall "
        "between the two sides.",
    ),
    Explanation(
        r"HTTP 40[13]\b",
        "The server does not accept the key or token that was sent.",
        "Run the site playbook, which brings both sides to the same key; then run the health checks again.",
    ),
    Explanation(
        r"HTTP 404\b|not JSON",
        "The answer does not come from the expected service, or from another version of it.",
        "Check that address and port lead to the service itself and not to another server or proxy.",
    ),
    Explanation(
        r"HTTP 50[0-9]\b",
        "The service answers, but is not ready or fails.",
        "Read its journal (journalctl -u <unit> -n 50) and look at the first failing check above.",
    ),
    Explanation(
        r"nothing listens on port|is open on",
        "The service does not listen where it should: it is not up yet, or configured for other addresses.",
        "Compare the configured bind address and port with where it listens (ss -ltnp), "
        "then run the site playbook again.",
    ),
)


def explain(
    detail: str,
    evidence: str,
    own: Iterable[Mapping[str, Any]],
    fallback: tuple[str, str],
    use_defaults: bool,
) -> tuple[str, str]:
    """Return (cause, remedy) of a failure.

    The check's own explanations come first, then DEFAULTS, then the check's fallback, then UNKNOWN. The one-line
    detail is searched before the evidence: what stands in the detail is nearer to the failure.
    use_defaults: False leaves out DEFAULTS and UNKNOWN.
    """
    if use_defaults:
        fallback = (fallback[0] or UNKNOWN[0], fallback[1] or UNKNOWN[1])
    mine = [Explanation(item["match"], item.get("cause") or "", item.get("remedy") or "") for item in own]
    for explanations in (mine, list(DEFAULTS) if use_defaults else []):
        for text in (detail, evidence):
            for item in explanations:
                if re.search(item.match, text):
                    return item.cause or fallback[0], item.remedy or fallback[1]
    return fallback
