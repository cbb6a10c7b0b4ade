"""Model queries in the shapes in which LiteLLM sends them: real client, real engine, real PostgreSQL."""

from __future__ import annotations

import json
import unittest
from datetime import datetime, timedelta, timezone

from prisma import Base64, Json, errors
from support import ClientCase, on_loop, psql

HOSTILE_TEXT = 'quote " backslash \\ newline \n tab \t bell \x07 del \x7f é 漢 🙂 {"a": 1} ${x} $1 -- \\u0041'


class Schema(ClientCase):
    @on_loop
    async def test_every_column_of_every_model_can_be_read(self) -> None:
        """The migrations and schema.prisma agree: a column that one of them lacks would fail here."""
        models = [name for name in vars(type(self.db))["__annotations__"] if name.startswith("litellm_")]
        self.assertGreater(len(models), 90)
        for model in models:
            with self.subTest(model=model):
                await getattr(self.db, model).find_first()


class CreateAndFind(ClientCase):
    TABLES = ("VerificationToken", "BudgetTable", "UserTable")

    @on_loop
    async def test_create_returns_defaults(self) -> None:
        key = await self.db.litellm_verificationtoken.create(data={"token": "t1"})
        self.assertEqual((key.spend, key.models, key.aliases, key.blocked), (0.0, [], {}, None))
        self.assertEqual(key.created_at.tzinfo, timezone.utc)

    @on_loop
    async def test_hostile_text_survives(self) -> None:
        await self.db.litellm_verificationtoken.create(data={"token": "t1", "key_name": HOSTILE_TEXT})
        key = await self.db.litellm_verificationtoken.find_unique(where={"token": "t1"})
        self.assertEqual(key.key_name, HOSTILE_TEXT)
        found = await self.db.litellm_verificationtoken.find_first(where={"key_name": HOSTILE_TEXT})
        self.assertEqual(found.token, "t1")

    @on_loop
    async def test_find_unique_of_nothing_is_none(self) -> None:
        self.assertIsNone(await self.db.litellm_verificationtoken.find_unique(where={"token": "absent"}))

    @on_loop
    async def test_find_unique_or_raise_of_nothing_raises(self) -> None:
        with self.assertRaises(errors.RecordNotFoundError):
            await self.db.litellm_verificationtoken.find_unique_or_raise(where={"token": "absent"})
        with self.assertRaises(errors.RecordNotFoundError):
            await self.db.litellm_verificationtoken.find_first_or_raise(where={"token": "absent"})

    @on_loop
    async def test_find_many_with_every_filter_litellm_uses(self) -> None:
        tokens = self.db.litellm_verificationtoken
        now = datetime.now(timezone.utc)
        await tokens.create_many(
            data=[
                {"token": "a", "key_alias": "Alpha", "user_id": "u1", "models": ["m1", "m2"], "expires": now},
                {"token": "b", "key_alias": "beta", "user_id": "u1", "team_id": "t1", "spend": 2.5, "models": []},
                {"token": "c", "user_id": "u2", "team_id": "t2", "blocked": True, "models": ["m3"]},
            ]
        )

        async def found(where: dict) -> str:
            return "".join(row.token for row in await tokens.find_many(where=where, order={"token": "asc"}))

        cases = [
            ({"token": {"in": ["a", "c"]}}, "ac"),
            ({"token": {"notIn": ["a"]}}, "bc"),
            ({"token": {"not": {"in": ["a"]}}}, "bc"),
            ({"team_id": None}, "a"),
            ({"team_id": {"not": None}}, "bc"),
            ({"team_id": {"not": "t1"}}, "c"),
            ({"OR": [{"team_id": "t1"}, {"team_id": None}]}, "ab"),
            ({"AND": [{"user_id": "u1"}, {"OR": [{"team_id": "t1"}]}]}, "b"),
            ({"NOT": [{"user_id": "u1"}]}, "c"),
            ({"key_alias": {"contains": "ALPH", "mode": "insensitive"}}, "a"),
            ({"key_alias": {"startswith": "be"}}, "b"),
            ({"models": {"has": "m1"}}, "a"),
            ({"models": {"has_some": ["m2", "m3"]}}, "ac"),
            ({"models": {"is_empty": True}}, "b"),
            ({"models": {"is_empty": False}}, "ac"),
            ({"spend": {"gt": 1}}, "b"),
            ({"expires": {"lt": now + timedelta(seconds=1)}}, "a"),
            ({"expires": {"gte": now + timedelta(seconds=1)}}, ""),
            ({"blocked": True}, "c"),
            ({"OR": [{"blocked": None}, {"blocked": {"not": True}}]}, "ab"),
            ({}, "abc"),
        ]
        for where, expected in cases:
            with self.subTest(where=where):
                self.assertEqual(await found(where), expected)

    @on_loop
    async def test_pages_order_and_distinct(self) -> None:
        users = self.db.litellm_usertable
        await users.create_many(
            data=[{"user_id": f"u{n}", "spend": n % 2, "user_role": "r" if n < 3 else "s"} for n in range(5)]
        )
        page = await users.find_many(skip=1, take=2, order=[{"spend": "desc"}, {"user_id": "asc"}])
        self.assertEqual([user.user_id for user in page], ["u3", "u0"])
        after = await users.find_many(cursor={"user_id": "u2"}, skip=1, take=1, order={"user_id": "asc"})
        self.assertEqual([user.user_id for user in after], ["u3"])
        roles = await users.find_many(distinct=["user_role"], order={"user_role": "asc"})
        self.assertEqual([user.user_role for user in roles], ["r", "s"])

    @on_loop
    async def test_count_and_group(self) -> None:
        tokens = self.db.litellm_verificationtoken
        for name, team, spend in (("a", "t1", 1.5), ("b", "t1", 2.0), ("c", "t2", 4.0), ("d", None, 8.0)):
            await tokens.create(data={"token": name, "team_id": team, "spend": spend})
        self.assertEqual(await tokens.count(), 4)
        self.assertEqual(await tokens.count(where={"team_id": {"not": None}}), 3)
        self.assertEqual(await tokens.count(select={"_all": True, "team_id": True}), {"_all": 4, "team_id": 3})
        groups = await tokens.group_by(
            by=["team_id"],
            where={"team_id": {"in": ["t1", "t2"]}},
            sum={"spend": True},
            count={"team_id": True},
            min={"created_at": True},
            max={"spend": True},
            avg={"spend": True},
            order={"team_id": "asc"},
            having={"spend": {"_sum": {"gt": 1}}},
        )
        self.assertEqual([group["team_id"] for group in groups], ["t1", "t2"])
        self.assertEqual([group["_sum"]["spend"] for group in groups], [3.5, 4.0])
        self.assertEqual([group["_count"]["team_id"] for group in groups], [2, 1])
        self.assertEqual([group["_avg"]["spend"] for group in groups], [1.75, 4.0])
        self.assertTrue(groups[0]["_min"]["created_at"].startswith("20"))

    @on_loop
    async def test_group_of_bigint_sums_is_a_number(self) -> None:
        psql('TRUNCATE "LiteLLM_DailyUserSpend";')
        table = self.db.litellm_dailyuserspend
        for model in ("m1", "m2"):
            await table.create(
                data={"user_id": "u", "date": "2026-01-01", "api_key": "k", "model": model, "prompt_tokens": 2**53}
            )
        groups = await table.group_by(by=["date"], sum={"prompt_tokens": True})
        self.assertEqual(int(groups[0]["_sum"]["prompt_tokens"]), 2**54)


