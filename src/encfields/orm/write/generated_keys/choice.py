"""Decides which method gives an INSERT its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from encfields.databases import MYSQL_NAMES
from encfields.errors import UnknownIdentityError
from encfields.orm import internals
from encfields.orm.write.generated_keys.mysql_autoincrement import is_counted, next_numbers
from encfields.orm.write.generated_keys.mysql_found_rows import keys_of_found_rows
from encfields.orm.write.generated_keys.mysql_innodb import InnodbTables, require_transaction
from encfields.orm.write.generated_keys.mysql_side_connection import SideConnections, SideHook
from encfields.orm.write.generated_keys.postgresql_sequences import (
    Taken,
    take_defaults,
    take_numbers,
)
from encfields.orm.write.generated_keys.rehearsal import Keys, refuse_skipping, rehearse
from encfields.orm.write.generated_keys.savepoint import REASON as NOT_UNDONE
from encfields.orm.write.generated_keys.sqlite_rowids import lock_for_writing, next_row_ids
from encfields.orm.write.generated_keys.upserted import keys_of_upserted_rows

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection

    from encfields.orm.write.generated_keys.keyless import KeylessInsert


class Reserved(NamedTuple):
    """The keys of an INSERT's rows, and what else it needs.

    :ivar keys: row by row, as Python values.
    :ivar to_check: whether to check afterwards that the rows have these keys; a savepoint is set.
    :ivar overriding: whether the INSERT must override ``GENERATED ALWAYS``.
    """

    keys: Keys
    to_check: bool = False
    overriding: bool = False


class MySql:
    """State kept for MySQL and MariaDB, for one engine.

    :ivar tables: what is known about its tables.
    :ivar side: its connections for taking numbers.
    """

    def __init__(self, hook: SideHook) -> None:
        self.tables = InnodbTables()
        self.side = SideConnections(hook)


def reserve_at_once(connection: Connection, insert: KeylessInsert) -> Reserved | None:
    """The keys of an INSERT's rows, if they can be known before it is compiled.

    :returns: ``None`` if they cannot: :func:`reserve` returns them later.
    :raises UnknownIdentityError: they cannot be known if it is executed in this way.
    """
    if connection.dialect.name != "postgresql" or len(insert.missing) > 1 or insert.is_partial:
        return None
    (column,) = insert.missing
    taken = take_numbers(connection, column, len(insert.rows))
    if taken.numbers is None and not insert.may_skip:
        return None
    if taken.may_change:
        _require_check(connection, insert)
    keys = _taken_keys(connection, insert, taken)
    if keys is None:
        return None
    # A trigger that runs afterwards rarely changes a key, so rows that cannot be checked are
    # accepted.
    can_look = not (internals.is_autocommit(connection) or insert.may_skip)
    to_check = taken.may_change or (taken.is_followed and can_look)
    return Reserved(keys, to_check=to_check, overriding=taken.always)


def _taken_keys(connection: Connection, insert: KeylessInsert, taken: Taken) -> Keys | None:
    (column,) = insert.missing
    if taken.numbers is not None:
        return _as_python_sees(connection, column, taken.numbers)
    values = take_defaults(connection, column, len(insert.rows))
    return None if values is None or None in values else [(value,) for value in values]


def reserve(connection: Connection, insert: KeylessInsert, context: Any, mysql: MySql) -> Reserved:
    """The keys of an INSERT's rows, just before it is sent.

    :param context: its execution, which has not reached the driver yet.
    :param mysql: the state kept for MySQL and MariaDB.
    :raises UnknownIdentityError: they cannot be determined; says what to do instead.
    """
    if insert.is_found:
        keys = keys_of_upserted_rows(connection, insert, context)
        return Reserved(keys, to_check=True, overriding=_is_always(insert))
    if connection.dialect.name == "postgresql":
        _require_check(connection, insert)
        keys = rehearse(connection, insert, context)
        return Reserved(keys, to_check=True, overriding=_is_always(insert))
    if connection.dialect.name in MYSQL_NAMES:
        return Reserved(_of_mysql(connection, insert, context, mysql), to_check=True)
    return _of_sqlite(connection, insert, context)


def _is_always(insert: KeylessInsert) -> bool:
    return any(getattr(column.identity, "always", False) for column in insert.missing)


def _of_mysql(connection: Connection, insert: KeylessInsert, context: Any, mysql: MySql) -> Keys:
    table = mysql.tables.require(connection, insert)
    try:
        if is_counted(connection, insert):
            if insert.may_skip:
                return keys_of_found_rows(connection, insert, context, table)
            return next_numbers(connection, insert, context, table, mysql.side)
        require_transaction(connection, insert)
        return rehearse(connection, insert, context)
    except UnknownIdentityError as error:
        if error.reason == NOT_UNDONE:
            mysql.tables.is_not_undone(connection, insert)
        raise


def _of_sqlite(connection: Connection, insert: KeylessInsert, context: Any) -> Reserved:
    lock_for_writing(connection, insert)
    if len(insert.missing) == 1 and not insert.is_partial:
        ids = next_row_ids(connection, insert)
        if ids is not None:
            return Reserved(_as_python_sees(connection, insert.missing[0], ids))
    return Reserved(rehearse(connection, insert, context), to_check=True)


def _require_check(connection: Connection, insert: KeylessInsert) -> None:
    """Refuse an INSERT that could not be undone if the row were stored under another key."""
    if internals.is_autocommit(connection):
        raise insert.unknown(
            "under AUTOCOMMIT no transaction keeps the INSERT and the query for its key together: "
            "use a transaction, or give the key a Python-side default such as uuid.uuid4"
        )
    refuse_skipping(insert)


def _as_python_sees(connection: Connection, column: Column[Any], numbers: list[int]) -> Keys:
    """Numbers from the database, converted by the type of the key's column."""
    to_python = column.type.dialect_impl(connection.dialect).result_processor(
        connection.dialect, None
    )
    if to_python is None:
        return [(number,) for number in numbers]
    return [(to_python(number),) for number in numbers]
