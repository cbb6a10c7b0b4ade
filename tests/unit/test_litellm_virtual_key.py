"""The module gateway.toolkit.litellm_virtual_key as Ansible runs it, against the double, and its pure parts.

What LiteLLM itself does is tested in tests/contract/test_litellm_keys.py.
"""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import (
    LiteLLMClient,
    LiteLLMError,
    censor,
    explain,
    key_hash,
    reply_of,
    status_of,
    verdict_of,
)
from ansible_collections.gateway.toolkit.plugins.modules import litellm_virtual_key

from tests.support.litellm_double import LiteLLMDouble, error

KEY = "sk-unit-0123456789abcdefXYZ"
OTHER = "sk-unit-anotherkey9876543210"
MASTER = "sk-master-0123456789abcdef"


@pytest.fixture
def double() -> Iterator[LiteLLMDouble]:
    with LiteLLMDouble(MASTER) as running:
        yield running


@pytest.fixture
def master_key_file(tmp_path: Path) -> Path:
    path = tmp_path / "master_key"
    path.write_text(MASTER + "\n", encoding="ascii")
    return path


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiteLLMClient, "wait", lambda self: None)
    monkeypatch.setattr(LiteLLMClient, "patience", 0.3)


class Runner:
    def __init__(self, capsys: pytest.CaptureFixture[str], url: str, master_key_file: Path) -> None:
        self.capsys = capsys
        self.base = {"url": url, "master_key_file": str(master_key_file), "key": KEY, "alias": "gateway1", "timeout": 5}

    def __call__(self, check: bool = False, **changes: Any) -> dict[str, Any]:
        args = {**self.base, **changes, "_ansible_check_mode": check}
        # ansible-core 2.19 puts the parameters into every output, 2.21 on this request.
        if "inject_invocation" in PASS_VARS:
            args["_ansible_inject_invocation"] = True
        # Once controller code is loaded in this process, Ansible shows a warning instead of returning it.
        warnings: list[str] = []
        with (
            patch_module_args(args),
            mock.patch.object(AnsibleModule, "warn", lambda _module, text: warnings.append(text)),
            pytest.raises(SystemExit),
        ):
            litellm_virtual_key.main()
        output = json.dumps({**json.loads(self.capsys.readouterr().out), "warnings": warnings})
        for secret in (KEY, OTHER, MASTER, KEY[-4:], MASTER[-6:]):
            assert secret not in output.replace("********", "")
        result: dict[str, Any] = json.loads(output)
        return result


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], double: LiteLLMDouble, master_key_file: Path) -> Runner:
    return Runner(capsys, double.url, master_key_file)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def add_key(double: LiteLLMDouble, key: str, alias: str, **columns: Any) -> None:
    double._generate({"key": key, "key_alias": alias, "key_type": "llm_api", **columns})


def test_the_first_run_creates_and_the_second_changes_nothing(run: Runner, double: LiteLLMDouble) -> None:
    first = run(max_budget=5, budget_duration="30d", models=["model-a"])
    assert (first["changed"], first["action"], first["usable"]) == (True, "created", True)
    assert first["models"] == ["model-a"]
    assert (first["key_hash"], first["fingerprint"]) == (key_hash(KEY), key_hash(KEY)[:12])
    written = len(double.writes())
    second = run(max_budget=5.0, budget_duration="30d", models=["model-a"])
    assert (second["changed"], second["action"], second["differences"]) == (False, "unchanged", {})
    assert len(double.writes()) == written


def test_a_changed_budget_is_one_update_with_only_that_field(run: Runner, double: LiteLLMDouble) -> None:
    run(max_budget=5, models=["model-a", "model-b"])
    double.requests.clear()
    result = run(max_budget=6, models=["model-b", "model-a"])
    assert (result["action"], result["differences"]) == ("updated", {"max_budget": [5.0, 6.0]})
    assert result["diff"] == {"before": {"max_budget": 5.0}, "after": {"max_budget": 6.0}}
    updates = [body for _method, path, body in double.requests if path == "/key/update"]
    assert updates == [{"key": key_hash(KEY), "max_budget": 6.0}]
    assert double.writes() == ["/key/update"]


def test_a_field_that_litellm_ignores_is_an_error(run: Runner, double: LiteLLMDouble) -> None:
    run(max_budget=5)
    double.ignored_fields.add("max_budget")
    result = run(max_budget=6)
    assert result["failed"]
    assert "max_budget is 5.0 instead of 6.0" in result["msg"]
    assert "litellm_config_extra" in result["msg"]


