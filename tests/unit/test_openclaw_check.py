"""What openclaw_check.py refuses, and that it says why without a secret."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from script import load

KEY = "sk-virtual-0123456789abcdef"
TOKEN = "token-0123456789abcdef0123456789"
SECRETS = {"litellm": {"apiKey": KEY}, "gateway": {"token": TOKEN}}
LIVE = "/var/lib/openclaw/.openclaw/secrets.json"


check = load("roles/openclaw_gateway/files/openclaw_check.py")


def reference(identifier: str) -> dict[str, str]:
    """A file SecretRef."""
    return {"source": "file", "provider": "deploy", "id": identifier}


def config(**gateway: Any) -> dict[str, Any]:
    """A configuration without a finding, with `gateway` over its gateway settings."""
    return {
        "meta": {"lastTouchedVersion": "2026.9.6"},
        "secrets": {"providers": {"deploy": {"source": "file", "path": LIVE, "mode": "json"}}},
        "models": {
            "mode": "replace",
            "providers": {
                "litellm": {
                    "baseUrl": "http://127.0.0.1:4000",
                    "apiKey": reference("/litellm/apiKey"),
                    "models": [{"id": "claude", "name": "Claude"}, {"id": "azure/gpt", "name": "GPT"}],
                }
            },
        },
        "agents": {"defaults": {"model": {"primary": "litellm/claude", "fallbacks": ["litellm/azure/gpt"]}}},
        "gateway": {
            "mode": "local",
            "bind": "lan",
            "auth": {"mode": "token", "token": reference("/gateway/token")},
            **gateway,
        },
    }


def test_a_good_configuration_keeps_all_promises() -> None:
    assert check.promise_findings(config(), SECRETS) == []
    assert check.reference_findings(config()) == []


@pytest.mark.parametrize(
    ("gateway", "word"),
    [
        ({"mode": "remote"}, "gateway.mode"),
        ({"auth": {"mode": "none"}}, "gateway.auth.mode"),
        ({"bind": "custom"}, "openclaw_gateway_bind_address"),
        ({"bind": "custom", "customBindHost": ""}, "openclaw_gateway_bind_address"),
    ],
)
def test_a_gateway_setting_that_breaks_a_promise_is_named(gateway: dict[str, Any], word: str) -> None:
    (finding,) = check.promise_findings(config(**gateway), SECRETS)
    assert word in finding


def test_a_configuration_that_openclaw_would_revert_is_refused() -> None:
    (finding,) = check.promise_findings({**config(), "meta": {}}, SECRETS)
    assert "meta.lastTouchedVersion" in finding


def test_a_short_token_is_refused_and_not_shown() -> None:
    (finding,) = check.promise_findings(config(), {"gateway": {"token": "hunter2"}})
    assert "24 characters" in finding
    assert "hunter2" not in finding


def test_every_broken_promise_is_reported_at_once() -> None:
    assert len(check.promise_findings({"gateway": {"bind": "custom"}}, SECRETS)) == 4


@pytest.mark.parametrize(
    ("identifier", "found"),
    [("/litellm/apiKey", KEY), ("/litellm/nothing", None), ("litellm/apiKey", None), ("/litellm", None), (7, None)],
)
def test_a_pointer_finds_a_text_or_nothing(identifier: Any, found: str | None) -> None:
    assert check.pointer(SECRETS, {"source": "file", "id": identifier}) == found


def test_a_pointer_of_another_source_is_not_followed() -> None:
    assert check.pointer(SECRETS, {"source": "env", "id": "/litellm/apiKey"}) is None


def test_a_pointer_may_hold_escaped_slashes() -> None:
    assert check.pointer({"a/b": {"c~d": "x"}}, {"source": "file", "id": "/a~1b/c~0d"}) == "x"


def test_only_the_live_secrets_path_is_replaced() -> None:
    given = config()
    given["secrets"]["providers"]["own"] = {"source": "file", "path": "/etc/own.json"}
    changed = check.with_staged_secrets(given, LIVE, "/run/x/secrets.json")
    assert changed["secrets"]["providers"]["deploy"]["path"] == "/run/x/secrets.json"
    assert changed["secrets"]["providers"]["own"]["path"] == "/etc/own.json"
    assert given["secrets"]["providers"]["deploy"]["path"] == LIVE


@pytest.mark.parametrize(
    ("agents", "place"),
    [
        ({"defaults": {"model": {"primary": "litellm/gone"}}}, "agents.defaults.model.primary"),
        ({"defaults": {"model": "anthropic/claude"}}, "agents.defaults.model"),
        (
            {"defaults": {"model": {"primary": "litellm/claude", "fallbacks": ["gone"]}}},
            "agents.defaults.model.fallback",
        ),
        ({"defaults": {"utilityModel": "litellm/gone"}}, "agents.defaults.utilityModel"),
        ({"entries": {"main": {"model": "litellm/gone"}}}, "agents.entries.main.model"),
    ],
)
def test_a_reference_to_a_model_that_is_not_configured_is_named(agents: dict[str, Any], place: str) -> None:
    (finding,) = check.reference_findings({**config(), "agents": agents})
    assert finding.startswith(place)


def test_other_texts_of_the_agents_are_not_taken_for_models() -> None:
    agents = {"defaults": {"workspace": "some/where", "model": "litellm/claude"}}
    assert check.reference_findings({**config(), "agents": agents}) == []


def test_the_own_catalog_of_openclaw_counts_when_it_is_not_replaced() -> None:
    given = config()
    given["models"]["mode"] = "merge"
    given["agents"]["defaults"]["model"] = "anthropic/claude"
    assert check.reference_findings(given) == []


def test_the_gateway_names_the_models_it_lists_and_those_it_refers_to() -> None:
    given = config()
    given["agents"]["entries"] = {"main": {"model": "litellm/extra"}}
    assert check.named_models(given) == ["azure/gpt", "claude", "extra"]


def test_a_model_that_litellm_does_not_list_is_named() -> None:
    (finding,) = check.listing_findings(["claude", "gone", "openai/gpt-5"], ["claude", "openai/*"])
    assert finding.startswith("model not found")
    assert "'gone'" in finding


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [
        (401, "Authentication Error, Invalid proxy server token passed.", "invalid API key"),
        (401, "Authentication Error, Expired Key. Key Expiry time ...", "has expired"),
        (401, "Authentication Error, Key is blocked. Update via `/key/unblock`", "is blocked"),
        (403, "key not allowed to access", "invalid API key"),
        (400, "No connected db.", "no database"),
        (404, "", "not LiteLLM"),
        (500, "", "HTTP 500"),
    ],
)
def test_the_refusals_of_litellm_are_told_apart(status: int, body: str, word: str) -> None:
    assert word in check.status_finding("http://127.0.0.1:4000", status, body)


def test_a_valid_configuration_without_warnings_passes() -> None:
    assert check.validate_findings(check.Done(0, '{"valid":true,"path":"x","warnings":[]}', "")) == []


def test_a_warning_counts_as_a_finding() -> None:
    warning = {"path": "gateway.auth.token", "message": 'Missing env var "NOPE"'}
    done = check.Done(0, json.dumps({"valid": True, "warnings": [warning]}), "")
    assert check.validate_findings(done) == ['openclaw.json: gateway.auth.token: Missing env var "NOPE"']


def test_every_issue_is_reported() -> None:
    issues = [{"path": "<root>", "message": "one"}, {"path": "gateway", "message": "two"}]
    done = check.Done(1, json.dumps({"valid": False, "issues": issues}), "")
    assert check.validate_findings(done) == ["openclaw.json: <root>: one", "openclaw.json: gateway: two"]


@pytest.mark.parametrize("judge", ["validate_findings", "audit_findings"])
@pytest.mark.parametrize(
    "done",
    [
        (1, "", "Error: Cannot find module\n"),
        (0, "not json", ""),
        (0, "{}", ""),
        (1, '{"valid": true, "status": "clean", "findings": []}', ""),
        (0, '{"valid": false, "status": "unresolved", "findings": []}', ""),
    ],
)
def test_an_answer_that_is_none_never_passes(judge: str, done: tuple[int, str, str]) -> None:
    assert len(getattr(check, judge)(check.Done(*done))) == 1


def test_a_clean_audit_passes() -> None:
    assert check.audit_findings(check.Done(0, '{"status":"clean","findings":[]}', "")) == []


def test_a_plaintext_secret_is_reported_with_its_place() -> None:
    finding = {"jsonPath": "models.providers.litellm.apiKey", "message": "stored as plaintext."}
    done = check.Done(1, json.dumps({"status": "findings", "findings": [finding]}), "")
    assert check.audit_findings(done) == ["secrets: models.providers.litellm.apiKey: stored as plaintext."]


def test_secrets_are_cut_out_of_findings_and_lines_joined() -> None:
    assert check.redact(f"bad\n{KEY}  here {TOKEN}", [KEY, TOKEN]) == "bad *** here ***"


class LiteLLM(BaseHTTPRequestHandler):
    """A LiteLLM that lists models for one key."""

    listing: ClassVar[bytes] = json.dumps({"data": [{"id": "claude"}, {"id": "azure/*"}]}).encode()

    def do_GET(self) -> None:
        """Answer /v1/models."""
        if self.path == "/site/v1/models":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")
            return
        known = self.headers["Authorization"] == f"Bearer {KEY}"
        self.send_response((200 if known else 401) if self.path == "/v1/models" else 404)
        self.end_headers()
        self.wfile.write(self.listing if known else b"Authentication Error")

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a running LiteLLM double."""
    with ThreadingHTTPServer(("127.0.0.1", 0), LiteLLM) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def with_url(url: str) -> dict[str, Any]:
    """The good configuration with LiteLLM at `url`."""
    given = config()
    given["models"]["providers"]["litellm"]["baseUrl"] = url
    return given


