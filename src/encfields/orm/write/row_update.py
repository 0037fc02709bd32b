"""Completes an UPDATE of rows by primary key, as the ORM emits it, before it is compiled.

A class may leave out the primary key and have another unique key for its own.

It sets what the application changed; nothing else is taken from the session's copy:

- If a value is bound to more than the primary key, the UPDATE also compares that. If the row has
changed since it was loaded, no row matches and SQLAlchemy raises ``StaleDataError``.
- If the row's identity changes, the unchanged values are read in the same transaction under a lock,
and resealed.
- If a part of a compound index changes, the other parts are read in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, PrimaryKeyConstraint, Table, UniqueConstraint, bindparam, text
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Update
from sqlalchemy.sql.elements import BinaryExpression, BindParameter

from encfields.errors import EncFieldsError
from encfields.orm import internals
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.index_column_type import IndexWithRest
from encfields.orm.declare.row_keys import from_bound_value
from encfields.orm.declare.table_indexes import known_indexes
from encfields.orm.flush import loaded_identity, row_key_of
from encfields.orm.query.statement_scope import conjunction
from encfields.orm.write.current_rows import CurrentRows
from encfields.orm.write.pending import Carried, is_null

if TYPE_CHECKING:
    from encfields.orm.write.execution import WriteExecution

_Row = dict[str, Any]

_KEYS = (PrimaryKeyConstraint, UniqueConstraint)

_PIN = "encfields_was_"
"""Prefix of the binds that the row's identity is compared with."""


def complete_row_update(execution: WriteExecution) -> bool:
    """Complete an UPDATE, if it is by primary key.

    :returns: whether it is one that the ORM emits for rows of a session.
    """
    rows = execution.rows
    if not all(isinstance(row, Mapping) for row in rows):
        return False
    keys = _compared_keys(execution.statement, execution.table, rows[0])
    if keys:
        change = RowUpdate(execution, keys, rows)
        execution.statement = change.complete()
        execution.multiparams, execution.params = change.rows, {}
    return bool(keys)


def _compared_keys(statement: Update, table: Table, row: Mapping[str, Any]) -> list[Column[Any]]:
    """The primary key's columns, if WHERE compares them with the ORM's own binds; or else those
    that it compares so, if they include another unique key."""
    compared: dict[Column[Any], None] = {}
    for criterion in conjunction(internals.where_criteria(statement)):
        if not isinstance(criterion, BinaryExpression) or criterion.operator is not operators.eq:
            continue
        column = table.columns.get(str(getattr(criterion.left, "key", "")))
        bind = criterion.right
        # A class's attribute is an annotated copy of the column, with the column's hash.
        if column is None or hash(column) != hash(criterion.left):
            continue
        if not isinstance(bind, BindParameter):
            continue
        if bind.key == internals.old_value_bind(column) and bind.key in row:
            compared[column] = None
    primary_key = [column for column in compared if column.primary_key]
    if primary_key and len(primary_key) == len(table.primary_key.columns):
        return primary_key
    return list(compared) if any(key <= set(compared) for key in unique_keys(table)) else []


def unique_keys(table: Table) -> Iterator[set[Column[Any]]]:
    """The keys of which no two rows have the same, the primary key included."""
    rules: list[Any] = [r for r in table.constraints if isinstance(r, _KEYS)]
    for index in table.indexes:
        is_partial = any(option.endswith("_where") for option in index.dialect_kwargs)
        if index.unique and not is_partial:
            rules.append(index)
    for rule in rules:
        if rule.columns:
            yield set(rule.columns)


