"""SQLite: the row ids that come next, known as soon as nobody else can write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError

from encfields.keys.sql.connection import is_in_transaction

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from encfields.orm.write.generated_keys.keyless import KeylessInsert

_HIGHEST = 2**63 - 1


def lock_for_writing(connection: Connection, insert: KeylessInsert) -> None:
    """Take SQLite's one write lock, as the INSERT itself would, by an UPDATE of no row.

    :raises UnknownIdentityError: no transaction is open that would hold it, or it is a view.
    """
    name = _quoted(connection, insert.table)
    column = connection.dialect.identifier_preparer.quote(insert.missing[0].name)
    # names only, quoted by the dialect, here and below
    try:
        connection.exec_driver_sql(f"UPDATE {name} SET {column} = {column} WHERE 0")  # noqa: S608
    except OperationalError:
        if insert.table.name not in inspect(connection).get_view_names(
            connection.schema_for_object(insert.table)
        ):
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
    """The ids that SQLite would give to the rows; :func:`lock_for_writing` comes first.

    :returns: ``None`` if the column is no alias of the row id, or a trigger of the table may
        take some of them.
    :raises UnknownIdentityError: there are not enough ids left.
    """
    (column,) = insert.missing
    schema = connection.schema_for_object(insert.table)
    if not column.primary_key or not _is_simple_alias(connection, insert.table, schema):
        return None
    name = connection.dialect.identifier_preparer.quote(column.name)
    highest = connection.exec_driver_sql(
        f"SELECT max({name}) FROM {_quoted(connection, insert.table)}"  # noqa: S608
    ).scalar()
    last = max(_last_given(connection, insert.table, schema), highest or 0)
    if highest is not None and highest < 0 and last == 0:
        last = highest
    if last > _HIGHEST - len(insert.rows):
        raise insert.unknown("the table has no row ids left after its highest: give the row a key")
    return list(range(last + 1, last + 1 + len(insert.rows)))


def _is_simple_alias(connection: Connection, table: Table, schema: str | None) -> bool:
    """Whether the key is the row id itself, and no trigger runs when a row is inserted."""
    if len(table.primary_key.columns) != 1:
        return False
    prefix = f"{connection.dialect.identifier_preparer.quote_schema(schema)}." if schema else ""
    sql = (
        "SELECT (SELECT count(*) FROM pragma_index_list(:name, :schema) WHERE origin = 'pk'),"  # noqa: S608
        " (SELECT count(*) FROM pragma_table_info(:name, :schema) WHERE pk AND upper(type) = "
        "'INTEGER'),"
        f" (SELECT count(*) FROM {prefix}sqlite_master WHERE type IN ('trigger', 'view')"
        " AND lower(tbl_name) = lower(:name)),"
        " (SELECT count(*) FROM sqlite_temp_master WHERE type = 'trigger'"
        " AND lower(tbl_name) = lower(:name))"
    )
    values = {"name": table.name, "schema": schema or "main"}
    indexes, aliases, triggers, temporary = connection.exec_driver_sql(sql, values).one()
    return bool(aliases) and not (indexes or triggers or temporary)


def _last_given(connection: Connection, table: Table, schema: str | None) -> int:
    """What SQLite remembers of an ``AUTOINCREMENT`` table: the highest id that it ever gave.

    The table can be written to like any other; what is no number is read as SQLite itself does.
    """
    prefix = f"{connection.dialect.identifier_preparer.quote_schema(schema)}." if schema else ""
    sequence_table = f"SELECT 1 FROM {prefix}sqlite_master WHERE name = 'sqlite_sequence'"  # noqa: S608
    if connection.exec_driver_sql(sequence_table).first() is None:
        return 0
    given = f"SELECT CAST(seq AS INTEGER) AS seq, name FROM {prefix}sqlite_sequence"  # noqa: S608
    sql = f"SELECT max(seq) FROM ({given}) WHERE lower(name) = lower(?)"  # noqa: S608
    last: Any = connection.exec_driver_sql(sql, (table.name,)).scalar()
    return last or 0


def _quoted(connection: Connection, table: Table) -> str:
    preparer = connection.dialect.identifier_preparer
    schema = connection.schema_for_object(table)
    name = preparer.quote(table.name)
    return f"{preparer.quote_schema(schema)}.{name}" if schema else name