def test_a_litellm_that_offers_all_models_has_no_objection(url: str) -> None:
    assert check.ask_litellm(with_url(url), SECRETS) == []
    assert check.ask_litellm(with_url(f"{url}/"), SECRETS) == []


def test_a_missing_model_is_told_from_a_bad_key_and_a_refused_connection(url: str) -> None:
    extra = with_url(url)
    extra["models"]["providers"]["litellm"]["models"].append({"id": "gone"})
    (missing,) = check.ask_litellm(extra, SECRETS)
    (refused,) = check.ask_litellm(with_url(url), {"litellm": {"apiKey": "sk-wrong"}})
    (closed,) = check.ask_litellm(with_url("http://127.0.0.1:1"), SECRETS)
    (other,) = check.ask_litellm(with_url(f"{url}/elsewhere"), SECRETS)
    (site,) = check.ask_litellm(with_url(f"{url}/site"), SECRETS)
    assert missing.startswith("model not found")
    assert refused.startswith("invalid API key")
    assert closed.startswith("no connection to LiteLLM") and "refused" in closed
    assert "not LiteLLM" in other
    assert "not LiteLLM" in site
    assert not any("sk-" in finding for finding in (missing, refused, closed, other, site))


def test_a_key_that_is_not_in_the_secrets_file_is_refused() -> None:
    given = config()
    given["models"]["providers"]["litellm"]["apiKey"] = KEY
    (finding,) = check.ask_litellm(given, SECRETS)
    assert "apiKey" in finding
    assert KEY not in finding