class RowUpdate:
    """One UPDATE of rows by primary key; every row sets the same columns.

    :param keys: columns of the primary key.
    :ivar rows: the parameters of each row, completed by :meth:`complete`.
    """

    def __init__(self, execution: WriteExecution, keys: list[Column[Any]], rows: list[Any]) -> None:
        self.rows: list[_Row] = rows
        self._given = rows
        self._connection = execution.connection
        self._statement: Update = execution.statement
        self._table = execution.table
        self._keys = keys
        self._bindings = list(execution.bindings.values())
        self._by_expression = set(internals.update_values_by_key(self._statement))
        self._set = self._by_expression | set(rows[0])
        # Columns with ``onupdate`` count as set: their values are sealed, too.
        self._set |= {b.column.key for b in self._bindings if b.column.onupdate is not None}

    def complete(self) -> Update:
        """The statement, and with :attr:`rows` what it was given, with what was missing.

        :raises EncFieldsError: a value that has to be sealed again cannot be read.
        """
        identity = {c.key for binding in self._bindings for c in binding.bound_to}
        if identity & self._by_expression:
            return self._statement  # the new value is not known here, so the plan refuses it
        written = [b for b in self._bindings if b.column.key in self._set]
        if not written and not identity & self._set:
            return self._statement
        beyond = self._identity_beyond_key(identity & self._set)
        self.rows = [dict(row) for row in self.rows]
        self._note_identity(beyond)
        self._carry_values(beyond)
        self._carry_index_parts()
        if not self.rows:
            return self._matching_nothing(beyond)
        return self._statement.where(*(self._identity_condition(column) for column in beyond))

    # -- the identity of the rows --------------------------------------------------------------

    def _identity_beyond_key(self, stated: set[str]) -> list[Column[Any]]:
        """Columns beyond the primary key to which written or moved values are bound."""
        beyond: dict[Column[Any], None] = {}
        for binding in self._bindings:
            moves = stated & {column.key for column in binding.bound_to}
            if moves or binding.column.key in self._set:
                beyond |= dict.fromkeys(c for c in binding.bound_to if c not in self._keys)
        return list(beyond)

    def _note_identity(self, beyond: Sequence[Column[Any]]) -> None:
        """Add each row's identity beyond its primary key to the row's parameters."""
        if not beyond:
            return
        names = [column.key for column in beyond]
        known: Sequence[Mapping[str, Any]]
        known = [loaded_identity(self._connection, self._table, self._key(r)) for r in self.rows]
        incomplete = any(name not in identity for identity in known for name in names)
        if incomplete or not self._is_row_count_checked():
            current_rows = CurrentRows(self._connection, self._keys, self._old_keys()).read(beyond)
            if not _is_as_loaded(known, current_rows):
                raise internals.stale_data(self._table, len(self.rows))
            known = self._drop_missing_rows(current_rows)
        if len(self.rows) > 1 and self._set & set(names):
            known = self._as_left_by_rows_before(known, names)
        for row, identity in zip(self.rows, known, strict=True):
            row.update({_PIN + name: identity[name] for name in names})

    def _as_left_by_rows_before(
        self, known: Sequence[Mapping[str, Any]], names: Sequence[str]
    ) -> list[Mapping[str, Any]]:
        """Each row's identity when its turn comes; a list may have one row more than once."""
        left: dict[tuple[Any, ...], Mapping[str, Any]] = {}
        met: list[Mapping[str, Any]] = []
        for row, identity in zip(self.rows, known, strict=True):
            key = self._key(row)
            identity = left.get(key, identity)
            met.append(identity)
            left[key] = {name: row.get(name, identity[name]) for name in names}
        return met

    def _key(self, row: _Row) -> tuple[Any, ...]:
        return row_key_of({c: row[internals.old_value_bind(c)] for c in self._keys})

    def _old_keys(self) -> list[tuple[Any, ...]]:
        binds = [internals.old_value_bind(column) for column in self._keys]
        return [tuple(row[bind] for bind in binds) for row in self.rows]

    def _is_row_count_checked(self) -> bool:
        """Whether SQLAlchemy will notice that a row was not matched."""
        dialect = self._connection.dialect
        return len(self.rows) == 1 or dialect.supports_sane_multi_rowcount

    def _drop_missing_rows(self, current_rows: Sequence[_Row | None]) -> list[_Row]:
        """Leave out missing rows, which the UPDATE would not match."""
        pairs = zip(self.rows, current_rows, strict=True)
        self.rows = [row for row, current in pairs if current is not None]
        return [current for current in current_rows if current is not None]

    def _identity_condition(self, column: Column[Any]) -> Any:
        bind = bindparam(_PIN + column.key, type_=column.type)
        if any(row[bind.key] is None for row in self.rows):
            return column.is_not_distinct_from(bind)
        return column == bind

    # -- what else is written ------------------------------------------------------------------

    def _changed_identity(self, beyond: Sequence[Column[Any]]) -> set[str]:
        """Keys of the identity columns that change in at least one row."""
        old = {column: _PIN + column.key for column in beyond}
        old |= {column: internals.old_value_bind(column) for column in self._keys}
        return {
            column.key
            for column, bind in old.items()
            if column.key in self._set
            and not all(self._is_same(column, bind, r) for r in self.rows)
        }

    def _is_same(self, column: Column[Any], bind: str, row: _Row) -> bool:
        if row[column.key] is None or row[bind] is None:
            return False
        to_text = from_bound_value(column.type, self._connection.dialect)
        try:
            return to_text(row[column.key]) == to_text(row[bind])
        except EncFieldsError as error:
            error.table, error.column = self._table.fullname, column.name
            raise

    def _carry_values(self, beyond: Sequence[Column[Any]]) -> None:
        """Reseal values that are bound to what changes and are not set."""
        moved = self._changed_identity(beyond)
        left = [
            binding.column
            for binding in self._bindings
            if binding.column.key not in self._set
            and moved & {column.key for column in binding.bound_to}
        ]
        if not left or not self.rows:
            return
        current_rows = CurrentRows(self._connection, self._keys, self._old_keys()).read(left)
        kept = self._drop_missing_rows(current_rows)
        for row, current in zip(self.rows, kept, strict=True):
            row.update(current)
        self._set |= {column.key for column in left}

    def _carry_index_parts(self) -> None:
        """Give a compound index the values of its columns that are not set."""
        for index in known_indexes(self._table):
            parts = {source.column.key: source.column for source in index.sources}
            stated = self._set & set(parts)
            rest = [column for key, column in parts.items() if key not in stated]
            if stated and rest and not (stated | {index.index_column.key}) & self._by_expression:
                self._carry_rest(index, stated, rest)

    def _carry_rest(self, index: IndexBinding, stated: set[str], rest: list[Column[Any]]) -> None:
        name = index.index_column.key
        if name in self._set:
            return  # the application's own value, which the plan refuses
        none_is_value = {source.column.key: source.none_is_value for source in index.sources}
        needed = [
            row
            for row in self.rows
            if not any(is_null(row[key], none_is_value=none_is_value[key]) for key in stated)
        ]
        for row in self.rows:
            row[name] = IndexWithRest({})
        if not needed:
            return
        others = [row for row in self.rows if not any(row is other for other in needed)]
        self.rows = needed
        current_rows = CurrentRows(self._connection, self._keys, self._old_keys()).read(rest)
        kept = self._drop_missing_rows(current_rows)
        for row, current in zip(self.rows, kept, strict=True):
            row[name] = IndexWithRest(current)
        self.rows = [*others, *self.rows]

    def _matching_nothing(self, beyond: Sequence[Column[Any]]) -> Update:
        """An UPDATE that seals nothing and matches nothing, since no row exists."""
        self.rows = [dict(row) for row in self._given]
        for row in self.rows:
            for binding in self._bindings:
                if binding.column.key in self._set - self._by_expression:
                    row[binding.column.key] = Carried(None)
            for column in self._keys:
                if column.key in row:
                    row[column.key] = row[internals.old_value_bind(column)]
            row.update({_PIN + column.key: row.get(column.key) for column in beyond})
        # false() would drop the other criteria, which the plan needs
        return self._statement.where(
            text("1 = 0"), *(self._identity_condition(column) for column in beyond)
        )


def _is_as_loaded(known: Sequence[Mapping[str, Any]], current_rows: Sequence[_Row | None]) -> bool:
    """Whether the rows still equal what the session loaded."""
    return all(
        current is None or name not in current or current[name] == value
        for loaded, current in zip(known, current_rows, strict=True)
        for name, value in loaded.items()
    )
