"""A database as its application sees it, and as whoever can write to its tables does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    bindparam,
    event,
    inspect,
    text,
    type_coerce,
    update,
)
from sqlalchemy import column as sql_column
from sqlalchemy import select as sql_select
from sqlalchemy import table as sql_table
from sqlalchemy.orm import Session

from encfields import Encryption
from encfields.errors import EncFieldsError
from encfields.testing import assert_absent
from tests.attached import attach_with_kept_keys, create_kept_key, make_kept_keys
from tests.servers.backends import Backend

CANARY = "canary-4711"
"""A plaintext that nothing else would contain."""

WRAPPING_KEY = bytes(32)
"""Under which the keys of each :class:`Database` are."""


class Database:
    """One backend with an attached engine, and a plain one for raw SQL.

    :ivar engine: attached.
    :ivar plain: an engine on the same database that knows nothing of encryption.
    """

    def __init__(self, backend: Backend, **engine_options: Any) -> None:
        self.name = backend.name
        self.backend = backend
        self.engine: Engine = backend.create_engine(**engine_options)
        self.plain: Engine = backend.create_engine()
        self._shared = backend.shared
        self.encryption: Encryption = attach_with_kept_keys(
            self.engine,
            WRAPPING_KEY,
            plain=self.plain,
            are_there=self._shared is not None and self._shared.holds is not None,
        )

    def create(self, metadata: MetaData, *, is_empty: bool = False) -> None:
        """Make tables.

        :param is_empty: there is none of them yet, and none is looked for.
        """
        metadata.create_all(self.engine, checkfirst=not is_empty)

    def share(
        self,
        metadata: MetaData,
        keys: Iterable[str] = (),
        fill: Callable[[Database], object] | None = None,
    ) -> None:
        """Have tables that other tests have as well.

        The test asks for the fixture ``shared_tables``, before this database is made.

        :param keys: branch keys beside ``"default"``.
        :param fill: puts the rows into them that each test finds.
        """
        assert self._shared is not None
        what = metadata, frozenset(keys), fill
        had_keys = self._shared.holds is not None
        self._dispose()  # connections do not outlive what they are connected to
        if not self._shared.has(what):
            if had_keys:
                make_kept_keys(self.plain, WRAPPING_KEY)
            self._make(metadata, keys, fill)
            self._dispose()
            self._shared.keep(what)
        for key in keys:
            create_kept_key(self.plain, self.encryption, key, is_there=True)

    def _make(
        self,
        metadata: MetaData,
        keys: Iterable[str],
        fill: Callable[[Database], object] | None,
    ) -> None:
        """Make tables through other engines: this one's do not differ from test to test."""
        maker = Database(self.backend)
        metadata.create_all(maker.plain, checkfirst=False)
        for key in keys:
            maker.create_key(key)
        if fill is not None:
            fill(maker)
        maker._dispose()

    def _dispose(self) -> None:
        self.engine.dispose()
        self.plain.dispose()

    def create_key(self, key_id: str) -> None:
        """A branch key beside ``"default"``."""
        create_kept_key(self.plain, self.encryption, key_id)

    def session(self, **options: Any) -> Session:
        return Session(self.engine, **options)

    def begin(self) -> Any:
        """A Core connection in a transaction."""
        return self.engine.begin()

    # -- what the tables really hold -----------------------------------------------------------

    def stored(self, column: Any, *key: Any) -> Any:
        """The bytes in one cell, of the row with this primary key."""
        table, name = _column(column)
        statement = sql_select(_bare(table).c[name])
        return self._one(_where_key(statement, table, key))

    def overwrite(self, column: Any, key: Any, value: Any) -> None:
        """Write bytes into one cell, as an attacker with write access would."""
        table, name = _column(column)
        keys = key if isinstance(key, tuple) else (key,)
        statement = update(_bare(table)).values({name: bindparam("v", value)})
        with self.plain.begin() as connection:
            done = connection.execute(_where_key(statement, table, keys))
        assert done.rowcount == 1

    def copy_cell(self, column: Any, *, source: Any, target: Any) -> None:
        """Copy the ciphertext of one row into another, within one column."""
        keys = source if isinstance(source, tuple) else (source,)
        self.overwrite(column, target, self.stored(column, *keys))

    def _one(self, statement: Any) -> Any:
        with self.plain.connect() as connection:
            value = connection.execute(statement).scalar_one()
        return bytes(value) if isinstance(value, memoryview) else value

    def rows(self, table: Table) -> list[Any]:
        """Every row of a table as the database stores it."""
        with self.plain.connect() as connection:
            return [tuple(row) for row in connection.execute(sql_select(_bare(table)))]

    def execute_plain(self, sql: str, **values: Any) -> None:
        with self.plain.begin() as connection:
            connection.execute(text(sql), values)

    # -- promises ------------------------------------------------------------------------------

    def assert_no_plaintext(self, canary: str = CANARY) -> None:
        """Not one cell of the application's tables holds the canary."""
        with self.plain.connect() as connection:
            # By name alone: to reflect the tables takes longer than what most tests are about.
            quote = self.plain.dialect.identifier_preparer.quote
            tables = [quote(name) for name in inspect(connection).get_table_names()]
            rows = [
                [list(map(_searchable, row)) for row in connection.exec_driver_sql(statement)]
                for statement in (f"SELECT * FROM {table}" for table in tables)
            ]
        assert rows
        assert_absent(canary, rows)

    @contextmanager
    def refused(self, error: type[EncFieldsError], table: Table) -> Iterator[Any]:
        """What is done inside is refused, and leaves the table as it was."""
        before = self.rows(table)
        with pytest.raises(error) as caught:
            yield caught
        assert_absent(CANARY, caught.value)
        assert self.rows(table) == before

    @contextmanager
    def statements(self) -> Iterator[list[Any]]:
        """The execution contexts of the statements that run inside."""
        seen: list[Any] = []

        def listen(
            connection: Connection, cursor: Any, sql: str, parameters: Any, context: Any, many: bool
        ) -> None:
            seen.append(context)

        event.listen(self.engine, "after_cursor_execute", listen)
        try:
            yield seen
        finally:
            event.remove(self.engine, "after_cursor_execute", listen)


