# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is known on a host about the rotation of one secret, and what may be done next.

A rotation goes prepared -> registered -> switched -> proved -> retired. Until the last step two values are kept on the
host beside the one in use: NAME.next before the switch, NAME.old after it. Direction "back" undoes: the old value is
in use again and NAME.next is what has to be revoked. Everything here is plain data; module_utils/rotation_store.py
reads and writes it. Files are written in the order of Change.operations, the ledger last, and each change leads to the
same end when it is repeated. So a run that was killed anywhere leaves a state from which the next one goes on.

Only fingerprints (the first 12 hexadecimal digits of the SHA-256) are in the ledger, never a value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from ansible_collections.gateway.toolkit.plugins.module_utils.stray_copies import Search

Step = Literal["prepared", "registered", "switched", "proved", "retired"]
Direction = Literal["forward", "back"]
STEPS: tuple[Step, ...] = ("prepared", "registered", "switched", "proved", "retired")


class RotationProblem(Exception):
    """The rotation cannot go on. ``str()`` is one sentence that says what to do and holds no secret."""


def fingerprint(value: str) -> str:
    """The first 12 hexadecimal digits of a value's SHA-256, as gateway.toolkit.host_secrets shows it."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def to_text(moment: datetime) -> str:
    """UTC as 2026-01-31T23:59:59Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_moment(text: str) -> datetime:
    """The reverse of to_text; RotationProblem for another form."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise RotationProblem(f"{text!r} is no time.") from None


@dataclass(frozen=True)
class Rotation:
    """One unfinished rotation. ``old`` and ``new`` are fingerprints, times are as to_text writes them; ``cause`` says
    why it goes back; ``usable`` is false for a key whose budget is used up; ``proofs`` are {"proof", "result"};
    ``members`` of a set of keys: {"name", "old", "new"}, each; ``interruption``: the longest measured one, seconds."""

    old: str
    new: str
    reason: str
    started: str
    step: Step = "prepared"
    direction: Direction = "forward"
    emergency: bool = False
    switched: str = ""
    cause: str = ""
    usable: bool = True
    proofs: tuple[Mapping[str, str], ...] = ()
    members: tuple[Mapping[str, str], ...] = ()
    interruption: float | None = None

    @property
    def forward(self) -> bool:
        """Whether it goes to the new value."""
        return self.direction == "forward"

    def reached(self, step: Step) -> bool:
        """Whether this step was done."""
        return STEPS.index(self.step) >= STEPS.index(step)


@dataclass(frozen=True)
class Ledger:
    """What the host's file holds: the value in use, since when, and the rotation that is not finished, if any."""

    current: str = ""
    since: str = ""
    rotation: Rotation | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Ledger:
        """RotationProblem when this was not written by to_json."""
        try:
            rotation = data["rotation"]
            known = {item.name for item in fields(Rotation)}
            if rotation is not None:
                rotation = Rotation(
                    **{name: rotation[name] for name in known & set(rotation) - {"proofs", "members"}},
                    proofs=tuple(dict(proof) for proof in rotation.get("proofs", ())),
                    members=tuple(dict(member) for member in rotation.get("members", ())),
                )
                if rotation.step not in STEPS or rotation.direction not in ("forward", "back"):
                    raise ValueError
            return cls(str(data["current"]), str(data["since"]), rotation)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RotationProblem("It is not the state of a rotation.") from None


@dataclass(frozen=True)
class Files:
    """The values on the host, "" for a file that is not there; ``made``: when the one in use was written."""

    current: str = field(default="", repr=False)
    next: str = field(default="", repr=False)
    old: str = field(default="", repr=False)
    made: datetime | None = None


@dataclass(frozen=True)
class Wish:
    """What the operator asks for. ``max_age`` in days, 0 = never; ``value``: the operator's own, "" = generated;
    ``variable``: the name of the variable it comes from; ``keyed``: the value is a set of keys, a JSON object."""

    requested: bool = False
    emergency: bool = False
    max_age: float = 0
    value: str = field(default="", repr=False)
    variable: str = ""
    max_age_variable: str = ""
    keyed: bool = False


