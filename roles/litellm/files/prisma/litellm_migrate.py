#!/usr/bin/env python3
r"""Bring LiteLLM's database to the schema of a release, once, and guard its salt key.

    litellm_migrate.py status --venv /opt/litellm/releases/1.106.2/venv
    litellm_migrate.py apply --venv ... --engine wasm
    litellm_migrate.py apply --venv ... --engine native -- \
        litellm --config /etc/litellm/config.yaml --skip_server_startup

Environment: DATABASE_URL (Prisma's form), LITELLM_SALT_KEY (optional: without it the salt guard rests), PATH with psql.

`status` prints one JSON object:
  pending           names of migrations that are not applied, in order
  applied           number of applied migrations
  unknown           applied migrations that the release does not have: the database is newer
  failed            migrations that Prisma recorded as started and not finished
  missing_indexes   request-log indexes that LiteLLM leaves to the migration job, absent or invalid
  filled            whether tables that hold keys, credentials or models have rows
  salt_fingerprint  fingerprint of the salt key that the database was filled with, or null
  salt_matches      whether LITELLM_SALT_KEY has that fingerprint; null when either is unknown
`apply` prints {"changed": bool, "applied": [...], "indexes": [...], "salt_fingerprint": ...}.

Engine `wasm`: psql runs each migration and records it in Prisma's _prisma_migrations as `prisma migrate deploy` does,
both in one transaction, so that a killed run converges when it is repeated and the native engine can go on from there.
Engine `native`: the command after `--` migrates; it is not run when nothing is pending.

Exit: 0 done; 64 wrong arguments or environment; 65 refused, the database is not fit (salt key, failed migration,
unknown tables); 69 psql or the database cannot be reached; 70 a migration failed; 75 another host is migrating.
Each with one sentence on stderr, which never holds DATABASE_URL or the salt key.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

EXIT_USAGE, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_FAILED, EXIT_LOCKED = 64, 65, 69, 70, 75

# Prisma's own lock (prisma-engines, schema-engine sql flavour postgres) and LiteLLM's
# (litellm_proxy_extras/migration_lock.py, MIGRATION_LOCK_KEY): holding both keeps out every other migrator.
ADVISORY_LOCKS = (72707369, int.from_bytes(b"llm_mig2", "big"))
DEFAULT_LOCK_WAIT = 300  # seconds

# Lines of the migration script's output.
APPLIED = "applied: "
BUSY = "another migrator holds the lock"

# The keys, and the tables with values that the salt key encrypts, each with the condition for rows that count
# (litellm/proxy/db/master_key_migration.py, _SECRET_COLUMNS; a proxy writes other rows to LiteLLM_Config by itself).
FILLED_TABLES = {
    "LiteLLM_VerificationToken": "true",
    "LiteLLM_CredentialsTable": "true",
    "LiteLLM_ProxyModelTable": "true",
    "LiteLLM_Config": "param_name = 'environment_variables'",
    "LiteLLM_GuardrailsTable": "true",
    "LiteLLM_MCPServerTable": "true",
    "LiteLLM_MCPServerOAuthClient": "true",
    "LiteLLM_MCPUserCredentials": "true",
    "LiteLLM_MCPUserEnvVars": "true",
    "LiteLLM_SSOConfig": "true",
    "LiteLLM_SSOIdentityAssertion": "true",
    "LiteLLM_CacheConfig": "true",
    "LiteLLM_ConfigOverrides": "true",
    "LiteLLM_SearchToolsTable": "true",
}
FINGERPRINT = re.compile(r"litellm-salt-fingerprint:([0-9a-f]{16})")

# Columns as Prisma creates them (LiteLLM: litellm_proxy_extras/migration_recovery.py).
CREATE_HISTORY = """CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id varchar(36) PRIMARY KEY NOT NULL,
    checksum varchar(64) NOT NULL,
    finished_at timestamptz,
    migration_name varchar(255) NOT NULL,
    logs text,
    rolled_back_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT now(),
    applied_steps_count integer NOT NULL DEFAULT 0
);"""

# Statements that PostgreSQL refuses inside a transaction, or that end one.
NOT_IN_TRANSACTION = re.compile(
    r"\bCONCURRENTLY\b|^\s*(VACUUM|CREATE\s+DATABASE|ALTER\s+SYSTEM)\b"
    r"|^\s*(BEGIN|START\s+TRANSACTION|COMMIT|ROLLBACK)(\s+(TRANSACTION|WORK))?\s*;",
    re.IGNORECASE | re.MULTILINE,
)
CONCURRENT_INDEX = re.compile(
    r'CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?"?([^"\s(]+)"?', re.IGNORECASE
)

# Both packages are optional to litellm_proxy_extras, and importing them takes seconds.
INDEX_NAMES_CODE = """
import sys, json
sys.modules["litellm"] = sys.modules["prisma"] = None
from litellm_proxy_extras.request_log_indexes import REQUEST_LOG_INDEXES
print(json.dumps([index.name for index in REQUEST_LOG_INDEXES]))
"""
BUILD_INDEXES_CODE = """
import sys
sys.modules["litellm"] = sys.modules["prisma"] = None
from litellm_proxy_extras.request_log_indexes import ensure_request_log_indexes
sys.exit(0 if ensure_request_log_indexes("", sys.argv[1]) else 1)
"""


class MigrateError(Exception):
    """The database cannot be migrated: exit code and one sentence for the operator."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Migration:
    """One folder of litellm_proxy_extras/migrations."""

    name: str
    path: Path
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def transactional(self) -> bool:
        return NOT_IN_TRANSACTION.search(without_comments(self.sql)) is None

    @property
    def concurrent_indexes(self) -> list[str]:
        return CONCURRENT_INDEX.findall(without_comments(self.sql))


