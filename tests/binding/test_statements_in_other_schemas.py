"""A statement may be translated into another schema than its connection's others.

``execution_options={"schema_translate_map": {None: tenant}}`` of one statement. What is asked for
its sake, such as the row that it is about or the key that it will get, is asked of the same table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, String, bindparam, event, insert, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from tests.database import Database

pytestmark = pytest.mark.filterwarnings("ignore:Class OnConflict")


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user_of_schema"
    __table_args__ = (CompoundBlindIndex("who", "first", "last"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    mail: Mapped[str] = mapped_column(String(40), unique=True)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex(unique=True)))
    first: Mapped[str | None] = mapped_column(EncryptedType())
    last: Mapped[str | None] = mapped_column(EncryptedType())


USERS: Any = User.__table__


Options = dict[str, Any]


@pytest.fixture
def there(db: Database, tmp_path: Path) -> Iterator[tuple[Engine, Options]]:
    """An engine, and what has a statement mean another schema's table. Each schema has another
    number of rows, and under other keys."""
    if db.name == "sqlite":

        def attach_file(driver_connection: Any, _: Any) -> None:
            driver_connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))

        event.listen(db.engine, "connect", attach_file)
        db.engine.dispose()
    name = "other" if db.name in ("sqlite", "postgresql") else f"{db.engine.url.database}_x"
    options: Options = {"schema_translate_map": {None: name}}
    if db.name != "sqlite":
        db.execute_plain(f"CREATE SCHEMA {name}")
    try:
        for engine in (db.engine, db.engine.execution_options(**options)):
            Base.metadata.create_all(engine)
            with engine.begin() as connection:
                _fill(connection, range(1, 8) if engine is db.engine else (3, 1, 2))
        yield db.engine, options
    finally:
        db.engine.dispose()
        if db.name != "sqlite":
            db.execute_plain(f"DROP SCHEMA {name}{' CASCADE' * (db.name == 'postgresql')}")


def _fill(connection: Connection, ids: Any) -> None:
    rows = [
        {"mail": mail, "ssn": f"s{mail}", "first": f"f{mail}", "last": f"l{mail}"}
        for _, mail in zip(ids, "abcdefg", strict=False)
    ]
    for row in rows:  # each takes a number, and then has another
        connection.execute(insert(USERS).values(row))
    for number, row in zip(ids, rows, strict=False):
        change = update(USERS).where(USERS.c.mail == row["mail"])
        connection.execute(change.values(id=number + 100, **row))


def _left(connection: Connection, options: Options) -> list[tuple[Any, ...]]:
    everything = select(USERS.c.id, USERS.c.mail, USERS.c.ssn, USERS.c.first, USERS.c.last)
    rows = connection.execute(everything.order_by(USERS.c.mail), execution_options=options)
    return [tuple(row) for row in rows]


def _upsert(connection: Connection) -> Any:
    name = connection.dialect.name
    if name in ("mariadb", "mysql"):
        statement: Any = mysql_insert(USERS)
        return statement.on_duplicate_key_update(
            first=statement.inserted.first, last=statement.inserted.last
        ).values(last="x")
    statement = (postgresql_insert if name == "postgresql" else sqlite_insert)(USERS)
    return statement.on_conflict_do_update(
        index_elements=["mail"],
        set_={"first": statement.excluded.first, "last": statement.excluded.last},
    ).values(last="x")


ROWS = [{"mail": mail, "ssn": f"s{mail}", "first": "new"} for mail in ("m", "n")]
NEW = [{"mail": mail, "ssn": f"s{mail}", "first": "new", "last": None} for mail in ("m", "n")]
STATEMENTS: dict[str, Any] = {
    "an insert": lambda c, o: c.execute(insert(USERS).values(NEW[0]), execution_options=o),
    "an insert with the option itself": lambda c, o: c.execute(
        insert(USERS).values(NEW[0]).execution_options(**o)
    ),
    "inserts": lambda c, o: c.execute(insert(USERS), NEW, execution_options=o),
    "an insert of rows": lambda c, o: c.execute(insert(USERS).values(NEW), execution_options=o),
    "an update by another key": lambda c, o: c.execute(
        update(USERS).where(USERS.c.mail == "b").values(ssn="new"), execution_options=o
    ),
    "an update by an encrypted key": lambda c, o: c.execute(
        update(USERS).where(USERS.c.ssn == "sb").values(ssn="new"), execution_options=o
    ),
    "updates by another key": lambda c, o: c.execute(
        update(USERS).where(USERS.c.mail == bindparam("q")).values(ssn=bindparam("v")),
        [{"q": "a", "v": "new"}, {"q": "c", "v": "newer"}],
        execution_options=o,
    ),
    "an update by key of a part of an index": lambda c, o: c.execute(
        update(USERS).where(USERS.c.id == bindparam("user_of_schema_id")),
        {"user_of_schema_id": 102, "first": "new"},
        execution_options=o,
    ),
    "the ORM's inserts": lambda c, o: Session(c).execute(insert(User), NEW, execution_options=o),
    "an upsert": lambda c, o: c.execute(_upsert(c), {**ROWS[0], "mail": "b"}, execution_options=o),
    "upserts": lambda c, o: c.execute(
        _upsert(c), [{**ROWS[0], "mail": "c"}, ROWS[1]], execution_options=o
    ),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_it_does_what_it_does_where_its_connection_is_translated(there, name):
    engine, options = there
    run = STATEMENTS[name]
    with engine.execution_options(**options).connect() as connection:
        run(connection, {})
        expected = _left(connection, {})
    with engine.connect() as connection:
        here = _left(connection, {})
        run(connection, options)
        found = _left(connection, options)
        assert _left(connection, {}) == here
        assert connection.get_execution_options() == {}
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    assert "new" in str(expected)
    if engine.dialect.name == "sqlite":  # others do not take back a number
        assert found == expected
