"""The bytes of a message, and of a blind index's hash, under another type, name or function: they
are selected as they are, and neither compared with a value, which would be sent, nor sorted by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    LargeBinary,
    String,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    text,
    type_coerce,
    union_all,
)

from encfields.errors import UnsupportedOperationError
from encfields.testing import assert_absent
from tests.database import CANARY, Database
from tests.index.clinic import Claim, Patient, patient

number: Any = Patient.ssn
message: Any = type_coerce(number, LargeBinary)
hashed: Any = number.blind()
bidx: Any = patient.c.ssn_bidx
value = CANARY.encode()


def _named(expression: Any) -> Any:
    """A subquery whose column `k` is the expression."""
    return select(Patient.id, expression.label("k")).subquery("named")


def _by_text(expression: Any, sql: str = "k = :x") -> Any:
    named = _named(expression)
    return select(named.c.id).where(text(sql).bindparams(x=value))


COMPARED: dict[str, Callable[[], Any]] = {
    "function": lambda: func.lower(message) == CANARY,
    "function in a list": lambda: func.upper(message).in_([CANARY]),
    "function of functions": lambda: func.trim(func.lower(message)) == CANARY,
    "part": lambda: func.substr(message, 1, 3) == value,
    "compared by a function": lambda: func.instr(message, value) > 0,
    "chosen by a function": lambda: func.nullif(message, value).is_(None),
    "cast": lambda: cast(message, String) == CANARY,
    "CASE of a function": lambda: case({CANARY: True}, value=func.lower(message), else_=False),
    "behind CASE": lambda: case((Patient.id == 1, message), else_=value) == value,
    "among a query's": lambda: literal(CANARY).in_(select(func.lower(message))),
    "index under another type": lambda: type_coerce(bidx, String) == CANARY,
    "index under another type, in a list": lambda: type_coerce(bidx, String).in_([CANARY]),
    "cast index": lambda: cast(bidx, String) == CANARY,
    "index or the value": lambda: func.coalesce(type_coerce(bidx, String), CANARY) == CANARY,
    "blind() under another type": lambda: type_coerce(hashed, LargeBinary) == value,
    "index in a function of raw SQL": lambda: text("hex(ssn_bidx) = :x").bindparams(x=CANARY),
}
STATEMENTS: dict[str, Callable[[], Any]] = {
    name: lambda make=make: select(Patient.id).where(make()) for name, make in COMPARED.items()
} | {
    "greatest of a group": lambda: (
        select(Patient.name).group_by(Patient.name).having(func.max(message) == value)
    ),
    "function named in a subquery": lambda: select(
        (named := _named(func.lower(message))).c.id
    ).where(named.c.k == CANARY),
    "label named in raw SQL": lambda: _by_text(message),
    "raw name, labelled, named in raw SQL": lambda: _by_text(literal_column("ssn")),
    "raw name, labelled, as a raw name": lambda: select(_named(literal_column("ssn")).c.id).where(
        literal_column("k") == CANARY
    ),
    "hash named in raw SQL": lambda: _by_text(hashed),
    "index named in a subquery": lambda: select(
        (named := _named(type_coerce(bidx, LargeBinary))).c.id
    ).where(named.c.k == value),
    "value below a message": lambda: union_all(select(message), select(literal(value))),
    "value below a hash": lambda: select(hashed).except_(select(literal(value))),
    "value below an index": lambda: select(bidx).intersect(select(literal(value))),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_stored_bytes_are_not_compared_with_a_value(sqlite_clinic: Database, name: str) -> None:
    with sqlite_clinic.session() as session, sqlite_clinic.statements() as seen:
        with pytest.raises(UnsupportedOperationError, match=r"column == value") as caught:
            session.execute(STATEMENTS[name]())
        assert (caught.value.table, caught.value.column) in (
            ("patient", "ssn"),
            ("patient", "ssn_bidx"),
        )
        assert_absent(CANARY, caught.value)
        assert seen == []


def _labelled(expression: Any) -> Any:
    return select(Patient.id, expression.label("k"))


SORTED: dict[str, Callable[[], Any]] = {
    "part": lambda: select(Patient.id).order_by(func.substr(message, 1, 3)),
    "CASE": lambda: select(Patient.id).order_by(case((Patient.id == 1, message))),
    "CASE of an index": lambda: select(Patient.id).order_by(
        case((Patient.id == 1, type_coerce(bidx, LargeBinary)))
    ),
    "window": lambda: select(func.row_number().over(order_by=func.substr(message, 1, 3))),
    "window in raw SQL": lambda: select(
        Patient.id, literal_column("row_number() OVER (PARTITION BY name ORDER BY ssn_bidx)")
    ),
    "window in raw SQL, by a hash of a subquery": lambda: select(
        _named(hashed).c.id, literal_column("row_number() OVER (ORDER BY k DESC)")
    ),
    "message of a subquery": lambda: select((named := _named(message)).c.id).order_by(named.c.k),
    "hash of a subquery": lambda: select((named := _named(hashed)).c.id).order_by(named.c.k),
    "message of a subquery, in raw SQL": lambda: select(_named(message).c.id).order_by(text("k")),
    "hash of a subquery, in raw SQL": lambda: select(_named(hashed).c.id).order_by(text("k")),
    "raw name of a subquery, in raw SQL": lambda: select(
        _named(literal_column("ssn")).c.id
    ).order_by(text("k")),
    "label of a message": lambda: _labelled(message).order_by(text("k")),
    "label of a hash": lambda: _labelled(hashed).order_by(text("k DESC")),
    "label of an index": lambda: _labelled(bidx).order_by(text("k")),
    "message by position": lambda: _labelled(message).order_by(text("2 DESC")),
    "hash by position": lambda: select(Patient.id, hashed).order_by(literal_column("2")),
    "index by position": lambda: select(Patient.id, bidx).order_by(text("1, 2")),
    "UNION by position": lambda: union_all(
        _labelled(hashed), select(Claim.id, Claim.ssn.blind().label("k"))
    ).order_by(text("2")),
}


@pytest.mark.parametrize("name", SORTED)
def test_stored_bytes_are_not_sorted_by(sqlite_clinic: Database, name: str) -> None:
    with sqlite_clinic.session() as session, sqlite_clinic.statements() as seen:
        with pytest.raises(UnsupportedOperationError, match=r"ssn(_bidx)?: .*sort") as caught:
            session.execute(SORTED[name]())
        assert caught.value.table == "patient"
        assert seen == []


@pytest.mark.parametrize("of", [func.max, func.min])
@pytest.mark.parametrize("expression", [bidx, type_coerce(hashed, LargeBinary)])
def test_the_greatest_hash_is_no_answer(sqlite_clinic: Database, of: Any, expression: Any) -> None:
    with (
        sqlite_clinic.session() as session,
        pytest.raises(UnsupportedOperationError, match="column == value"),
    ):
        session.execute(select(of(expression)))


def test_what_a_message_tells_without_its_bytes_may_be_asked(sqlite_clinic: Database) -> None:
    length = func.length(message)
    asked = select(Patient.id, length.label("size")).order_by(length, Patient.id)
    header = func.substr(message, 1, 2)
    with sqlite_clinic.session() as session:
        assert len(session.execute(asked.where(length > 100)).all()) == 3
        assert session.scalars(
            select(Patient.id).where(header == header).order_by(message.is_(None), Patient.id)
        ).all() == [1, 2, 3]
        named = _named(hashed)
        by_hash = select(func.count(named.c.id)).group_by(named.c.k)
        assert sorted(session.scalars(by_hash)) == [1, 1, 1, 1]
        assert session.scalar(select(func.count(bidx))) == 3
        numbered: Any = literal_column("row_number() OVER (PARTITION BY ssn_bidx ORDER BY id)")
        assert session.scalars(select(numbered).select_from(Patient)).all() == [1, 1, 1, 1]
