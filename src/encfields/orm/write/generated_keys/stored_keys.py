"""A look whether rows were stored under the keys that their values were sealed for.

A trigger or a rule of the database may give a row another key than the INSERT did.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, tuple_

from encfields.orm.declare.row_keys import MYSQL_NAMES
from encfields.orm.write.generated_keys.pending_key import has_own_bind

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.write.generated_keys.keyless import KeylessInsert

_ROWS = 1000
"""Keys that one query looks for."""


def are_stored(
    connection: Connection, insert: KeylessInsert, keys: list[tuple[Any, ...]], context: Any
) -> bool:
    """Whether each key has its row.

    :param context: of the INSERT, after it was executed.
    """
    columns = insert.missing
    is_mysql = connection.dialect.name in MYSQL_NAMES
    if is_mysql and _reported_by_driver(keys, context):
        return True
    # Under SERIALIZABLE, MySQL would lock a range to its end, and rows one by one do not.
    is_range = len(columns) == 1 and not is_mysql and _are_consecutive(keys)
    if is_range and not has_own_bind(columns[0], context.dialect):
        within = columns[0].between(keys[0][0], keys[-1][0])
        return _count(connection, insert, within) == len(keys)
    for start in range(0, len(keys), _ROWS):
        wanted = keys[start : start + _ROWS]
        if len(columns) == 1:
            among = columns[0].in_([key[0] for key in wanted])
        else:
            among = tuple_(*columns).in_(wanted)
        if _count(connection, insert, among) < len(set(wanted)):
            return False
    return True


def _reported_by_driver(keys: list[tuple[Any, ...]], context: Any) -> bool:
    """Whether MySQL's driver reported the key of the one row that was stored."""
    reported = None
    # MariaDB Connector/Python does not tell it of a cursor that SQLAlchemy has closed.
    with suppress(AttributeError, context.dialect.loaded_dbapi.Error):
        reported = context.cursor.lastrowid
    return bool(reported) and keys == [(reported,)]


def _are_consecutive(keys: list[tuple[Any, ...]]) -> bool:
    first, last = keys[0][0], keys[-1][0]
    if type(first) is not int or type(last) is not int:
        return False
    return keys == [(number,) for number in range(first, last + 1)]


def _count(connection: Connection, insert: KeylessInsert, criterion: Any) -> int:
    query = select(func.count()).select_from(insert.table).where(criterion)
    return connection.execute(query).scalar_one()
