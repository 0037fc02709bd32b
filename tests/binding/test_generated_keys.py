"""Keys that the database generates: the value is sealed for a key that nobody knew before."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    bindparam,
    delete,
    event,
    func,
    insert,
    inspect,
    literal,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType
from encfields.errors import (
    ContextMismatchError,
    UnknownIdentityError,
    ValueEncodingError,
)
from tests.binding.models import Visit
from tests.database import CANARY, Database

visit: Any = Visit.__table__


def reasons(db) -> list[tuple[str | None, str | None]]:
    """Places and reasons, by key; each read through the row that it is in."""
    with db.begin() as connection:
        rows = connection.execute(select(visit.c.place, visit.c.reason).order_by(visit.c.id))
        return [tuple(row) for row in rows]


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"place": str(n), "reason": f"reason-{n}"} for n in range(count)]


def expected(count: int) -> list[tuple[str, str]]:
    return [(str(n), f"reason-{n}") for n in range(count)]


def test_a_single_object(shop):
    with shop.session() as session:
        made = Visit(place="0", reason="reason-0")
        session.add(made)
        session.flush()
        assert made.id == 1
        assert made.reason == "reason-0"
        session.commit()
        assert made.reason == "reason-0"
    assert reasons(shop) == expected(1)


def test_nothing_in_the_table_is_plaintext_or_left_unsealed(shop):
    with shop.session() as session:
        session.add(Visit(reason=CANARY, note=CANARY))
        session.add_all(Visit(reason=CANARY) for _ in range(3))
        session.commit()
    shop.assert_no_plaintext()


def test_more_objects_at_once_than_one_statement_inserts(shop):
    with shop.session() as session:
        session.add_all(Visit(**row) for row in rows_of(1100))
        session.commit()
    assert sorted(reasons(shop)) == sorted(expected(1100))


def test_several_encrypted_columns_some_of_them_null(shop):
    with shop.session() as session:
        session.add_all(
            [
                Visit(reason="r", note="n"),
                Visit(reason="r"),
                Visit(note="n"),
                Visit(),
                Visit(reason="r", note="n"),
            ]
        )
        session.commit()
    with shop.begin() as connection:
        rows = connection.execute(select(visit.c.reason, visit.c.note).order_by(visit.c.id))
        assert sorted(map(str, rows)) == sorted(
            ["('r', 'n')", "('r', None)", "(None, 'n')", "(None, None)", "('r', 'n')"]
        )


INSERTS = {
    "values": lambda s: [s.execute(insert(visit).values(row)) for row in rows_of(3)],
    "several rows in one values()": lambda s: s.execute(insert(visit).values(rows_of(3))),
    "several rows in the ORM's values()": lambda s: s.execute(insert(Visit).values(rows_of(3))),
    "parameters": lambda s: [s.execute(insert(visit), row) for row in rows_of(3)],
    "core executemany": lambda s: s.connection().execute(insert(visit), rows_of(3)),
    "orm insert one": lambda s: [s.execute(insert(Visit).values(row)) for row in rows_of(3)],
    "orm insert list": lambda s: s.execute(insert(Visit), rows_of(3)),
    "bulk_insert_mappings": lambda s: s.bulk_insert_mappings(inspect(Visit), rows_of(3)),
    "bulk_save_objects": lambda s: s.bulk_save_objects([Visit(**row) for row in rows_of(3)]),
    "bulk_save_objects with keys": lambda s: s.bulk_save_objects(
        [Visit(**row) for row in rows_of(3)], return_defaults=True
    ),
}


@pytest.mark.parametrize("write", INSERTS.values(), ids=INSERTS.keys())
def test_every_form_of_insert(shop, write):
    with shop.session() as session:
        write(session)
        session.commit()
    assert sorted(reasons(shop)) == expected(3)


NONE_AS_KEY = {
    "a row": lambda s: [s.execute(insert(visit), {"id": None, **row}) for row in rows_of(3)],
    "rows in values() that are tuples": lambda s: s.execute(
        insert(visit).values([(None, row["place"], row["reason"]) for row in rows_of(3)])
    ),
    "core executemany": lambda s: s.connection().execute(
        insert(visit), [{"id": None, **row} for row in rows_of(3)]
    ),
}


@pytest.mark.parametrize("write", NONE_AS_KEY.values(), ids=NONE_AS_KEY.keys())
def test_none_as_key_is_generated_where_a_plain_table_s_is(shop, write):
    refused = ProgrammingError if shop.engine.driver == "pg8000" else IntegrityError
    is_refused = shop.engine.dialect.name == "postgresql"
    with shop.session() as session:
        with pytest.raises(refused, match="null value") if is_refused else nullcontext():
            write(session)
        session.commit()
    assert sorted(reasons(shop)) == ([] if is_refused else expected(3))


@pytest.mark.parametrize("name", ["core executemany", "orm insert list", "bulk_insert_mappings"])
def test_many_rows_in_bulk(shop, name, monkeypatch):
    monkeypatch.setitem(globals(), "rows_of", lambda _: [dict(r) for r in MANY])
    with shop.session() as session:
        INSERTS[name](session)
        session.commit()
    assert sorted(reasons(shop)) == sorted(expected(2500))


MANY = rows_of(2500)


def test_the_key_is_reported(shop):
    with shop.begin() as connection:
        done = connection.execute(insert(visit).values(reason="r"))
        (key,) = done.inserted_primary_key
        assert connection.scalar(select(visit.c.reason).where(visit.c.id == key)) == "r"


def test_the_orm_returns_the_keys_of_many_rows(shop):
    keys = insert(Visit).returning(Visit.id, sort_by_parameter_order=True)
    asked = insert(visit).return_defaults(supplemental_cols=[visit.c.id])
    with shop.session() as session:
        if not session.connection().dialect.insert_returning:
            return
        returned = [*session.scalars(keys, rows_of(3))]
        assert returned == [*session.scalars(select(Visit.id).order_by(Visit.id))]
        (row,) = session.connection().execute(asked, {"reason": "r"})
        assert session.get_one(Visit, row.id).reason == "r"


def test_the_key_is_among_the_defaults_that_are_returned(shop):
    statement = insert(visit).values(reason="r").return_defaults()
    with shop.begin() as connection:
        done = connection.execute(statement)
        has_returning = done.returned_defaults is not None
        assert has_returning or shop.backend.family == "mariadb"
        if has_returning:
            assert (done.returned_defaults.id,) == done.inserted_primary_key


ROW, ROWS = {"v": "v"}, [{"v": "v"}, {"v": "w"}]
REPORTING = {
    "one row": lambda table: (insert(table), ROW),
    "all defaults": lambda table: (insert(table).return_defaults(), ROW),
    "another default": lambda table: (insert(table).return_defaults(table.c.n), ROW),
    "the key": lambda table: (insert(table).return_defaults(table.c.id), ROW),
    "no defaults": lambda table: (insert(table).inline(), ROW),
    "many rows": lambda table: (insert(table), ROWS),
    "many rows' defaults": lambda table: (insert(table).return_defaults(), ROWS),
    "many rows' other default": lambda table: (insert(table).return_defaults(table.c.n), ROWS),
    "many rows' keys": lambda table: (insert(table).return_defaults(table.c.id), ROWS),
    "several rows in one values()": lambda table: (insert(table).values(ROWS),),
    "one row and its key": lambda table: (_supplied(table, table.c.id), ROW),
    "one row and its value": lambda table: (_supplied(table, table.c.v), ROW),
    "many rows and their values": lambda table: (_supplied(table, table.c.v), ROWS),
    "many rows and their other default": lambda table: (_supplied(table, table.c.n), ROWS),
    "many rows and all of them": lambda table: (_supplied(table, table.c.id, table.c.v), ROWS),
}


def _supplied(table, *columns):
    """An INSERT that is asked for its key as a default, and for columns of its rows beside it."""
    return insert(table).return_defaults(table.c.id, supplemental_cols=columns)


KEYS = {
    "counted": lambda: Column("id", Integer, primary_key=True),
    "by_server": lambda: Column("id", Integer, primary_key=True, server_default=text("7")),
    "by_sql": lambda: Column("id", Integer, primary_key=True, default=text("8")),
    "by_sqlite": lambda: Column("id", Integer, primary_key=True, autoincrement=False),
    "by_optional_sequence": lambda: Column(
        "id", Integer, Sequence("seldom_made", optional=True), primary_key=True
    ),
}


@pytest.mark.filterwarnings("ignore:Column 'by_sqlite.* is marked")
@pytest.mark.parametrize("key", [*KEYS])
def test_what_an_insert_tells_of_its_keys_is_what_a_plain_table_s_does(shop, key):
    metadata = MetaData()
    plain, sealed = (
        Table(
            key + suffix,
            metadata,
            KEYS[key](),
            Column("n", Integer, server_default=text("5")),
            Column("v", type_),
        )
        for suffix, type_ in (("_plain", String(9)), ("_sealed", EncryptedType(String(9))))
    )
    shop.create(metadata)
    for name, statement in REPORTING.items():
        if key in {"by_server", "by_sql"} and "row" in name and name != "one row":
            continue  # they would all have one key
        if " and " in name and not shop.backend.has_returning:
            continue  # nor has a plain table
        told = []
        for table in (plain, sealed):
            metadata.drop_all(shop.engine)
            metadata.create_all(shop.engine)
            # SQLAlchemy 2.0 takes statements for the same whose supplemental columns differ.
            shop.engine.clear_compiled_cache()
            with shop.begin() as connection:
                if key == "by_server" and not connection.dialect.insert_returning:
                    return  # not known before the row is stored
                if key == "by_sqlite" and connection.dialect.name != "sqlite":
                    return  # no other database counts such a column
                told.append(_told(connection.execute(*statement(table)), table))
        assert told[1] == told[0], name


class Uncounted(DeclarativeBase):
    pass


class Sample(Uncounted):
    __tablename__ = "uncounted_sample"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    v: Mapped[str] = mapped_column(EncryptedType(String(9)))


@pytest.mark.parametrize("key, told", [(select(literal(6) + 1).scalar_subquery(), 7), (null(), 1)])
def test_a_key_that_an_sql_expression_gives_is_told_whatever_the_column_counts(
    sqlite_db, key, told
):
    sqlite_db.create(Uncounted.metadata)
    with sqlite_db.session() as session:
        sample = Sample(id=key, v="v")
        session.add(sample)
        session.flush()
        assert (sample.id, sample.v) == (told, "v")


def _told(done, table):
    told = {"rows": done.inserted_primary_key_rows, "defaults": done.returned_defaults_rows}
    told["keys"] = [*done.keys()] if done.returns_rows else None
    told["left"] = done.all() if done.returns_rows else None
    for row in done.returned_defaults_rows or ():
        told["by name"] = getattr(row, "id", "not told")
        told["by column"] = row._mapping.get(table.c.id, "not told")
    if done.dialect.name in {"mysql", "mariadb"}:
        told["last"] = done.lastrowid
    return told


def test_an_insert_that_was_skipped_tells_no_key(postgresql):
    database = Database(postgresql)
    database.create(Visit.metadata)
    skip = pg_insert(visit).on_conflict_do_nothing()
    with database.begin() as connection:
        stored = connection.execute(skip, {"reason": "r"})
        assert stored.returned_defaults == stored.inserted_primary_key
        following = stored.inserted_primary_key.id + 1
        connection.execute(insert(visit), {"id": following, "reason": "given"})
        skipped = connection.execute(skip, {"reason": "r"})
        assert skipped.inserted_primary_key is None
        assert skipped.returned_defaults is None


def test_an_insert_that_sqlite_skipped_tells_what_a_plain_table_s_does(sqlite_db):
    metadata = MetaData()
    told = []
    for name, type_ in (("plain", String(9)), ("sealed", EncryptedType(String(9)))):
        key, unique = Column("id", Integer, primary_key=True), Column("u", String(9), unique=True)
        table = Table(name, metadata, key, unique, Column("v", type_))
        sqlite_db.create(metadata)
        store = sqlite_insert(table).on_conflict_do_nothing()
        with sqlite_db.begin() as connection:
            told.append(
                [
                    _told(connection.execute(store, {"u": u, "v": "v"}), table)
                    for u in ("a", "a", "b", "c", "a")
                ]
            )
    assert told[1] == told[0]
    assert [row["rows"] for row in told[1]] == [[(1,)], [(1,)], [(2,)], [(3,)], [(3,)]]


@pytest.mark.parametrize("rows", [{"v": "v"}, [{"v": "v"}, {"v": "w"}]], ids=["one", "many"])
@pytest.mark.parametrize("write", [insert, update])
def test_a_generated_key_is_no_value_of_a_table_that_a_cte_writes(postgresql, write, rows):
    database, metadata = Database(postgresql), MetaData()
    audit, plain, sealed = (
        Table(name, metadata, Column("id", Integer, primary_key=True), Column(column, type_))
        for name, column, type_ in (
            ("audit", "what", String(9)),
            ("plain", "v", String(9)),
            ("sealed", "v", EncryptedType(String(9))),
        )
    )
    told = []
    for table in (plain, sealed):
        metadata.drop_all(database.engine)
        database.create(metadata)
        noted = write(audit).values(what="written").returning(audit.c.id).cte("noted")
        with database.begin() as connection:
            connection.execute(insert(audit), {"id": 70, "what": "before"})
            connection.execute(insert(table).add_cte(noted), rows)
            stored = connection.execute(select(table.c.id, table.c.v).order_by(table.c.id)).all()
            told.append((stored, connection.execute(select(audit)).all()))
    assert told[1] == told[0]


def test_a_given_key_and_a_generated_one_can_be_mixed(shop):
    with shop.session() as session:
        session.add(Visit(id=100, place="a", reason="given"))
        session.flush()
        session.add(Visit(place="b", reason="made"))
        session.add_all([Visit(id=200, place="c", reason="given"), Visit(place="d", reason="made")])
        session.commit()
    assert {reason for _, reason in reasons(shop)} == {"given", "made"}
    assert len(reasons(shop)) == 4


def test_a_moved_value_is_refused(shop):
    with shop.session() as session:
        session.add_all(Visit(**row) for row in rows_of(2))
        session.commit()
    shop.copy_cell(Visit.reason, source=2, target=1)
    with shop.session() as session, pytest.raises(ContextMismatchError):
        session.get(Visit, 1)


def test_the_object_can_be_changed_in_the_same_transaction(shop):
    with shop.session() as session:
        made = Visit(reason="r")
        session.add(made)
        session.flush()
        made.reason = "changed"
        session.flush()
        session.refresh(made)
        assert made.reason == "changed"
        session.rollback()
    assert reasons(shop) == []


def test_a_savepoint(shop):
    with shop.session() as session:
        session.add(Visit(place="0", reason="reason-0"))
        with session.begin_nested() as savepoint:
            session.add(Visit(place="x", reason="lost"))
            session.flush()
            savepoint.rollback()
        session.commit()
    assert reasons(shop) == expected(1)


def test_a_value_that_is_refused_leaves_no_row(shop):
    metadata = MetaData()
    table = Table(
        "numbered",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("v", EncryptedType(Integer)),
    )
    shop.create(metadata)
    for values in ({"v": "x" + CANARY}, [{"v": 1}, {"v": "x" + CANARY}]):
        with shop.begin() as connection, shop.refused(ValueEncodingError, table):
            connection.execute(insert(table), values)


def test_null_values_need_no_second_statement(shop):
    with shop.session() as session, shop.statements() as seen:
        session.add(Visit(place="x"))
        session.flush()
        assert not any(context.isupdate for context in seen)


def test_an_error_of_the_database_leaves_the_session_usable(shop):
    with shop.session() as session:
        session.add(Visit(id=1, reason="r"))
        session.commit()
        session.add(Visit(id=1, reason=CANARY))
        with pytest.raises(IntegrityError) as caught:
            session.flush()
        assert CANARY not in str(caught.value)
        session.rollback()
        session.add(Visit(id=50, reason="later"))
        session.commit()
        assert session.get_one(Visit, 50).reason == "later"


# -- where the key cannot be learnt ------------------------------------------------------------


def test_autocommit_has_no_transaction_to_hold_two_statements(shop):
    engine = shop.engine.execution_options(isolation_level="AUTOCOMMIT")
    if shop.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(insert(visit), rows_of(3))
        assert reasons(shop) == expected(3)
        return
    for values in (rows_of(1)[0], rows_of(3)):
        with engine.connect() as connection, shop.refused(UnknownIdentityError, visit) as caught:
            connection.execute(insert(visit), values)
        assert "AUTOCOMMIT" in str(caught.value)


def test_returning_delivers_the_row(shop):
    shop.backend.require_returning()
    for returned in (Visit, visit):
        with shop.session() as session:
            statement = insert(Visit).returning(returned)
            made = session.execute(statement, rows_of(3)).all()
            made = [row[0] for row in made] if returned is Visit else made
            assert sorted((v.place, v.reason) for v in made) == expected(3)
            session.rollback()
    with shop.session() as session:
        statement = insert(Visit).returning(Visit, sort_by_parameter_order=True)
        made = session.scalars(statement, rows_of(1200)).all()
        assert [(v.place, v.reason) for v in made] == expected(1200)
        session.commit()
    assert sorted(reasons(shop)) == sorted(expected(1200))


def test_returning_the_value_without_the_key(shop):
    shop.backend.require_returning()
    with shop.begin() as connection:
        statement = insert(visit).returning(visit.c.reason)
        assert connection.scalar(statement, rows_of(1)[0]) == "reason-0"
    assert reasons(shop) == expected(1)


def test_returning_another_column_only(shop):
    shop.backend.require_returning()
    with shop.begin() as connection:
        statement = insert(visit).returning(visit.c.place)
        try:
            connection.execute(statement, rows_of(1)[0])
        except UnknownIdentityError:  # the key was neither known nor told
            assert shop.name != "postgresql"
    assert reasons(shop) in ([], expected(1))


@pytest.mark.parametrize("names", [("reason", "place"), ("place",)], ids=" ".join)
def test_rows_with_and_without_a_value_return_the_requested_columns(shop, names):
    """Only rows with an encrypted value need their key, and the ORM puts the columns that each
    INSERT returns below those of the one before."""
    shop.backend.require_returning()
    rows = [{"place": "1", "reason": "a"}, {"place": "2"}, {"place": "3", "reason": "c"}]
    with shop.session() as session:
        asked = [getattr(Visit, name) for name in names]
        returned = session.execute(insert(Visit).returning(*asked), rows).all()
    assert returned == [tuple(row.get(name) for name in names) for row in rows]


def test_rows_without_a_value_are_returned_where_the_key_is_always_generated(postgresql_db):
    class Base(DeclarativeBase):
        pass

    class Bill(Base):
        __tablename__ = "bill"

        id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
        payer: Mapped[str | None] = mapped_column(EncryptedType())
        cents: Mapped[int]

    postgresql_db.create(Base.metadata)
    rows: list[dict[str, Any]] = [
        {"payer": "a", "cents": 0},
        *({"cents": n} for n in range(1, 1100)),
    ]
    statement = insert(Bill).returning(Bill.payer, Bill.cents, sort_by_parameter_order=True)
    with postgresql_db.session() as session:
        returned = session.execute(statement, rows).all()
    assert returned == [(row.get("payer"), row["cents"]) for row in rows]


def test_an_insert_that_may_do_nothing_knows_its_key(shop):
    statement = {
        "sqlite": sqlite.insert(visit).on_conflict_do_nothing(),
        "postgresql": postgresql.insert(visit).on_conflict_do_nothing(),
        "mariadb": mysql.insert(visit).on_duplicate_key_update(place=visit.c.place),
    }[shop.backend.family]
    with shop.begin() as connection:
        connection.execute(statement, rows_of(3))
    assert reasons(shop) == expected(3)


def test_insert_ignore_knows_its_key(shop):
    prefix = {"sqlite": "OR IGNORE", "mariadb": "IGNORE"}.get(shop.backend.family, "/* nothing */")
    statement = insert(visit).prefix_with(prefix)
    with shop.begin() as connection:
        connection.execute(statement, rows_of(1))
    assert reasons(shop) == expected(1)


@pytest.mark.parametrize("prefix", ["LOW_PRIORITY", "high_priority "])
def test_an_insert_of_another_priority_learns_its_keys(shop, prefix):
    if shop.backend.family != "mariadb":
        prefix = "/* any */"
    with shop.begin() as connection:
        connection.execute(insert(visit).prefix_with(prefix), rows_of(1)[0])
    assert reasons(shop) == expected(1)
    with shop.begin() as connection:
        connection.execute(delete(visit))
        connection.execute(insert(visit).prefix_with(prefix), rows_of(3))
    assert reasons(shop) == expected(3)


def test_a_raw_transaction_of_the_driver_s_own_is_held_together(shop):
    with shop.engine.connect() as connection:
        connection.execute(insert(visit), rows_of(2))
        connection.rollback()
    assert reasons(shop) == []


def test_a_key_that_is_an_sql_expression_is_learnt(shop):
    following: Any = select(func.coalesce(func.max(visit.c.id), 0) + 41).scalar_subquery()
    if shop.backend.family == "mariadb":  # which does not read the table that it inserts into
        following = literal(20) + 21
    with shop.session() as session:
        session.execute(insert(Visit).values(id=following, place="0", reason="reason-0"))
        session.add(Visit(id=func.abs(-50), place="1", reason="reason-1"))
        session.commit()
        assert session.get_one(Visit, 50).reason == "reason-1"
    assert reasons(shop) == expected(2)


def test_keys_that_are_sql_expressions_of_many_rows_are_learnt_or_refused(shop):
    statement = insert(visit).values(id=func.abs(bindparam("k")))
    rows = [{**row, "k": -int(row["place"]) - 10} for row in rows_of(3)]
    try:
        with shop.begin() as connection:
            connection.execute(statement, rows)
    except UnknownIdentityError:
        assert reasons(shop) == []
    else:
        assert reasons(shop) == expected(3)


def test_none_as_key_among_given_keys_is_learnt_or_refused(shop):
    rows = [{**row, "id": 50 if row["place"] == "0" else None} for row in rows_of(3)]
    refused = ProgrammingError if shop.engine.driver == "pg8000" else IntegrityError
    try:
        with shop.begin() as connection:
            connection.execute(insert(visit), rows)
    except (UnknownIdentityError, refused):
        assert reasons(shop) == []
    else:
        assert sorted(reasons(shop)) == expected(3)


# -- kinds of generators -----------------------------------------------------------------------

GENERATORS = {
    "Identity": lambda: (Integer, Identity()),
    "Identity always": lambda: (Integer, Identity(always=True)),
    "Identity from 1000 by 10": lambda: (BigInteger, Identity(start=1000, increment=10)),
    "Sequence": lambda: (Integer, Sequence("made_seq")),
    "Sequence with an odd name": lambda: (Integer, Sequence('Odd "Seq"')),
}


@pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS.keys())
@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_every_generator(request, generator, name):
    db = Database(request.getfixturevalue(name))
    table = Table(
        "made",
        MetaData(),
        Column("id", *generator(), primary_key=True),
        Column("place", String(20)),
        Column("v", EncryptedType()),
    )
    db.create(table.metadata)
    try:
        with db.begin() as connection:
            connection.execute(insert(table).values(place="a", v="v-a"))
            connection.execute(insert(table), [{"place": x, "v": f"v-{x}"} for x in "bcd"])
            rows = connection.execute(select(table.c.place, table.c.v)).all()
        assert sorted(tuple(row) for row in rows) == [(x, f"v-{x}") for x in "abcd"]
    finally:
        table.metadata.drop_all(db.engine)


def test_a_generated_part_of_a_composite_key(postgresql_db):
    table = Table(
        "parts",
        MetaData(),
        Column("tenant", Integer, primary_key=True, autoincrement=False),
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("v", EncryptedType()),
    )
    postgresql_db.create(table.metadata)
    with postgresql_db.begin() as connection:
        connection.execute(insert(table), [{"tenant": n, "v": f"v-{n}"} for n in (1, 2)])
        rows = connection.execute(select(table.c.tenant, table.c.v)).all()
    assert sorted(tuple(row) for row in rows) == [(1, "v-1"), (2, "v-2")]


class Base(DeclarativeBase):
    pass


class Animal(Base):
    __tablename__ = "animal"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    chip: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class Plant(Base):
    __tablename__ = "plant"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    label: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "plant",
        "with_polymorphic": "*",
    }


class Tree(Plant):
    __tablename__ = "tree"

    id: Mapped[int] = mapped_column(ForeignKey("plant.id"), primary_key=True)
    bark: Mapped[str | None] = mapped_column(EncryptedType())
    __mapper_args__ = {"polymorphic_identity": "tree"}  # noqa: RUF012


def test_the_orm_inserts_a_class_that_is_selected_with_its_subclasses(shop_once):
    db = shop_once
    db.create(Base.metadata)
    with db.session() as session:
        session.execute(insert(Plant), [{"label": "1"}, {"label": "2"}])
        session.execute(insert(Tree), [{"label": "3", "bark": "b"}])
        assert [*session.scalars(select(Plant.label).order_by(Plant.id))] == ["1", "2", "3"]


class OddlyNamed(Base):
    __tablename__ = 'Odd "Table" %'

    key: Mapped[int] = mapped_column('The "Key": %', primary_key=True)
    value: Mapped[str | None] = mapped_column('The "Value": %', EncryptedType())


def test_names_that_need_quotes(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add(OddlyNamed(value="one"))
        session.flush()
        session.add_all(OddlyNamed(value=v) for v in ("two", "three"))
        session.commit()
        assert sorted(session.scalars(select(OddlyNamed.value))) == ["one", "three", "two"]


def test_a_default_of_an_onupdate_does_not_fire_for_the_sealing(db):
    fired: list[object] = []

    def fire(value):
        fired.append(value)
        return value

    table = Table(
        "stamped",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("stamp", Integer, onupdate=lambda: fire(7)),
        Column("v", EncryptedType(), onupdate=lambda: fire("updated")),
    )
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(v="inserted"))
        assert connection.execute(select(table.c.stamp, table.c.v)).one() == (None, "inserted")
    assert fired == []


def test_mysql_s_key_of_zero_is_refused(shop):
    if shop.backend.family != "mariadb":
        with shop.session() as session:
            session.add(Visit(id=0, reason="r"))
            session.commit()
            assert session.get_one(Visit, 0).reason == "r"
        return
    with shop.session() as session, shop.refused(UnknownIdentityError, visit):
        session.add(Visit(id=0, reason=CANARY))
        session.flush()


def test_events_of_the_session_see_values(shop):
    seen = []
    session = Session(shop.engine)

    @event.listens_for(session, "pending_to_persistent")
    def remember(session, instance):
        seen.append(instance.reason)

    session.add_all([Visit(reason="a"), Visit(reason="b")])
    session.flush()
    assert sorted(seen) == ["a", "b"]
    session.close()
