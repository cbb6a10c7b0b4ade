"""litellm_migrate.py against a scratch database: real migrations, made-up ones, kills, locks, the salt guard."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import ClassVar

import litellm_proxy_extras
from support import MIGRATE, URL, empty_database, migrate, migrate_status, psql, with_parameters

MIGRATIONS = Path(litellm_proxy_extras.__file__).parent / "migrations"
WITH_SPACES = "20251122125322_Add organization_id to spend logs"


def names() -> list[str]:
    return sorted(file.parent.name for file in MIGRATIONS.glob("*/migration.sql"))


def recorded() -> int:
    """Number of finished migrations; 0 before there is a history."""
    if psql("SELECT to_regclass('_prisma_migrations') IS NULL") == "t":
        return 0
    return int(psql("SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NOT NULL"))


class EmptyDatabase(unittest.TestCase):
    def setUp(self) -> None:
        empty_database()

    def apply(self, *arguments: str, **options: str) -> dict:
        done = migrate("apply", "--engine", "wasm", *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, code: int, pattern: str, *arguments: str, **options: str) -> None:
        done = migrate("apply", *(arguments or ("--engine", "wasm")), **options)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertRegex(done.stderr.splitlines()[-1], pattern)


class RealMigrations(EmptyDatabase):
    def test_all_are_applied_and_recorded_once(self) -> None:
        status = migrate_status()
        self.assertEqual((status["pending"], status["applied"], status["filled"]), (names(), 0, False))
        self.assertIn(WITH_SPACES, names())
        result = self.apply()
        self.assertTrue(result["changed"])
        self.assertEqual(result["applied"], names())
        status = migrate_status()
        self.assertEqual((status["pending"], status["applied"], status["unknown"]), ([], len(names()), []))
        self.assertEqual(status["missing_indexes"], [])
        rows = psql("SELECT migration_name, checksum FROM _prisma_migrations WHERE finished_at >= started_at "
                    "AND applied_steps_count = 1 AND rolled_back_at IS NULL AND logs IS NULL "
                    "AND id::uuid IS NOT NULL ORDER BY started_at")  # fmt: skip
        expected = [f"{name}|{hashlib.sha256((MIGRATIONS / name / 'migration.sql').read_bytes()).hexdigest()}"
                    for name in names()]  # fmt: skip
        self.assertEqual(rows.splitlines(), expected)
        self.assertEqual(psql("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), "0")
        again = self.apply()
        self.assertEqual((again["changed"], again["applied"], again["indexes"]), (False, [], []))

    def test_history_has_the_columns_of_prisma(self) -> None:
        self.apply()
        columns = psql("""
            SELECT string_agg(
                concat_ws(' ', column_name, data_type, coalesce(character_maximum_length, 0), is_nullable),
                ', ' ORDER BY ordinal_position)
            FROM information_schema.columns WHERE table_name = '_prisma_migrations'
        """)
        self.assertEqual(
            columns,
            "id character varying 36 NO, checksum character varying 64 NO, finished_at timestamp with time zone 0 YES, "
            "migration_name character varying 255 NO, logs text 0 YES, rolled_back_at timestamp with time zone 0 YES, "
            "started_at timestamp with time zone 0 NO, applied_steps_count integer 0 NO",
        )

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, MIGRATE, "apply", "--venv", sys.prefix, "--engine", "wasm"]
        environment = {**os.environ, "DATABASE_URL": URL}
        return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)

    def wait_for_migrations(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while recorded() < count:
            self.assertLess(time.monotonic(), deadline, "the migrations do not get on")
            time.sleep(0.02)

    def test_a_killed_run_converges(self) -> None:
        for count in (3, 60, 140):
            process = self.start()
            self.wait_for_migrations(count)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.assertLess(recorded(), len(names()), "killed too late to prove anything")
        self.apply()
        self.assertEqual(recorded(), len(names()))
        self.assertEqual(psql("SELECT count(DISTINCT migration_name) FROM _prisma_migrations"), str(len(names())))

    def test_a_run_beside_a_psql_that_outlived_its_parent_converges(self) -> None:
        process = self.start()
        self.wait_for_migrations(3)
        process.kill()
        process.wait()
        self.apply()
        self.assertEqual(psql("SELECT count(*), count(DISTINCT migration_name) FROM _prisma_migrations"),
                         f"{len(names())}|{len(names())}")  # fmt: skip

    def test_two_at_once(self) -> None:
        processes = [self.start() for _ in range(2)]
        self.assertEqual([process.wait(timeout=120) for process in processes], [0, 0])
        self.assertEqual(psql("SELECT count(*) FROM _prisma_migrations"), str(len(names())))


class MadeUpMigrations(EmptyDatabase):
    """A release of three small migrations, so that each trouble can be made."""

    GOOD: ClassVar = {
        "1_first": 'CREATE TABLE "LiteLLM_One" (a int);\n-- it\'s a comment; COMMIT;\n',
        "2_it's two": 'INSERT INTO "LiteLLM_One" VALUES (1);\nINSERT INTO "LiteLLM_One" VALUES (2);\n',
        "3_index": 'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "one_idx" ON "LiteLLM_One"(a);\n',
    }

    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.venv = Path(directory.name)
        self.package = self.venv / "lib" / "python3.11" / "site-packages" / "litellm_proxy_extras"
        (self.venv / "bin").mkdir()
        (self.venv / "bin" / "python").symlink_to(sys.executable)
        self.write(self.GOOD)

    def write(self, migrations: dict[str, str]) -> None:
        for name, sql in migrations.items():
            (self.package / "migrations" / name).mkdir(parents=True, exist_ok=True)
            (self.package / "migrations" / name / "migration.sql").write_text(sql)

    def run_here(self, action: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, MIGRATE, action, "--venv", self.venv, *arguments]
        variables = {**os.environ, "DATABASE_URL": URL, **environment}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    def applied(self) -> str:
        return psql("SELECT string_agg(migration_name, ',' ORDER BY started_at) FROM _prisma_migrations")

    def test_names_with_quotes_and_spaces(self) -> None:
        done = self.run_here("apply", "--engine", "wasm")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.applied(), "1_first,2_it's two,3_index")
        self.assertEqual(json.loads(done.stdout)["applied"], list(self.GOOD))

    def test_a_failing_migration_leaves_nothing_of_itself(self) -> None:
        self.write({"2_it's two": 'INSERT INTO "LiteLLM_One" VALUES (1);\nINSERT INTO "no such table" VALUES (2);\n'})
        done = self.run_here("apply", "--engine", "wasm")
        self.assertEqual(done.returncode, 70)
        self.assertRegex(done.stderr, r"^litellm_migrate: .*no such table.*\n$")
        self.assertEqual((self.applied(), psql('SELECT count(*) FROM "LiteLLM_One"')), ("1_first", "0"))
        self.write(self.GOOD)
        self.assertEqual(self.run_here("apply", "--engine", "wasm").returncode, 0)
        self.assertEqual(psql('SELECT count(*) FROM "LiteLLM_One"'), "2")

    def test_an_index_left_invalid_is_built_again(self) -> None:
        self.write({"2_it's two": 'INSERT INTO "LiteLLM_One" VALUES (1), (1);\n'})
        self.assertEqual(self.run_here("apply", "--engine", "wasm").returncode, 70)
        self.assertEqual(psql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_idx'::regclass"), "f")
        psql('DELETE FROM "LiteLLM_One"')
        self.assertEqual(self.run_here("apply", "--engine", "wasm").returncode, 0)
        self.assertEqual(psql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_idx'::regclass"), "t")

    def test_a_newer_database_is_told(self) -> None:
        self.run_here("apply", "--engine", "wasm")
        psql("INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count) "
             "VALUES ('x', 'x', '9_later', now(), 1)")  # fmt: skip
        self.assertEqual(json.loads(self.run_here("status").stdout)["unknown"], ["9_later"])
        self.assertFalse(json.loads(self.run_here("apply", "--engine", "wasm").stdout)["changed"])

    def test_an_unfinished_migration_is_refused(self) -> None:
        self.run_here("apply", "--engine", "wasm")
        psql("UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = '3_index'")
        done = self.run_here("apply", "--engine", "wasm")
        self.assertEqual(done.returncode, 65)
        self.assertIn("3_index", done.stderr)

    def test_a_migration_marked_as_rolled_back_is_applied_again(self) -> None:
        self.run_here("apply", "--engine", "wasm")
        psql("UPDATE _prisma_migrations SET finished_at = NULL, rolled_back_at = now() "
             "WHERE migration_name = '3_index'")  # fmt: skip
        done = self.run_here("apply", "--engine", "wasm")
        self.assertEqual(json.loads(done.stdout)["applied"], ["3_index"])

    def test_tables_without_history_are_refused(self) -> None:
        psql('CREATE TABLE "LiteLLM_One" (a int);')
        done = self.run_here("apply", "--engine", "wasm")
        self.assertEqual(done.returncode, 65)
        self.assertIn("_prisma_migrations", done.stderr)

    def test_the_lock_of_another_migrator_is_respected(self) -> None:
        for key in ("72707369", str(int.from_bytes(b"llm_mig2", "big"))):
            with self.subTest(key=key):
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
                holder = subprocess.Popen(["psql", "-qAt", URL], text=True, **pipes)
                holder.stdin.write(f"SELECT pg_advisory_lock({key}); SELECT 'held';\n")
                holder.stdin.flush()
                while holder.stdout.readline().strip() != "held":
                    pass
                done = self.run_here("apply", "--engine", "wasm", "--lock-wait", "1")
                holder.communicate()
                self.assertEqual(done.returncode, 75, done.stderr)
                self.assertIn("another host", done.stderr)

    def test_native_command_runs_only_when_something_is_pending(self) -> None:
        marker = self.venv / "marker"
        touch = ["--engine", "native", "--", "touch", str(marker)]
        done = self.run_here("apply", *touch)
        self.assertEqual((done.returncode, marker.exists()), (70, True), "the command migrated nothing")
        self.assertIn("still pending", done.stderr)
        marker.unlink()
        migration = [sys.executable, str(MIGRATE), "apply", "--venv", str(self.venv), "--engine", "wasm"]
        done = self.run_here("apply", "--engine", "native", "--", *migration)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["applied"], list(self.GOOD))
        done = self.run_here("apply", *touch)
        self.assertEqual((done.returncode, marker.exists()), (0, False))
        self.assertFalse(json.loads(done.stdout)["changed"])

    def test_a_failing_native_command_fails_the_run(self) -> None:
        done = self.run_here("apply", "--engine", "native", "--", "sh", "-c", "exit 3")
        self.assertEqual(done.returncode, 70)
        self.assertIn("exit code 3", done.stderr)

    def test_another_schema(self) -> None:
        psql("CREATE SCHEMA other")
        done = self.run_here("apply", "--engine", "wasm", DATABASE_URL=with_parameters(URL, schema="other"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(psql('SELECT count(*) FROM other."LiteLLM_One"'), "2")


class SaltGuard(EmptyDatabase):
    def fill(self) -> None:
        psql("INSERT INTO \"LiteLLM_VerificationToken\" (token) VALUES ('t')")

    def test_an_empty_database_takes_a_new_salt(self) -> None:
        for salt in ("first", "second"):
            expected = hashlib.sha256(f"litellm-salt-key:{salt}".encode()).hexdigest()[:16]
            self.assertEqual(self.apply(salt=salt)["salt_fingerprint"], expected)
            status = migrate_status(salt=salt)
            self.assertEqual((status["salt_fingerprint"], status["salt_matches"]), (expected, True))
        self.assertFalse(self.apply(salt="second")["changed"])

    def test_a_filled_database_refuses_another_salt(self) -> None:
        self.apply(salt="first")
        self.fill()
        self.refused(65, "litellm_salt_key", salt="s3cond-value")
        done = migrate("apply", "--engine", "wasm", salt="s3cond-value")
        self.assertNotIn("s3cond-value", done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        status = migrate_status(salt="s3cond-value")
        self.assertEqual((status["filled"], status["salt_matches"]), (True, False))
        self.assertFalse(self.apply(salt="first")["changed"])
        native = ("--engine", "native", "--", "false")
        self.refused(65, "litellm_salt_key", *native, salt="s3cond-value")

    def test_credentials_and_models_count_as_filled(self) -> None:
        self.apply(salt="first")
        rows = {
            "LiteLLM_CredentialsTable": "(credential_id, credential_name, credential_values, created_by, updated_by) "
            "VALUES ('c', 'c', '{}', 'a', 'a')",
            "LiteLLM_ProxyModelTable": "(model_id, model_name, litellm_params, created_by, updated_by) "
            "VALUES ('m', 'm', '{}', 'a', 'a')",
            "LiteLLM_Config": "(param_name, param_value) VALUES ('environment_variables', '{}')",
        }
        for table, row in rows.items():
            with self.subTest(table=table):
                self.assertFalse(migrate_status()["filled"])
                psql(f'INSERT INTO "{table}" {row}')
                self.refused(65, "litellm_salt_key", salt="second")
                psql(f'TRUNCATE "{table}"')

    def test_spend_and_users_do_not_count_as_filled(self) -> None:
        self.apply(salt="first")
        psql("INSERT INTO \"LiteLLM_UserTable\" (user_id) VALUES ('u')")
        psql("INSERT INTO \"LiteLLM_Config\" (param_name) VALUES ('something_else')")
        self.assertFalse(migrate_status()["filled"])

    def test_other_text_of_the_comment_stays(self) -> None:
        psql("SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), 'it''s ours') \\gexec")
        self.apply(salt="first")
        self.apply(salt="second")
        comment = psql(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        )
        fingerprint = hashlib.sha256(b"litellm-salt-key:second").hexdigest()[:16]
        self.assertEqual(comment, f"it's ours litellm-salt-fingerprint:{fingerprint}")

    def test_a_restored_database_is_still_guarded(self) -> None:
        # pg_dump without --create carries the comments of tables, but not that of the database.
        self.apply(salt="first")
        self.fill()
        psql("SELECT format('COMMENT ON DATABASE %I IS NULL', current_database()) \\gexec")
        self.refused(65, "litellm_salt_key", salt="second")
        self.assertTrue(self.apply(salt="first")["changed"])

    def test_without_a_salt_nothing_is_stored_or_checked(self) -> None:
        self.apply(salt="first")
        self.fill()
        self.assertFalse(self.apply()["changed"])
        self.assertIsNone(migrate_status()["salt_matches"])


class Environment(EmptyDatabase):
    def test_wrong_password_is_not_shown(self) -> None:
        for action in ("status", "apply"):
            arguments = ("--engine", "wasm") if action == "apply" else ()
            url = URL.replace(URL.split(":")[2].split("@")[0], "wr0ng-secret")
            done = migrate(action, *arguments, url=url)
            self.assertEqual(done.returncode, 69)
            self.assertIn("cannot be reached", done.stderr)
            self.assertNotIn("wr0ng-secret", done.stdout + done.stderr)

    def test_unusable_urls(self) -> None:
        for url in ("mysql://u:secret-word@h/d", "postgresql://u:secret-word@h:port/d", " "):
            with self.subTest(url=url):
                done = migrate("status", url=url)
                self.assertEqual(done.returncode, 64)
                self.assertNotIn("secret-word", done.stderr)

    def test_password_is_on_no_command_line(self) -> None:
        process = subprocess.Popen(
            [sys.executable, MIGRATE, "apply", "--venv", sys.prefix, "--engine", "wasm"],
            env={**os.environ, "DATABASE_URL": URL},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )
        seen = set()
        while process.poll() is None:
            for directory in Path("/proc").glob("[0-9]*"):
                try:
                    if os.getsid(int(directory.name)) == process.pid:
                        seen.add((directory / "cmdline").read_text().replace("\0", " "))
                except (OSError, ProcessLookupError):
                    continue
            time.sleep(0.02)
        self.assertEqual(process.returncode, 0)
        self.assertTrue(any("psql" in line for line in seen))
        password = URL.split(":")[2].split("@")[0]
        self.assertFalse([line for line in seen if password in line or "postgresql://" in line])


if __name__ == "__main__":
    unittest.main()
