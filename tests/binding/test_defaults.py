"""Python-side defaults of encrypted columns, versions, and what the ORM fetches back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    func,
    insert,
    null,
    select,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.schema import Computed, FetchedValue, ForeignKey

from encfields import BlindIndex, EncryptedType
from encfields.errors import AmbiguousRowError, BindingError, DeclarationError
from tests.database import CANARY, Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


def from_the_row(context: Any) -> str:
    return f"of {context.get_current_parameters()['id']}"


class Thing(Base):
    __tablename__ = "thing"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str | None] = mapped_column(String(20))
    scalar: Mapped[str | None] = mapped_column(EncryptedType(), default=CANARY)
    called: Mapped[str | None] = mapped_column(EncryptedType(), default=lambda: CANARY + "!")
    context: Mapped[str | None] = mapped_column(EncryptedType(), default=from_the_row)
    changed: Mapped[str | None] = mapped_column(EncryptedType(), onupdate=lambda: "onupdate")


class Versioned(Base):
    __tablename__ = "versioned"

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    secret: Mapped[str | None] = mapped_column(EncryptedType())
    count: Mapped[int] = mapped_column(server_default=text("7"))
    __mapper_args__: Any = {"version_id_col": version, "eager_defaults": True}  # noqa: RUF012


thing: Any = Thing.__table__
DEFAULTS = (CANARY, CANARY + "!")


@pytest.fixture
def things(db):
    db.create(Base.metadata)
    return db


def values(db, key: int) -> tuple[Any, ...]:
    with db.begin() as connection:
        columns = (thing.c.scalar, thing.c.called, thing.c.context, thing.c.changed)
        return tuple(connection.execute(select(*columns).where(thing.c.id == key)).one())


INSERTS = {
    "object": lambda s: (s.add_all([Thing(id=1), Thing(id=2)]), s.flush()),
    "values": lambda s: [s.execute(insert(thing).values(id=n)) for n in (1, 2)],
    "many": lambda s: s.execute(insert(thing), [{"id": n} for n in (1, 2)]),
    "many in values()": lambda s: s.execute(insert(thing).values([{"id": n} for n in (1, 2)])),
    "orm insert": lambda s: s.execute(insert(Thing), [{"id": n} for n in (1, 2)]),
}


@pytest.mark.parametrize("work", INSERTS.values(), ids=INSERTS.keys())
def test_every_python_default_is_sealed(things, work):
    with things.session() as session:
        work(session)
        session.commit()
    for key in (1, 2):
        context = values(things, key)[2]
        assert values(things, key) == (*DEFAULTS, context, None)
        assert context == f"of {key}"
    things.assert_no_plaintext()


def test_an_object_holds_the_default_s_value(things):
    with things.session() as session:
        made = Thing(id=1)
        session.add(made)
        session.flush()
        assert (made.scalar, made.called, made.context) == (*DEFAULTS, "of 1")


class Numbered(Base):
    __tablename__ = "numbered"

    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(String(20))
    context: Mapped[str | None] = mapped_column(
        EncryptedType(), default=lambda c: f"of {c.get_current_parameters()['label']}"
    )


NUMBERED: Any = Numbered.__table__
ROWS = [{"label": "a"}, {"label": "b"}, {"label": "c"}]


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_an_sql_expression_gives_the_key(db, many):
    """SQLite would have given another number by itself."""
    next_key = text("(SELECT coalesce(max(n), 40) + 2 FROM counted)")
    table = Table(
        "expressed",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False, default=next_key),
        Column("v", EncryptedType()),
    )
    counted = Table("counted", table.metadata, Column("n", Integer))
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"v": "a"}] if many else {"v": "a"})
        connection.execute(insert(counted), {"n": 50})
        connection.execute(insert(table), {"v": "b"})
        assert sorted(connection.execute(select(table)).all()) == [(42, "a"), (52, "b")]


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
@pytest.mark.parametrize(
    "work",
    [
        lambda c: c.execute(insert(NUMBERED), ROWS),
        lambda c: c.execute(insert(NUMBERED).values(ROWS)),
    ],
    ids=["many", "many in values()"],
)
def test_a_default_sees_its_row_where_the_key_is_generated(backend, work, at_once):
    db = Database(backend, use_insertmanyvalues=at_once)
    db.create(Base.metadata)
    with db.begin() as connection:
        work(connection)
        columns = select(NUMBERED.c.label, NUMBERED.c.context).order_by(NUMBERED.c.id)
        assert connection.execute(columns).all() == [("a", "of a"), ("b", "of b"), ("c", "of c")]


@on_each_database
def test_a_rehearsed_insert_takes_many_rows_without_insertmanyvalues(backend):
    """On SQLite a trigger on the table leads to a rehearsal."""
    db = Database(backend, use_insertmanyvalues=False)
    db.create(Base.metadata)
    if db.name == "sqlite":
        db.execute_plain(
            "CREATE TRIGGER t AFTER INSERT ON numbered BEGIN "
            "UPDATE numbered SET label = label WHERE id = new.id; END"
        )
    with db.begin() as connection:
        connection.execute(insert(NUMBERED), [{**row, "context": "kept"} for row in ROWS])
        assert connection.scalars(select(NUMBERED.c.context)).all() == ["kept"] * 3


def _names(context: Any) -> str:
    return " ".join(sorted(context.get_current_parameters()))


class Told(Base):
    __tablename__ = "told"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    secret: Mapped[str | None] = mapped_column(
        EncryptedType(key="tenant/{tenant}", index=BlindIndex())
    )
    other: Mapped[str | None] = mapped_column(EncryptedType(key="tenant/{tenant}"))
    names: Mapped[str] = mapped_column(String(90), default=_names, onupdate=_names)


def test_a_default_is_told_of_nothing_but_what_was_given(sqlite_db):
    sqlite_db.create(Base.metadata)
    plain = sqlite_db.plain.dialect.execution_ctx_cls
    for tenant in (1, 2):
        sqlite_db.encryption.keys.create(f"tenant/{tenant}")
    with sqlite_db.session() as session:
        told = Told(tenant=1, secret="a", other="b")
        session.add(told)
        session.commit()
        assert told.names == "names other secret tenant"
        told.tenant = 2
        session.commit()
        assert told.names == "names tenant told_id"
        assert (told.secret, told.other) == ("a", "b")
    sqlite_db.encryption.detach()
    assert sqlite_db.engine.dialect.execution_ctx_cls is plain


def test_a_default_is_told_what_was_given_in_a_cte(postgresql_db):
    def names(context: Any) -> str:
        # SQLAlchemy cannot tell rows apart in a CTE
        given = context.get_current_parameters(isolate_multiinsert_groups=False)
        return " ".join(sorted(given))

    plain = Table(
        "plain",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("n", Integer),
        Column("names", String(90), default=names),
    )
    postgresql_db.create(plain.metadata)
    added = insert(plain).values(n=1).returning(plain.c.names).cte("added")
    with postgresql_db.begin() as connection:
        assert connection.scalar(select(added)) == "names param_1"


def test_a_given_value_goes_before_the_default(things):
    with things.session() as session:
        session.add(Thing(id=1, scalar=null(), called="given"))
        session.commit()
    assert values(things, 1)[:2] == (None, "given")


def test_onupdate_is_sealed_for_a_pinned_row(things):
    with things.session() as session:
        made = Thing(id=1)
        session.add(made)
        session.commit()
        made.label = "x"
        session.commit()
        assert made.changed == "onupdate"
    with things.begin() as connection:
        connection.execute(update(thing).where(thing.c.id == 1).values(changed="given"))
    assert values(things, 1)[3] == "given"
    with things.begin() as connection:
        connection.execute(update(thing).where(thing.c.id == 1).values(label="y"))
    assert values(things, 1)[3] == "onupdate"


def test_onupdate_of_rows_that_are_not_pinned_is_refused(things):
    with things.session() as session:
        session.add(Thing(id=1))
        session.commit()
    with things.begin() as connection, things.refused(AmbiguousRowError, thing) as refused:
        connection.execute(update(thing).values(label="x"))
    assert "onupdate default" in str(refused.value)


@pytest.fixture
def copied(things):
    """A table with a default, and one row of another to copy into it."""
    table = Table(
        "copied",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("v", EncryptedType(), default=CANARY),
    )
    things.create(table.metadata)
    with things.session() as session:
        session.add(Thing(id=1))
        session.commit()
    return table


def test_a_default_behind_insert_from_select_is_refused(things, copied):
    with things.begin() as connection, things.refused(BindingError, copied) as caught:
        connection.execute(insert(copied).from_select(["id"], select(thing.c.id)))
    assert caught.value.column == "v"
    assert "include_defaults=False" in str(caught.value)


def test_insert_from_select_without_its_defaults_stores_null(things, copied):
    source = select(thing.c.id)
    with things.begin() as connection:
        connection.execute(insert(copied).from_select(["id"], source, include_defaults=False))
        assert connection.execute(select(copied)).one() == (1, None)


def test_a_version_column_and_eager_defaults(things):
    with things.session() as session:
        made = Versioned(secret="one")
        session.add(made)
        session.flush()
        assert (made.version, made.count, made.secret) == (1, 7, "one")
        made.secret = "two"
        session.flush()
        assert (made.version, made.secret) == (2, "two")
        session.add_all([Versioned(secret="three"), Versioned(secret="four")])
        session.commit()
        secrets = session.scalars(select(Versioned.secret)).all()
        assert sorted(map(str, secrets)) == ["four", "three", "two"]


def test_a_stale_version_is_found_out(things):
    with things.session() as session:
        made = Versioned(secret="one")
        session.add(made)
        session.commit()
        key = made.id
        things.execute_plain("UPDATE versioned SET version = 9")
        made.secret = "two"
        with pytest.raises(StaleDataError):
            session.flush()
        session.rollback()
    with things.session() as session:
        assert session.get_one(Versioned, key).secret == "one"


DECLARATIONS = {
    "server default": lambda: Column("v", EncryptedType(), server_default="x"),
    "server default of SQL": lambda: Column("v", EncryptedType(), server_default=text("'x'")),
    "fetched value": lambda: Column("v", EncryptedType(), server_default=FetchedValue()),
    "server onupdate": lambda: Column("v", EncryptedType(), server_onupdate=FetchedValue()),
    "computed": lambda: Column("v", EncryptedType(), Computed("id + 1")),
    "SQL default": lambda: Column("v", EncryptedType(), default=func.now()),
    "SQL onupdate": lambda: Column("v", EncryptedType(), onupdate=text("'x'")),
    "primary key": lambda: Column("v", EncryptedType(), primary_key=True),
    "foreign key": lambda: Column("v", EncryptedType(), ForeignKey("other.id")),
    "sentinel": lambda: Column("v", EncryptedType(), nullable=False, insert_sentinel=True),
    "unknown bind_to": lambda: Column("v", EncryptedType(bind_to="nothing")),
    "bound to itself": lambda: Column("v", EncryptedType(bind_to="v")),
    "variant": lambda: Column("v", String().with_variant(EncryptedType(), "sqlite")),
}


@on_each_database
@pytest.mark.parametrize("column", DECLARATIONS.values(), ids=DECLARATIONS.keys())
def test_a_column_that_cannot_be_protected_is_refused_as_declared(column):
    with pytest.raises(DeclarationError):
        Table("t", MetaData(), Column("id", Integer, primary_key=True), column())


def test_a_table_without_a_key_is_refused_before_it_is_created(db):
    table = Table("t", MetaData(), Column("id", Integer), Column("v", EncryptedType()))
    with pytest.raises(DeclarationError, match="bind_to"):
        table.create(db.engine)


def test_a_key_that_is_encrypted_or_has_no_canonical_text_is_refused_as_declared():
    for type_ in (DateTime, Float, Numeric):
        with pytest.raises(DeclarationError):
            Table(
                "t", MetaData(), Column("k", type_, primary_key=True), Column("v", EncryptedType())
            )
    with pytest.raises(DeclarationError):
        Table(
            "t",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("k", EncryptedType()),
            Column("v", EncryptedType(bind_to="k")),
        )


@on_each_database
def test_variants_and_nested_types_are_refused_as_declared():
    with pytest.raises(DeclarationError):
        EncryptedType().with_variant(LargeBinary(), "sqlite")
    with pytest.raises(DeclarationError):
        EncryptedType(EncryptedType())


def test_rows_that_are_tuples_give_their_keys(sqlite_db):
    table = Table(
        "tuples",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("given", EncryptedType(String)),
        Column("made", EncryptedType(String), default="made"),
    )
    sqlite_db.create(table.metadata)
    with sqlite_db.begin() as connection:
        connection.execute(insert(table).values([(1, "a"), (2, "b")]))
        connection.execute(insert(table).values([(3, "c", "own"), (4, "d", None)]))
        rows = connection.execute(select(table).order_by(table.c.id)).all()
    found = [(row.id, row.given, row.made) for row in rows]
    assert found == [(1, "a", "made"), (2, "b", "made"), (3, "c", "own"), (4, "d", None)]