def test_a_default_budget_of_litellm_does_not_stick_to_a_key_without_limit(run: Runner, double: LiteLLMDouble) -> None:
    double.default_max_budget = 1.0
    assert run()["action"] == "created"
    assert double.keys[key_hash(KEY)]["max_budget"] is None


def test_an_answer_lost_on_the_wire_counts_as_created(run: Runner, double: LiteLLMDouble) -> None:
    double.lose_answers = ["/key/generate"]
    result = run()
    assert (result["action"], result["usable"]) == ("created", True)
    assert double.writes() == ["/key/generate"]


@pytest.mark.parametrize("path", ["/key/info", "/key/list", "/v1/models", "/key/update", "/key/delete"])
def test_any_other_lost_answer_is_asked_for_again(run: Runner, double: LiteLLMDouble, path: str) -> None:
    add_key(double, OTHER, "gateway1", spend=2.0)
    double.lose_answers = [path]
    assert run()["action"] == "replaced"
    assert double.lose_answers == []
    assert list(double.keys) == [key_hash(KEY)]


def test_a_rebuilt_gateway_replaces_the_key_and_tells_both_fingerprints(run: Runner, double: LiteLLMDouble) -> None:
    add_key(double, OTHER, "gateway1", spend=2.0)
    result = run()
    assert (result["action"], result["spend"], result["alias"]) == ("replaced", 2.0, "gateway1")
    assert result["differences"]["key"] == [key_hash(OTHER)[:12], key_hash(KEY)[:12]]
    assert double.writes() == ["/key/update", "/key/generate", "/key/delete"]
    assert list(double.deleted) == [key_hash(OTHER)]


@pytest.mark.parametrize("spends", [(9.0, 2.0), (2.0, 9.0)])
def test_the_spend_comes_from_the_newest_key_set_aside(
    run: Runner, double: LiteLLMDouble, spends: tuple[float, float]
) -> None:
    for number, spend in enumerate(spends):
        key = f"{OTHER}{number}"
        add_key(double, key, f"gateway1-replaced-{key_hash(key)[:8]}", spend=spend)
        double.keys[key_hash(key)]["created_at"] = f"2026-11-0{number + 1}T00:00:00.000000Z"
    result = run()
    assert (result["action"], result["spend"]) == ("replaced", spends[1])
    assert list(double.keys) == [key_hash(KEY)]


def test_a_spend_that_is_not_carried_over_is_an_error(run: Runner, double: LiteLLMDouble) -> None:
    add_key(double, OTHER, "gateway1", spend=2.0)
    double.ignored_fields.add("spend")
    result = run()
    assert result["failed"]
    assert "2.0 USD" in result["msg"]
    assert key_hash(OTHER) in double.keys


def test_a_list_that_matches_by_part_takes_no_other_key(run: Runner, double: LiteLLMDouble) -> None:
    add_key(double, OTHER, "gateway11")
    row = {**double.keys[key_hash(OTHER)], "token": key_hash(OTHER)}
    double.fixed["/key/list"] = (200, {"keys": [row], "total_pages": 1})
    assert run()["action"] == "created"
    assert double.keys[key_hash(OTHER)]["key_alias"] == "gateway11"


def test_the_old_key_stays_until_the_new_one_is_proved(run: Runner, double: LiteLLMDouble) -> None:
    add_key(double, OTHER, "gateway1")
    double.stale_probes = 10**6
    result = run(models=["model-a"])
    assert result["failed"]
    assert "['as-it-was']" in result["msg"]
    assert key_hash(OTHER) in double.keys
    double.stale_probes = 0
    assert run(models=["model-a"])["action"] == "replaced"
    assert list(double.keys) == [key_hash(KEY)]


@pytest.mark.parametrize("model", ["model-a", "model-b"])
def test_old_caches_of_litellm_are_waited_for(run: Runner, double: LiteLLMDouble, model: str) -> None:
    run(models=["model-a"])
    double.stale_probes = 3
    assert run(models=[model])["models"] == [model]


def test_a_key_over_its_budget_is_a_warning(run: Runner, double: LiteLLMDouble) -> None:
    add_key(double, KEY, "gateway1", spend=5.0, max_budget=5.0)
    result = run(max_budget=5)
    assert (result["changed"], result["usable"]) == (False, False)
    assert "litellm_virtual_key_max_budget" in str(result["warnings"])
    assert run(max_budget=6)["usable"] is True


def test_a_model_that_is_not_served_is_a_warning(run: Runner) -> None:
    result = run(models=["model-a", "model-z"])
    assert result["unknown_models"] == ["model-z"]
    assert "serves no model model-z" in str(result["warnings"])


