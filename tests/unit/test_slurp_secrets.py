"""gateway.toolkit.slurp_secrets: what leaves the host cannot be read without the key of the call."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gateway.toolkit.plugins.module_utils.one_time_pad import reveal
from ansible_collections.gateway.toolkit.plugins.modules import slurp_secrets
from module_harness import run_main

TEXT = "-----BEGIN PRIVATE KEY-----\nabc\n"


def test_contents_travel_hidden(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(TEXT)
    ran = run_main(slurp_secrets, {"files": {"key": str(tmp_path / "key.pem")}, "transport_key": "k" * 64}, True)
    assert reveal("k" * 64, "key", ran.result["secrets"]["key"]) == TEXT
    assert not ran.result["changed"]
    assert "PRIVATE" not in ran.text + ran.log


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    missing = run_main(slurp_secrets, {"files": {"key": str(tmp_path / "none")}})
    assert missing.result["msg"] == f"{tmp_path}/none cannot be read: No such file or directory."
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    binary = run_main(slurp_secrets, {"files": {"key": str(tmp_path / "binary")}})
    assert binary.result["msg"] == f"{tmp_path}/binary cannot be read: it is not text."
