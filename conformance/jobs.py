"""What an SDK is asked to open and to seal, and whether it did what it should."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from conformance.fixture import Place
from encfields.errors import EncFieldsError


@dataclass(frozen=True)
class Opening:
    """One message to open.

    :param expected: the plaintext; ``None`` where it has to be refused.
    """

    name: str
    key_id: str
    message: bytes
    context: dict[str, str]
    expected: bytes | None


@dataclass
class Verdict:
    """What came of a language's run.

    :ivar sdk: name and version, as the driver says.
    :ivar refused_here: of what it sealed, how often encfields refused it elsewhere or altered.
    :ivar faults: sentences; none is a pass.
    """

    sdk: str = ""
    opened: int = 0
    refused: int = 0
    sealed: int = 0
    refused_here: int = 0
    faults: list[str] = field(default_factory=list)


def openings(engine: Engine, places: Sequence[Place]) -> Iterator[Opening]:
    """Every stored value, and each with what must not open it."""
    for number, place in enumerate(places):
        message, context, key_id = place.stored(engine), place.context, place.key_id
        plaintext = place.plaintext(place.value)
        yield Opening(place.name, key_id, message, context, plaintext)
        if len(message) > 10_000:
            continue
        other = places[number - 1]
        yield Opening(f"{place.name} elsewhere", key_id, message, other.context, None)
        more = {**context, "enc:row:more": "1"}
        yield Opening(f"{place.name} with one pair more", key_id, message, more, None)
        fewer = dict(list(context.items())[1:])
        yield Opening(f"{place.name} with one pair fewer", key_id, message, fewer, None)
        column = {**context, "enc:column": "other.column"}
        yield Opening(f"{place.name} in another column", key_id, message, column, None)
        if other.key_id != key_id:
            yield Opening(f"{place.name} under another key", other.key_id, message, context, None)
    first = places[0]
    yield from _altered(first, first.stored(engine))


def _altered(place: Place, message: bytes) -> Iterator[Opening]:
    step = max(len(message) // 60, 1)
    for offset in range(0, len(message), step):
        changed = bytearray(message)
        changed[offset] ^= 1
        yield Opening(f"byte {offset}", place.key_id, bytes(changed), place.context, None)
    for length in range(0, len(message), step):
        cut = message[:length]
        yield Opening(f"{length} bytes", place.key_id, cut, place.context, None)


def job(
    connection: dict[str, str], opened: Sequence[Opening], places: Sequence[Place]
) -> dict[str, Any]:
    """The driver's input, as JSON has it.

    :param connection: how the key store and KMS are reached.
    """
    return {
        **connection,
        "open": [
            {
                "name": one.name,
                "key_id": one.key_id,
                "message": base64.b64encode(one.message).decode(),
                "context": one.context,
            }
            for one in opened
        ],
        "seal": [
            {
                "name": place.name,
                "key_id": place.key_id,
                "plaintext": base64.b64encode(place.plaintext(place.other)).decode(),
                "context": place.context,
            }
            for place in places
        ],
    }


def judge(
    answer: str, engine: Engine, opened: Sequence[Opening], places: Sequence[Place]
) -> Verdict:
    """Compare what the driver answered with what it should have.

    What it sealed is put into the database, and read through this library.
    """
    told = json.loads(answer)
    verdict = Verdict(sdk=told["sdk"])
    for one in opened:
        _judge_opening(one, told["opened"].get(one.name, {}), verdict)
    for place in places:
        result = told["sealed"].get(place.name, {})
        if "message" not in result:
            verdict.faults.append(f"{place.name} was not sealed: {result.get('refused')}")
            continue
        place.store(engine, base64.b64decode(result["message"]))
        verdict.sealed += 1
    for place in places:
        _judge_sealed(place, engine, verdict)
    _judge_moved(places, engine, verdict)
    return verdict


def _judge_opening(one: Opening, result: dict[str, str], verdict: Verdict) -> None:
    if "plaintext" in result:
        verdict.opened += 1
        if one.expected is None:
            verdict.faults.append(f"{one.name} was opened, and should have been refused")
        elif base64.b64decode(result["plaintext"]) != one.expected:
            verdict.faults.append(f"{one.name} was opened as something else")
    elif "refused" in result:
        verdict.refused += 1
        if one.expected is not None:
            verdict.faults.append(f"{one.name} was refused: {result['refused'][:300]}")
    else:
        verdict.faults.append(f"{one.name}: no answer")


def _judge_sealed(place: Place, engine: Engine, verdict: Verdict) -> None:
    try:
        value = place.read(engine)
    except EncFieldsError as error:
        verdict.faults.append(f"what it sealed for {place.name} does not open: {error}")
        return
    if value != place.other:
        verdict.faults.append(f"what it sealed for {place.name} reads as something else")


def _judge_moved(places: Sequence[Place], engine: Engine, verdict: Verdict) -> None:
    """What it sealed for one place must open in no other, nor when it is altered or cut."""
    for number, where in enumerate(places):
        moved = places[number - 1].stored(engine)
        _judge_refused(f"what was sealed elsewhere, in {where.name}", where, moved, engine, verdict)
    first = places[0]
    for one in _altered(first, first.stored(engine)):
        _judge_refused(f"a sealed value, {one.name}", first, one.message, engine, verdict)


def _judge_refused(
    told: str, where: Place, message: bytes, engine: Engine, verdict: Verdict
) -> None:
    kept = where.stored(engine)
    where.store(engine, message)
    try:
        where.read(engine)
        verdict.faults.append(f"{told} was opened, and should have been refused")
    except EncFieldsError:
        verdict.refused_here += 1
    where.store(engine, kept)