@pytest.mark.parametrize(("status", "text"), [("deleted", "was deleted"), ("blocked", "was blocked")])
def test_a_revoked_key_stops_the_run_and_is_left_alone(
    run: Runner, double: LiteLLMDouble, status: str, text: str
) -> None:
    run()
    if status == "deleted":
        double._delete({"keys": [key_hash(KEY)]})
    else:
        double._set_blocked({"key": key_hash(KEY)}, True)
    double.requests.clear()
    result = run()
    assert result["failed"]
    assert text in result["msg"]
    assert "remove the file virtual_key" in result["msg"]
    assert double.writes() == []


def test_absent_deletes_proves_and_is_idempotent(run: Runner, double: LiteLLMDouble) -> None:
    run()
    assert run(check=True, state="absent")["action"] == "deleted"
    assert list(double.keys) == [key_hash(KEY)]
    first = run(state="absent")
    assert (first["changed"], first["action"], first["exists"]) == (True, "deleted", False)
    assert run(state="absent")["changed"] is False


def test_absent_waits_until_every_worker_rejects_the_key(run: Runner, double: LiteLLMDouble) -> None:
    run()
    double.accepts_after_deletion = [False, True, False, False, True]
    double.requests.clear()
    assert run(state="absent")["action"] == "deleted"
    assert [path for _method, path, _body in double.requests].count("/v1/models") == 5 + 5


def test_absent_fails_when_the_deleted_key_still_works(run: Runner, double: LiteLLMDouble) -> None:
    run()
    double.fixed["/v1/models"] = (200, {"data": []})
    result = run(state="absent")
    assert result["failed"]
    assert "still answers 200 (accepted)" in result["msg"]


def test_info_reads_the_spend_by_alias_and_by_key(run: Runner, double: LiteLLMDouble) -> None:
    add_key(double, KEY, "gateway1", spend=3.25)
    double.requests.clear()
    for result in (run(state="info", key=""), run(state="info", alias=None)):
        assert (result["changed"], result["exists"], result["spend"]) == (False, True, 3.25)
        assert (result["status"], result["fingerprint"]) == ("active", key_hash(KEY)[:12])
    assert double.writes() == []
    missing = run(state="info", key="", alias="nobody")
    assert (missing["exists"], missing["status"]) == (False, "missing")


def test_a_line_end_after_the_key_does_not_make_another_key(run: Runner) -> None:
    assert run(key=KEY + "\n")["key_hash"] == key_hash(KEY)


def test_check_mode_on_a_deployed_host_predicts_and_writes_nothing(run: Runner, double: LiteLLMDouble) -> None:
    created = run(check=True)
    assert (created["changed"], created["action"], created["note"]) == (True, "created", "")
    run(max_budget=5)
    double.requests.clear()
    assert run(check=True, max_budget=5)["changed"] is False
    assert run(check=True, max_budget=6)["differences"] == {"max_budget": [5.0, 6.0]}
    assert double.writes() == []


def test_check_mode_on_a_fresh_host_passes_with_a_note(run: Runner, tmp_path: Path) -> None:
    no_litellm = run(check=True, url=f"http://127.0.0.1:{closed_port()}")
    no_file = run(check=True, master_key_file=str(tmp_path / "none"))
    no_key = run(check=True, key="")
    for result in (no_litellm, no_file, no_key):
        assert (result["changed"], result["action"], result["usable"]) == (True, "created", False)
        assert result["note"]


def test_check_mode_does_not_hide_other_failures(run: Runner, double: LiteLLMDouble) -> None:
    double.database = "none"
    assert run(check=True)["failed"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"key": ""}, "key is empty"),
        ({"key": "sk-short"}, "13 or more"),
        ({"key": "no-prefix-0123456789abcdef"}, "litellm_virtual_key"),
        ({"key": "sk-with space0123456789"}, "litellm_virtual_key"),
        ({"alias": ""}, "litellm_virtual_key_alias"),
        ({"max_budget": -1}, "litellm_virtual_key_max_budget"),
        ({"max_budget": "nan"}, "litellm_virtual_key_max_budget"),
        ({"budget_duration": "30 days"}, "litellm_virtual_key_budget_duration"),
        ({"budget_duration": "0d"}, "litellm_virtual_key_budget_duration"),
        ({"timeout": 0}, "timeout"),
        ({"url": "http://user:pass@host:4000"}, "url has to be"),
        ({"url": "127.0.0.1:4000"}, "url has to be"),
        ({"key_type": "admin"}, "key_type"),
        ({"state": "info", "key": "", "alias": ""}, "which key"),
    ],
)
def test_a_wrong_value_is_refused_before_any_request(
    run: Runner, double: LiteLLMDouble, changes: dict[str, Any], sentence: str
) -> None:
    result = run(**changes)
    assert result["failed"]
    assert sentence in result["msg"]
    assert double.requests == []