class Write(ClientCase):
    TABLES = ("VerificationToken", "DailyUserSpend", "UserTable", "OrganizationTable", "BudgetTable")

    @on_loop
    async def test_upsert_creates_then_increments(self) -> None:
        unique = {
            "user_id": "u", "date": "2026-01-01", "api_key": "k", "model": "m", "custom_llm_provider": "p",
            "mcp_namespaced_tool_name": "", "endpoint": "/e",
        }  # fmt: skip
        where = {"user_id_date_api_key_model_custom_llm_provider_mcp_namespaced_tool_name_endpoint": unique}
        for _ in range(3):
            row = await self.db.litellm_dailyuserspend.upsert(
                where=where,
                data={
                    "create": {**unique, "spend": 0.1, "prompt_tokens": 10},
                    "update": {"spend": {"increment": 0.1}, "prompt_tokens": {"increment": 10}},
                },
            )
        self.assertAlmostEqual(row.spend, 0.3)
        self.assertEqual(row.prompt_tokens, 30)

    @on_loop
    async def test_update_of_nothing_is_none(self) -> None:
        self.assertIsNone(
            await self.db.litellm_verificationtoken.update(where={"token": "absent"}, data={"spend": 1.0})
        )
        self.assertIsNone(await self.db.litellm_verificationtoken.delete(where={"token": "absent"}))

    @on_loop
    async def test_update_operators(self) -> None:
        tokens = self.db.litellm_verificationtoken
        await tokens.create(data={"token": "t", "spend": 5.0, "models": ["a"], "rotation_count": 1})
        row = await tokens.update(
            where={"token": "t"},
            data={
                "spend": {"decrement": 1.5},
                "models": {"push": ["b"]},
                "rotation_count": {"multiply": 6},
                "allowed_routes": {"set": ["/x"]},
                "max_budget": None,
                "expires": datetime(2026, 1, 2, 3, 4, 5, 678900, timezone(timedelta(hours=-5))),
            },
        )
        self.assertEqual((row.spend, row.models, row.rotation_count, row.allowed_routes), (3.5, ["a", "b"], 6, ["/x"]))
        self.assertEqual(row.expires, datetime(2026, 1, 2, 8, 4, 5, 678000, timezone.utc))

    @on_loop
    async def test_updated_at_moves(self) -> None:
        tokens = self.db.litellm_verificationtoken
        before = await tokens.create(data={"token": "t"})
        after = await tokens.update(where={"token": "t"}, data={"key_name": "n"})
        self.assertGreater(after.updated_at, before.updated_at)
        self.assertLess(abs(after.updated_at - datetime.now(timezone.utc)), timedelta(minutes=5))

    @on_loop
    async def test_update_many_and_delete_many_count(self) -> None:
        tokens = self.db.litellm_verificationtoken
        await tokens.create_many(data=[{"token": name, "team_id": "x"} for name in "abc"])
        changed = await tokens.update_many(where={"token": {"in": ["a", "b"]}}, data={"spend": {"increment": 2}})
        self.assertEqual(changed, 2)
        self.assertEqual(await tokens.delete_many(where={"spend": {"gt": 1}}), 2)
        self.assertEqual(await tokens.delete_many(), 1)

    @on_loop
    async def test_create_many_skips_duplicates_when_asked(self) -> None:
        tokens = self.db.litellm_verificationtoken
        await tokens.create(data={"token": "a"})
        rows = [{"token": "a"}, {"token": "b", "metadata": Json({"k": [1]})}]
        self.assertEqual(await tokens.create_many(data=rows, skip_duplicates=True), 1)
        self.assertEqual((await tokens.find_unique(where={"token": "b"})).metadata, {"k": [1]})
        with self.assertRaises(errors.UniqueViolationError):
            await tokens.create_many(data=rows)

    @on_loop
    async def test_delete_returns_the_row(self) -> None:
        await self.db.litellm_verificationtoken.create(data={"token": "t", "key_alias": "x"})
        deleted = await self.db.litellm_verificationtoken.delete(where={"token": "t"})
        self.assertEqual(deleted.key_alias, "x")

    @on_loop
    async def test_nested_writes_and_includes(self) -> None:
        tokens = self.db.litellm_verificationtoken
        audit = {"created_by": "a", "updated_by": "a"}
        key = await tokens.create(
            data={
                "token": "t",
                "metadata": Json({"outer": True}),
                "litellm_budget_table": {
                    "create": {"budget_id": "b1", "max_budget": 5.0, "model_max_budget": Json({"m": {"x": 1}}), **audit}
                },
            },
            include={"litellm_budget_table": True},
        )
        self.assertEqual(key.litellm_budget_table.model_max_budget, {"m": {"x": 1}})
        key = await tokens.update(
            where={"token": "t"},
            data={"litellm_budget_table": {"update": {"model_max_budget": Json([1, "two", None])}}},
            include={"litellm_budget_table": True},
        )
        self.assertEqual(key.litellm_budget_table.model_max_budget, [1, "two", None])
        key = await tokens.update(
            where={"token": "t"},
            data={
                "litellm_budget_table": {
                    "upsert": {
                        "create": {"model_max_budget": Json("no"), **audit},
                        "update": {"model_max_budget": Json("yes")},
                    }
                }
            },
            include={"litellm_budget_table": True},
        )
        self.assertEqual(key.litellm_budget_table.model_max_budget, "yes")
        await tokens.update(where={"token": "t"}, data={"litellm_budget_table": {"disconnect": True}})
        self.assertIsNone((await tokens.find_unique(where={"token": "t"})).budget_id)
        await tokens.update(where={"token": "t"}, data={"litellm_budget_table": {"connect": {"budget_id": "b1"}}})
        budgets = await self.db.litellm_budgettable.find_many(include={"keys": {"where": {"token": "t"}}})
        self.assertEqual([key.token for key in budgets[0].keys], ["t"])
        await self.db.litellm_budgettable.create(
            data={
                "budget_id": "b2",
                "keys": {
                    "connect_or_create": {
                        "where": {"token": "new"},
                        "create": {"token": "new", "metadata": Json({"deep": [{}]})},
                    }
                },
                **audit,
            }
        )
        self.assertEqual((await tokens.find_unique(where={"token": "new"})).metadata, {"deep": [{}]})
        by_relation = await tokens.find_many(where={"litellm_budget_table": {"is": {"budget_id": "b2"}}})
        self.assertEqual([key.token for key in by_relation], ["new"])
        through_list = await self.db.litellm_budgettable.find_many(where={"keys": {"some": {"token": "new"}}})
        self.assertEqual([budget.budget_id for budget in through_list], ["b2"])

    @on_loop
    async def test_enum_column(self) -> None:
        psql('TRUNCATE "LiteLLM_CronJob";')
        ttl = datetime.now(timezone.utc)
        job = await self.db.litellm_cronjob.create(data={"pod_id": "p", "status": "ACTIVE", "ttl": ttl})
        self.assertEqual(job.status, "ACTIVE")
        self.assertEqual(await self.db.litellm_cronjob.count(where={"status": "INACTIVE"}), 0)

    @on_loop
    async def test_bytes_column(self) -> None:
        content = bytes(range(256)) * 4
        row = await self.db.litellm_managedfilecontenttable.create(data={"content": Base64.encode(content)})
        found = await self.db.litellm_managedfilecontenttable.find_unique(where={"id": row.id})
        self.assertEqual(found.content.decode(), content)
        self.assertEqual(psql(f"SELECT encode(content, 'hex') FROM \"LiteLLM_ManagedFileContentTable\" "
                              f"WHERE id = '{row.id}'"), content.hex())  # fmt: skip

    @on_loop
    async def test_numbers_at_the_edge(self) -> None:
        audit = {"created_by": "a", "updated_by": "a"}
        for number in (2**63 - 1, -(2**63), 2**53 + 1, 0):
            with self.subTest(number=number):
                row = await self.db.litellm_budgettable.create(data={"tpm_limit": number, **audit})
                self.assertEqual(row.tpm_limit, number)
                self.assertEqual(await self.db.litellm_budgettable.count(where={"tpm_limit": number}), 1)
        for number in (1e-9, 0.123456789012345, 1.7e308, 3):
            with self.subTest(number=number):
                row = await self.db.litellm_budgettable.create(data={"max_budget": number, **audit})
                self.assertEqual(row.max_budget, number)


