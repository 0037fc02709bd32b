"""Names, schemas and parameter styles that need care."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase

from encfields import EncryptedType, Plaintext, SqlKeyStore, attach, keyrings
from encfields.errors import ContextMismatchError
from tests.database import Database
from tests.servers.mariadb import for_any_driver

ODD = [
    "plain",
    "With Blank",
    "UPPER",
    'quo"te',
    "back`tick",
    "per%cent",
    "co:lon",
    "sel.ect",
    "select",
    "ä",
    "brace{d}",
    "[square]",
    'a:b%c"d',
    "__x",
    "quest?ion",
]


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_needs_quotes(db, name):
    table = Table(
        f"{name} table",
        MetaData(),
        Column(f"{name} key", Integer, primary_key=True, autoincrement=False),
        Column(f"{name} other", String(20), primary_key=True),
        Column(name, EncryptedType()),
    )
    key, other, value = table.columns
    rows = [{key.key: n, other.key: "o", value.key: f"v-{n}"} for n in (1, 2)]
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), rows)
        connection.execute(insert(table).values({key: 3, other: "o", value: "v-3"}))
        assert connection.scalars(select(value).order_by(key)).all() == ["v-1", "v-2", "v-3"]
        connection.execute(update(table).where(key == 2, other == "o").values({value: "new"}))
        assert connection.scalar(select(value).where(key == 2)) == "new"
        rows_ = select(table).subquery()
        assert len(connection.execute(select(rows_)).all()) == 3
    db.copy_cell(value, source=(2, "o"), target=(1, "o"))
    with db.begin() as connection, pytest.raises(ContextMismatchError) as caught:
        connection.scalar(select(value).where(key == 1))
    assert caught.value.expected[f"enc:row:{name} key"] == "1"


class Base(DeclarativeBase):
    pass


class Renamed(Base):
    """Attributes, keys and names all differ."""

    __table__ = Table(
        "renamed",
        Base.metadata,
        Column("col_id", Integer, key="key_id", primary_key=True, autoincrement=False),
        Column("col_value", EncryptedType(), key="key_value"),
        Column("col_pinned", EncryptedType(name="pinned.name"), key="key_pinned"),
    )
    attr_id = __table__.c.key_id
    attr_value = __table__.c.key_value
    attr_pinned = __table__.c.key_pinned


def test_attributes_keys_and_names_may_all_differ(db):
    db.create(Base.metadata)
    model: Any = Renamed
    table = model.__table__
    with db.session() as session:
        session.add_all(model(attr_id=n, attr_value=f"v-{n}", attr_pinned="p") for n in (1, 2))
        session.commit()
        session.get_one(model, 1).attr_value = "new"
        session.execute(update(model), [{"attr_id": 2, "attr_value": "bulk"}])
        session.execute(insert(model), [{"attr_id": 3, "attr_value": "v-3"}])
        session.commit()
        session.execute(update(model).where(model.attr_id == 3).values(attr_value="set"))
        session.commit()
        values = session.scalars(select(model.attr_value).order_by(model.attr_id)).all()
        assert values == ["new", "bulk", "set"]
        rows = select(table).subquery()
        assert session.scalars(select(rows.c.key_pinned).order_by(rows.c.key_id)).all() == [
            "p",
            "p",
            None,
        ]
    message = db.stored(table.c.key_pinned, 1)
    assert b"pinned.name" in message
    assert b"enc:row:col_id" in message


def test_a_column_keeps_its_values_over_a_rename_if_its_name_is_pinned(db):
    old = Table(
        "old_table",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("old_column", EncryptedType(name="kept")),
    )
    new = Table(
        "new_table",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("new_column", EncryptedType(name="kept")),
    )
    db.create(old.metadata)
    with db.begin() as connection:
        connection.execute(insert(old).values(id=1, old_column="v"))
    db.execute_plain("ALTER TABLE old_table RENAME TO new_table")
    db.execute_plain("ALTER TABLE new_table RENAME COLUMN old_column TO new_column")
    with db.begin() as connection:
        assert connection.scalar(select(new.c.new_column)) == "v"


def test_a_reflected_table_with_an_encrypted_column(db):
    blob = "BYTEA" if db.name == "postgresql" else "BLOB"
    db.execute_plain(f"CREATE TABLE reflected (id INTEGER PRIMARY KEY, v {blob})")
    table = Table("reflected", MetaData(), Column("v", EncryptedType()), autoload_with=db.engine)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=5, v="v"))
        assert connection.scalar(select(table.c.v)) == "v"


# -- schemas -----------------------------------------------------------------------------------


def in_schema(schema: str | None, **options: Any) -> Table:
    return Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("v", EncryptedType(**options)),
        schema=schema,
    )


@pytest.mark.parametrize("schema", ["one", "Two %"])
def test_a_schema(schemas, schema):
    table = in_schema(schema)
    schemas.create(table.metadata)
    with schemas.begin() as connection:
        connection.execute(insert(table), [{"v": "a"}, {"v": "b"}])
        connection.execute(insert(table).values(id=50, v="c"))
        connection.execute(update(table).where(table.c.id == 50).values(v="d"))
        assert sorted(connection.scalars(select(table.c.v))) == ["a", "b", "d"]
    assert f"{schema}.t.v".encode() in schemas.stored(table.c.v, 50)


def test_the_same_table_in_another_schema_is_another_place(schemas):
    one, two = in_schema("one"), in_schema("Two %")
    for table in (one, two):
        schemas.create(table.metadata)
        with schemas.begin() as connection:
            connection.execute(insert(table).values(id=1, v=table.schema))
    schemas.overwrite(one.c.v, 1, schemas.stored(two.c.v, 1))
    with schemas.begin() as connection, pytest.raises(ContextMismatchError) as caught:
        connection.scalar(select(one.c.v))
    assert caught.value.found["enc:column"] == "Two %.t.v"


def test_schema_translate_map(schemas):
    table = in_schema(None)
    for schema in ("one", "Two %"):
        engine = schemas.engine.execution_options(schema_translate_map={None: schema})
        table.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(table), [{"v": f"{schema}-{n}"} for n in range(3)])
            connection.execute(update(table).where(table.c.id == 2).values(v="changed"))
            assert sorted(connection.scalars(select(table.c.v))) == sorted(
                [f"{schema}-0", "changed", f"{schema}-2"]
            )


def test_schema_translate_map_of_a_column_that_is_being_adopted(schemas):
    table = in_schema(None, name="t.v", adopts=Plaintext("plain", phase="write-both"))
    for schema in ("one", "Two %"):
        engine = schemas.engine.execution_options(schema_translate_map={None: schema})
        table.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(table), [{"id": 1, "v": schema}, {"id": 2, "v": "other"}])
            whole = schemas.engine.dialect.identifier_preparer.quote(schema)
            connection.exec_driver_sql(f"UPDATE {whole}.t SET plain = 'changed' WHERE id = 1")
            connection.exec_driver_sql(f"UPDATE {whole}.t SET plain = NULL WHERE id = 2")
            values = connection.scalars(select(table.c.v).order_by(table.c.id)).all()
        assert values == ["changed", None]
        table.metadata.drop_all(engine)
        assert not inspect(engine).has_table("t", schema=schema)


# -- parameter styles --------------------------------------------------------------------------

STYLES = [
    ("sqlite", "qmark"),
    ("sqlite", "named"),
    pytest.param(
        *("sqlite", "numeric"),
        marks=pytest.mark.skipif(
            sys.version_info >= (3, 12), reason="sqlite3 takes :1 for a name from Python 3.12 on"
        ),
    ),
    ("postgresql", "pyformat"),
    ("postgresql", "format"),
    ("mariadb", "format"),
    ("mariadb", "pyformat"),
]


@pytest.mark.parametrize("name, style", STYLES)
def test_a_parameter_style(request, name, style):
    db = Database(request.getfixturevalue(name), paramstyle=style)
    if db.engine.driver == "pg8000" and style == "pyformat":
        pytest.skip("has not this style")
    table = Table(
        "styled",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("one", EncryptedType()),
        Column("plain", String(20)),
        Column("two", EncryptedType()),
    )
    db.create(table.metadata)
    change = update(table).values(two=bindparam("new"), plain=bindparam("p"))
    if style != "numeric":  # sqlite3 numbers by appearance, which an expanded IN upsets
        change = change.where(table.c.plain.in_(bindparam("plains", expanding=True)))
    change = change.where(table.c.id == bindparam("k"))
    with db.begin() as connection:
        connection.execute(insert(table).values(one="1-a", plain="p", two="2-a"))
        connection.execute(
            insert(table),
            [
                {"plain": "p", "two": "2-b", "one": "1-b"},
                {"plain": "q", "two": None, "one": "1-c"},
                {"plain": "r", "two": "2-d", "one": None},
            ],
        )
        connection.execute(change, {"plains": ["p", "q", "r"], "k": 1, "new": "changed", "p": "p"})
        rows = connection.execute(select(table.c.one, table.c.two)).all()
    assert sorted(map(str, rows)) == sorted(
        ["('1-a', 'changed')", "('1-b', '2-b')", "('1-c', None)", "(None, '2-d')"]
    )


@pytest.mark.parametrize("driver", ["sqlite+pysqlite", "mariadb+pymysql"])
def test_other_names_of_the_same_dialect(request, driver):
    backend = request.getfixturevalue(driver.partition("+")[0])
    engine = create_engine(for_any_driver(backend.url.set(drivername=driver)))
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    table = in_schema(None)
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"v": "a"}, {"v": "b"}])
        connection.execute(update(table).where(table.c.id == 2).values(v="c"))
        assert connection.scalars(select(table.c.v).order_by(table.c.id)).all() == ["a", "c"]
    assert inspect(engine).has_table("t")
    engine.dispose()