@dataclass(frozen=True)
class Database:
    """Where psql connects: libpq's environment variables, and the schema of the tables."""

    environment: dict[str, str]
    schema: str


def without_comments(sql: str) -> str:
    """SQL without its `--` comments."""
    return re.sub(r"--[^\n]*", "", sql)


def literal(text: str) -> str:
    """SQL string literal (standard_conforming_strings is on)."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def salt_fingerprint(salt_key: str) -> str:
    """16 hex digits that tell salt keys apart without giving them away."""
    return hashlib.sha256(f"litellm-salt-key:{salt_key}".encode()).hexdigest()[:16]


def comment_with_fingerprint(comment: str, fingerprint: str) -> str:
    """The comment with its fingerprint set; any other text stays."""
    note = f"litellm-salt-fingerprint:{fingerprint}"
    if FINGERPRINT.search(comment):
        return FINGERPRINT.sub(note, comment)
    return f"{comment} {note}".strip()


def parse_database_url(url: str) -> Database:
    """libpq's environment for a URL with Prisma's parameters.

    sslcert is Prisma's name for the CA file and sslaccept=strict means full verification (LiteLLM: db_url_settings.py).
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError as error:
        raise MigrateError(EXIT_USAGE, "DATABASE_URL is not a URL") from error
    if parts.scheme not in ("postgresql", "postgres"):
        raise MigrateError(EXIT_USAGE, "DATABASE_URL does not start with postgresql://")
    params = dict(parse_qsl(parts.query))
    root_certificate = params.get("sslrootcert") or params.get("sslcert")
    strict = params.get("sslaccept") == "strict"
    values = {
        "PGHOST": params.get("host") or unquote(parts.hostname or "localhost"),
        "PGPORT": str(port),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or "") or os.environ.get("PGPASSWORD"),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
        "PGSSLMODE": "verify-full" if strict else params.get("sslmode"),
        "PGSSLROOTCERT": root_certificate,
        "PGOPTIONS": params.get("options"),
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "litellm_migrate",
        "PGCLIENTENCODING": "UTF8",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return Database(
        {**inherited, **{key: value for key, value in values.items() if value}}, params.get("schema", "public")
    )


