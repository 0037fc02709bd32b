"""UPDATEs, and what INSERTs have too: values() and RETURNING.

Read::

    sqlalchemy.schema.Column                       _label
    sqlalchemy.sql.dml.Insert                      _multi_values
    sqlalchemy.sql.dml.Update                      _annotations _generate _propagate_attrs _values
    sqlalchemy.sql.dml.Update                      _with_options
    sqlalchemy.sql.dml.Update                      _ordered_values (2.0)
    sqlalchemy.sql.dml.UpdateBase                  _supplemental_returning
    sqlalchemy.orm.bulk_persistence                _BulkUDCompileState (2.1)
    sqlalchemy.orm.bulk_persistence._BulkUDCompileState _get_orm_crud_kv_pairs (2.1)
    sqlalchemy.orm.bulk_persistence._BulkUDCompileState _adjust_for_extra_criteria (2.1)
    sqlalchemy.orm.bulk_persistence.BulkUDCompileState _get_orm_crud_kv_pairs (2.0)
    sqlalchemy.orm.bulk_persistence.BulkUDCompileState _adjust_for_extra_criteria (2.0)

Written::

    sqlalchemy.sql.dml.Insert                      _multi_values
    sqlalchemy.sql.dml.Update                      _values
    sqlalchemy.sql.dml.Update                      _ordered_values (2.0)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy import Column, Table, update
from sqlalchemy.sql.dml import Update, UpdateBase
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.util import immutabledict

from encfields.orm.internals.entities import entity_of
from encfields.orm.internals.statements import same_table, written_table


def is_expression(value: Any) -> bool:
    """Whether it is an SQL expression, which includes ORM attributes, and not a plain value."""
    return isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")


def old_value_bind(column: Any) -> str:
    """Name of the bind to which the ORM compares a row's key in its UPDATE by primary key."""
    return str(column._label)


def returned_columns(statement: UpdateBase) -> list[Any]:
    """The columns of a statement's RETURNING, also those that the ORM has returned beside the keys
    of the objects that it follows."""
    return [*statement.exported_columns, *(statement._supplemental_returning or ())]


def stale_data(table: Table, expected: int) -> Exception:
    """The error that the ORM raises if an UPDATE matches fewer rows than expected.

    :param expected: number of rows that were to be updated.
    """
    from sqlalchemy.orm.exc import StaleDataError

    return StaleDataError(
        f"UPDATE statement on table '{table.description}' expected to update {expected} row(s), "
        "and the identity of one or more has changed since it was loaded"
    )


def has_loaded_change(state: Any, key: str) -> bool:
    """Whether an ORM attribute was set since it was loaded."""
    return key in state.committed_state


def update_values(statement: Any) -> list[tuple[Any, Any]]:
    """What an UPDATE's own values() or ordered_values() assign."""
    ordered = getattr(statement, "_ordered_values", None)  # SQLAlchemy 2.0
    return list(ordered) if ordered else list((statement._values or {}).items())


def with_update_values(statement: Update, added: Mapping[Column[Any], Any]) -> Update:
    """The same UPDATE with more assignments; the given statement is not changed."""
    ordered = getattr(statement, "_ordered_values", None)  # SQLAlchemy 2.0
    wanted = update_values(update(statement.table).values(dict(added)))
    copied: Any = statement._generate()
    if ordered:
        copied._ordered_values = [*ordered, *wanted]
    else:
        # A lambda's statement has an ordinary dictionary, which values() cannot add to.
        copied._values = immutabledict({**(copied._values or {}), **dict(wanted)})
    return cast("Update", copied)


