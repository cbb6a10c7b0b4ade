"""The key primitives and the convergence of a virtual key, against LiteLLM itself or against its double.

On a host of LiteLLM, as root, with the tree copied there (only collections/ and tests/ are needed; standard library):

    LITELLM_TEST_URL=http://127.0.0.1:4000 LITELLM_TEST_MASTER_KEY_FILE=/etc/litellm/secrets/master_key \\
        python3 -m unittest tests/contract/test_litellm_keys.py

LITELLM_TEST_MODEL names a model that may be called (two calls of one token); its price has to be above 0, because
LiteLLM does not look at the budget for free ones. Without it the tests that call a model are skipped. Without
LITELLM_TEST_URL the double is tested. Every key made here has an alias "contract-..." and is deleted again; no other
key is touched.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT)]

from ansible_collections.gateway.toolkit.plugins.module_utils import litellm_api  # noqa: E402 - after the path
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import (  # noqa: E402
    KeyLimits,
    LiteLLMClient,
    LiteLLMError,
    key_hash,
    read_master_key,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_keys import (  # noqa: E402
    REPLACED,
    KeyProblem,
    ensure_absent,
    ensure_present,
    find,
    leftovers,
    replaced_alias,
)

from tests.support.litellm_double import LiteLLMDouble  # noqa: E402


class Killed(Exception):
    """Stands for kill -9 of the run."""


class DyingClient(LiteLLMClient):
    """Dies around one of its writes: ``write`` counts from 1, ``carried_out`` says whether LiteLLM got it."""

    write = 0
    carried_out = True
    writes_seen = 0

    def _exchange(self, method: str, path: str, *rest: Any) -> tuple[int, Any]:
        if method == "GET":
            return super()._exchange(method, path, *rest)
        self.writes_seen += 1
        if self.writes_seen != self.write:
            return super()._exchange(method, path, *rest)
        if self.carried_out:
            super()._exchange(method, path, *rest)
        raise Killed


class ForgetfulClient(LiteLLMClient):
    """Loses the answer to the first request for ``lost_path`` after LiteLLM has carried it out."""

    lost_path = ""

    def _exchange(self, method: str, path: str, *rest: Any) -> tuple[int, Any]:
        answer = super()._exchange(method, path, *rest)
        if path == self.lost_path:
            self.lost_path = ""
            raise LiteLLMError("answer_lost", "lost by the test")
        return answer


class LiteLLMKeys(unittest.TestCase):
    url: str
    master_key: str
    model: str | None
    double: LiteLLMDouble | None = None

    @classmethod
    def setUpClass(cls) -> None:
        url = os.environ.get("LITELLM_TEST_URL")
        if url:
            cls.url, cls.model = url, os.environ.get("LITELLM_TEST_MODEL")
            cls.master_key = read_master_key(os.environ["LITELLM_TEST_MASTER_KEY_FILE"])
            return
        cls.master_key = "sk-master-" + secrets.token_hex(12)
        cls.double = LiteLLMDouble(cls.master_key).__enter__()
        cls.addClassCleanup(cls.double.__exit__)
        cls.url, cls.model = cls.double.url, cls.double.models[0]

    def setUp(self) -> None:
        self.client = self.make(LiteLLMClient)
        self.alias = f"contract-{secrets.token_hex(6)}"
        self.key = self.new_key()
        self.addCleanup(ensure_absent, self.client, None, self.alias)

    def make(self, kind: type[LiteLLMClient]) -> Any:
        return kind(self.url, self.master_key, pause=0.2)

    @staticmethod
    def new_key() -> str:
        return "sk-" + secrets.token_urlsafe(24)

    def limits(self, **changes: Any) -> KeyLimits:
        return KeyLimits(**{"alias": self.alias, "max_budget": 5.0, "budget_duration": "30d", **changes})

    def assert_one_live_key(self, key: str) -> None:
        holders = self.client.list_by_alias(self.alias)
        self.assertEqual([record.hash for record in holders], [key_hash(key)])
        self.assertEqual(leftovers(self.client, self.alias), [])
        self.assertEqual(self.client.probe(key).verdict, "accepted")

    def a_model(self) -> str:
        return str(self.client.models()[0])

    # --- primitives

    def test_an_unknown_hash_is_not_found(self) -> None:
        self.assertIsNone(self.client.find_by_hash(key_hash(self.key)))

    def test_a_generated_key_is_stored_with_its_limits(self) -> None:
        model = self.a_model()
        limits = self.limits(models=(model,), metadata={"gateway": "a", "nested": {"list": [1, "two", None]}})
        self.client.generate(self.key, limits, spend=1.25)
        record = self.client.info(key_hash(self.key))
        self.assertEqual(record.alias, self.alias)
        self.assertEqual(record.status, "active")
        self.assertEqual((record.max_budget, record.budget_duration, record.spend), (5.0, "30d", 1.25))
        self.assertEqual((record.models, record.allowed_routes), ((model,), ("llm_api_routes",)))
        self.assertEqual(dict(record.metadata), {"gateway": "a", "nested": {"list": [1, "two", None]}})
        self.assertEqual(self.client.spend(record.hash), 1.25)

    def test_the_list_shows_the_same_record_as_info(self) -> None:
        self.client.generate(self.key, self.limits(metadata={"gateway": "a"}), spend=0.5)
        self.assertEqual(self.client.list_by_alias(self.alias), [self.client.info(key_hash(self.key))])

    def test_an_alias_is_matched_exactly_and_by_part_only_on_request(self) -> None:
        self.client.generate(self.key, self.limits())
        self.assertEqual(self.client.list_by_alias(self.alias[:-1]), [])
        self.assertEqual(len(self.client.list_by_alias_part(self.alias[:-1])), 1)

    def test_a_list_longer_than_a_page_is_read_whole(self) -> None:
        self.addCleanup(setattr, litellm_api, "PAGE_SIZE", litellm_api.PAGE_SIZE)
        litellm_api.PAGE_SIZE = 2
        for number in range(5):
            key = self.new_key()
            self.client.generate(key, self.limits(alias=f"{self.alias}-{number}"))
            self.addCleanup(self.client.delete_by_hash, key_hash(key))
        found = self.client.list_by_alias_part(self.alias)
        self.assertEqual({record.alias for record in found}, {f"{self.alias}-{number}" for number in range(5)})

    def test_generating_the_value_again_leaves_the_key_as_it_is(self) -> None:
        self.client.generate(self.key, self.limits())
        again = self.client.generate(self.key, self.limits(alias=self.alias + "-other", max_budget=9.0))
        self.assertEqual((again.alias, again.max_budget), (self.alias, 5.0))
        same_alias = self.client.generate(self.key, self.limits(max_budget=9.0))
        self.assertEqual(same_alias.max_budget, 5.0)

    def test_an_alias_belongs_to_one_live_key(self) -> None:
        self.client.generate(self.key, self.limits())
        with self.assertRaises(LiteLLMError) as caught:
            self.client.generate(self.new_key(), self.limits())
        self.assertEqual(caught.exception.kind, "alias_taken")

    def test_a_blocked_key_still_holds_its_alias(self) -> None:
        self.client.generate(self.key, self.limits())
        self.client.block(key_hash(self.key))
        self.assertEqual([record.status for record in self.client.list_by_alias(self.alias)], ["revoked"])

    def test_update_clears_and_sets_single_fields(self) -> None:
        token = self.client.generate(self.key, self.limits(models=(self.a_model(),), metadata={"a": 1})).hash
        self.client.update(token, {"max_budget": None})
        self.client.update(token, {"models": []})
        record = self.client.info(token)
        self.assertEqual((record.max_budget, record.models), (None, ()))
        self.assertEqual((record.budget_duration, dict(record.metadata)), ("30d", {"a": 1}))
        self.client.update(token, {"budget_duration": None, "metadata": {"b": 2}, "allowed_routes": []})
        record = self.client.info(token)
        self.assertEqual((record.budget_duration, dict(record.metadata)), (None, {"b": 2}))
        self.assertEqual((record.allowed_routes, record.alias), ((), self.alias))

    def test_update_ignores_key_type(self) -> None:
        token = self.client.generate(self.key, self.limits()).hash
        self.client.update(token, {"key_type": "management"})
        self.assertEqual(self.client.info(token).allowed_routes, ("llm_api_routes",))

    def test_a_renamed_key_frees_its_alias_and_keeps_working(self) -> None:
        token = self.client.generate(self.key, self.limits()).hash
        self.client.rename(token, replaced_alias(self.alias, token))
        self.assertEqual(self.client.list_by_alias(self.alias), [])
        self.assertEqual([record.hash for record in leftovers(self.client, self.alias)], [token])
        self.assertEqual(self.client.probe(self.key).verdict, "accepted")

    def test_a_deleted_key_is_rejected_and_still_known(self) -> None:
        token = self.client.generate(self.key, self.limits()).hash
        self.assertEqual(self.client.probe(self.key).verdict, "accepted")
        self.assertTrue(self.client.delete_by_hash(token))
        self.assertEqual(self.client.wait_rejected(self.key).verdict, "unknown_key")
        record = self.client.find_by_hash(token)
        self.assertEqual(record.status if record else None, "deleted")
        self.assertFalse(self.client.delete_by_hash(token))
        with self.assertRaises(LiteLLMError) as caught:
            self.client.info(token)
        self.assertEqual(caught.exception.kind, "not_found")

    def test_a_blocked_key_is_rejected_until_it_is_unblocked(self) -> None:
        token = self.client.generate(self.key, self.limits()).hash
        self.client.block(token)
        self.assertEqual(self.client.wait_rejected(self.key).verdict, "blocked")
        self.client.unblock(token)
        deadline = time.monotonic() + 90
        while (verdict := self.client.probe(self.key).verdict) == "blocked" and time.monotonic() < deadline:
            self.client.wait()
        self.assertEqual(verdict, "accepted")

    def test_the_probe_lists_the_allowed_models(self) -> None:
        model = self.a_model()
        self.client.generate(self.key, self.limits(models=(model,)))
        self.assertEqual(self.client.probe(self.key).models, (model,))

    def test_a_probe_with_an_unknown_key_tells_neither_key_nor_hash(self) -> None:
        probe = self.client.probe(self.key)
        self.assertEqual((probe.verdict, probe.status), ("unknown_key", 401))
        self.assertNotIn(self.key[-4:], probe.message)
        self.assertNotIn(key_hash(self.key)[:12], probe.message)

    def test_a_wrong_master_key_is_told(self) -> None:
        wrong = "sk-wrong-" + secrets.token_hex(12)
        with self.assertRaises(LiteLLMError) as caught:
            LiteLLMClient(self.url, wrong, pause=0.2).find_by_hash(key_hash(self.key))
        self.assertEqual((caught.exception.kind, caught.exception.status), ("master_key_rejected", 401))
        for text in (str(caught.exception), caught.exception.reply):
            self.assertNotIn(wrong[-4:], text)
            self.assertNotIn(key_hash(wrong)[:12], text)

    def test_a_message_with_an_allowed_model_is_accepted(self) -> None:
        if not self.model:
            self.skipTest("LITELLM_TEST_MODEL is not set")
        self.client.generate(self.key, self.limits())
        self.assertEqual(self.client.probe_message(self.key, self.model).verdict, "accepted")

    def test_a_message_with_a_model_outside_the_list_is_denied(self) -> None:
        self.client.generate(self.key, self.limits(models=(self.a_model(),)))
        self.assertEqual(self.client.probe_message(self.key, "another-model").verdict, "model_denied")

    def test_a_key_over_its_budget_is_refused_even_the_list(self) -> None:
        self.client.generate(self.key, self.limits(max_budget=1.0), spend=2.0)
        self.assertEqual(self.client.probe(self.key).verdict, "over_budget")

    def test_a_message_over_the_budget_is_refused(self) -> None:
        if not self.model:
            self.skipTest("LITELLM_TEST_MODEL is not set")
        self.client.generate(self.key, self.limits(max_budget=1.0), spend=2.0)
        self.assertEqual(self.client.probe_message(self.key, self.model).verdict, "over_budget")

    # --- convergence

    def test_a_key_is_created_once(self) -> None:
        first = ensure_present(self.client, self.key, self.limits())
        second = ensure_present(self.client, self.key, self.limits())
        self.assertEqual((first.action, second.action), ("created", "unchanged"))
        self.assertEqual(second.differences, {})
        self.assert_one_live_key(self.key)

    def test_every_limit_is_changed_in_place(self) -> None:
        model = self.a_model()
        ensure_present(self.client, self.key, self.limits())
        for change in (
            {"max_budget": 7.5},
            {"max_budget": None},
            {"max_budget": 0.0},
            {"budget_duration": "7d"},
            {"budget_duration": None},
            {"models": (model,)},
            {"models": ()},
            {"key_type": "default"},
            {"key_type": "llm_api"},
            {"metadata": {"gateway": "a"}},
            {"metadata": {"gateway": "b", "deep": {"x": [1]}}},
        ):
            with self.subTest(change=change):
                limits = self.limits(**change)
                outcome = ensure_present(self.client, self.key, limits)
                again = ensure_present(self.client, self.key, limits)
                self.assertIn((outcome.action, again.action), [("updated", "unchanged"), ("unchanged", "unchanged")])
                record = self.client.info(key_hash(self.key))
                for name in ("alias", "max_budget", "budget_duration", "models", "allowed_routes"):
                    self.assertEqual(getattr(record, name), getattr(limits, name))
                self.assertLessEqual(limits.metadata.items(), record.metadata.items())
                ensure_present(self.client, self.key, self.limits())
        self.assert_one_live_key(self.key)

    def test_a_changed_limit_is_reported_with_old_and_new(self) -> None:
        ensure_present(self.client, self.key, self.limits())
        outcome = ensure_present(self.client, self.key, self.limits(max_budget=None))
        self.assertEqual((outcome.action, outcome.differences), ("updated", {"max_budget": (5.0, None)}))

    def test_a_key_over_its_budget_is_no_failure_and_a_higher_budget_frees_it(self) -> None:
        self.client.generate(self.key, self.limits(max_budget=1.0), spend=2.0)
        self.assertIsNone(ensure_present(self.client, self.key, self.limits(max_budget=1.0)).models)
        self.assertIsNotNone(ensure_present(self.client, self.key, self.limits(max_budget=3.0)).models)

    def test_metadata_of_others_survives_an_update(self) -> None:
        token = self.client.generate(self.key, self.limits(metadata={"theirs": 1})).hash
        ensure_present(self.client, self.key, self.limits(metadata={"ours": 2}))
        self.assertEqual(dict(self.client.info(token).metadata), {"theirs": 1, "ours": 2})

    def test_a_new_alias_renames_the_key(self) -> None:
        ensure_present(self.client, self.key, self.limits(alias=self.alias + "-old"))
        outcome = ensure_present(self.client, self.key, self.limits())
        self.assertEqual(outcome.differences, {"key_alias": (self.alias + "-old", self.alias)})
        self.assert_one_live_key(self.key)

    def test_an_alias_of_another_live_key_is_not_taken_over_by_a_rename(self) -> None:
        other = self.new_key()
        self.addCleanup(self.client.delete_by_hash, key_hash(other))
        ensure_present(self.client, self.key, self.limits())
        self.client.generate(other, self.limits(alias=self.alias + "-b"))
        with self.assertRaises(KeyProblem):
            ensure_present(self.client, other, self.limits())
        self.assert_one_live_key(self.key)

    def test_a_rebuilt_gateway_replaces_its_key_and_keeps_the_spend(self) -> None:
        old = self.new_key()
        self.client.generate(old, self.limits(), spend=1.5)
        outcome = ensure_present(self.client, self.key, self.limits())
        self.assertEqual(outcome.action, "replaced")
        self.assertEqual(outcome.differences["key"], (key_hash(old)[:12], key_hash(self.key)[:12]))
        self.assertEqual(self.client.spend(key_hash(self.key)), 1.5)
        self.assertEqual(self.client.wait_rejected(old).verdict, "unknown_key")
        self.assertEqual(ensure_present(self.client, self.key, self.limits()).action, "unchanged")
        self.assert_one_live_key(self.key)

    def test_a_replacement_killed_anywhere_is_finished_by_the_next_run(self) -> None:
        for write in (1, 2, 3):  # rename, generate, delete
            for carried_out in (False, True):
                with self.subTest(write=write, carried_out=carried_out):
                    old, new = self.new_key(), self.new_key()
                    ensure_absent(self.client, None, self.alias)
                    self.client.generate(old, self.limits(), spend=2.5)
                    dying = self.make(DyingClient)
                    dying.write, dying.carried_out = write, carried_out
                    with self.assertRaises(Killed):
                        ensure_present(dying, new, self.limits())
                    ensure_present(self.client, new, self.limits())
                    self.assertEqual(self.client.spend(key_hash(new)), 2.5)
                    self.assert_one_live_key(new)

    def test_a_gateway_rebuilt_again_after_a_killed_replacement_leaves_one_key(self) -> None:
        first, second = self.new_key(), self.new_key()
        self.client.generate(first, self.limits(), spend=2.5)
        dying = self.make(DyingClient)
        dying.write, dying.carried_out = 3, False
        with self.assertRaises(Killed):
            ensure_present(dying, second, self.limits())
        self.assertEqual(ensure_present(self.client, self.key, self.limits()).action, "replaced")
        self.assertEqual(self.client.spend(key_hash(self.key)), 2.5)
        self.assert_one_live_key(self.key)

    def test_a_lost_answer_is_settled_in_the_same_run(self) -> None:
        for path in ("/key/generate", "/key/update", "/key/delete"):
            with self.subTest(path=path):
                old, new = self.new_key(), self.new_key()
                ensure_absent(self.client, None, self.alias)
                self.client.generate(old, self.limits(), spend=0.5)
                forgetful = self.make(ForgetfulClient)
                forgetful.lost_path = path
                self.assertEqual(ensure_present(forgetful, new, self.limits()).action, "replaced")
                self.assertEqual(forgetful.lost_path, "")
                self.assert_one_live_key(new)

    def test_keys_with_a_similar_alias_are_left_alone(self) -> None:
        neighbour = self.alias + REPLACED + "nothexxx"
        self.client.generate(self.key, self.limits(alias=neighbour))
        self.addCleanup(self.client.delete_by_hash, key_hash(self.key))
        other = self.new_key()
        self.assertEqual(ensure_present(self.client, other, self.limits()).action, "created")
        self.assertEqual(self.client.info(key_hash(self.key)).alias, neighbour)

    def test_a_deleted_key_is_not_brought_back(self) -> None:
        ensure_present(self.client, self.key, self.limits())
        ensure_absent(self.client, self.key, None)
        with self.assertRaisesRegex(KeyProblem, "was deleted.*remove the file virtual_key"):
            ensure_present(self.client, self.key, self.limits())
        self.assertEqual(self.client.list_by_alias(self.alias), [])

    def test_a_blocked_key_is_told_and_stays_blocked(self) -> None:
        token = self.client.generate(self.key, self.limits()).hash
        self.client.block(token)
        with self.assertRaisesRegex(KeyProblem, "was blocked"):
            ensure_present(self.client, self.key, self.limits(max_budget=9.0))
        self.assertEqual(self.client.info(token).max_budget, 5.0)

    def test_an_expired_key_is_told(self) -> None:
        token = self.client.generate(self.key, self.limits()).hash
        self.client.update(token, {"duration": "1s", "expires": "2020-01-01T00:00:00+00:00"})
        deadline = time.monotonic() + 10
        while self.client.info(token).status == "active" and time.monotonic() < deadline:
            self.client.wait()
        self.assertEqual([record.status for record in self.client.list_by_alias(self.alias)], ["expired"])
        self.assertEqual(self.client.wait_rejected(self.key).verdict, "expired")
        with self.assertRaisesRegex(KeyProblem, "has expired"):
            ensure_present(self.client, self.key, self.limits())

    def test_a_blocked_holder_of_the_alias_is_replaced(self) -> None:
        old = self.new_key()
        self.client.block(self.client.generate(old, self.limits()).hash)
        self.assertEqual(ensure_present(self.client, self.key, self.limits()).action, "replaced")
        self.assert_one_live_key(self.key)

    def test_absent_deletes_by_value_and_by_alias(self) -> None:
        ensure_present(self.client, self.key, self.limits())
        self.assertEqual(ensure_absent(self.client, self.key, self.alias).action, "deleted")
        self.assertEqual(ensure_absent(self.client, self.key, self.alias).action, "unchanged")
        self.client.generate(self.new_key(), self.limits())
        self.assertEqual(ensure_absent(self.client, None, self.alias).action, "deleted")
        self.assertIsNone(find(self.client, None, self.alias))

    def test_check_mode_predicts_and_writes_nothing(self) -> None:
        self.assertEqual(ensure_present(self.client, self.key, self.limits(), True).action, "created")
        self.assertIsNone(self.client.find_by_hash(key_hash(self.key)))
        ensure_present(self.client, self.key, self.limits())
        outcome = ensure_present(self.client, self.key, self.limits(max_budget=9.0), True)
        self.assertEqual((outcome.action, outcome.differences), ("updated", {"max_budget": (5.0, 9.0)}))
        self.assertEqual(ensure_present(self.client, self.new_key(), self.limits(), True).action, "replaced")
        self.assertEqual(ensure_absent(self.client, self.key, self.alias, True).action, "deleted")
        self.assert_one_live_key(self.key)
        self.assertEqual(self.client.info(key_hash(self.key)).max_budget, 5.0)

    def test_the_master_key_file_is_read_without_its_line_end(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "master_key")
            path.write_text(self.master_key + "\n", encoding="ascii")
            client = LiteLLMClient.from_file(self.url, str(path), pause=0.2)
            self.assertIsNone(client.find_by_hash(key_hash(self.key)))


if __name__ == "__main__":
    unittest.main()