def test_all_wrong_values_are_told_at_once(run: Runner) -> None:
    message = run(alias="", max_budget=-1, budget_duration="x")["msg"]
    assert all(name in message for name in ("alias", "max_budget", "budget_duration"))


def test_each_failure_of_litellm_is_one_sentence_with_a_remedy(
    run: Runner, double: LiteLLMDouble, tmp_path: Path
) -> None:
    wrong_master = tmp_path / "wrong"
    wrong_master.write_text("sk-wrong-master-key-000", encoding="ascii")
    empty = tmp_path / "empty"
    empty.write_text("\n", encoding="ascii")
    refused = run(url=f"http://127.0.0.1:{closed_port()}")
    assert (refused["kind"], "litellm_port" in refused["msg"]) == ("unreachable", True)
    rejected = run(master_key_file=str(wrong_master))
    assert (rejected["kind"], "litellm_master_key" in rejected["msg"]) == ("master_key_rejected", True)
    assert run(master_key_file=str(tmp_path / "none"))["kind"] == "master_key_missing"
    assert run(master_key_file=str(empty))["kind"] == "master_key_missing"
    double.database = "none"
    assert (run()["kind"], "litellm_database_url" in run()["msg"]) == ("no_database", True)
    assert run(master_key_file=str(wrong_master))["http_status"] == 400
    double.database = "away"
    double.requests.clear()
    assert (run()["kind"], len(double.requests)) == ("database_away", 3)
    double.database = "connected"
    double.fixed["/key/generate"] = error(400, f"max_budget must not be {KEY} for {key_hash(KEY)}")
    bad = run()
    assert bad["kind"] == "refused"
    assert "litellm_virtual_key_max_budget" in bad["msg"]
    assert key_hash(KEY)[:12] not in bad["msg"]
    double.fixed["/key/generate"] = (403, {"error": {"message": "{'error': 'Custom API key values are disabled'}"}})
    assert "disable_custom_api_keys" in run()["msg"]
    double.fixed["/key/info"] = (404, {"detail": "Not Found"})
    assert run()["kind"] == "not_litellm"
    double.fixed["/key/info"] = (302, {})
    assert run()["kind"] == "not_litellm"
    double.fixed["/key/info"] = (500, {"error": {"message": "boom"}})
    assert run()["kind"] == "server_error"


def test_a_key_that_does_not_work_after_all_is_an_error(run: Runner, double: LiteLLMDouble) -> None:
    run()
    double.fixed["/v1/models"] = (200, {"data": []})
    assert run()["failed"]


def test_a_redirect_is_not_followed_with_the_master_key(double: LiteLLMDouble) -> None:
    class Redirect(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", double.url + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", 0), Redirect)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with pytest.raises(LiteLLMError) as caught:
            LiteLLMClient(f"http://127.0.0.1:{server.server_address[1]}", MASTER).models()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert caught.value.kind == "not_litellm"
    assert double.requests == []


