"""The engine as a process: arguments, URL parameters, sockets, signals, a database that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import prisma
from prisma import errors
from support import ENGINE, URL, Cable, ClientCase, connected, ensure_migrated, on_loop, psql, with_parameters

COMMIT = "393aa359c9ad4a4bb28630fb5613f9c281cde053"
SCHEMA = Path(prisma.__file__).parent / "schema.prisma"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def engine(url: str = URL) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running engine and its port, started as the client starts it."""
    port = free_port()
    process = subprocess.Popen(
        [ENGINE, "-p", str(port), "--enable-metrics", "--enable-raw-queries"],
        env={**os.environ, "DATABASE_URL": url, "PRISMA_DML_PATH": str(SCHEMA)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process, port
    finally:
        process.kill()
        process.communicate()


def wait_ready(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError("the engine did not come up")


def post(port: int, path: str, body: str) -> tuple[int, dict]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body.encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class Process(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        ensure_migrated()

    def test_version(self) -> None:
        done = subprocess.run([ENGINE, "--version"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, f"query-engine {COMMIT}\n"))

    def test_wrong_arguments(self) -> None:
        for arguments in ([], ["-p", "x"], ["-p", "70000"], ["--no-such-flag"]):
            with self.subTest(arguments=arguments):
                done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 2)

    def test_signals_end_it_cleanly_and_at_once(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number), engine() as (process, port):
                wait_ready(port)
                start = time.monotonic()
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=5), 0)
                # LiteLLM sends SIGKILL after half a second.
                self.assertLess(time.monotonic() - start, 0.5)

    def test_listens_on_loopback_only(self) -> None:
        with engine() as (_, port):
            wait_ready(port)
            listeners = [
                fields[1]
                for table in ("tcp", "tcp6")
                for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
                if fields[1].endswith(f":{port:04X}") and fields[3] == "0A"
            ]
        self.assertEqual(listeners, [f"0100007F:{port:04X}"])

    @unittest.skipIf(os.getuid() != 0, "only root can try it as another user")
    def test_another_user_is_not_served(self) -> None:
        """The engine runs any SQL without a password: other users of the host must not reach the database by it."""
        script = (
            "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
            "s = socket.socket(); s.settimeout(5); s.connect((b'127.0.0.1', int(sys.argv[1])))\n"
            "s.sendall(b'GET /status HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n"
            "print(s.recv(100))\n"
        )
        with engine() as (_, port):
            wait_ready(port)
            done = subprocess.run(
                [sys.executable, "-I", "-c", script, str(port)], capture_output=True, text=True, check=False
            )
            self.assertNotIn("200", done.stdout)
            self.assertRegex(done.stdout + done.stderr, r"b''|ConnectionResetError|BrokenPipeError")
            wait_ready(port)

    def test_name_and_arguments_show_no_secret(self) -> None:
        with engine() as (process, port):
            wait_ready(port)
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
            # LiteLLM's supervisor finds left-over engines by this name.
            self.assertEqual(Path(f"/proc/{process.pid}/comm").read_text(), "query-engine\n")
        self.assertNotIn(unquote(urlsplit(URL).password), arguments)
        self.assertNotIn("postgres", arguments)

    def test_what_cannot_be_served_ends_it_with_one_line(self) -> None:
        parts = urlsplit(URL)
        wrong_password = URL.replace(f":{parts.password}@", ":wr0ng-secret@")
        cases = [
            (wrong_password, "password authentication failed"),
            (URL.replace(parts.path, "/no_such_database"), "does not exist"),
            ("mysql://x:secret-word@y/z", "postgresql://"),
            ("no url", "not a URL"),
            (with_parameters(URL, connection_limit="many"), "connection_limit"),
            (with_parameters(URL, sslmode="sometimes"), "sslmode"),
            (with_parameters(URL, sslcert="/no/such/file"), "/no/such/file"),
        ]
        for url, message in cases:
            with self.subTest(message=message), engine(url) as (process, _):
                output, _ = process.communicate(timeout=20)
                self.assertEqual(process.returncode, 1)
                self.assertIn(message, output)
                self.assertEqual(output.count("\n"), 1)
                self.assertNotRegex(output, r"wr0ng-secret|secret-word|" + re.escape(parts.password))

    def test_malformed_requests(self) -> None:
        with engine() as (_, port):
            wait_ready(port)
            for body in ("no json", "{}", '{"query": "{"}', '{"query": "query { a: b c: d }"}',
                         '{"query": "query { result: dropAllTables { id } }"}'):  # fmt: skip
                with self.subTest(body=body):
                    self.assertEqual(post(port, "/", body)[0], 422)
            self.assertEqual(post(port, "/no/such/path", "")[0], 404)

    def test_error_codes_without_a_client(self) -> None:
        def query(text: str) -> str:
            return json.dumps({"query": text, "variables": {}})

        unknown_model = "query { result: findManyNoSuchModel { id } }"
        unknown_column = "query { result: findManyLiteLLM_UserTable { no_such_column } }"
        with engine() as (_, port):
            wait_ready(port)
            for text in (unknown_model, unknown_column):
                with self.subTest(text=text):
                    status, body = post(port, "/", query(text))
                    self.assertEqual(status, 200)
                    shown = body["errors"][0]["user_facing_error"]
                    self.assertEqual(shown["error_code"], "P2009")
                    self.assertIsInstance(shown["meta"], dict)

    def test_an_idle_connection_stays_usable(self) -> None:
        """Node's default of five seconds would close it under the client, which keeps connections."""
        with engine() as (_, port):
            wait_ready(port)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            self.addCleanup(connection.close)
            connection.auto_open = 0
            connection.connect()
            for pause in (0, 6.5):
                time.sleep(pause)
                connection.request("GET", "/status")
                self.assertEqual(connection.getresponse().read(), b'{"status":"ok"}')

    def test_port_in_use(self) -> None:
        with engine() as (_, port):
            wait_ready(port)
            done = subprocess.run(
                [ENGINE, "-p", str(port)],
                env={**os.environ, "DATABASE_URL": URL, "PRISMA_DML_PATH": str(SCHEMA)},
                capture_output=True,
                text=True,
                check=False,
            )
        self.assertEqual(done.returncode, 1)
        self.assertIn("EADDRINUSE", done.stderr)


class Parameters(ClientCase):
    async def setting(self, url: str, name: str) -> str:
        async with connected(url) as client:
            return (await client.query_raw("SELECT current_setting($1) AS value", name))[0]["value"]

    @on_loop
    async def test_schema(self) -> None:
        psql('CREATE SCHEMA IF NOT EXISTS other; CREATE TABLE IF NOT EXISTS other."LiteLLM_UserTable" '
             '(LIKE public."LiteLLM_UserTable" INCLUDING ALL); TRUNCATE other."LiteLLM_UserTable";')  # fmt: skip
        async with connected(with_parameters(URL, schema="other")) as client:
            await client.litellm_usertable.create(data={"user_id": "elsewhere"})
            self.assertEqual((await client.query_raw("SELECT current_schema() AS value"))[0]["value"], "other")
        self.assertEqual(psql('SELECT user_id FROM other."LiteLLM_UserTable"'), "elsewhere")

    @on_loop
    async def test_options_and_unknown_parameters(self) -> None:
        url = with_parameters(URL, options="-c statement_timeout=4321", pgbouncer="true", statement_cache_size="0",
                              max_idle_connection_lifetime="60", connect_timeout="5", socket_timeout="30")  # fmt: skip
        self.assertEqual(await self.setting(url, "statement_timeout"), "4321ms")

    @on_loop
    async def test_connection_limit(self) -> None:
        url = with_parameters(URL, connection_limit="2", application_name="limit_test")
        async with connected(url) as client:
            await asyncio.gather(*(client.query_raw("SELECT pg_sleep(0.05)") for _ in range(20)))
            used = psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'limit_test'")
        self.assertEqual(used, "2")

    @on_loop
    async def test_socket_timeout(self) -> None:
        async with connected(with_parameters(URL, socket_timeout="1", connection_limit="1")) as client:
            with self.assertRaises(errors.PrismaError) as caught:
                await client.query_raw("SELECT pg_sleep(4)")
            self.assertIn("timed out", str(caught.exception))
            self.assertEqual(await client.query_raw("SELECT 1 AS value"), [{"value": 1}])

    @on_loop
    async def test_tls_modes(self) -> None:
        has_tls = psql("SHOW ssl") == "on"
        sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        for mode, expected in (("disable", False), ("prefer", has_tls), ("require", True)):
            with self.subTest(mode=mode):
                if mode == "require" and not has_tls:
                    continue
                async with connected(with_parameters(URL, sslmode=mode)) as client:
                    self.assertEqual((await client.query_raw(sql))[0]["ssl"], expected)

    def test_strict_tls_refuses_an_unknown_certificate(self) -> None:
        with engine(with_parameters(URL, sslmode="require", sslaccept="strict")) as (process, _):
            output, _ = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertIn("TLS", output)


class DatabaseAway(ClientCase):
    TABLES = ("UserTable",)

    @on_loop
    async def test_errors_while_away_and_recovery_after(self) -> None:
        cable = Cable()
        await cable.join()
        async with connected(cable.url) as client:
            self.assertEqual(await client.litellm_usertable.count(), 0)
            for _ in range(2):
                await cable.cut()
                for attempt in range(3):
                    with self.subTest(attempt=attempt), self.assertRaises(errors.DataError) as caught:
                        await client.litellm_usertable.count()
                    # LiteLLM tells an outage from a fault by these words (db/exception_handler.py).
                    self.assertRegex(str(caught.exception).lower(), "can't reach database server|connection closed")
                with self.assertRaises(errors.PrismaError):
                    async with client.tx():
                        self.fail("there is no database to start a transaction on")
                with self.assertRaises(errors.PrismaError):
                    await client.query_raw("SELECT 1")
                await cable.join()
                self.assertEqual(await client.litellm_usertable.count(), 0)
                async with client.tx() as transaction:
                    await transaction.query_raw("SELECT 1")
        await cable.cut()

    @on_loop
    async def test_start_while_away(self) -> None:
        cable = Cable()
        await cable.join()
        await cable.cut()
        async with connected(cable.url) as client:
            with self.assertRaises(errors.DataError) as caught:
                await client.litellm_usertable.count()
            self.assertEqual(caught.exception.code, "P1001")
            await cable.join()
            self.assertEqual(await client.litellm_usertable.count(), 0)
        await cable.cut()

    @on_loop
    async def test_connections_that_the_server_ended(self) -> None:
        url = with_parameters(URL, application_name="doomed", connection_limit="3", pool_timeout="5")
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doomed'"
        async with connected(url) as client:
            for _ in range(4):
                manager = client.tx()
                transaction = await manager.start()
                query = asyncio.create_task(client.query_raw("SELECT pg_sleep(20)"))
                await asyncio.sleep(0.3)
                psql(end)
                with self.assertRaises(errors.PrismaError):
                    await query
                with self.assertRaises(errors.PrismaError):
                    await transaction.litellm_usertable.count()
                with contextlib.suppress(errors.PrismaError):
                    await manager.rollback()
                self.assertEqual(await client.litellm_usertable.count(), 0)


if __name__ == "__main__":
    unittest.main()
