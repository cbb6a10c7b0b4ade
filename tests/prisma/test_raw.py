"""Raw SQL, with the column types and parameters that LiteLLM's statements have."""

from __future__ import annotations

import json
import unittest
from datetime import datetime, timezone

from prisma import errors
from support import ClientCase, on_loop, psql


class RawQueries(ClientCase):
    TABLES = ("VerificationToken", "DailyUserSpend", "SpendLogs")

    async def value(self, expression: str, *parameters: object) -> object:
        return (await self.db.query_raw(f"SELECT {expression} AS value", *parameters))[0]["value"]

    @on_loop
    async def test_column_types(self) -> None:
        cases = [
            ("1", 1),
            ("1::smallint", 1),
            ("9007199254740993::bigint", 9007199254740993),
            ("1.5::numeric", 1.5),
            ("0.1::float8 + 0.2::float8", 0.1 + 0.2),
            ("1.5::real", 1.5),
            ("true", True),
            ("'text'", "text"),
            ("NULL", None),
            ("'n'::name", "n"),
            ("ARRAY['a', 'b']::name[]", ["a", "b"]),
            ("'c'::\"char\"", "c"),
            ("'{\"a\": [1, null]}'::json", {"a": [1, None]}),
            ('\'{"a": {"b": "1"}}\'::jsonb', {"a": {"b": "1"}}),
            ("'\"text\"'::jsonb", "text"),
            ("'null'::jsonb", None),
            ("'17'::jsonb", 17),
            ("ARRAY['{\"a\": 1}', NULL]::jsonb[]", [{"a": 1}, None]),
            ("ARRAY[1, NULL, 3]", [1, None, 3]),
            ("ARRAY[1, 2]::bigint[]", [1, 2]),
            ("ARRAY['a,b', '\"q\"', NULL]", ["a,b", '"q"', None]),
            ("ARRAY[]::text[]", []),
            ("ARRAY[true, false]", [True, False]),
            ("ARRAY[1.5, 2]::numeric[]", [1.5, 2.0]),
            ("'6c2b82b5-db2d-55c4-e186-9eecd8b5d53a'::uuid", "6c2b82b5-db2d-55c4-e186-9eecd8b5d53a"),
            ("'2026-01-02'::date", "2026-01-02"),
            ("'03:04:05'::time", "03:04:05"),
            ("'2026-01-02 03:04:05.678'::timestamp", "2026-01-02T03:04:05.678+00:00"),
            ("'2026-01-02 03:04:05-05'::timestamptz", "2026-01-02T08:04:05+00:00"),
            ("ARRAY['2026-01-02 03:04:05+02'::timestamptz]", ["2026-01-02T01:04:05+00:00"]),
            ("interval '1 day 02:00'", "1 day 02:00:00"),
            ("'ACTIVE'::\"JobStatus\"", "ACTIVE"),
            ("'pg_class'::regclass", "pg_class"),
            ("pg_advisory_xact_lock(42)", ""),
            ("12::oid", 12),
            ("'127.0.0.1'::inet", "127.0.0.1"),
        ]
        for expression, expected in cases:
            with self.subTest(expression=expression):
                self.assertEqual(await self.value(expression), expected)

    @on_loop
    async def test_parameters(self) -> None:
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
        cases = [
            ("$1::text", "it's ü \\ \" \n", "it's ü \\ \" \n"),
            ("$1::int", 7, 7),
            ("$1::bigint", 2**60, 2**60),
            ("$1::double precision", 0.1, 0.1),
            ("$1::double precision", 3, 3),
            ("$1::numeric", 2.5, 2.5),
            ("$1::boolean", True, True),
            ("$1::text", None, None),
            ("$1::text[]", ["a", "b c", 'd"e'], ["a", "b c", 'd"e']),
            ("$1::int[]", [1, 2], [1, 2]),
            ("$1::text[]", [], []),
            ("$1::jsonb", json.dumps({"a": [1, "x"]}), {"a": [1, "x"]}),
            ("$1::timestamp", moment, "2026-01-02T03:04:05+00:00"),
            ("$1::timestamptz", "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05+00:00"),
            ("$1::date", "2026-01-02", "2026-01-02"),
        ]
        for expression, parameter, expected in cases:
            with self.subTest(expression=expression, parameter=parameter):
                self.assertEqual(await self.value(expression, parameter), expected)

    @on_loop
    async def test_no_rows_and_no_columns(self) -> None:
        self.assertEqual(await self.db.query_raw("SELECT 1 AS a WHERE false"), [])
        self.assertEqual(await self.db.query_raw('UPDATE "LiteLLM_SpendLogs" SET spend = 0 WHERE false'), [])

    @on_loop
    async def test_query_first_into_a_model(self) -> None:
        from prisma.models import LiteLLM_VerificationToken

        await self.db.litellm_verificationtoken.create(data={"token": "t", "metadata": json.dumps({"a": 1})})
        row = await self.db.query_first('SELECT * FROM "LiteLLM_VerificationToken"', model=LiteLLM_VerificationToken)
        self.assertEqual(row.metadata, {"a": 1})

    @on_loop
    async def test_execute_raw_counts_rows(self) -> None:
        sql = 'INSERT INTO "LiteLLM_VerificationToken" (token) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING'
        self.assertEqual(await self.db.execute_raw(sql, ["a", "b", "a"]), 2)
        self.assertEqual(await self.db.execute_raw(sql, ["a", "c"]), 1)
        self.assertEqual(await self.db.execute_raw('CREATE TEMPORARY TABLE "x" (a int)'), 0)

    @on_loop
    async def test_litellm_bulk_upsert_of_daily_spend(self) -> None:
        from litellm.proxy.db.daily_spend_bulk_upsert import (
            DAILY_SPEND_TABLES,
            build_bulk_upsert,
            merge_by_conflict_key,
        )

        table = DAILY_SPEND_TABLES["user"]
        spend = {"user_id": "u", "date": "2026-01-01", "api_key": "k", "model": "m", "spend": 0.25, "prompt_tokens": 3}
        for _ in range(2):
            sql, parameters = build_bulk_upsert(table, merge_by_conflict_key(table, [spend, {**spend, "model": "n"}]))
            self.assertEqual(await self.db.execute_raw(sql, *parameters), 2)
        rows = psql('SELECT model, spend, prompt_tokens FROM "LiteLLM_DailyUserSpend" ORDER BY model')
        self.assertEqual(rows, "m|0.5|6\nn|0.5|6")

    @on_loop
    async def test_session_runs_in_utc(self) -> None:
        self.assertEqual(await self.value("current_setting('TimeZone')"), "UTC")

    @on_loop
    async def test_error_has_sqlstate_and_message(self) -> None:
        cases = [
            ("SELECT * FROM no_such_table", "42P01", "does not exist"),
            ("SELECT 1 / 0", "22012", "division by zero"),
            ("SELEKT", "42601", "syntax error"),
            ("DO $$ BEGIN RAISE EXCEPTION 'mine'; END $$", "P0001", "mine"),
        ]
        for sql, state, message in cases:
            with self.subTest(sql=sql), self.assertRaises(errors.RawQueryError) as caught:
                await self.db.query_raw(sql)
            self.assertEqual(caught.exception.code, "P2010")
            self.assertEqual(caught.exception.meta["code"], state)
            self.assertIn(message, str(caught.exception))

    @on_loop
    async def test_engine_lives_on_after_many_errors(self) -> None:
        pids = set()
        for _ in range(30):
            with self.assertRaises(errors.RawQueryError):
                await self.db.query_raw("SELECT 1 / 0")
            pids.add(await self.value("pg_backend_pid()"))
        self.assertEqual(len(pids), 1, "a failed statement must not cost the connection")


