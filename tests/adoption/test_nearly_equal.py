"""What a collation or a rounding takes for one another is told apart throughout an adoption."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy import types as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.default import DefaultDialect

from encfields import EncryptedType, Plaintext
from encfields.adopt import (
    Adoption,
    AdoptionError,
    adopt,
    begin_adoption,
    close_plaintext,
    compare_adopted,
    ensure_adopted,
    refill_plaintext,
)
from encfields.bulk.rows.equal_values import is_same_value
from encfields.codecs import codec_for
from tests.database import Database


def test_a_number_that_would_be_rounded_is_named_and_not_sealed(db: Database) -> None:
    if db.name == "sqlite":
        pytest.skip("it keeps doubles, which are read at the scale that is declared")

    def key() -> Column[int]:
        return Column("id", Integer, primary_key=True, autoincrement=False)

    old = Table("t", MetaData(), key(), Column("value", sa.Numeric(12, 4)))
    adopts = Plaintext("value", phase="write-both")
    sealed = EncryptedType(sa.Numeric(12, 2), name="t.value", adopts=adopts)
    new = Table("t", MetaData(), key(), Column("value_enc", sealed, key="value"))
    old.create(db.plain)
    with db.plain.begin() as connection:
        values = [Decimal("1.5"), Decimal("0.0001"), Decimal("-2.005")]
        connection.execute(insert(old), [{"id": n, "value": v} for n, v in enumerate(values)])
    adoption = Adoption.of(new.c.value)
    begin_adoption(db.engine, adoption)

    report = adopt(db.engine, db.encryption, adoption)
    assert {one.key["id"]: one.reason for one in report.quarantined} == {"1": "range", "2": "range"}
    with pytest.raises(AdoptionError, match="id=1: the number has more digits after the point"):
        ensure_adopted(db.engine, db.encryption, adoption)


SPELT: dict[str, tuple[Any, Any]] = {
    "json": (
        sa.JSON().with_variant(JSONB(), "postgresql"),
        {"zz": 1, "a": [True, 1.0, 1e300, {"y": None, "x": "ü"}]},
    ),
    "moment": (
        sa.DateTime(timezone=True),
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
    ),
    "moments": (sa.ARRAY(sa.DateTime(timezone=True)), [dt.datetime(2026, 1, 2, tzinfo=dt.UTC)]),
    "decimal": (sa.Numeric(), Decimal(2)),
    "zero": (sa.Double(), -0.0),
}


def test_a_value_that_the_database_spells_in_another_way_is_the_one_that_was_written(
    db: Database,
) -> None:
    spelt = {
        name: one
        for name, one in SPELT.items()
        if db.name == "postgresql" or not name.startswith("moment")
    }

    def table(phase: Any) -> Table:
        columns: list[Column[Any]] = [
            Column(
                f"{name}_enc",
                EncryptedType(type_, name=f"t.{name}", adopts=Plaintext(name, phase=phase)),
                key=name,
            )
            for name, (type_, _) in spelt.items()
        ]
        return Table("t", MetaData(), Column("id", Integer, primary_key=True), *columns)

    both = table("write-both")
    both.create(db.engine)
    with db.begin() as connection:
        if db.name == "postgresql":
            connection.exec_driver_sql("SET timezone TO 'Asia/Tokyo'")
        values = {name: value for name, (_, value) in spelt.items()}
        connection.execute(insert(both).values(id=1, **values))
    for name in spelt:
        adoption = Adoption.of(both.c[name])
        assert ensure_adopted(db.engine, db.encryption, adoption).both == 1
        assert close_plaintext(db.engine, db.encryption, adoption).both == 1
    with db.begin() as connection:
        read = connection.execute(select(table("write-sealed"))).one()
        assert tuple(read) == (1, *values.values())


@pytest.mark.parametrize(
    "type_, one, other",
    [
        (sa.JSON(), b'{"a":1}', b'{"a":true}'),
        (sa.JSON(), b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (sa.JSON(), b"9007199254740993.0", b"9007199254740992.0"),
        (sa.JSON(), b'"1"', b"1"),
        (sa.JSON(), b"not JSON", b"{}"),
        (sa.DateTime(), b"2026-01-02T03:04:05", b"2026-01-02T03:04:05+00:00"),
        (sa.Numeric(), b"1.50", b"1.51"),
        (sa.ARRAY(sa.Numeric()), b'["1.50"]', b'["1.51"]'),
        (sa.String(), b"1.50", b"1.5"),
    ],
)
def test_another_value_is_another_however_it_is_spelt(type_: Any, one: bytes, other: bytes) -> None:
    assert not is_same_value(codec_for(type_), DefaultDialect(), one, other)


PAIRS: dict[str, tuple[Any, list[tuple[Any, Any]]]] = {
    "text": (
        sa.String(80),
        [
            ("ada@x", "ADA@x"),
            ("a", "a "),
            ("é", "e\u0301"),
            ("ß", "ss"),
            ("", "\u00ad"),
            ("K", "\u212a"),
        ],
    ),
    "number": (sa.BigInteger(), [(2**63 - 1, 2**63 - 2), (-(2**63), -(2**63) + 1)]),
}


def version(kind: str, phase: str | None) -> Table:
    type_ = PAIRS[kind][0]
    key = (
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("part", String(20), primary_key=True),
    )
    if phase is None:
        return Table("t", MetaData(), *key, Column("value", type_))
    adopts = Plaintext("value", phase=phase)  # type: ignore[arg-type]
    sealed = EncryptedType(type_, name="t.value", adopts=adopts)
    return Table("t", MetaData(), *key, Column("value_enc", sealed, key="value"))


def rows_of(engine: Any, table: Table) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(table).order_by(table.c.id))]


@pytest.mark.parametrize("kind", PAIRS)
def test_what_looks_alike_is_never_taken_for_what_was_sealed(db: Database, kind: str) -> None:
    old, pairs = version(kind, None), PAIRS[kind][1]
    pending = version(kind, "read-sealed")
    read = select(pending.c.id, pending.c.part, pending.c.value).order_by(pending.c.id)
    old.create(db.plain)
    with db.plain.begin() as connection:
        rows = [{"id": n, "part": "k", "value": one} for n, (one, _) in enumerate(pairs)]
        connection.execute(insert(old), rows)
    adoption = Adoption.of(pending.c.value)
    begin_adoption(db.engine, adoption)
    assert adopt(db.engine, db.encryption, adoption).finished

    def is_up_to_date() -> bool:
        with db.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(read)] == rows_of(db.plain, old)

    assert is_up_to_date()
    with db.plain.begin() as connection:
        for n, (_, other) in enumerate(pairs):
            connection.execute(update(old).where(old.c.id == n).values(value=other))
    assert is_up_to_date()
    assert adopt(db.engine, db.encryption, adoption).rows_written == len(pairs)
    db.execute_plain("UPDATE t SET part = 'K'")
    assert is_up_to_date()
    assert adopt(db.engine, db.encryption, adoption).rows_written == len(pairs)
    assert compare_adopted(db.engine, db.encryption, adoption).both == len(pairs)


def test_the_largest_numbers_come_back(db: Database) -> None:
    both, old = version("number", "write-both"), version("number", None)
    both.create(db.engine)
    with db.begin() as connection:
        connection.execute(insert(both), {"id": 1, "part": "k", "value": 2**63 - 1})
    adoption = Adoption.of(both.c.value)
    ensure_adopted(db.engine, db.encryption, adoption)
    close_plaintext(db.engine, db.encryption, adoption)
    assert refill_plaintext(db.engine, db.encryption, adoption).finished
    assert rows_of(db.plain, old) == [(1, "k", 2**63 - 1)]
