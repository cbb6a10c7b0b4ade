"""The script that makes the client: repeatable, and clear where the native engines cannot be had."""

from __future__ import annotations

import gzip
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from unittest import mock

from support import RELEASE

SCRIPT = RELEASE / "prisma" / "generate"
NODE = Path(os.environ.get("PRISMA_ENGINE_NODE", "/opt/nodejs/current/bin/node"))
COMMIT = "393aa359c9ad4a4bb28630fb5613f9c281cde053"


def load_script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("generate", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("generate", loader))
    sys.modules["generate"] = module
    loader.exec_module(module)
    return module


generate = load_script()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


class Native(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        (self.root / "prisma").symlink_to(RELEASE / "prisma")
        self.release = generate.Release(self.root, NODE)
        self.nothing = dict.fromkeys(generate.PROGRAMS)

    def program(self, path: Path, commit: str = COMMIT) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {path.name} {commit}\n")
        path.chmod(0o644)
        return path

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir() if path.name.startswith("."))

    def mirror(self) -> Path:
        """A directory served over HTTP under the name that the environment gives."""
        files = self.root / "mirror"
        files.mkdir()
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(files)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}"
        patch = mock.patch.dict(os.environ, {"PRISMA_ENGINES_MIRROR": url})
        patch.start()
        self.addCleanup(patch.stop)
        return files

    def publish(self, files: Path, break_checksum: bool = False) -> None:
        for target in ("debian-openssl-3.0.x", "debian-openssl-1.1.x", "linux-arm64-openssl-3.0.x"):
            for name in generate.PROGRAMS:
                source = self.program(self.root / "source" / name)
                archive = files / "all_commits" / COMMIT / target / f"{name}.gz"
                archive.parent.mkdir(parents=True, exist_ok=True)
                archive.write_bytes(gzip.compress(source.read_bytes()))
                packed = hashlib.sha256(archive.read_bytes()).hexdigest()
                plain = hashlib.sha256(source.read_bytes()).hexdigest()
                archive.with_suffix(".gz.sha256").write_text("0" * 64 if break_checksum else packed)
                archive.with_suffix(".sha256").write_text("0" * 64 if break_checksum else plain)

    def test_given_files_are_installed(self) -> None:
        given = {name: self.program(self.root / "given" / name) for name in generate.PROGRAMS}
        generate.install_native(self.release, given)
        for name in generate.PROGRAMS:
            answer = subprocess.run([self.release.native / name], capture_output=True, text=True, check=True)
            self.assertIn(COMMIT, answer.stdout)
        self.assertEqual(self.leftovers(), [])

    def test_a_file_that_is_something_else_is_refused(self) -> None:
        good = self.program(self.root / "given" / "schema-engine")
        bad = self.program(self.root / "bad", commit="0" * 40)
        for query_engine in (bad, self.root / "absent", Path("/etc/hostname")):
            with self.subTest(file=query_engine), self.assertRaises(generate.GenerateError) as caught:
                generate.install_native(self.release, {"query-engine": query_engine, "schema-engine": good})
            self.assertEqual(caught.exception.code, 65)
            self.assertFalse((self.release.native / "query-engine").exists())
        self.assertEqual(self.leftovers(), [])

    def test_engines_come_from_the_mirror(self) -> None:
        self.publish(self.mirror())
        generate.install_native(self.release, self.nothing)
        self.assertTrue(all(generate.is_engine(self.release.native / name, name) for name in generate.PROGRAMS))
        self.assertEqual(self.leftovers(), [])

    def test_fetched_engines_are_not_fetched_again(self) -> None:
        files = self.mirror()
        self.publish(files)
        generate.install_native(self.release, self.nothing)
        for path in files.rglob("*.gz"):
            path.unlink()
        generate.install_native(self.release, self.nothing)

    def test_an_empty_mirror_and_a_wrong_checksum_are_refused(self) -> None:
        files = self.mirror()
        for prepare in (lambda: None, lambda: self.publish(files, break_checksum=True)):
            prepare()
            with self.assertRaises(generate.GenerateError) as caught:
                generate.install_native(self.release, self.nothing)
            self.assertEqual(caught.exception.code, 69)
            self.assertIn("PRISMA_ENGINES_MIRROR", str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))
            self.assertFalse((self.release.native / "query-engine").exists())
        self.assertEqual(self.leftovers(), [])


class Script(unittest.TestCase):
    def run_script(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, SCRIPT, "--release", RELEASE, "--node", NODE, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_a_finished_run_is_left_alone(self) -> None:
        done = self.run_script("--engine", "wasm")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.run_script("--engine", "wasm")
        self.assertEqual(
            json.loads(done.stdout),
            {
                "changed": False,
                "engine": "wasm",
                "query_engine": str(RELEASE / "prisma" / "query-engine"),
                "schema_engine": str(RELEASE / "prisma" / "query-engine"),
            },
        )

    def test_half_of_the_paths_is_refused(self) -> None:
        for arguments in (
            ["--engine", "native", "--query-engine", "/x"],
            ["--engine", "wasm", "--query-engine", "/x", "--schema-engine", "/y"],
            [],
        ):
            with self.subTest(arguments=arguments):
                self.assertEqual(self.run_script(*arguments).returncode, 2)


if __name__ == "__main__":
    unittest.main()