def test_a_proxy_of_the_environment_is_not_used(double: LiteLLMDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert LiteLLMClient(double.url, MASTER).models() == ("model-a", "model-b")


def test_no_key_is_ever_in_a_url(run: Runner, double: LiteLLMDouble) -> None:
    run()
    run(state="absent")
    assert all("sk-" not in path for _method, path, _body in double.requests)


@pytest.mark.parametrize(
    "text",
    [
        f"Received API Key = sk-...{KEY[-4:]}, Key Hash (Token) ={key_hash(KEY)}. Unable",
        f"Key=oc (sk-...{KEY[-2:]}) {KEY}",
        f"Invalid key format. Received: {KEY[:4]}****{KEY[-4:]}",
        f'{{"key": "{KEY}"}}',
        f"Received: nosk****{KEY[-4:]}'}}",
    ],
)
def test_censoring_leaves_no_part_of_a_key(text: str) -> None:
    censored = censor(text)
    assert KEY[-4:] not in censored
    assert key_hash(KEY)[:8] not in censored
    assert f"...{KEY[-2:]}" not in censored


def test_censoring_leaves_what_helps() -> None:
    text = "max_budget must be a non-negative finite number. Received: -1. Key must start with 'sk-'."
    assert censor(text) == text


def test_censoring_removes_given_secrets_of_any_shape() -> None:
    assert "open sesame" not in censor("the word is open sesame", ["open sesame"])


def test_the_answer_of_fastapi_is_read_without_the_input_it_repeats() -> None:
    body = {"detail": [{"loc": ["body", "max_budget"], "msg": "not a number", "input": KEY}]}
    assert reply_of(body) == ("", "body.max_budget: not a number")


@pytest.mark.parametrize(
    ("status", "kind", "text", "verdict"),
    [
        (200, "", "", "accepted"),
        (401, "token_not_found_in_db", "Authentication Error, Invalid proxy server token passed.", "unknown_key"),
        (401, "auth_error", "Authentication Error, Key is blocked. Update via `/key/unblock`", "blocked"),
        (401, "expired_key", "Authentication Error - Expired Key.", "expired"),
        (401, "authentication_error", "litellm.AuthenticationError: bad provider key", "upstream_failed"),
        (403, "key_model_access_denied", "The requested model 'X' is not available", "model_denied"),
        (403, "auth_error", "not allowed to call this route", "forbidden"),
        (422, "budget_exceeded", "Budget has been exceeded!", "over_budget"),
        (429, "budget_exceeded", "Budget has been exceeded!", "over_budget"),
        (429, "rate_limit_error", "litellm.RateLimitError: slow down", "rate_limited"),
        (500, "api_error", "litellm.InternalServerError: down", "upstream_failed"),
        (400, "no_db_connection", "No connected db.", "unavailable"),
        (503, "no_db_connection", "Database not connected", "unavailable"),
        (400, "invalid_request_error", "Invalid model name passed in model=x", "error"),
    ],
)
def test_each_answer_to_a_probe_has_its_verdict(status: int, kind: str, text: str, verdict: str) -> None:
    assert verdict_of(status, kind, text) == verdict


@pytest.mark.parametrize(
    ("status", "kind", "text", "expected"),
    [
        (500, "internal_server_error", "Authentication Error, Database not connected", "no_database"),
        (500, "internal_server_error", "{'error': 'DB not connected. This endpoint needs a database'}", "no_database"),
        (500, "internal_server_error", "Not connected to DB!", "no_database"),
        (400, "no_db_connection", "No connected db.", "no_database"),
        (503, "no_db_connection", "Database not connected", "database_away"),
        (500, "internal_server_error", "Can't reach database server at `127.0.0.1:5432`", "database_away"),
        (400, "auth_error", "Authentication Error, All connection attempts failed", "database_away"),
        (401, "token_not_found_in_db", "Authentication Error", "master_key_rejected"),
        (400, "bad_request_error", "Key with alias 'x' already exists. Unique key aliases", "alias_taken"),
        (404, "not_found_error", "Key not found in database", "not_found"),
        (404, "internal_server_error", "{'error': 'No keys found'}", "not_found"),
        (404, "", "Not Found", "not_litellm"),
        (422, "", "body.max_budget: not a number", "refused"),
    ],
)
def test_each_error_answer_has_its_kind(status: int, kind: str, text: str, expected: str) -> None:
    assert explain(status, kind, text)[0] == expected


def test_a_status_is_derived_as_litellm_does_it() -> None:
    now = datetime(2026, 11, 1, tzinfo=timezone.utc)
    assert status_of({"blocked": True, "expires": None}, now) == "revoked"
    assert status_of({"blocked": None, "expires": None}, now) == "active"
    assert status_of({"expires": "2026-10-31T23:59:59Z"}, now) == "expired"
    assert status_of({"expires": "2026-10-31T23:59:59"}, now) == "expired"
    assert status_of({"expires": "2026-11-01T00:00:01+00:00"}, now) == "active"


def test_the_documentation_names_every_option_with_its_default() -> None:
    documented = yaml.safe_load(litellm_virtual_key.DOCUMENTATION)["options"]
    assert set(documented) == set(litellm_virtual_key.ARGUMENTS)
    for name, spec in litellm_virtual_key.ARGUMENTS.items():
        for field in ("type", "default", "choices", "required", "elements"):
            assert documented[name].get(field) == spec.get(field), (name, field)


def test_the_examples_are_yaml() -> None:
    assert len(yaml.safe_load(litellm_virtual_key.EXAMPLES)) == 2
    assert set(yaml.safe_load(litellm_virtual_key.RETURN)) >= {"action", "differences", "usable"}