@dataclass(frozen=True)
class Change:
    """The ledger afterwards, and what leads there: (file "current", "next" or "old"; value, or None to remove it)."""

    ledger: Ledger
    operations: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)


def age_in_days(ledger: Ledger, files: Files, now: datetime) -> float:
    """How long the value in use has been so: by the ledger if it knows that value, else by its file's time."""
    known = ledger.since and ledger.current == fingerprint(files.current)
    since = to_moment(ledger.since) if known else files.made or now
    return (now - since) / timedelta(days=1)


def why_due(ledger: Ledger, files: Files, wish: Wish, now: datetime) -> str:
    """Why a new rotation has to begin, as the end of a sentence; "" when none has to. RotationProblem when it was asked
    for and cannot be done."""
    if not files.current:
        return ""
    if wish.value and wish.value != files.current:
        return f"{wish.variable} has another value"
    if wish.requested and wish.value:
        raise RotationProblem(
            f"{wish.variable} is set, so there is no other value to rotate to: give {wish.variable} a new value, which "
            "the next run rotates to, or remove it to have one generated."
        )
    if wish.requested:
        return "it was asked for"
    age = age_in_days(ledger, files, now)
    if wish.max_age > 0 and not wish.value and age > wish.max_age:
        return f"it is {age:.0f} days old and {wish.max_age_variable} is {wish.max_age:g}"
    return ""


def found_again(ledger: Ledger, files: Files, now: datetime) -> Ledger:
    """A ledger that lost its rotation gets it back: only an unfinished one leaves an old value behind."""
    if ledger.rotation is None and files.old and files.current and files.old != files.current:
        rotation = Rotation(
            fingerprint(files.old),
            fingerprint(files.current),
            reason="its state was lost",
            started=to_text(now),
            step="switched",
            switched=to_text(now),
        )
        return replace(ledger, rotation=rotation)
    return ledger


def begin(ledger: Ledger, files: Files, wish: Wish, now: datetime, make: Callable[[], str]) -> Change:
    """Take up the unfinished rotation, or start a due one with the operator's value or ``make()``, or do nothing."""
    ledger = found_again(ledger, files, now)
    if ledger.rotation is not None:
        return take_up(ledger, files, wish)
    if wish.keyed and wish.value and files.current:
        return begin_set(ledger, files, wish, now)
    reason = why_due(ledger, files, wish, now)
    if not reason:
        # Killed before the rotation was written down: this value was never registered anywhere.
        strays: tuple[tuple[str, str | None], ...] = (("next", None),) if files.next and files.current else ()
        return Change(ledger, strays)
    value = wish.value or make()
    rotation = Rotation(fingerprint(files.current), fingerprint(value), reason, to_text(now), emergency=wish.emergency)
    return Change(replace(ledger, rotation=rotation), (("next", value),))


def begin_set(ledger: Ledger, files: Files, wish: Wish, now: datetime) -> Change:
    """A set of keys: names that came or went are taken over as they are, another value of a name is rotated to."""
    given, kept = keys_in(wish.value), keys_in(files.current)
    carried = {name: kept.get(name, value) for name, value in given.items()}
    carry = (("current", keys_text(carried)),) if carried != kept else ()
    strays: tuple[tuple[str, str | None], ...] = (("next", None),) if files.next else ()
    if given == carried:
        return Change(ledger, carry + strays)
    members = tuple(changed_members(carried, given))
    old, new = keys_text(carried), keys_text(given)
    reason = f"{wish.variable} has another value"
    rotation = Rotation(fingerprint(old), fingerprint(new), reason, to_text(now), members=members)
    return Change(replace(ledger, rotation=rotation), (*carry, ("next", new)))


def keys_in(text: str) -> dict[str, str]:
    """The keys of a set by their names. RotationProblem when it is none."""
    try:
        data = json.loads(text)
        return {str(name): str(value) for name, value in data.items()}
    except (ValueError, AttributeError):
        raise RotationProblem("The value in use is not a set of keys: remove its file and run the playbook.") from None