def with_changed_values(statement: Any, change: Callable[[Any, Any], Any]) -> Any:
    """The same INSERT or UPDATE, with each value of values() replaced by what `change` returns for
    its target and value.

    :returns: `statement` itself if no value changes.
    """
    ordered = getattr(statement, "_ordered_values", None)  # SQLAlchemy 2.0
    groups = getattr(statement, "_multi_values", ())
    are_rows = bool(groups) and all(isinstance(row, dict) for group in groups for row in group)
    own = statement._values or {}
    values = {target: change(target, value) for target, value in own.items()}
    is_same = all(values[target] is value for target, value in own.items())
    if is_same and not ordered and not are_rows:
        return statement
    copied = statement._generate()
    if not is_same:
        copied._values = immutabledict(values)
    if ordered:
        copied._ordered_values = [(target, change(target, one)) for target, one in ordered]
    if are_rows:
        copied._multi_values = tuple(
            [{target: change(target, one) for target, one in row.items()} for row in group]
            for group in groups
        )
    return copied


def with_replaced_values(
    statement: Update, replaced: Column[Any], added: Mapping[Column[Any], Any]
) -> Update:
    """The same UPDATE without its assignments to `replaced`, and with others."""
    ordered = getattr(statement, "_ordered_values", None)  # SQLAlchemy 2.0
    copied: Any = statement._generate()
    kept = [
        (target, value)
        for target, value in update_values(statement)
        if replaced.key not in _by_key(statement, [(target, value)])
    ]
    if ordered:
        copied._ordered_values = kept
    else:
        copied._values = immutabledict(dict(kept))
    return with_update_values(copied, added)


def update_values_by_key(statement: Update) -> dict[str, Any]:
    """What an UPDATE's own values() assign, by key of the table's column, even if its ORM attribute
    has another name."""
    return _by_key(statement, update_values(statement))


def criteria_of_class(statement: Update) -> tuple[ColumnElement[bool], ...]:
    """The criteria that the ORM adds to an UPDATE of a class: the subclass's type, if it shares its
    table with others, and what ``with_loader_criteria()`` asks."""
    entity = entity_of(statement.table)
    if entity is None or statement._annotations.get("dml_strategy") == "core_only":
        return ()
    from sqlalchemy.orm import LoaderCriteriaOption

    attributes: dict[Any, Any] = {}
    for option in statement._with_options:
        if isinstance(option, LoaderCriteriaOption):
            option.get_global_criteria(attributes)
    criteria: tuple[ColumnElement[bool], ...]
    criteria = _state_class()._adjust_for_extra_criteria(attributes, entity.mapper)
    return criteria


def columns_elsewhere(statement: Update, target: Any, value: Any) -> list[Column[Any]]:
    """The columns of other tables that one of an UPDATE's assignments sets: MySQL's UPDATE may be
    of several tables, or of a join."""
    table: Any = written_table(statement)
    if isinstance(target, str) and len(getattr(_mapper_of(statement), "tables", ())) < 2:
        return []
    return [
        column
        for column, _ in _resolved(statement, [(target, value)])
        if isinstance(getattr(column, "table", None), Table) and not same_table(column.table, table)
    ]


def _resolved(statement: Update, values: Any) -> Any:
    """Assignments to columns instead of a class's attributes."""
    mapper = _mapper_of(statement)
    if mapper is None:
        return values
    return _state_class()._get_orm_crud_kv_pairs(mapper, statement, values, False)


def _mapper_of(statement: Update) -> Any:
    """The mapper of the class that is updated; ``None`` if it is a table.

    SQLAlchemy's plugin is also there if WHERE is the only place that names a class, maybe another.
    """
    entity = entity_of(statement.table)
    if entity is None and "_emit_update_table" in statement._annotations:
        entity = statement._propagate_attrs.get("plugin_subject")
    return getattr(entity, "mapper", None)


def _state_class() -> Any:
    """SQLAlchemy's class that compiles the UPDATE of a class."""
    from sqlalchemy.orm import bulk_persistence

    persistence: Any = bulk_persistence
    try:
        return persistence._BulkUDCompileState
    except AttributeError:  # SQLAlchemy 2.0
        return persistence.BulkUDCompileState


def _by_key(statement: Update, values: Any) -> dict[str, Any]:
    table: Any = written_table(statement)
    by_key: dict[str, Any] = {}
    for target, value in _resolved(statement, values):
        owner = getattr(target, "table", None)
        if owner is None or same_table(owner, table):
            by_key[str(getattr(target, "key", target))] = value
    return by_key
