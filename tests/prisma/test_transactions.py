"""Batches and interactive transactions."""

from __future__ import annotations

import asyncio
import unittest
from datetime import timedelta

from prisma import Json, errors
from support import URL, ClientCase, connected, on_loop, psql, with_parameters


def count_tokens() -> int:
    return int(psql('SELECT count(*) FROM "LiteLLM_VerificationToken"'))


class Batches(ClientCase):
    TABLES = ("VerificationToken",)

    @on_loop
    async def test_all_of_a_batch_is_written(self) -> None:
        async with self.db.batch_() as batch:
            for name in "abc":
                batch.litellm_verificationtoken.create(data={"token": name, "metadata": Json({"n": name})})
            batch.litellm_verificationtoken.update_many(
                where={"token": {"in": ["a", "b"]}}, data={"spend": {"increment": 1.5}}
            )
            batch.execute_raw('UPDATE "LiteLLM_VerificationToken" SET key_name = $1 WHERE token = $2', "raw", "c")
        rows = psql("SELECT token, spend, metadata->>'n', key_name FROM \"LiteLLM_VerificationToken\" ORDER BY token")
        self.assertEqual(rows, "a|1.5|a|\nb|1.5|b|\nc|0|c|raw")

    @on_loop
    async def test_a_failure_undoes_the_batch(self) -> None:
        with self.assertRaises(errors.UniqueViolationError):
            async with self.db.batch_() as batch:
                batch.litellm_verificationtoken.create(data={"token": "a"})
                batch.litellm_verificationtoken.create(data={"token": "a"})
        self.assertEqual(count_tokens(), 0)

    @on_loop
    async def test_a_failure_prints_its_sqlstate(self) -> None:
        # LiteLLM reads the SQLSTATE of a batched statement from the text (db/exception_handler.py).
        with self.assertRaises(errors.PrismaError) as caught:
            async with self.db.batch_() as batch:
                batch.litellm_verificationtoken.create(data={"token": "a"})
                batch.litellm_verificationtoken.create(data={"token": "b\x00"})
        self.assertIn('PostgresError { code: "22021"', str(caught.exception))

    @on_loop
    async def test_a_large_batch(self) -> None:
        async with self.db.batch_() as batch:
            for number in range(1000):
                batch.litellm_verificationtoken.create(data={"token": f"t{number}", "key_name": "x" * 1000})
        self.assertEqual(count_tokens(), 1000)

    @on_loop
    async def test_an_empty_batch(self) -> None:
        async with self.db.batch_():
            pass


