"""gateway.toolkit.litellm_proof against the double of LiteLLM, and against this very process as the one that runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import LiteLLMClient, fingerprint
from ansible_collections.gateway.toolkit.plugins.modules import litellm_proof
from module_harness import run_main

from tests.support.litellm_double import LiteLLMDouble, error

NEW, OLD = "sk-new-master-0123456789abcdef", "sk-old-master-fedcba9876543210"
PROVIDER = "provider-key-0123456789"


class Prover:
    """The module, with what each proof needs. No key may show in anything that leaves it."""

    def __init__(self, double: LiteLLMDouble, folder: Path) -> None:
        self.double, self.file = double, folder / "master_key"
        self.file.write_text(NEW + "\n")

    def __call__(self, **params: Any) -> dict[str, Any]:
        base = {"url": self.double.url, "master_key_file": str(self.file), "patience": 0}
        ran = run_main(litellm_proof, {**base, **params})
        assert not [key for key in (NEW, OLD, PROVIDER) if key in ran.text + ran.log]
        result: dict[str, Any] = ran.result
        return result


@pytest.fixture
def prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prover]:
    monkeypatch.setattr(LiteLLMClient, "wait", lambda self: None)
    monkeypatch.setattr(litellm_proof, "environment_of", lambda _systemctl, _unit: {"KEY": PROVIDER})
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with LiteLLMDouble(NEW) as double:
        yield Prover(double, tmp_path)


def test_the_master_key_administers_and_the_other_is_refused(prove: Prover) -> None:
    proofs = prove(refused_master_key=OLD)["proofs"]
    assert [proof["result"] for proof in proofs] == ["200", "401"]
    assert fingerprint(OLD) in proofs[1]["proof"]


def test_a_master_key_that_is_not_taken_over_is_found(prove: Prover) -> None:
    prove.double.master_key = OLD
    assert "failed" in prove(refused_master_key=OLD)


def test_an_old_master_key_that_lives_on_is_found(prove: Prover) -> None:
    prove.double.accepts_after_deletion = [True] * 9
    result = prove(refused_master_key=OLD)
    assert "still answers 200" in result["msg"]


def test_a_proxy_that_does_not_run_or_has_no_database_is_no_proof_of_refusal(prove: Prover) -> None:
    prove.double.database = "away"
    assert "failed" in prove(refused_master_key=OLD)
    assert "failed" in prove(url="http://127.0.0.1:1", refused_master_key=OLD)


def test_the_key_in_use_cannot_be_the_refused_one(prove: Prover) -> None:
    assert "in use" in prove(refused_master_key=NEW)["msg"]


def test_the_running_process_has_the_provider_key_and_a_model_answers_with_it(prove: Prover) -> None:
    proofs = prove(environment={"KEY": PROVIDER}, models={"KEY": "model-a"})["proofs"]
    assert proofs[0] == {"proof": "LiteLLM runs with KEY", "result": fingerprint(PROVIDER)}
    assert proofs[-1] == {"proof": "model-a answers with KEY", "result": "200"}


def test_a_process_that_still_has_the_old_provider_key_is_found(prove: Prover) -> None:
    assert "another KEY" in prove(environment={"KEY": OLD})["msg"]


def test_a_provider_that_refuses_its_key_fails_the_proof_unless_there_is_no_other(prove: Prover) -> None:
    refused = error(401, "litellm.AuthenticationError: Incorrect API key provided", "authentication_error")
    prove.double.fixed["/v1/messages"] = refused
    given: dict[str, Any] = {"environment": {"KEY": PROVIDER}, "models": {"KEY": "model-a"}}
    assert "model-a does not answer with KEY" in prove(**given)["msg"]
    assert prove(**given, lenient=True)["proofs"][-1]["result"] == "401"


def test_the_environment_is_that_of_the_units_process(tmp_path: Path) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho {os.getpid()}\n")
    systemctl.chmod(0o755)
    assert "PATH" in litellm_proof.environment_of(str(systemctl), "x.service")
