# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make LiteLLM hold exactly one live key for an alias, with given limits, from any state a killed run can leave.

The order of the steps when another key holds the alias (the gateway's host was rebuilt, its file is the truth):
rename the old key to "<alias>-replaced-<hash8>" -> generate the new one with the old one's spend -> prove the new one
-> delete the old one by its hash. After a kill at any point the next run finds what is left and goes on:
the alias free and a "-replaced-" key (its spend is carried over), or the new key and a "-replaced-" key (deleted).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import (
    KeyLimits,
    KeyRecord,
    LiteLLMClient,
    Probe,
    fingerprint,
    key_hash,
)

Action = Literal["created", "updated", "unchanged", "replaced", "deleted"]
Difference = tuple[Any, Any]

REPLACED = "-replaced-"
NEXT = "-next-"
REMEDY_NEW_KEY = (
    "change litellm_virtual_key if you set one, else remove the file virtual_key from litellm_virtual_key_directory on "
    "the gateway's host, and run the playbook again"
)


class KeyProblem(Exception):
    """LiteLLM works, but the key cannot be brought to the wanted state. ``str()`` is one sentence with the remedy."""


@dataclass(frozen=True)
class Outcome:
    """``record``: the key afterwards, None if there is none (deleted, or not made yet in check mode);
    ``differences``: field -> (old, new); ``models``: names that LiteLLM lists to the key, None if it was not asked or
    the key is over its budget; ``unknown_models``: allowed names that LiteLLM does not serve."""

    action: Action
    differences: dict[str, Difference]
    record: KeyRecord | None
    models: tuple[str, ...] | None = None
    unknown_models: tuple[str, ...] = field(default=())


def replaced_alias(alias: str, token_hash: str) -> str:
    return f"{alias}{REPLACED}{token_hash[:8]}"


def next_alias(alias: str, token_hash: str) -> str:
    """What a rotation calls the new key until the old one is gone."""
    return f"{alias}{NEXT}{token_hash[:8]}"


def leftovers(client: LiteLLMClient, alias: str) -> list[KeyRecord]:
    """Live keys that a replacement of ``alias`` set aside and, if it was killed, has not deleted."""
    pattern = re.compile(re.escape(alias + REPLACED) + "[0-9a-f]{8}")
    return [key for key in client.list_by_alias_part(alias + REPLACED) if pattern.fullmatch(key.alias or "")]


def differences(record: KeyRecord, limits: KeyLimits) -> dict[str, Difference]:
    """What /key/update has to change, by its field names. The order of models does not count; of the metadata only
    the wanted entries do."""
    found: dict[str, Difference] = {}
    if record.alias != limits.alias:
        found["key_alias"] = (record.alias, limits.alias)
    if record.max_budget != limits.max_budget:
        found["max_budget"] = (record.max_budget, limits.max_budget)
    if record.budget_duration != limits.budget_duration:
        found["budget_duration"] = (record.budget_duration, limits.budget_duration)
    if set(record.models) != set(limits.models):
        found["models"] = (sorted(record.models), sorted(limits.models))
    if set(record.allowed_routes) != set(limits.allowed_routes):
        found["allowed_routes"] = (sorted(record.allowed_routes), sorted(limits.allowed_routes))
    if any(record.metadata.get(name) != value for name, value in limits.metadata.items()):
        found["metadata"] = (dict(record.metadata), {**record.metadata, **limits.metadata})
    return found


def ensure_present(client: LiteLLMClient, key: str, limits: KeyLimits, check_mode: bool = False) -> Outcome:
    """One live key for ``limits.alias``, whose value is ``key``, proved by a request with it."""
    token_hash = key_hash(key)
    own = client.find_by_hash(token_hash)
    if own is not None:
        _require_active(own)
    holders = [record for record in client.list_by_alias(limits.alias) if record.hash != token_hash]
    if own is not None and holders and own.alias == next_alias(limits.alias, token_hash):
        # A rotation that is not finished: both keys live until it has retired the old one.
        limits, holders = replace(limits, alias=own.alias), []
    # A key of ours that has another alias was not made by a replacement: nothing says the holder may go.
    if own is not None and holders and own.alias != limits.alias:
        raise KeyProblem(
            f"The key {own.fingerprint} (alias {own.alias!r}) should get the alias {limits.alias!r}, which another "
            f"live key ({holders[0].fingerprint}) holds: give each gateway its own litellm_virtual_key_alias."
        )
    surplus = holders + [record for record in leftovers(client, limits.alias) if record.hash != token_hash]
    changes = differences(own, limits) if own else _all_new(limits)
    action = _action(own, changes, surplus)
    if surplus:
        changes["key"] = (surplus[0].fingerprint, fingerprint(key))
    if check_mode:
        return Outcome(action, changes, own)

    if own is None:
        own = _create(client, key, limits, holders, surplus)
    wanted = {name: new for name, (_old, new) in differences(own, limits).items()}
    if wanted:
        client.update(token_hash, wanted)
        own = client.info(token_hash)
    _require_taken(own, limits)
    models, unknown = prove(client, key, own)
    for record in surplus:
        client.delete_by_hash(record.hash)
    return Outcome(action, changes, own, models, unknown)


def ensure_absent(client: LiteLLMClient, key: str | None, alias: str | None, check_mode: bool = False) -> Outcome:
    """No live key with this value, and none with this alias or set aside from it."""
    own = client.find_by_hash(key_hash(key)) if key else None
    targets = [own] if own is not None and own.status != "deleted" else []
    if alias:
        targets += client.list_by_alias(alias) + leftovers(client, alias)
    unique = {record.hash: record for record in targets}
    found: dict[str, Difference] = {"key": ([r.fingerprint for r in unique.values()], [])} if unique else {}
    if not check_mode:
        for token_hash in unique:
            client.delete_by_hash(token_hash)
        if key and key_hash(key) in unique:
            last = client.wait_rejected(key)
            if last.verdict != "unknown_key":
                raise KeyProblem(
                    f"LiteLLM still answers {last.status} ({last.verdict}) to the deleted key {fingerprint(key)}: "
                    "restart litellm on every host that runs it, and see whether allow_requests_on_db_unavailable is "
                    "set in litellm_config_extra."
                )
    return Outcome("deleted" if unique else "unchanged", found, None)


def find(client: LiteLLMClient, key: str | None, alias: str | None) -> KeyRecord | None:
    """The key by value, or by alias if no value is given; None if there is none, "deleted" ones by value only."""
    if key:
        return client.find_by_hash(key_hash(key))
    holders = client.list_by_alias(alias or "")
    return holders[0] if holders else None


def _require_active(record: KeyRecord) -> None:
    if record.status == "active":
        return
    undo = {
        "revoked": "it was blocked: unblock it in LiteLLM (POST /key/unblock) if that was a mistake",
        "expired": "it has expired",
        "deleted": "it was deleted, and a key that was revoked once is not brought back to life",
    }.get(record.status, f"its status is {record.status}")
    raise KeyProblem(
        f"LiteLLM refuses the gateway's virtual key {record.fingerprint}: {undo}; for a new key {REMEDY_NEW_KEY}."
    )


def _action(own: KeyRecord | None, changes: Mapping[str, Difference], surplus: Sequence[KeyRecord]) -> Action:
    if surplus:
        return "replaced"
    if own is None:
        return "created"
    return "updated" if changes else "unchanged"


def _all_new(limits: KeyLimits) -> dict[str, Difference]:
    return {
        "key_alias": (None, limits.alias),
        "max_budget": (None, limits.max_budget),
        "budget_duration": (None, limits.budget_duration),
        "models": (None, sorted(limits.models)),
        "allowed_routes": (None, sorted(limits.allowed_routes)),
        "metadata": (None, dict(limits.metadata)),
    }


def _create(
    client: LiteLLMClient, key: str, limits: KeyLimits, holders: Sequence[KeyRecord], surplus: Sequence[KeyRecord]
) -> KeyRecord:
    # Each replacement carries the spend of the one before, so the newest key has it all.
    spend = max(surplus, key=lambda record: record.created_at).spend if surplus else 0.0
    for record in holders:
        client.rename(record.hash, replaced_alias(limits.alias, record.hash))
    created = client.generate(key, limits, spend)
    if created.spend < spend:
        raise KeyProblem(
            f"LiteLLM did not carry over the spend of {spend} USD to the new key {created.fingerprint} (it has "
            f"{created.spend}): set it with POST /key/update, and run the playbook again."
        )
    return created


def _require_taken(record: KeyRecord, limits: KeyLimits) -> None:
    _require_active(record)
    missing = differences(record, limits)
    if missing:
        wishes = ", ".join(f"{name} is {old!r} instead of {new!r}" for name, (old, new) in missing.items())
        raise KeyProblem(
            f"LiteLLM answered 200 but did not take the limits of key {record.fingerprint}: {wishes}; look for "
            "default_key_generate_params and upperbound_key_generate_params in litellm_config_extra."
        )


def prove(client: LiteLLMClient, key: str, record: KeyRecord) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """(models the key sees, allowed names that LiteLLM does not serve), asked with the key itself, else KeyProblem.

    None for a key over its budget: LiteLLM knows it, and refuses every request of it. That is what the budget is for.
    A wrong answer is given ``client.patience`` seconds to become right: other processes of LiteLLM may still have the
    key as it was before this run or the one before it.
    """
    served = set(client.models())
    allowed = set(record.models) or served
    spent = record.max_budget is not None and record.spend >= record.max_budget
    end = time.monotonic() + client.patience
    while True:
        probe = client.probe(key)
        late = time.monotonic() >= end
        if probe.verdict == "over_budget" and (spent or late):
            return None, tuple(sorted(allowed - served))
        problem = _list_problem(probe, allowed, served)
        if problem is None:
            return probe.models, tuple(sorted(allowed - served))
        if late:
            raise KeyProblem(f"LiteLLM has stored the key {fingerprint(key)}, but {problem}")
        client.wait()


def _list_problem(probe: Probe, allowed: set[str], served: set[str]) -> str | None:
    """What is wrong with the answer of GET /v1/models, None if nothing. LiteLLM lists a key's plain names as they are,
    but expands wildcards, access groups and all-proxy-models: with one of those, something has to be listed."""
    if probe.verdict != "accepted":
        return (
            f"answers {probe.status} ({probe.verdict}) to GET /v1/models with it: {probe.message or 'no text'}; look "
            "at journalctl -u litellm and at litellm_config_extra."
        )
    listed = set(probe.models)
    expanded = not listed.issuperset(allowed - served)
    if listed and (expanded or listed == allowed):
        return None
    return (
        f"lists {sorted(listed)} to it where {sorted(allowed)} is allowed: look at litellm_virtual_key_models and "
        "litellm_models."
    )
