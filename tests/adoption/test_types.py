"""Every type that can be encrypted can be adopted, with every kind of key and tenant."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import uuid
from typing import Any

import pytest
from sqlalchemy import JSON, Column, MetaData, Table, insert, select, text, update
from sqlalchemy import types as sa
from sqlalchemy.dialects.mysql import LONGBLOB
from sqlalchemy.dialects.postgresql import asyncpg, psycopg

from encfields import BlindIndex, EncryptedType, Plaintext
from encfields.adopt import (
    Adoption,
    adopt,
    begin_adoption,
    ensure_adopted,
    refill_plaintext,
)
from encfields.errors import ValueDecodingError
from encfields.orm.adoption.text_form import TextForm
from tests.database import Database


class Grade(enum.Enum):
    LOW = 1
    HIGH = 2


class Utc(sa.TypeDecorator[dt.datetime]):
    """Converts what is written, and leaves alone what is read."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Any) -> Any:
        return value and value.replace(tzinfo=None)


VALUES: dict[str, tuple[Any, list[Any]]] = {
    "text": (sa.String(80), ["", "Größe 😀", "a:b'\"\\%"]),
    "bigint": (sa.BigInteger(), [0, -7, 2**63 - 1]),
    "numeric": (sa.Numeric(12, 2), [decimal.Decimal("1234567.89"), decimal.Decimal("-0.10")]),
    "float": (sa.Double(), [0.1, -1.1545580616824966e232, 1 / 3]),
    "boolean": (sa.Boolean(), [True, False]),
    "date": (sa.Date(), [dt.date(1815, 12, 10)]),
    "moment": (Utc(), [dt.datetime(2026, 1, 2, 3, 4, 5)]),
    "uuid": (sa.Uuid(), [uuid.UUID("6ba7b8109dad41d180b400c04fd430c8")]),
    "enum": (sa.Enum(Grade, name="grade"), [Grade.LOW, Grade.HIGH]),
    "json": (JSON(), [{"a": [True, "ü", None]}, 0.12345678901234566, "text"]),
    "bytes": (sa.LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb"), [b"\x00\xff:", b"P:"]),
}


def tables(phase: str | None) -> Table:
    """A table with a column of each type, in plaintext or in a phase."""
    columns: list[Column[Any]] = []
    for name, (type_, _) in VALUES.items():
        if phase is None:
            columns.append(Column(name, type_))
        else:
            adopts = Plaintext(name, phase=phase)  # type: ignore[arg-type]
            sealed = EncryptedType(type_, name=f"t.{name}", adopts=adopts)
            columns.append(Column(f"{name}_enc", sealed, key=name))
    return Table("t", MetaData(), Column("id", sa.Integer, primary_key=True), *columns)


def rows() -> list[dict[str, Any]]:
    longest = max(len(values) for _, values in VALUES.values())
    return [
        {"id": n + 1, **{name: values[n % len(values)] for name, (_, values) in VALUES.items()}}
        for n in range(longest)
    ] + [{"id": longest + 1, **dict.fromkeys(VALUES)}]


@pytest.mark.timeout(600)  # eleven columns are adopted, each by statements of its own
def test_a_value_of_every_type_is_the_same_before_during_and_after(db: Database):
    old, expected = tables(None), rows()
    old.metadata.create_all(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old), expected)
    both = tables("write-both")
    adoptions = [Adoption.of(both.c[name]) for name in VALUES]
    for adoption in adoptions:
        begin_adoption(db.engine, adoption)

    pending = tables("read-sealed")
    with db.engine.connect() as connection:
        for table in (both, pending):
            for name in VALUES:
                read = connection.execute(select(table.c[name]).order_by(table.c.id)).scalars()
                assert list(read) == [row[name] for row in expected], name
    for adoption in adoptions:
        assert adopt(db.engine, db.encryption, adoption).finished, adoption.plain
        # JSON has a null of its own, which is a value.
        nulls = 0 if adoption.plain == "json" else 1
        assert ensure_adopted(db.engine, db.encryption, adoption).both == len(expected) - nulls
    last = tables("write-sealed")
    with db.engine.begin() as connection:
        for name in VALUES:
            read = connection.execute(select(last.c[name]).order_by(last.c.id)).scalars()
            assert list(read) == [row[name] for row in expected], name
        first = {name: values[0] for name, (_, values) in VALUES.items()}
        connection.execute(insert(pending).values(id=50, **first))
        connection.execute(update(pending).where(pending.c.id == 50).values(**first))
        written = connection.execute(select(last).where(last.c.id == 50)).one()
        assert list(written[1 : 1 + len(first)]) == list(first.values())


