"""What the suites of this directory share: the scratch database, psql, clients, a cable that can be cut.

Run them on a host that has a LiteLLM release with its client made, psql, and a database of its own, which is emptied:

    PRISMA_TEST_DATABASE_URL=postgresql://litellm:...@127.0.0.1/litellm_prisma_test \\
        /opt/litellm/current/venv/bin/python -m unittest discover -s tests/prisma

The role in the URL owns the database and is no superuser. Optional: PRISMA_TEST_RELEASE (default: the release of the
python that runs), PRISMA_ENGINE_NODE (default: /opt/nodejs/current/bin/node).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import unittest
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

RELEASE = Path(os.environ.get("PRISMA_TEST_RELEASE", Path(sys.prefix).parent)).resolve()
ENGINE = RELEASE / "prisma" / "query-engine"
MIGRATE = RELEASE / "prisma" / "litellm_migrate.py"
URL = os.environ.get("PRISMA_TEST_DATABASE_URL", "")

# The generated client reads this when it starts an engine.
os.environ["PRISMA_QUERY_ENGINE_BINARY"] = str(ENGINE)
# LiteLLM would look for prices on the internet when a test imports it.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


def require_scratch_database() -> None:
    """The suites drop all that the role owns: refuse any database that is not named for it."""
    if not urlsplit(URL).path.endswith("_test"):
        raise RuntimeError("PRISMA_TEST_DATABASE_URL must name a scratch database whose name ends in _test")


def with_parameters(url: str, **parameters: str) -> str:
    """The URL with further query parameters."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **parameters})))


def with_address(url: str, host: str, port: int) -> str:
    """The URL with another host and port."""
    parts = urlsplit(url)
    credentials = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{credentials}@{host}:{port}"))


def psql(sql: str) -> str:
    """Run SQL as the role of the tests, in a way that has nothing to do with Prisma."""
    environment = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
    parts = urlsplit(URL)
    bare = urlunsplit(parts._replace(query=""))
    done = subprocess.run(
        ["psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", bare],
        input=sql,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"psql: {done.stderr}")
    return done.stdout.strip()


def empty_database() -> None:
    """Drop all that the role owns, and the fingerprint of the salt key."""
    require_scratch_database()
    psql('DROP OWNED BY CURRENT_USER CASCADE; DROP SCHEMA IF EXISTS "other" CASCADE;')
    psql("SELECT format('COMMENT ON DATABASE %I IS NULL', current_database()) \\gexec")


def migrate(
    *arguments: str, salt: str | None = None, url: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run litellm_migrate.py."""
    variables = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "LITELLM_SALT_KEY")}
    variables.update(environment, DATABASE_URL=url or URL)
    if salt is not None:
        variables["LITELLM_SALT_KEY"] = salt
    command = [sys.executable, MIGRATE, arguments[0], "--venv", sys.prefix, *arguments[1:]]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def ensure_migrated() -> None:
    """Bring the scratch database to the schema of the release."""
    require_scratch_database()
    done = migrate("apply", "--engine", "wasm")
    if done.returncode != 0:
        raise AssertionError(done.stderr)


def migrate_status(**options: str) -> dict[str, Any]:
    """What `status` prints."""
    done = migrate("status", **options)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


@contextlib.asynccontextmanager
async def connected(url: str = URL) -> AsyncIterator[Any]:
    """A Prisma client with an engine of its own."""
    from prisma import Prisma

    client = Prisma(datasource={"url": url}, connect_timeout=timedelta(seconds=30))
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect(timeout=timedelta(seconds=5))


class ClientCase(unittest.TestCase):
    """One engine for all tests of a class; each test finds the tables that it uses empty."""

    TABLES: tuple[str, ...] = ()
    db: Any

    @classmethod
    def setUpClass(cls) -> None:
        ensure_migrated()
        cls.loop = asyncio.new_event_loop()
        cls.stack = contextlib.AsyncExitStack()
        cls.db = cls.loop.run_until_complete(cls.stack.enter_async_context(connected()))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.loop.run_until_complete(cls.stack.aclose())
        cls.loop.close()

    def setUp(self) -> None:
        if self.TABLES:
            psql("TRUNCATE " + ", ".join(f'"LiteLLM_{table}"' for table in self.TABLES) + " CASCADE;")


def on_loop(test: Callable[[Any], Awaitable[None]]) -> Callable[[Any], None]:
    """Run a test method on the event loop of its class, to which the client belongs."""

    @functools.wraps(test)
    def run(self: Any) -> None:
        self.loop.run_until_complete(asyncio.wait_for(test(self), 60))

    return run


class Cable:
    """A TCP relay to the database server that can be cut and joined again."""

    def __init__(self) -> None:
        parts = urlsplit(URL)
        self.target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self.port = 0
        self.server: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return with_address(URL, "127.0.0.1", self.port)

    async def join(self) -> None:
        self.server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self.server is not None:
            self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self.target)
        self.writers |= {writer, server_writer}
        await asyncio.gather(self._copy(reader, server_writer), self._copy(server_reader, writer))

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