class Transactions(ClientCase):
    TABLES = ("VerificationToken",)

    @on_loop
    async def test_commit(self) -> None:
        async with self.db.tx() as transaction:
            await transaction.litellm_verificationtoken.create(data={"token": "a"})
            self.assertEqual(count_tokens(), 0, "nobody else sees it before the commit")
            self.assertEqual(await transaction.litellm_verificationtoken.count(), 1)
            self.assertEqual(await self.db.litellm_verificationtoken.count(), 0)
        self.assertEqual(count_tokens(), 1)

    @on_loop
    async def test_rollback_on_exception(self) -> None:
        with self.assertRaises(LookupError):
            async with self.db.tx() as transaction:
                await transaction.litellm_verificationtoken.create(data={"token": "a"})
                raise LookupError
        self.assertEqual(count_tokens(), 0)

    @on_loop
    async def test_rollback_after_a_database_error(self) -> None:
        with self.assertRaises(errors.UniqueViolationError):
            async with self.db.tx() as transaction:
                await transaction.litellm_verificationtoken.create(data={"token": "a"})
                await transaction.litellm_verificationtoken.create(data={"token": "a"})
        self.assertEqual(count_tokens(), 0)
        await self.db.litellm_verificationtoken.create(data={"token": "a"})

    @on_loop
    async def test_batch_and_raw_inside(self) -> None:
        with self.assertRaises(LookupError):
            async with self.db.tx(timeout=timedelta(seconds=60)) as transaction:
                await transaction.execute_raw("SET LOCAL lock_timeout = '1s'")
                async with transaction.batch_() as batch:
                    batch.litellm_verificationtoken.create(data={"token": "a"})
                    batch.litellm_verificationtoken.create(data={"token": "b"})
                rows = await transaction.query_raw('SELECT count(*) AS n FROM "LiteLLM_VerificationToken"')
                self.assertEqual(rows[0]["n"], 2)
                raise LookupError
        self.assertEqual(count_tokens(), 0)

    @on_loop
    async def test_row_lock_holds_until_the_end(self) -> None:
        await self.db.litellm_verificationtoken.create(data={"token": "a"})
        order: list[str] = []

        async def holder() -> None:
            async with self.db.tx() as transaction:
                await transaction.query_raw('SELECT * FROM "LiteLLM_VerificationToken" FOR UPDATE')
                await asyncio.sleep(0.4)
                order.append("held")

        async def waiter() -> None:
            await asyncio.sleep(0.2)
            await self.db.litellm_verificationtoken.update(where={"token": "a"}, data={"spend": 1.0})
            order.append("written")

        await asyncio.gather(holder(), waiter())
        self.assertEqual(order, ["held", "written"])

    @on_loop
    async def test_timeout_rolls_back_and_says_so(self) -> None:
        with self.assertRaises(errors.TransactionExpiredError):
            async with self.db.tx(timeout=timedelta(milliseconds=200)) as transaction:
                await transaction.litellm_verificationtoken.create(data={"token": "a"})
                await asyncio.sleep(0.6)
                await transaction.litellm_verificationtoken.create(data={"token": "b"})
        self.assertEqual(count_tokens(), 0)

    @on_loop
    async def test_commit_after_the_timeout_fails(self) -> None:
        with self.assertRaises(errors.TransactionError):
            async with self.db.tx(timeout=timedelta(milliseconds=200)) as transaction:
                await transaction.litellm_verificationtoken.create(data={"token": "a"})
                await asyncio.sleep(0.6)
        self.assertEqual(count_tokens(), 0)

    @on_loop
    async def test_unknown_transaction(self) -> None:
        manager = self.db.tx()
        transaction = await manager.start()
        await manager.commit()
        with self.assertRaises(errors.TransactionError):
            await transaction.litellm_verificationtoken.count()

    @on_loop
    async def test_many_at_once(self) -> None:
        async def one(number: int) -> None:
            async with self.db.tx(max_wait=timedelta(seconds=20), timeout=timedelta(seconds=20)) as transaction:
                await transaction.litellm_verificationtoken.create(data={"token": f"t{number}"})
                await asyncio.sleep(0.01)

        await asyncio.gather(*(one(number) for number in range(40)))
        self.assertEqual(count_tokens(), 40)

    @on_loop
    async def test_full_pool(self) -> None:
        async with connected(with_parameters(URL, connection_limit="1", pool_timeout="1")) as client:
            async with client.tx(timeout=timedelta(seconds=20)) as transaction:
                with self.assertRaises(errors.DataError) as caught:
                    await client.litellm_verificationtoken.count()
                self.assertEqual(caught.exception.code, "P2024")
                with self.assertRaises(errors.TransactionError):
                    async with client.tx(max_wait=timedelta(milliseconds=300)):
                        self.fail("there is no connection for a second transaction")
                await transaction.litellm_verificationtoken.create(data={"token": "a"})
            self.assertEqual(await client.litellm_verificationtoken.count(), 1)
            # The waits that ran out must have left nothing behind.
            for _ in range(3):
                async with client.tx() as transaction:
                    await transaction.litellm_verificationtoken.count()

    @on_loop
    async def test_expired_transactions_give_their_connection_back(self) -> None:
        async with connected(with_parameters(URL, connection_limit="1", pool_timeout="2")) as client:
            for _ in range(3):
                await client.tx(timeout=timedelta(milliseconds=100)).start()
                await asyncio.sleep(0.3)
            self.assertEqual(await client.litellm_verificationtoken.count(), 0)


if __name__ == "__main__":
    unittest.main()
