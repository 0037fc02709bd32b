"""Sweeps find exactly what a batch would rewrite, whether SQL or Python looks at the headers."""

from __future__ import annotations

import pytest
from sqlalchemy import String, event, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType
from encfields.bulk.connections import Connections
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.rows.stored_keys import key_from_text
from encfields.bulk.runs.run_row import read_run
from encfields.bulk.runs.tables import ranges
from encfields.bulk.runs.worker import row_work_of
from encfields.bulk.survey.sweep import CountingSweep, HeadSweep, SweepOutcome, sweep_of
from tests.bulk.support import PATIENT, Clinic
from tests.bulk.test_tables import ROWS, Account, ByUuid, fill, make, spec_of

ALL = Bounds(None, None)
RANGE_ROWS = 40
LONG_KEY = "k" * 140


@pytest.fixture
def tables(backend):
    """Keys, and no table."""
    return Clinic(backend, None)


class Sweeping:
    """Both ways to sweep a table, on one connection."""

    def __init__(self, clinic, spec):
        self.own = Connections(clinic.engine)
        self.prepared = PreparedJob(Job(spec), self.own.reading())
        self.values = row_work_of(self.prepared, clinic.encryption)
        self.sweep = sweep_of(self.prepared, clinic.encryption, self.values, RANGE_ROWS)
        self.ways = [self.sweep, HeadSweep(self.prepared, self.values)]

    def is_clean(self):
        looks = [way.look(self.own.reading(), ALL, 1000).is_clean for way in self.ways]
        assert len(set(looks)) == 1
        return looks[0]


@pytest.fixture
def sweeping(tables):
    made = []

    def make(model, rows=12):
        fill(tables, model, rows=rows)
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
    make(tables, Account)
    own = Connections(tables.engine)
    prepared = PreparedJob(Job(spec_of(Account)), own.reading())
    values = row_work_of(prepared, tables.encryption)
    assert isinstance(sweep_of(prepared, tables.encryption, values, RANGE_ROWS), HeadSweep)
    own.close()


def test_a_look_tells_how_far_it_went(tables, sweeping):
    both = sweeping(ByUuid, rows=45)
    for way, step in ((both.ways[0], 1), (both.ways[1], 5)):
        bounds, seen = ALL, 0
        while True:
            looked: SweepOutcome = way.look(both.own.reading(), bounds, step)
            seen += looked.rows
            if looked.upto is None:
                break
            bounds = Bounds(looked.upto, None)
        assert seen == 45


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_range_with_an_end_is_looked_at_in_one_statement(request, name):
    """Also one that has grown; to find out where a part ends is to read it once more."""
    clinic = Clinic(request.getfixturevalue(name))
    clinic.fill(45)
    both = Sweeping(clinic, PATIENT)
    statements: list[str] = []

    def note(connection, cursor, statement, *rest):
        statements.append(statement)

    event.listen(both.own.engine, "before_cursor_execute", note)
    looked = both.sweep.look(both.own.reading(), Bounds((2,), (44,)), 2)
    assert looked == SweepOutcome(42, True, None)
    assert len(statements) == 1
    both.own.close()


def test_a_sweep_takes_the_ranges_of_the_pass_before_and_cuts_what_grew_behind_them(clinic):
    clinic.rotate()
    run_id = clinic.run().record()
    store, own = clinic.ranges_of(run_id), Connections(clinic.engine)
    for upper in ((48,), (60,), None):
        with own.writing().begin() as begun:
            run = read_run(begun.connection, run_id)
            claim = store.claim_new(begun.connection, run, upper, "a worker", 30)
            assert claim is not None
            store.release(begun.connection, claim)
    own.close()
    clinic.fill(40, first=201)
    report = clinic.run().run()
    assert (report.finished, report.passes) == (True, 2)
    with clinic.engine.connect() as connection:
        rows = connection.execute(
            select(ranges.c.pass_number, ranges.c.upper_key, ranges.c.rows_seen).order_by(
                ranges.c.pass_number, ranges.c.number
            )
        ).all()
    cut = [key_from_text(row.upper_key)[0] if row.upper_key else None for row in rows]
    assert cut == [48, 60, None, 48, 60, 108, 156, 204, None]
    assert [row.rows_seen for row in rows] == [48, 12, 180, 48, 12, 48, 48, 48, 36]


def test_a_column_that_holds_text_is_looked_at_in_python(postgresql):
    clinic = Clinic(postgresql, None)
    with clinic.engine.begin() as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)"))
        connection.execute(text("INSERT INTO note VALUES (1, 'never encrypted')"))
    own = Connections(clinic.engine)
    prepared = PreparedJob(Job(TableSpec.of("note", ["body"])), own.reading())
    values = row_work_of(prepared, clinic.encryption)
    sweep = sweep_of(prepared, clinic.encryption, values, RANGE_ROWS)
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