def first_error(stderr: str) -> str:
    """The line of psql's output that names the error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR:" in line or "error:" in line or "FATAL:" in line]
    return (errors or lines or ["no message"])[0]


def run_psql(database: Database, script: str) -> str:
    """Run a psql script in one session and return its stdout.

    The script is a file without a name: psql has all of it, whatever becomes of this process.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(f"\\set QUIET on\nSET search_path = {identifier(database.schema)};\n")
        file.write("SET client_min_messages = warning;\n")
        file.write(script)
        file.flush()
        file.seek(0)
        command = ["psql", "--no-psqlrc", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1"]
        try:
            done = subprocess.run(
                command, stdin=file, env=database.environment, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise MigrateError(EXIT_UNAVAILABLE, "psql is not installed: install postgresql-client") from error
    if done.returncode == 2:
        raise MigrateError(EXIT_UNAVAILABLE, f"the database cannot be reached: {first_error(done.stderr)}")
    if done.returncode != 0:
        raise MigrateError(EXIT_FAILED, f"psql: {first_error(done.stderr)}")
    return done.stdout


def package_directory(venv: Path) -> Path:
    """litellm_proxy_extras in the one Python that the venv has."""
    found = sorted(venv.glob("lib/python3*/site-packages/litellm_proxy_extras"))
    if len(found) != 1:
        raise MigrateError(EXIT_USAGE, f"{venv} has no litellm_proxy_extras: install LiteLLM first")
    return found[0]


def read_migrations(directory: Path) -> list[Migration]:
    """All migrations in the order in which Prisma applies them: by name, as bytes."""
    files = sorted(directory.glob("*/migration.sql"), key=lambda file: file.parent.name.encode())
    if not files:
        raise MigrateError(EXIT_USAGE, f"{directory} has no migrations")
    return [Migration(file.parent.name, file, file.read_text(encoding="utf-8")) for file in files]


def run_venv_python(venv: Path, code: str, database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code with the packages of the release; psycopg reads libpq's environment."""
    command = [venv / "bin" / "python", "-c", code, *arguments]
    return subprocess.run(command, env=database.environment, capture_output=True, text=True, check=False)


def index_names(venv: Path, database: Database) -> list[str]:
    """Indexes that LiteLLM's migrations leave to the migration job; [] in releases without such a list."""
    done = run_venv_python(venv, INDEX_NAMES_CODE, database)
    return json.loads(done.stdout) if done.returncode == 0 else []


def facts_script(indexes: Iterable[str]) -> str:
    """psql script that prints one JSON object with all that is asked of the database."""
    tables = ", ".join(f"({literal(identifier(table))}, {literal(rows)})" for table, rows in FILLED_TABLES.items())
    names = ", ".join(literal(name) for name in indexes) or "NULL"
    return f"""
SELECT to_regclass('_prisma_migrations') IS NOT NULL AS has_history \\gset
\\if :has_history
SELECT coalesce(json_agg(migration_name) FILTER (WHERE finished_at IS NOT NULL), '[]') AS applied,
       coalesce(json_agg(migration_name) FILTER (WHERE finished_at IS NULL), '[]') AS failed
  FROM _prisma_migrations WHERE rolled_back_at IS NULL \\gset
SELECT coalesce(obj_description('_prisma_migrations'::regclass, 'pg_class'), '') AS table_comment \\gset
\\else
\\set applied []
\\set failed []
\\set table_comment ''
\\endif
SELECT coalesce(string_agg(format('EXISTS (SELECT 1 FROM %s WHERE %s)', name, rows), ' OR '), 'false') AS any_row
  FROM (VALUES {tables}) AS counted (name, rows) WHERE to_regclass(name) IS NOT NULL \\gset
SELECT json_build_object(
  'has_history', :'has_history'::bool,
  'has_tables', EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = current_schema()::regnamespace
                        AND relkind IN ('r', 'p') AND relname LIKE 'LiteLLM\\_%'),
  'applied', :'applied'::json,
  'failed', :'failed'::json,
  'filled', (:any_row),
  'valid_indexes', (SELECT coalesce(json_agg(relname), '[]') FROM pg_class JOIN pg_index ON indexrelid = oid
                    WHERE relnamespace = current_schema()::regnamespace AND indisvalid AND relname IN ({names})),
  'table_comment', :'table_comment'::text,
  'database_comment', coalesce(shobj_description((SELECT oid FROM pg_database WHERE datname = current_database()),
                                                 'pg_database'), ''),
  'owns_database', (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()));
"""


@dataclass(frozen=True)
class State:
    """What the database holds, compared with the release."""

    pending: list[str]
    applied: list[str]
    unknown: list[str]
    failed: list[str]
    missing_indexes: list[str]
    filled: bool
    has_history: bool
    has_tables: bool
    table_comment: str
    database_comment: str
    owns_database: bool

    @property
    def fingerprints(self) -> set[str]:
        """Fingerprints in the comments: usually one in both, or none."""
        return {found[1] for text in (self.table_comment, self.database_comment) if (found := FINGERPRINT.search(text))}


def read_state(database: Database, migrations: Sequence[Migration], indexes: Sequence[str]) -> State:
    """Ask the database."""
    facts = json.loads(run_psql(database, facts_script(indexes)))
    names = [migration.name for migration in migrations]
    applied = set(facts["applied"])
    return State(
        pending=[name for name in names if name not in applied],
        applied=sorted(applied),
        unknown=sorted(applied - set(names)),
        failed=sorted(facts["failed"]),
        missing_indexes=[name for name in indexes if name not in facts["valid_indexes"]],
        **{
            key: facts[key]
            for key in ("filled", "has_history", "has_tables", "table_comment", "database_comment", "owns_database")
        },
    )


@dataclass(frozen=True)
class Job:
    """One call of this program."""

    venv: Path
    database: Database
    migrations: list[Migration]
    indexes: list[str]
    fingerprint: str | None
    lock_wait: int

    def state(self) -> State:
        return read_state(self.database, self.migrations, self.indexes)


def check_salt(state: State, fingerprint: str | None) -> None:
    """Refuse a salt key with which the stored credentials cannot be read."""
    others = state.fingerprints - {fingerprint}
    if fingerprint is not None and state.filled and others:
        raise MigrateError(
            EXIT_REFUSED,
            f"litellm_salt_key differs from the one that this database was filled with (fingerprint {fingerprint}, "
            f"the database has {', '.join(sorted(others))}): give the old key back, it must never change",
        )


def check_fit(state: State) -> None:
    """Refuse a database whose migration history cannot be continued."""
    if state.failed:
        raise MigrateError(
            EXIT_REFUSED,
            f"migration {state.failed[0]!r} is recorded as started and not finished: see what it did, "
            "then mark it with `prisma migrate resolve`",
        )
    if state.has_tables and not state.has_history:
        raise MigrateError(
            EXIT_REFUSED,
            "the database has LiteLLM tables but no _prisma_migrations: its state is unknown, use an empty database or "
            "establish the history with `prisma migrate resolve`",
        )


def migration_script(migrations: Iterable[Migration]) -> str:
    """psql script that applies what is still pending if it gets the locks, and names what it applied.

    It must not wait for the locks inside the server: CREATE INDEX CONCURRENTLY of the other migrator would wait for
    this session's snapshot in turn.
    """
    locked = " AND ".join(f"pg_try_advisory_lock({key})" for key in ADVISORY_LOCKS)
    steps = "\n".join(migration_step(migration) for migration in migrations)
    return f"""
SELECT {locked} AS locked \\gset
\\if :locked
\\else
\\echo {BUSY}
\\q
\\endif
{CREATE_HISTORY}
{steps}
"""


def run_migrations(job: Job) -> list[str]:
    """Apply what is pending, as soon as nobody else is migrating; returns the names of the applied."""
    deadline = time.monotonic() + job.lock_wait
    while True:
        lines = run_psql(job.database, migration_script(job.migrations)).splitlines()
        if BUSY not in lines:
            return [line.removeprefix(APPLIED) for line in lines if line.startswith(APPLIED)]
        if time.monotonic() >= deadline:
            raise MigrateError(EXIT_LOCKED, "another host is migrating this database: try again when it is done")
        time.sleep(1)


def migration_step(migration: Migration) -> str:
    """One migration and its record: in one transaction where PostgreSQL allows it."""
    name = literal(migration.name)
    record = (
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at, applied_steps_count)\n"
        f"VALUES (gen_random_uuid()::text, {literal(migration.checksum)}, {name}, :'started', clock_timestamp(), 1);"
    )
    begin, commit = ("BEGIN;", "COMMIT;") if migration.transactional else ("", "")
    # An interrupted CONCURRENTLY leaves an invalid index, which IF NOT EXISTS would take for a good one.
    drops = "\n".join(
        "SELECT format('DROP INDEX CONCURRENTLY %I', relname) FROM pg_class JOIN pg_index ON indexrelid = oid "
        f"WHERE relnamespace = current_schema()::regnamespace AND NOT indisvalid AND relname = {literal(index)} \\gexec"
        for index in migration.concurrent_indexes
    )
    return f"""
SELECT clock_timestamp() AS started, NOT EXISTS (SELECT 1 FROM _prisma_migrations WHERE migration_name = {name}
  AND finished_at IS NOT NULL AND rolled_back_at IS NULL) AS pending \\gset
\\if :pending
{drops}
{begin}
\\i {literal(str(migration.path))}
{record}
{commit}
\\echo {literal(APPLIED + migration.name)}
\\endif"""


def store_salt(database: Database, state: State, fingerprint: str) -> None:
    """Write the fingerprint where it is not yet.

    The comment of the database outlives its tables; the comment of the history table travels with pg_dump and can be
    set by a role that does not own the database.
    """
    statements = [
        f"COMMENT ON TABLE _prisma_migrations IS {literal(comment_with_fingerprint(state.table_comment, fingerprint))};"
    ]
    if state.owns_database:
        name = identifier(database.environment["PGDATABASE"])
        comment = literal(comment_with_fingerprint(state.database_comment, fingerprint))
        statements.append(f"COMMENT ON DATABASE {name} IS {comment};")
    run_psql(database, "\n".join(statements) + "\n")


def salt_is_stored(state: State, fingerprint: str) -> bool:
    comments = [state.table_comment, *([state.database_comment] if state.owns_database else [])]
    return all(comment_with_fingerprint(comment, fingerprint) == comment for comment in comments)


def run_native(command: Sequence[str]) -> None:
    """Run LiteLLM's own migration; its output goes to stderr, for the operator."""
    try:
        done = subprocess.run(command, stdout=sys.stderr, check=False)
    except OSError as error:
        raise MigrateError(EXIT_USAGE, f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise MigrateError(EXIT_FAILED, f"{command[0]} ended with exit code {done.returncode}: its output says why")


def build_indexes(job: Job) -> None:
    """LiteLLM's own builder: concurrently, and per partition on a partitioned table. It gives up on a held lock."""
    deadline = time.monotonic() + job.lock_wait
    while True:
        done = run_venv_python(job.venv, BUILD_INDEXES_CODE, job.database, job.database.schema)
        if done.returncode == 0:
            return
        if "holds the migration lock" not in done.stderr:
            raise MigrateError(EXIT_FAILED, f"the request-log indexes could not be built: {first_error(done.stderr)}")
        if time.monotonic() >= deadline:
            raise MigrateError(EXIT_LOCKED, "another host is migrating this database: try again when it is done")
        time.sleep(1)


def status(job: Job) -> dict[str, object]:
    """What `status` prints."""
    state = job.state()
    stored = sorted(state.fingerprints)
    return {
        "pending": state.pending,
        "applied": len(state.applied),
        "unknown": state.unknown,
        "failed": state.failed,
        "missing_indexes": state.missing_indexes,
        "filled": state.filled,
        "salt_fingerprint": ",".join(stored) or None,
        "salt_matches": stored == [job.fingerprint] if stored and job.fingerprint else None,
    }


def apply(job: Job, engine: str, native_command: Sequence[str]) -> dict[str, object]:
    """Migrate, then store the fingerprint of the salt key; returns what `apply` prints."""
    before = job.state()
    check_salt(before, job.fingerprint)
    # A killed native run is native's to recover: LiteLLM's resolver completes or resolves what it left.
    if engine == "wasm":
        check_fit(before)
    applied: list[str] = []
    built: list[str] = []
    after = before
    if before.pending and engine == "native":
        run_native(native_command)
        after = job.state()
        applied = [name for name in before.pending if name not in after.pending]
    elif before.pending:
        applied = run_migrations(job)
        after = job.state()
    if after.pending:
        raise MigrateError(
            EXIT_FAILED, f"{len(after.pending)} migrations are still pending, first {after.pending[0]!r}"
        )
    if engine == "wasm" and after.missing_indexes:
        build_indexes(job)
        built = after.missing_indexes
    salt_changed = job.fingerprint is not None and not salt_is_stored(after, job.fingerprint)
    if salt_changed:
        store_salt(job.database, after, job.fingerprint)
    return {
        "changed": bool(applied or built or salt_changed),
        "applied": applied,
        "indexes": built,
        "salt_fingerprint": job.fingerprint or ",".join(sorted(after.fingerprints)) or None,
    }


def make_job(venv: Path, lock_wait: int, environment: Mapping[str, str]) -> Job:
    """Read the release and the environment."""
    if not environment.get("DATABASE_URL"):
        raise MigrateError(EXIT_USAGE, "DATABASE_URL is not set")
    database = parse_database_url(environment["DATABASE_URL"])
    salt_key = environment.get("LITELLM_SALT_KEY")
    return Job(
        venv=venv,
        database=database,
        migrations=read_migrations(package_directory(venv) / "migrations"),
        indexes=index_names(venv, database),
        fingerprint=salt_fingerprint(salt_key) if salt_key else None,
        lock_wait=lock_wait,
    )


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    usage = "%(prog)s {status,apply} --venv DIR [--engine {wasm,native}] [--lock-wait SECONDS] [-- COMMAND ...]"
    parser = argparse.ArgumentParser(description="Migrate LiteLLM's database and guard its salt key.", usage=usage)
    parser.add_argument("action", choices=("status", "apply"))
    parser.add_argument("--venv", type=Path, required=True, help="virtual environment of the LiteLLM release")
    parser.add_argument("--engine", choices=("native", "wasm"), help="who migrates; needed by apply")
    wait = "seconds to wait for another host that migrates"
    parser.add_argument("--lock-wait", type=int, default=DEFAULT_LOCK_WAIT, help=wait)
    # What follows -- is split off here: argparse mixes it up with the options before it.
    arguments = parser.parse_args(argv[: argv.index("--")] if "--" in argv else argv)
    arguments.native_command = argv[argv.index("--") + 1 :] if "--" in argv else []
    if arguments.action == "apply" and arguments.engine is None:
        parser.error("apply needs --engine")
    if (arguments.engine == "native") != bool(arguments.native_command) and arguments.action == "apply":
        parser.error("--engine native needs a command after --, and --engine wasm takes none")
    return arguments


def main() -> int:
    arguments = parse_arguments(sys.argv[1:])
    try:
        job = make_job(arguments.venv.absolute(), arguments.lock_wait, os.environ)
        native = arguments.native_command
        result = status(job) if arguments.action == "status" else apply(job, arguments.engine, native)
    except MigrateError as error:
        print(f"litellm_migrate: {error}", file=sys.stderr)
        return error.code
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