@pytest.mark.parametrize(
    "on, type_, held, unheld, reason",
    [
        ("sqlite", sa.Float(), 0.5, math.nan, "altered"),  # SQLite stores NaN as NULL
        ("sqlite", sa.Interval(), dt.timedelta(1), dt.timedelta.max, "value"),  # stored as a date
        ("mariadb", sa.Double(), 0.5, math.inf, "value"),
    ],
)
def test_a_value_that_the_plaintext_column_cannot_hold_ends_the_refill_and_is_named(
    request: pytest.FixtureRequest, on: str, type_: Any, held: Any, unheld: Any, reason: str
) -> None:
    def readings(phase: str | None) -> Table:
        adopts: Any = phase and Plaintext("v", phase=phase)  # type: ignore[arg-type]
        sealed = EncryptedType(type_, name="t.v", adopts=adopts)
        value = Column("v_enc", sealed, key="v") if phase else Column("v", type_)
        return Table("t", MetaData(), Column("id", sa.Integer, primary_key=True), value)

    db, table = Database(request.getfixturevalue(on)), readings("write-sealed")
    readings(None).create(db.plain)
    adoption = Adoption.of(table.c.v)
    begin_adoption(db.engine, adoption)
    ensure_adopted(db.engine, db.encryption, adoption)
    with db.engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "v": held}, {"id": 2, "v": unheld}])

    report = refill_plaintext(db.engine, db.encryption, adoption)

    assert [(q.key, q.reason) for q in report.quarantined] == [({"id": "2"}, reason)]
    with db.engine.connect() as connection:
        values = {row.id: row.v for row in connection.execute(select(readings("read-sealed")))}
    assert repr(values) == repr({1: held, 2: unheld})


@pytest.mark.parametrize(
    "type_, earliest, latest",
    [(sa.Date(), dt.date.min, dt.date.max), (sa.DateTime(), dt.datetime.min, dt.datetime.max)],
)
def test_the_first_and_the_last_moment_are_read_as_asyncpg_stores_them(
    type_: Any, earliest: object, latest: object
) -> None:
    form = TextForm(type_, asyncpg.dialect())
    assert (form.value(b"-infinity"), form.value(b"infinity")) == (earliest, latest)
    with pytest.raises(ValueDecodingError):  # psycopg reads none
        TextForm(type_, psycopg.dialect()).value(b"infinity")


def test_nan_and_the_infinities_are_adopted_where_a_database_holds_them(postgresql_db: Database):
    db, kept = postgresql_db, [float("inf"), float("-inf"), float("nan"), 1.0]
    old = Table(
        "t",
        MetaData(),
        Column("id", sa.Integer, primary_key=True),
        Column("n", sa.Double),
        Column("l", sa.ARRAY(sa.Double)),
    )
    old.create(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old).values(id=1, n=kept[0], l=kept))
        connection.execute(insert(old).values(id=2, n=kept[2], l=[]))
    new = Table(
        "t",
        MetaData(),
        Column("id", sa.Integer, primary_key=True),
        *(
            Column(
                f"{name}_enc",
                EncryptedType(
                    old.c[name].type,
                    name=f"t.{name}",
                    adopts=Plaintext(name, phase="read-sealed"),
                ),
            )
            for name in "nl"
        ),
    )
    read = select(new.c.n_enc, new.c.l_enc).order_by(new.c.id)
    expected = repr([(kept[0], kept), (kept[2], [])])
    adoptions = [Adoption.of(new.c[f"{name}_enc"]) for name in "nl"]
    for adoption in adoptions:
        begin_adoption(db.engine, adoption)
    with db.engine.connect() as connection:
        assert repr([tuple(row) for row in connection.execute(read)]) == expected
    for adoption in adoptions:
        assert adopt(db.engine, db.encryption, adoption).finished
        assert ensure_adopted(db.engine, db.encryption, adoption).both == 2
    with db.engine.connect() as connection:
        assert repr([tuple(row) for row in connection.execute(read)]) == expected


