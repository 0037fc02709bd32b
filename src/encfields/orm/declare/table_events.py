"""Checks a table's encrypted columns, and adds its indexes, once it has all its columns.

So errors in a declaration are raised where the table is defined, and not when it is used. A table
without a primary key may still get it from the database, as with ``DeferredReflection`` and
automap, or be only a part of one, as in Alembic's ``add_column``: it is checked when it is created
or used. One whose key is a foreign key to a table that is declared later has the key's type, and
is checked, from then on.
"""

from __future__ import annotations

import weakref
from typing import Any, cast

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.schema import ColumnCollectionConstraint

from encfields.orm.adoption.columns import adopt_columns, adopted_columns
from encfields.orm.declare.awaited_types import awaits_key_types
from encfields.orm.declare.collisions import refuse_colliding_keys, refuse_shared_names
from encfields.orm.declare.column_rules import check_column
from encfields.orm.declare.columns import SealedColumnType, bindings_of, is_encrypted
from encfields.orm.declare.compound_index import CompoundBlindIndex
from encfields.orm.declare.foreign_key_actions import refuse_actions
from encfields.orm.declare.index_binding import note_reflected
from encfields.orm.declare.message_check import message_check
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.declare.table_sql import refuse_reference, refuse_sql_of, refuse_sql_of_rule
from encfields.orm.declare.uniqueness import keep_uniqueness

_in_the_making: weakref.WeakSet[Table] = weakref.WeakSet()

_awaiting_types: weakref.WeakSet[Table] = weakref.WeakSet()


def complete(table: Table) -> None:
    """Check the table's encrypted columns and append the columns of their blind indexes.

    A table that is still being defined is left alone until it has all its columns.

    :raises DeclarationError: one of them cannot be protected as declared.
    """
    if table in _in_the_making:
        return
    _awaiting_types.discard(table)
    if awaits_key_types(table):
        _awaiting_types.add(table)
    if table in _awaiting_types or _lacks_key(table):
        for column in filter(is_encrypted, table.c):
            check_column(column)
    else:
        _refuse_or_complete(table)


def _lacks_key(table: Table) -> bool:
    """Whether the columns that identify a value's row are not there yet."""
    types = (cast("SealedColumnType", c.type) for c in table.c if is_encrypted(c))
    return not table.primary_key.columns and any(
        type_.bind_to is None or any(name not in table.c for name in type_.bind_to)
        for type_ in types
    )


def _refuse_or_complete(table: Table) -> None:
    if bindings := bindings_of(table):
        refuse_actions(bindings.values())
        refuse_shared_names(bindings.values())
        indexes_of(table)
        adopt_columns(table)
        refuse_colliding_keys(table)
        keep_uniqueness(table)
        refuse_sql_of(table)


def column_attached(column: Column[Any], table: Any) -> None:
    """An encrypted column was added to a table, which may already have been complete."""
    if isinstance(table, Table):
        if getattr(column.type, "guard", False):
            message_check(column)
        complete(table)


@event.listens_for(Table, "before_parent_attach")
def _table_begun(table: Table, metadata: Any) -> None:
    _in_the_making.add(table)


@event.listens_for(Table, "after_parent_attach")
def _table_complete(table: Table, metadata: Any) -> None:
    _in_the_making.discard(table)
    complete(table)
    # Foreign keys to it have their types now, unless one is to a column that awaits its own.
    for other in [other for other in _awaiting_types if other.metadata is metadata]:
        complete(other)


@event.listens_for(Table, "before_create")
def _table_to_be_created(table: Table, connection: Any, **options: Any) -> None:
    _refuse_or_complete(table)
    refuse_reference(table)


@event.listens_for(Table, "after_create")
def _table_created(table: Table, connection: Any, **options: Any) -> None:
    if adopted_columns(table):
        from encfields.orm.adoption.create_all_triggers import create_triggers

        create_triggers(table, connection)


@event.listens_for(Table, "after_drop")
def _table_dropped(table: Table, connection: Any, **options: Any) -> None:
    if adopted_columns(table):
        from encfields.orm.adoption.create_all_triggers import drop_triggers

        drop_triggers(table, connection)


@event.listens_for(Table, "column_reflect")
def _column_reflected(inspector: Any, table: Table, column: Any) -> None:
    note_reflected(table, column["name"])


@event.listens_for(PrimaryKeyConstraint, "after_parent_attach")
def _key_attached(key: Any, table: Any) -> None:
    """A primary key was added: reflection does so after the columns, and before a class is
    mapped."""
    if isinstance(table, Table) and key.columns and any(map(is_encrypted, table.c)):
        complete(table)


@event.listens_for(UniqueConstraint, "after_parent_attach")
@event.listens_for(Index, "after_parent_attach")
def _rule_attached(rule: Any, table: Any) -> None:
    if isinstance(table, Table) and any(is_encrypted(column) for column in rule.columns):
        complete(table)


@event.listens_for(Index, "after_parent_attach")
@event.listens_for(ColumnCollectionConstraint, "after_parent_attach")
def _rule_with_sql_attached(rule: Any, table: Any) -> None:
    """A CHECK, an exclusion or an index was added to a table that may already be complete."""
    is_whole = isinstance(table, Table) and table not in _in_the_making
    if is_whole and any(map(is_encrypted, table.c)):
        refuse_sql_of_rule(rule, table)


@event.listens_for(CompoundBlindIndex, "after_parent_attach")
def _compound_index_attached(index: CompoundBlindIndex, table: Any) -> None:
    complete(table)


@event.listens_for(ForeignKeyConstraint, "after_parent_attach")
def _foreign_key_attached(rule: Any, table: Any) -> None:
    if isinstance(table, Table):
        complete(table)