class JsonColumns(ClientCase):
    TABLES = ("VerificationToken", "WorkflowRun", "SpendLogs", "UserTable")

    VALUES = (
        {"a": {"b": [1, 2.5, None, True, "x"]}, "": "empty key", "$type": "no mark"},
        [],
        [{"x": []}, None],
        "just a text",
        "",
        '{"looks": "like json"}',
        HOSTILE_TEXT,
        "DbNull",
        7,
        1e21,
        False,
        {},
    )

    @on_loop
    async def test_values_survive_create_and_update(self) -> None:
        tokens = self.db.litellm_verificationtoken
        for number, value in enumerate(self.VALUES):
            with self.subTest(value=value):
                token = f"t{number}"
                created = await tokens.create(data={"token": token, "metadata": Json(value)})
                self.assertEqual(created.metadata, value)
                stored = psql(f"SELECT metadata FROM \"LiteLLM_VerificationToken\" WHERE token = '{token}'")
                self.assertEqual(json.loads(stored), value)
                updated = await tokens.update(where={"token": token}, data={"metadata": Json([value])})
                self.assertEqual(updated.metadata, [value])

    @on_loop
    async def test_text_of_json_is_stored_as_json(self) -> None:
        # LiteLLM's jsonify_object passes json.dumps(...) instead of Json(...).
        await self.db.litellm_verificationtoken.create(data={"token": "t", "metadata": json.dumps({"a": 1})})
        self.assertEqual(psql('SELECT jsonb_typeof(metadata) FROM "LiteLLM_VerificationToken"'), "object")
        await self.db.litellm_verificationtoken.update_many(where={}, data={"metadata": json.dumps({"a": 2})})
        self.assertEqual(psql("SELECT metadata->>'a' FROM \"LiteLLM_VerificationToken\""), "2")
        await self.db.litellm_verificationtoken.upsert(
            where={"token": "t"},
            data={"create": {"token": "t"}, "update": {"metadata": json.dumps({"a": 3}), "aliases": "[]"}},
        )
        self.assertEqual(psql("SELECT metadata->>'a', aliases FROM \"LiteLLM_VerificationToken\""), "3|[]")

    @on_loop
    async def test_json_null_and_absent(self) -> None:
        run = await self.db.litellm_workflowrun.create(data={"workflow_type": "w", "input": Json(None)})
        self.assertIsNone(run.input)
        self.assertEqual(psql('SELECT input IS NULL, output IS NULL FROM "LiteLLM_WorkflowRun"'), "f|t")

    @on_loop
    async def test_json_column_with_the_name_of_an_operator(self) -> None:
        run = await self.db.litellm_workflowrun.create(
            data={
                "workflow_type": "w",
                "metadata": Json({"m": 1}),
                "events": {
                    "create": [
                        {"event_type": "e", "step_name": "s", "sequence_number": n, "data": Json({"n": n})}
                        for n in (1, 2)
                    ]
                },
            }
        )
        runs = await self.db.litellm_workflowrun.find_many(
            include={"events": {"order_by": {"sequence_number": "desc"}, "take": 1}}
        )
        self.assertEqual([event.data for event in runs[0].events], [{"n": 2}])
        await self.db.litellm_workflowevent.update_many(where={"run_id": run.run_id}, data={"data": Json("text")})
        self.assertEqual(psql('SELECT DISTINCT data FROM "LiteLLM_WorkflowEvent"'), '"text"')
        event = await self.db.litellm_workflowevent.create(
            data={"run_id": run.run_id, "event_type": "e", "step_name": "s", "sequence_number": 3, "data": Json([])}
        )
        self.assertEqual(event.data, [])

    @on_loop
    async def test_filters(self) -> None:
        users = self.db.litellm_usertable
        await users.create(data={"user_id": "on", "metadata": Json({"scim_active": True, "tags": ["a", "b"]})})
        await users.create(data={"user_id": "off", "metadata": Json({"scim_active": False, "alias": "Zed's key"})})
        cases = [
            ({"path": ["scim_active"], "equals": Json(False)}, ["off"]),
            ({"path": ["alias"], "string_contains": "ed's"}, ["off"]),
            ({"path": ["alias"], "string_starts_with": "Zed"}, ["off"]),
            ({"path": ["tags"], "array_contains": Json(["a"])}, ["on"]),
            ({"equals": Json({"scim_active": True, "tags": ["a", "b"]})}, ["on"]),
            ({"not": Json({"scim_active": True, "tags": ["a", "b"]})}, ["off"]),
        ]
        for condition, expected in cases:
            with self.subTest(condition=str(condition)):
                for where in ({"metadata": condition}, {"AND": [{"OR": [{"metadata": condition}]}]}):
                    found = await users.find_many(where=where)
                    self.assertEqual([user.user_id for user in found], expected)