def keys_text(keys: Mapping[str, str]) -> str:
    """The one text for a set of keys, whatever their order."""
    return json.dumps(dict(keys), sort_keys=True)


def changed_members(old: Mapping[str, str], new: Mapping[str, str]) -> list[dict[str, str]]:
    """{"name", "old", "new"} with fingerprints, for each name in both whose value differs."""
    names = sorted(name for name in new if name in old and old[name] != new[name])
    return [{"name": name, "old": fingerprint(old[name]), "new": fingerprint(new[name])} for name in names]


def take_up(ledger: Ledger, files: Files, wish: Wish) -> Change:
    """Put the files where the unfinished rotation wants them; turn it round if the operator wants another value now."""
    rotation = required(ledger)
    if rotation.direction == "back":
        return back(ledger, files, rotation.cause)
    wanted = keys_text(keys_in(wish.value)) if wish.keyed and wish.value else wish.value
    other = wanted and fingerprint(wanted) != rotation.new
    if other and not rotation.emergency and not rotation.reached("switched"):
        return back(ledger, files, f"{wish.variable} was changed before the new value was in use")
    if wish.emergency and not rotation.emergency:
        ledger = replace(ledger, rotation=replace(rotation, emergency=True))
    if rotation.reached("switched"):
        return Change(ledger, to_new(rotation, files))
    if fingerprint(files.next) != rotation.new and fingerprint(files.current) != rotation.new:
        raise lost(rotation, "next")
    return Change(ledger)


def record(
    ledger: Ledger,
    step: Step | None,
    proofs: Sequence[Mapping[str, str]],
    usable: bool,
    interruption: float | None = None,
) -> Change:
    """Note a step that was done, never a step back, what was proved, and how long the service was away for it."""
    rotation = required(ledger)
    if interruption is not None:
        rotation = replace(rotation, interruption=max(interruption, rotation.interruption or 0.0))
    if step is not None and not rotation.reached(step):
        rotation = replace(rotation, step=step)
    fresh = tuple(dict(proof) for proof in proofs)
    return Change(replace(ledger, rotation=replace(rotation, proofs=rotation.proofs + fresh, usable=usable)))


def switch(ledger: Ledger, files: Files, now: datetime) -> Change:
    """The next value becomes the one in use; the one in use until now is kept as the old one."""
    rotation = required(ledger)
    if rotation.direction == "back":
        raise RotationProblem("This rotation is being undone; run the playbook again to start another one.")
    operations = to_new(rotation, files)
    if not rotation.reached("switched"):
        rotation = replace(rotation, step="switched", switched=to_text(now))
    return Change(replace(ledger, rotation=rotation), operations)


def to_new(rotation: Rotation, files: Files) -> tuple[tuple[str, str | None], ...]:
    """What brings the new value into use."""
    leave: tuple[tuple[str, str | None], ...] = (("next", None),) if files.next else ()
    if fingerprint(files.current) == rotation.new:
        return leave
    if fingerprint(files.current) != rotation.old:
        raise lost(rotation, "current")
    if fingerprint(files.next) != rotation.new:
        raise lost(rotation, "next")
    return (("old", files.current), ("current", files.next), ("next", None))


def back(ledger: Ledger, files: Files, cause: str) -> Change:
    """The old value is in use again; the new one is kept as NAME.next until it is revoked."""
    rotation = required(ledger)
    if rotation.emergency or rotation.reached("retired"):
        raise RotationProblem("The old value is revoked, so it is not put back: run the playbook again to go on.")
    ledger = replace(ledger, rotation=replace(rotation, direction="back", cause=rotation.cause or cause))
    leave: tuple[tuple[str, str | None], ...] = (("old", None),) if files.old else ()
    if fingerprint(files.current) == rotation.old:
        return Change(ledger, leave)
    if fingerprint(files.current) != rotation.new:
        raise lost(rotation, "current")
    if fingerprint(files.old) != rotation.old:
        raise lost(rotation, "old")
    return Change(ledger, (("next", files.current), ("current", files.old), ("old", None)))


