"""SQLite: the next row ids, which are known while nobody else can write."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError

from encfields.keys.sql.connection import is_in_transaction

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from encfields.orm.write.generated_keys.keyless import KeylessInsert

_HIGHEST = 2**63 - 1


def lock_for_writing(connection: Connection, insert: KeylessInsert) -> None:
    """Take SQLite's write lock, as the INSERT itself would, by an UPDATE of no row.

    :raises UnknownIdentityError: no transaction is open to hold it, or the table is a view.
    """
    name = _quoted(connection, insert.table)
    column = connection.dialect.identifier_preparer.quote(insert.missing[0].name)
    # names only, quoted by the dialect, here and below
    try:
        connection.exec_driver_sql(f"UPDATE {name} SET {column} = {column} WHERE 0")  # noqa: S608
    except OperationalError as error:
        # Of a lock nothing is asked: in a savepoint what was read would keep the other writer from
        # committing.
        if "view" not in str(error.orig) or insert.table.name not in inspect(
            connection
        ).get_view_names(connection.schema_for_object(insert.table)):
            raise
        raise insert.unknown(
            "SQLite reports no key of a row that is inserted through a view: insert into the table "
            "beneath it, or give the key a value or a Python-side default"
        ) from None
    if not is_in_transaction(connection.connection.dbapi_connection):
        raise insert.unknown(
            "the database generates the row's key, and under AUTOCOMMIT nothing keeps other "
            "writers from taking it meanwhile: use a transaction, or give the key a Python-side "
            "default such as uuid.uuid4"
        )


def next_row_ids(connection: Connection, insert: KeylessInsert) -> list[int] | None:
    """The ids that SQLite would give the rows; call :func:`lock_for_writing` first.

    :returns: ``None`` if the column is not an alias of the row id, or a trigger of the table may
        use some.
    :raises UnknownIdentityError: there are not enough ids left.
    """
    (column,) = insert.missing
    table, schema = insert.table, connection.schema_for_object(insert.table)
    if not column.primary_key or len(table.primary_key.columns) != 1:
        return None
    known = _known_of(connection, table, column.name, schema)
    if not known.is_simple:
        return None
    last = 0 if known.highest is None else known.highest
    given = _last_given(connection, table, schema) if known.remembers else None
    if given is not None:
        last = max(last, given)
    if last > _HIGHEST - len(insert.rows):
        raise insert.unknown("the table has no row ids left after its highest: give the row a key")
    return list(range(last + 1, last + 1 + len(insert.rows)))


class _Known(NamedTuple):
    """What SQLite reports about a table.

    :ivar is_simple: whether the key is the row id itself, and no trigger runs when a row is
        inserted.
    :ivar highest: the highest row id, if it is simple and has rows.
    :ivar remembers: whether the database has an ``AUTOINCREMENT`` table.
    """

    is_simple: bool
    highest: int | None
    remembers: bool


def _known_of(connection: Connection, table: Table, column: str, schema: str | None) -> _Known:
    """Queried in one statement with short column names, which matters for the speed of a single
    row."""
    preparer = connection.dialect.identifier_preparer
    # names only, quoted by the dialect, here and below
    highest = f"SELECT max({preparer.quote(column)}) FROM {_quoted(connection, table)}"  # noqa: S608
    prefix = f"{preparer.quote_schema(schema)}." if schema else ""
    sql = (
        f"SELECT simple, CASE WHEN simple THEN ({highest}) END AS highest, remembers FROM (SELECT"  # noqa: S608
        " NOT EXISTS (SELECT 1 FROM pragma_index_list(:name, :schema) WHERE origin = 'pk')"
        " AND EXISTS (SELECT 1 FROM pragma_table_info(:name, :schema) WHERE pk AND upper(type) = "
        "'INTEGER')"
        f" AND NOT EXISTS (SELECT 1 FROM {prefix}sqlite_master WHERE type IN ('trigger', 'view')"
        " AND lower(tbl_name) = lower(:name))"
        " AND NOT EXISTS (SELECT 1 FROM sqlite_temp_master WHERE type = 'trigger'"
        " AND lower(tbl_name) = lower(:name)) AS simple,"
        f" EXISTS (SELECT 1 FROM {prefix}sqlite_master WHERE name = 'sqlite_sequence')"
        " AS remembers)"
    )
    values = {"name": table.name, "schema": schema or "main"}
    return _Known(*connection.exec_driver_sql(sql, values).one())


def _last_given(connection: Connection, table: Table, schema: str | None) -> int | None:
    """The highest id that SQLite ever gave in an ``AUTOINCREMENT`` table.

    SQLite's own table of these can be written to like any other; a value that is not a number is
    read as SQLite itself does.

    :returns: ``None`` for any other table.
    """
    prefix = f"{connection.dialect.identifier_preparer.quote_schema(schema)}." if schema else ""
    given = f"SELECT coalesce(CAST(seq AS INTEGER), 0) AS seq, name FROM {prefix}sqlite_sequence"  # noqa: S608
    sql = f"SELECT max(seq) AS seq FROM ({given}) WHERE lower(name) = lower(?)"  # noqa: S608
    last: int | None = connection.exec_driver_sql(sql, (table.name,)).scalar()
    return last


def _quoted(connection: Connection, table: Table) -> str:
    preparer = connection.dialect.identifier_preparer
    schema = connection.schema_for_object(table)
    name = preparer.quote(table.name)
    return f"{preparer.quote_schema(schema)}.{name}" if schema else name
