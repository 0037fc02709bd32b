"""Sweeps find exactly what a batch would rewrite, whether SQL or Python looks at the headers."""

from __future__ import annotations

import pytest
from sqlalchemy import String, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType
from encfields.reencrypt.batches import BatchReader, Bounds
from encfields.reencrypt.connections import Connections
from encfields.reencrypt.job import Job
from encfields.reencrypt.spec import TableSpec
from encfields.reencrypt.sweep import CountingSweep, HeadSweep, Looked, sweep_of
from encfields.reencrypt.values import values_of
from tests.reencrypt.support import PATIENT, Clinic
from tests.reencrypt.test_tables import ROWS, Account, Base, ByUuid, fill, spec_of

ALL = Bounds(None, None)
LONG_KEY = "k" * 140


@pytest.fixture
def tables(backend):
    return Clinic(backend, Base)


class Sweeping:
    """Both ways to sweep a table, on one connection."""

    def __init__(self, clinic, spec):
        self.own = Connections(clinic.engine)
        self.prepared = Job(spec).prepare(self.own.reading())
        self.values = values_of(self.prepared, clinic.encryption)
        self.sweep = sweep_of(self.prepared, clinic.encryption, self.values)
        self.ways = [self.sweep, HeadSweep(self.prepared, self.values)]

    def is_clean(self):
        looks = [way.look(self.own.reading(), ALL, 1000).is_clean for way in self.ways]
        assert len(set(looks)) == 1
        return looks[0]


@pytest.fixture
def sweeping(tables):
    made = []

    def make(model):
        fill(tables, model, rows=12)
        made.append(Sweeping(tables, spec_of(model)))
        return made[-1]

    yield make
    for one in made:
        one.own.close()


def store(both, key, value):
    """Put bytes into a row of the table as the database has it, past the library."""
    table, column = both.prepared.table, both.prepared.columns[0]
    same = [c == part for c, part in zip(both.prepared.key, key, strict=True)]
    with both.own.writing().begin() as begun:
        stored = begun.connection.execute(update(table).where(*same).values({column: value}))
        assert stored.rowcount == 1


def stored(both):
    """Primary key to stored bytes."""
    rows = BatchReader(both.prepared).read(both.own.reading(), ALL, 1000)
    width = len(both.prepared.key)
    at = width + len(both.prepared.identity)
    return {tuple(row[:width]): bytes(row[at]) for row in rows}


@pytest.mark.parametrize("model", ROWS, ids=lambda model: model.__name__)
def test_a_table_is_clean_exactly_if_every_value_is_current_and_in_its_place(
    tables, sweeping, model
):
    both = sweeping(model)
    assert both.is_clean()
    values = stored(both)
    (first, its_own), (_, others) = list(values.items())[:2]
    for wrong in (others, b"", b"no message", its_own[:20], b"\x02\x04\x79" + its_own[3:]):
        store(both, first, wrong)
        assert not both.is_clean()
    store(both, first, its_own)
    assert both.is_clean()
    tables.rotate()
    assert not both.is_clean()


def test_null_is_current_whatever_the_columns_beside_it_hold(backend):
    clinic = Clinic(backend)
    clinic.fill(20)
    both = Sweeping(clinic, PATIENT)
    assert both.is_clean()
    with both.own.writing().begin() as begun:
        table = both.prepared.table
        begun.connection.execute(update(table).values(notes=None))
    assert both.is_clean()
    with both.own.writing().begin() as begun:
        begun.connection.execute(update(table).where(table.c.id == 7).values(notes=b"plaintext"))
    assert not both.is_clean()
    both.own.close()


@pytest.mark.parametrize("model", [m for m in ROWS if m is not ByUuid], ids=lambda m: m.__name__)
def test_the_servers_do_the_looking_themselves(tables, sweeping, model):
    expected = HeadSweep if tables.backend.name == "sqlite" else CountingSweep
    assert isinstance(sweeping(model).sweep, expected)


def test_where_each_row_has_its_own_key_the_heads_are_read(tables):
    own = Connections(tables.engine)
    prepared = Job(spec_of(Account)).prepare(own.reading())
    values = values_of(prepared, tables.encryption)
    assert isinstance(sweep_of(prepared, tables.encryption, values), HeadSweep)
    own.close()


def test_a_look_tells_how_far_it_went(tables, sweeping):
    both = sweeping(ByUuid)
    for way, step in ((both.ways[0], 1), (both.ways[1], 5)):
        bounds, seen = ALL, 0
        while True:
            looked: Looked = way.look(both.own.reading(), bounds, step)
            seen += looked.rows
            if looked.upto is None:
                break
            bounds = Bounds(looked.upto, None)
        assert seen == 12


def test_a_column_that_holds_text_is_looked_at_in_python(postgresql):
    clinic = Clinic(postgresql, Base)
    with clinic.engine.begin() as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)"))
        connection.execute(text("INSERT INTO note VALUES (1, 'never encrypted')"))
    own = Connections(clinic.engine)
    prepared = Job(TableSpec.of("note", ["body"])).prepare(own.reading())
    values = values_of(prepared, clinic.encryption)
    sweep = sweep_of(prepared, clinic.encryption, values)
    assert not sweep.look(own.reading(), ALL, 10).is_clean
    own.close()


class LongBase(DeclarativeBase):
    pass


class Long(LongBase):
    """Names and keys whose lengths are bytes of 128 and more in a header, which are no UTF-8."""

    __tablename__ = "long"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    named: Mapped[str] = mapped_column(EncryptedType(String, name="n" * 150))
    keyed: Mapped[str] = mapped_column(EncryptedType(String, key=LONG_KEY))


@pytest.mark.parametrize("column", ["named", "keyed"])
def test_lengths_that_are_no_ascii_are_compared_as_any_other(backend, column):
    clinic = Clinic(backend, LongBase)
    with Session(clinic.engine) as session:
        session.add_all([Long(id=i, named=f"n {i}", keyed=f"k {i}") for i in range(1, 13)])
        session.commit()
    both = Sweeping(clinic, spec_of(Long))
    assert both.is_clean()
    clinic.rotate("default" if column == "named" else LONG_KEY)
    assert not both.is_clean()
    assert clinic.run(spec_of(Long)).run().finished
    assert both.is_clean()
    both.own.close()
