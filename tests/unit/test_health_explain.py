"""The default explanations tell the known troubles apart. The messages were observed with LiteLLM and OpenClaw."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.health_explain import DEFAULTS, UNKNOWN, explain

NONE = ("", "")
TROUBLES = [
    ("connection refused: nothing accepts connections at 127.0.0.1:4000", "Nothing listens"),
    ("timed out after 10 s: no answer from 127.0.0.1:4000", "no answer in time"),
    ("timed out after 120 s and was killed; last words: no output", "no answer in time"),
    (
        "HTTP 401: Authentication Error, Invalid proxy server token passed. Received API Key = sk-****, Key Hash "
        "(Token) =0a1b. Unable to find token in cache or `LiteLLM_VerificationTokenTable` [token_not_found_in_db]",
        "Invalid API key",
    ),
    (
        "HTTP 401: LiteLLM Virtual Key expected. Received=****, expected to start with 'sk-'. [auth_error]",
        "Invalid API key",
    ),
    ("HTTP 401: Authentication Error, No api key passed in. [auth_error]", "carried no key"),
    ("HTTP 401: Authentication Error, Authentication Error - Expired Key. [expired_key]", "expired or blocked"),
    ("HTTP 401: Key is blocked. Update via `/key/unblock` if you're admin.", "expired or blocked"),
    (
        "HTTP 401: litellm.AuthenticationError: AnthropicException - invalid x-api-key. Received Model Group=a "
        "[authentication_error]",
        "provider refused the provider key",
    ),
    (
        "HTTP 403: The requested model 'X' is not available for this API key, or the model name is invalid. "
        "[key_model_access_denied]",
        "may not use this model",
    ),
    (
        "HTTP 400: /v1/messages: Invalid model name passed in model=nope. Call `/v1/models` [invalid_request_error]",
        "LiteLLM has no model",
    ),
    ("exit status 1: Unknown model: litellm/nope", "OpenClaw does not know the model"),
    (
        "HTTP 422: Budget has been exceeded! Key=oc (sk-****) Current cost: 1.2, Max budget: 1.0 [budget_exceeded]",
        "spent its budget",
    ),
    ("HTTP 429: Budget has been exceeded! Key=oc (sk-****) [budget_exceeded]", "spent its budget"),
    ("HTTP 429: litellm.RateLimitError: too many [rate_limit_error]", "rate limit or quota"),
    ("HTTP 400: No connected db. [no_db_connection]", "no connection to its database"),
    ("HTTP 503: Service Unavailable [no_db_connection]", "no connection to its database"),
    ('HTTP 503: {"status": "healthy", "db": "disconnected"}', "no connection to its database"),
    ('HTTP 503: {"status":"healthy","db":"stalled"}', "no connection to its database"),
    ('HTTP 200, but db is "Not connected", expected "connected"', "no connection to its database"),
    ("HTTP 200, but db is missing", "no connection to its database"),
    ("exit status 1: provider rejected the request schema", "no connection to its database"),
    (
        'exit status 1: Inline API key for provider "litellm" is temporarily disabled because of an earlier failure. '
        "Retry after about 1 minute.",
        "set the provider's key aside",
    ),
    ("exit status 1: unauthorized: gateway token mismatch", "another token"),
    (
        "HTTP 500: litellm.InternalServerError: Connection refused. No fallback was attempted.",
        "provider did not answer",
    ),
    ("port 4000 does not belong to litellm.service: it is held on 127.0.0.1 by nginx (pid 7)", "took the port"),
    ("cannot resolve the name in proxy1:4000: Name or service not known", "does not resolve"),
    ("cannot talk to 10.0.0.5:4000: No route to host", "no way to the other one"),
    ("TLS: certificate of proxy1:443 refused: self-signed certificate", "TLS"),
    ("HTTP 401: Unauthorized", "does not accept the key or token"),
    ("HTTP 200, but not JSON: <!doctype html>", "does not come from the expected service"),
    ('HTTP 503: {"ready": false}', "is not ready"),
    ("cannot run /usr/local/bin/openclaw: No such file or directory", "not on this host"),
    ("cannot read /etc/litellm/secrets/master_key: No such file or directory", "not on this host"),
    ("unit litellm.service restarted within 2 s (restart counter went from 3 to 4)", "does not stay up"),
    (
        "unit litellm.service is activating (auto-restart), result timeout, automatic restarts so far: 4",
        "does not stay up",
    ),
    ("unit litellm.service is failed (failed), result exit-code, exit status 78", "does not run"),
    ("systemctl show failed: System has not been booted with systemd as init system", "systemd does not answer"),
    ("this host has no systemctl", "systemd does not answer"),
    ("unit litellm.service is not installed (not-found)", "does not exist"),
    ("nothing listens on port 4321; expected 0.0.0.0", "does not listen where it should"),
    ("port 4000 is open on 0.0.0.0 by litellm (pid 8); expected 127.0.0.1", "does not listen where it should"),
]


@pytest.mark.parametrize(("detail", "cause"), TROUBLES)
def test_a_known_trouble_gets_its_own_cause_and_a_remedy(detail: str, cause: str) -> None:
    found, remedy = explain(detail, "", [], NONE, use_defaults=True)
    assert cause in found
    assert remedy


def test_the_cause_is_found_in_a_program_output_too() -> None:
    for number in (3, 8, 9, 11, 12):
        message, cause = TROUBLES[number]
        output = f"[gateway] starting\n[gateway] {message}\n[gateway] stopping"
        assert cause in explain("ok is false, expected true", output, [], NONE, use_defaults=True)[0]


def test_every_default_is_met_by_an_observed_message() -> None:
    causes = {explain(detail, "", [], NONE, use_defaults=True)[0] for detail, _ in TROUBLES}
    assert causes == {item.cause for item in DEFAULTS}


def test_the_three_troubles_of_the_guide_have_three_different_causes() -> None:
    details = [TROUBLES[0][0], TROUBLES[3][0], TROUBLES[10][0], TROUBLES[11][0]]
    assert len({explain(detail, "", [], NONE, use_defaults=True) for detail in details}) == 4


def test_own_explanations_come_first() -> None:
    own = [{"match": "refused", "cause": "mine", "remedy": "do it"}]
    assert explain("connection refused", "", own, NONE, use_defaults=True) == ("mine", "do it")


def test_the_first_of_several_own_explanations_wins() -> None:
    own = [{"match": "b", "cause": "1", "remedy": "1"}, {"match": "a", "cause": "2", "remedy": "2"}]
    assert explain("ab", "", own, NONE, use_defaults=False) == ("1", "1")


def test_the_detail_is_searched_before_the_evidence() -> None:
    own = [{"match": "b", "cause": "1", "remedy": "1"}, {"match": "a", "cause": "2", "remedy": "2"}]
    assert explain("a", "b", own, NONE, use_defaults=False) == ("2", "2")
    assert explain("x", "b", own, NONE, use_defaults=False) == ("1", "1")


def test_the_fallback_fills_what_nothing_explains() -> None:
    fallback = ("cause", "remedy")
    assert explain("something odd", "", [], fallback, use_defaults=True) == fallback
    assert explain("connection refused", "", [], fallback, use_defaults=False) == fallback
    assert explain("something odd", "", [], ("", "remedy"), use_defaults=True) == (UNKNOWN[0], "remedy")
    own = [{"match": "odd", "cause": "mine", "remedy": None}]
    assert explain("something odd", "", own, fallback, use_defaults=True) == ("mine", "remedy")


def test_defaults_are_sentences_and_patterns() -> None:
    for item in DEFAULTS:
        re.compile(item.match)
        assert item.cause[0].isupper()
        assert item.cause.endswith(".")
        assert item.remedy.endswith(".")