def _column(column: Any) -> tuple[Table, str]:
    if not isinstance(column, Column):
        mapper = inspect(column.class_)
        column = mapper.columns[column.key]
    table: Table = column.table
    return table, column.name


def _searchable(cell: Any) -> Any:
    """Bytes as such, in whichever form a driver delivers them."""
    return bytes(cell) if isinstance(cell, memoryview | bytearray) else cell


@functools.lru_cache(maxsize=200)
def _bare(table: Table) -> Any:
    """The table without its types: stored bytes as they are."""
    return sql_table(
        table.name,
        *(sql_column(c.name, LargeBinary() if _is_sealed(c) else c.type) for c in table.columns),
        schema=table.schema,
    )


def _is_sealed(column: Any) -> bool:
    return type(column.type).__name__ == "EncryptedType"


def _where_key(statement: Any, table: Table, key: tuple[Any, ...]) -> Any:
    bare = _bare(table)
    primary = list(table.primary_key.columns)
    for column, value in zip(primary, key, strict=True):
        statement = statement.where(bare.c[column.name] == value)
    return statement


def raw_select(table: Table) -> Any:
    """A SELECT of a table's rows in which ciphertext stays ciphertext."""
    return sql_select(
        *(
            type_coerce(column, LargeBinary).label(column.key) if _is_sealed(column) else column
            for column in table.c
        )
    )


def raw(column: Any) -> Any:
    """The column's stored bytes, in a statement of the attached engine."""
    return type_coerce(column, LargeBinary)


# -- fixtures ---------------------------------------------------------------------------------


@pytest.fixture
def db(backend: Backend) -> Database:
    """An attached engine on an empty database, on each of the three servers in turn."""
    return Database(backend)


@pytest.fixture
def sqlite_db(sqlite: Backend) -> Database:
    return Database(sqlite)


@pytest.fixture
def postgresql_db(postgresql: Backend) -> Database:
    return Database(postgresql)


@pytest.fixture
def schemas(postgresql_db: Database) -> Iterator[Database]:
    """A database with two further schemas, of which one has a name that needs quotes."""
    for name in ("one", '"Two %"'):
        postgresql_db.execute_plain(f"CREATE SCHEMA {name}")
    yield postgresql_db
    for name in ("one", '"Two %"'):
        postgresql_db.execute_plain(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def mariadb_db(mariadb: Backend) -> Database:
    return Database(mariadb)


@pytest.fixture
def mysql_db(mysql: Backend) -> Database:
    return Database(mysql)


@pytest.fixture(params=["mariadb", "mysql"])
def innodb_db(request: pytest.FixtureRequest) -> Database:
    """MariaDB, and MySQL where there is one."""
    return Database(request.getfixturevalue(request.param))