def finish(ledger: Ledger, files: Files, now: datetime) -> Change:
    """The rotation is over: only the value in use is left. Its ledger says since when."""
    rotation = required(ledger)
    operations = tuple((name, None) for name in ("old", "next") if getattr(files, name))
    if rotation.direction == "back":
        if fingerprint(files.current) != rotation.old:
            raise lost(rotation, "current")
        known = ledger.current == rotation.old
        return Change(Ledger(rotation.old, ledger.since if known else "", None), operations)
    if fingerprint(files.current) != rotation.new:
        raise lost(rotation, "current")
    if not rotation.reached("retired"):
        raise RotationProblem(f"This rotation is only {rotation.step}: the old value still has to be revoked.")
    return Change(Ledger(rotation.new, rotation.switched or to_text(now), None), operations)


def values_of(rotation: Rotation, files: Files) -> dict[str, str]:
    """{"old", "new"}: the two values, "" for one that is no longer on the host."""
    found = {fingerprint(value): value for value in (files.current, files.next, files.old) if value}
    return {"old": found.get(rotation.old, ""), "new": found.get(rotation.new, "")}


def seconds_left(rotation: Rotation, overlap: float, now: datetime) -> int:
    """Seconds until the old value may be revoked: ``overlap`` after the switch, none in an emergency."""
    if rotation.emergency or not rotation.switched:
        return 0
    return max(0, min(int(overlap), int(overlap - (now - to_moment(rotation.switched)).total_seconds())))


def receipt(
    rotation: Rotation, kind: str, subject: str, host: str, now: datetime, copies: Search | None = None
) -> dict[str, Any]:
    """One line of the log. It holds fingerprints, never a value. ``copies``: where the dead value still is; None
    when nobody looked, and then the line does not speak of it."""
    return {
        "time": to_text(now),
        "kind": kind,
        "host": host,
        "alias": subject,
        "result": "rotated" if rotation.forward else "undone",
        "reason": rotation.reason,
        "cause": rotation.cause,
        "emergency": rotation.emergency,
        "old": rotation.old,
        "new": rotation.new,
        "started": rotation.started,
        "seconds": max(0, int((now - to_moment(rotation.started)).total_seconds())),
        **({"keys": [dict(member) for member in rotation.members]} if rotation.members else {}),
        **({} if rotation.interruption is None else {"interruption": rotation.interruption}),
        "proofs": [dict(proof) for proof in rotation.proofs],
        **({} if copies is None else {"copies": list(copies.found), "searched": copies.complete}),
    }


def sentence(kind: str, subject: str, rotation: Rotation, fresh: bool) -> str:
    """What happens and why, for the operator."""
    changes = [f"{member['name']} {member['old']} -> {member['new']}" for member in rotation.members]
    what = f"{kind} of {subject}: {', '.join(changes) or f'{rotation.old} -> ' + (rotation.new or 'a new one')}"
    if rotation.direction == "back":
        return f"{what} is undone, because {rotation.cause.rstrip('.') or 'a proof failed'}."
    begun = f"{what}, because {rotation.reason}"
    if not fresh:
        return f"{begun}; begun at {rotation.started}, {rotation.step} so far, and finished now."
    if rotation.emergency:
        return f"{begun}. Emergency: the old one is revoked first; nothing is served until the new one is in use."
    return f"{begun}."


def required(ledger: Ledger) -> Rotation:
    """The unfinished rotation; RotationProblem when there is none."""
    if ledger.rotation is None:
        raise RotationProblem("No rotation has begun.")
    return ledger.rotation


def lost(rotation: Rotation, name: str) -> RotationProblem:
    """A file does not hold what the rotation left there."""
    file = {"current": "in use", "next": "kept as .next", "old": "kept as .old"}[name]
    return RotationProblem(
        f"The value {file} is not the one that the unfinished rotation {rotation.old} -> {rotation.new} left there: "
        "put it back, or remove the rotation's state file to give that rotation up."
    )