class Errors(ClientCase):
    TABLES = ("VerificationToken", "JWTKeyMapping", "UserTable")

    @on_loop
    async def test_unique_violation_names_the_field(self) -> None:
        await self.db.litellm_verificationtoken.create(data={"token": "t"})
        with self.assertRaises(errors.UniqueViolationError) as caught:
            await self.db.litellm_verificationtoken.create(data={"token": "t"})
        self.assertIn("token", str(caught.exception))

    @on_loop
    async def test_foreign_key_violation(self) -> None:
        with self.assertRaises(errors.ForeignKeyViolationError):
            await self.db.litellm_jwtkeymapping.create(
                data={"jwt_claim_name": "sub", "jwt_claim_value": "v", "token": "absent"}
            )

    @on_loop
    async def test_connect_to_nothing_is_record_not_found(self) -> None:
        with self.assertRaises(errors.RecordNotFoundError):
            await self.db.litellm_verificationtoken.create(
                data={"token": "t", "litellm_budget_table": {"connect": {"budget_id": "absent"}}}
            )

    @on_loop
    async def test_missing_value(self) -> None:
        with self.assertRaises(errors.MissingRequiredValueError):
            await self.db.litellm_verificationtoken.create(data={"key_name": "no token"})

    @on_loop
    async def test_unknown_field(self) -> None:
        with self.assertRaises(errors.FieldNotFoundError):
            await self.db.litellm_verificationtoken.find_first(where={"no_such_field": 1})
        with self.assertRaises(errors.FieldNotFoundError):
            await self.db.litellm_verificationtoken.create(data={"token": "t", "no_such_field": 1})

    @on_loop
    async def test_value_of_a_wrong_type(self) -> None:
        with self.assertRaises(errors.DataError):
            await self.db.litellm_verificationtoken.create(data={"token": "t", "spend": "much"})

    @on_loop
    async def test_text_that_is_no_json(self) -> None:
        with self.assertRaises(errors.DataError):
            await self.db.litellm_verificationtoken.create(data={"token": "t", "metadata": "{no json"})

    @on_loop
    async def test_missing_table(self) -> None:
        psql('ALTER TABLE "LiteLLM_UserTable" RENAME TO "hidden";')
        try:
            with self.assertRaises(errors.TableNotFoundError):
                await self.db.litellm_usertable.find_many()
        finally:
            psql('ALTER TABLE "hidden" RENAME TO "LiteLLM_UserTable";')

    @on_loop
    async def test_number_out_of_range(self) -> None:
        with self.assertRaises(errors.DataError):
            await self.db.litellm_verificationtoken.create(data={"token": "t", "rotation_count": 2**40})

    @on_loop
    async def test_nul_character_is_a_data_error(self) -> None:
        # LiteLLM looks for exactly this type to set a bad spend row aside.
        with self.assertRaises(errors.DataError) as caught:
            await self.db.litellm_verificationtoken.create(data={"token": "t\x00"})
        self.assertIs(type(caught.exception), errors.DataError)


if __name__ == "__main__":
    unittest.main()