def test_a_decimal_that_is_no_number_is_read_and_named_and_not_sealed(postgresql_db: Database):
    db = postgresql_db
    db.execute_plain("CREATE TABLE t (id INTEGER PRIMARY KEY, n NUMERIC, f NUMERIC)")
    db.execute_plain("INSERT INTO t VALUES (1, 'NaN', 'Infinity'), (2, 1.5, '-Infinity')")

    def sealed(name: str, type_: Any) -> Column[Any]:
        adopts = Plaintext(name, phase="read-sealed")
        return Column(f"{name}_enc", EncryptedType(type_, name=f"t.{name}", adopts=adopts))

    both = sealed("n", sa.Numeric()), sealed("f", sa.Numeric(asdecimal=False))
    table = Table("t", MetaData(), Column("id", sa.Integer, primary_key=True), *both)
    for column in both:
        begin_adoption(db.engine, Adoption.of(column))
    with db.engine.connect() as connection:
        rows = connection.execute(select(*both).order_by(table.c.id)).all()
    one = decimal.Decimal("1.5")
    assert repr(rows) == repr([(decimal.Decimal("NaN"), math.inf), (one, -math.inf)])
    report = adopt(db.engine, db.encryption, Adoption.of(both[0]))
    assert [(row.key, row.reason) for row in report.quarantined] == [({"id": "1"}, "range")]


@pytest.mark.parametrize("phase", ["write-both", "read-sealed"])
def test_a_tenant_is_part_of_what_the_trigger_watches(db: Database, phase: Any):
    sealed = EncryptedType(
        sa.String(40),
        key="tenant-{tenant}",
        name="doc.body",
        index=BlindIndex(key="default"),
        adopts=Plaintext("body", phase=phase),
    )
    table = Table(
        "doc",
        MetaData(),
        Column("region", sa.Integer, primary_key=True),
        Column("number", sa.Integer, primary_key=True, autoincrement=False),
        Column("tenant", sa.Integer),
        Column("body_enc", sealed, key="body"),
    )
    table.create(db.engine)
    for tenant in (1, 2):
        db.create_key(f"tenant-{tenant}")
    row = {"region": 1, "number": 1, "tenant": 1, "body": "text"}
    with db.begin() as connection:
        connection.execute(insert(table), [row, {**row, "number": 2}])
    db.execute_plain("UPDATE doc SET tenant = 2 WHERE number = 1")

    with db.engine.connect() as connection:
        assert connection.scalars(select(table.c.body).order_by(table.c.number)).all() == [
            "text",
            "text",
        ]
        found = connection.scalars(select(table.c.number).where(table.c.body == "text"))
        assert sorted(found) == [1, 2]
        states = connection.execute(text("SELECT body_enc IS NULL FROM doc ORDER BY number"))
        assert [bool(one[0]) for one in states] == [True, False]
    report = adopt(db.engine, db.encryption, Adoption.of(table.c.body))
    assert (report.finished, report.rows_written) == (True, 1)
    assert ensure_adopted(db.engine, db.encryption, Adoption.of(table.c.body)).both == 2


def test_plaintext_that_the_type_cannot_read_is_named_by_its_row_and_stops_the_run(db: Database):
    old = Table("t", MetaData(), Column("id", sa.Integer, primary_key=True), Column("n", sa.Text))
    old.create(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old), [{"id": 1, "n": "{}"}, {"id": 2, "n": "canary-4711"}])
    sealed = EncryptedType(JSON(), name="t.n", adopts=Plaintext("n", phase="write-both"))
    table = Table(
        "t", MetaData(), Column("id", sa.Integer, primary_key=True), Column("n_enc", sealed)
    )
    adoption = Adoption.of(table.c.n_enc)
    begin_adoption(db.engine, adoption)

    report = adopt(db.engine, db.encryption, adoption)

    assert not report.finished
    (fault,) = report.quarantined
    assert fault.key == {"id": "2"}
    assert "canary" not in str(report)


@pytest.mark.parametrize(
    "table, column",
    [
        ("it's %s order */ /* $encfields$", "e-mail %"),
        ("größenverzeichnis_" + "äöü" * 6, "a_rather_long_name_of_a_column_of_the_old_days"),
    ],
)
def test_names_may_hold_any_characters_and_be_long(db: Database, table: str, column: str):
    sealed = EncryptedType(
        sa.String(40),
        name="t.e",
        index=BlindIndex(),
        adopts=Plaintext(column, phase="read-sealed"),
    )

    old = Table(
        table,
        MetaData(),
        Column("id", sa.Integer, primary_key=True),
        Column(column, sa.String(40), nullable=False),
    )
    new = Table(
        table, MetaData(), Column("id", sa.Integer, primary_key=True), Column("sealed", sealed)
    )
    old.create(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old).values({"id": 1, column: "ada"}))

    adoption = Adoption.of(new.c.sealed)
    begin_adoption(db.engine, adoption)
    adopt(db.engine, db.encryption, adoption)
    ensure_adopted(db.engine, db.encryption, adoption)
    with db.begin() as connection:
        assert connection.scalar(select(new.c.sealed).where(new.c.sealed == "ada")) == "ada"