class SpendViews(ClientCase):
    """LiteLLM's own set-up of the views, and the statement with which it looks for them."""

    VIEWS = (
        "DailyTagSpend", "Last30dKeysBySpend", "Last30dModelsBySpend", "Last30dTopEndUsersSpend",
        "LiteLLM_VerificationTokenView", "MonthlyGlobalSpend", "MonthlyGlobalSpendPerKey",
        "MonthlyGlobalSpendPerUserPerKey",
    )  # fmt: skip

    @on_loop
    async def test_all_views_come_up(self) -> None:
        from litellm.proxy.db.create_views import create_missing_views, should_create_missing_views

        for view in self.VIEWS:
            psql(f'DROP VIEW IF EXISTS "{view}" CASCADE;')
        self.assertTrue(await should_create_missing_views(self.db))
        await create_missing_views(self.db)
        await create_missing_views(self.db)
        # litellm/proxy/utils.py, check_view_exists
        names = ", ".join(f"'{view}'" for view in self.VIEWS)
        found = await self.db.query_raw(f"""
            WITH existing_views AS (
                SELECT viewname FROM pg_views WHERE schemaname = 'public' AND viewname IN ({names})
            )
            SELECT (SELECT COUNT(*) FROM existing_views) AS view_count, ARRAY_AGG(viewname) AS view_names
            FROM existing_views
        """)
        self.assertEqual(found[0]["view_count"], 8)
        self.assertEqual(sorted(found[0]["view_names"]), sorted(self.VIEWS))


if __name__ == "__main__":
    unittest.main()
