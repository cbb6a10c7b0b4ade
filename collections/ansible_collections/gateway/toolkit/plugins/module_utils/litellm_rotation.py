# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps of a virtual key's rotation in LiteLLM, from any state that a killed run can leave.

LiteLLM's own /key/regenerate is for paying customers; this needs free endpoints only. While both keys live, the old
one has the alias and the new one "<alias>-next-<hash8>", since an alias is unique. The new key starts with the old
one's spend, noted in its metadata under CARRIED; what the old one spends after that is added when it is retired.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_api import (
    KeyLimits,
    KeyRecord,
    LiteLLMClient,
    Probe,
    fingerprint,
    key_hash,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.litellm_keys import (
    NEXT,
    KeyProblem,
    differences,
    next_alias,
    prove,
)

CARRIED = "rotation_carried_spend"
OWN_CLIENT = "User-Agent: Python-urllib"
"""How LiteLLM tags the calls of litellm_api."""

Proof = dict[str, str]


@dataclass(frozen=True)
class Result:
    """``proofs`` are {"proof", "result"}; ``usable`` is false when the key's budget is used up."""

    changed: bool
    proofs: tuple[Proof, ...]
    usable: bool = True


class RotationClient(LiteLLMClient):
    """What a rotation asks beyond the management of keys."""

    @property
    def url(self) -> str:
        """Where it asks."""
        return self._url

    def calls_of_others(self, token_hash: str, first_day: str, last_day: str) -> int:
        """How many calls are booked on the key between two days (YYYY-MM-DD), without the proofs of this toolkit.

        Of a long list only the last 100 count. LiteLLM books about every 10 s, and tags each call with its client.
        """
        query = {"api_key": token_hash, "start_date": first_day, "end_date": last_day, "page": "1", "page_size": "100"}
        rows = self._admin("GET", "/spend/logs/v2", query=query).get("data") or ()
        return sum(OWN_CLIENT not in json.dumps(row.get("request_tags")) for row in rows)


def proof(what: str, result: object) -> Proof:
    return {"proof": what, "result": str(result)}


def strays(client: RotationClient, alias: str, ours: Sequence[str]) -> list[KeyRecord]:
    """Live keys that a rotation of ``alias`` made and nobody knows any more; ``ours``: hashes that are known."""
    pattern = re.compile(re.escape(alias + NEXT) + "[0-9a-f]{8}")
    found = client.list_by_alias_part(alias + NEXT)
    return [key for key in found if pattern.fullmatch(key.alias or "") and key.hash not in ours]


def register(client: RotationClient, old: str, new: str, limits: KeyLimits, emergency: bool) -> Result:
    """The new key beside the old one, with the same limits and the old one's spend, proved by GET /v1/models.

    With ``emergency`` the old key is deleted before anything else; retire proves later that it is refused.
    """
    changed = client.delete_by_hash(key_hash(old)) if emergency and old else False
    own = client.find_by_hash(key_hash(new))
    if own is None:
        former = client.find_by_hash(key_hash(old)) if old else None
        spend = former.spend if former else 0.0
        wanted = replace(
            limits,
            alias=next_alias(limits.alias, key_hash(new)),
            metadata={**limits.metadata, CARRIED: spend},
        )
        own = client.generate(new, wanted, spend)
        missing = differences(own, wanted)
        if missing or own.spend < spend:
            names = ", ".join(sorted(missing)) or "spend"
            raise KeyProblem(
                f"LiteLLM did not take {names} of the new key {own.fingerprint}: look for default_key_generate_params "
                "and upperbound_key_generate_params in litellm_config_extra."
            )
        changed = True
    require_ours(own, limits.alias)
    if own.status != "active":
        raise KeyProblem(
            f"The new key {own.fingerprint} is {own.status} in LiteLLM, and a key that was revoked once is not brought "
            "back to life: give litellm_virtual_key a value that was never used, or remove it to have one generated."
        )
    models, _unknown = prove(client, new, own)
    answer = "200" if models else "known, budget used up"
    return Result(changed, (proof("LiteLLM lists its models to the new key", answer),), bool(models))


def require_ours(record: KeyRecord, alias: str) -> None:
    """KeyProblem for a key of somebody else: it must be neither taken nor revoked."""
    if record.alias not in (alias, next_alias(alias, record.hash)) and record.status != "deleted":
        raise KeyProblem(
            f"The new key {record.fingerprint} is in use as {record.alias!r}: give each gateway a litellm_virtual_key "
            "of its own."
        )


def prove_directly(client: RotationClient, new: str, model: str, timeout: float) -> Result:
    """Ask with the new key, from where the gateway asks: the models, then one token of ``model`` ("" = none)."""
    seen = until(client, lambda: client.probe(new), "accepted", "over_budget")
    where = f"{client.url} from the gateway's host"
    if seen.verdict == "over_budget":
        return Result(False, (proof(f"new key at {where}", "known, budget used up"),), usable=False)
    if seen.verdict != "accepted":
        raise KeyProblem(f"The new key {fingerprint(new)} is not accepted at {where}: {words(seen)}")
    proofs = (proof(f"new key is accepted at {where}", seen.status),)
    if not model:
        return Result(False, proofs)
    answer = client.probe_message(new, model, timeout)
    if answer.verdict != "accepted":
        raise KeyProblem(f"The new key {fingerprint(new)} gets no answer of {model} at {where}: {words(answer)}")
    return Result(False, (*proofs, proof(f"{model} answers the new key there", answer.status)))


def prove_used(client: RotationClient, new: str, patience: float) -> Result:
    """A call of OpenClaw is booked on the new key, waiting ``patience`` seconds for LiteLLM to book it."""
    # Days around now, whatever the clocks of the hosts say.
    now = datetime.now(timezone.utc)
    days = [(now + timedelta(days=offset)).strftime("%Y-%m-%d") for offset in (-1, 2)]
    end = time.monotonic() + patience
    while True:
        booked = client.calls_of_others(key_hash(new), days[0], days[1])
        if booked:
            return Result(False, (proof("calls of the gateway booked on the new key", booked),))
        if time.monotonic() >= end:
            raise KeyProblem(
                f"OpenClaw answered, but LiteLLM booked no call of it on the new key {fingerprint(new)}: OpenClaw "
                "still uses another key, or another LiteLLM."
            )
        client.wait()


def retire(client: RotationClient, old: str, new: str, alias: str) -> Result:
    """The old key is deleted and refused, the new one has its alias and all its spend."""
    own = client.info(key_hash(new))
    require_ours(own, alias)
    former = client.find_by_hash(key_hash(old)) if old else None
    carried = own.metadata.get(CARRIED)
    if former and isinstance(carried, (int, float)) and former.spend > carried:
        # In one request, so that a repetition adds nothing.
        metadata = {**own.metadata, CARRIED: former.spend}
        client.update(own.hash, {"spend": own.spend + former.spend - carried, "metadata": metadata})
    proofs = (delete(client, old, "old"),) if old else ()
    if own.alias != alias:
        client.rename(own.hash, alias)
        if client.info(own.hash).alias != alias:
            raise KeyProblem(f"LiteLLM answered 200 but did not rename the new key {own.fingerprint} to {alias}.")
    for record in strays(client, alias, (own.hash,)):
        client.delete_by_hash(record.hash)
    last = until(client, lambda: client.probe(new), "accepted", "over_budget")
    if last.verdict not in ("accepted", "over_budget"):
        raise KeyProblem(f"The new key {own.fingerprint} is not accepted after the old one was deleted: {words(last)}")
    return Result(True, (*proofs, proof("new key is accepted after that", last.status)))


def revoke(client: RotationClient, old: str, new: str, alias: str) -> Result:
    """Undo: the old key is proved to work, then the new one is deleted and refused."""
    last = until(client, lambda: client.probe(old), "accepted", "over_budget")
    if last.verdict not in ("accepted", "over_budget"):
        raise KeyProblem(f"The old key {fingerprint(old)} is not accepted, so the new one was kept too: {words(last)}")
    proofs = (proof("old key is accepted", last.status),)
    record = client.find_by_hash(key_hash(new)) if new else None
    if record is None:
        return Result(False, proofs)
    require_ours(record, alias)
    return Result(True, (*proofs, delete(client, new, "new")))


def delete(client: RotationClient, key: str, which: str) -> Proof:
    """No live key with this value, and this proxy refuses it."""
    client.delete_by_hash(key_hash(key))
    return refused(client, key, f"{which} key")


def refused(client: RotationClient, key: str, what: str) -> Proof:
    """This proxy refuses a deleted key; each of its processes may know the key for 60 s, so it is asked until then."""
    begun = time.monotonic()
    last = client.wait_rejected(key)
    if last.verdict not in ("unknown_key", "blocked", "expired"):
        raise KeyProblem(
            f"LiteLLM still answers {last.status} ({last.verdict}) to the deleted {what} {fingerprint(key)} after "
            f"{client.patience:.0f} s: restart litellm on every host that runs it, see whether "
            "allow_requests_on_db_unavailable is set in litellm_config_extra, and run the playbook again."
        )
    return proof(f"{what} is refused, after {time.monotonic() - begun:.0f} s", last.status)


def until(client: RotationClient, ask: Callable[[], Probe], *verdicts: str) -> Probe:
    """The first answer with one of these verdicts, or the last one when ``client.patience`` seconds are over."""
    end = time.monotonic() + client.patience
    while True:
        last = ask()
        if last.verdict in verdicts or time.monotonic() >= end:
            return last
        client.wait()


def words(probe: Probe) -> str:
    return f"{probe.status} ({probe.verdict}) {probe.message or ''}".rstrip() + "."
