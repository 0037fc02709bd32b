"""An INSERT whose rows lack a key: what it inserts, and which keys it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from sqlalchemy import Column, Table
from sqlalchemy.sql.elements import BindParameter, ClauseElement, Null
from sqlalchemy.sql.visitors import iterate

from encfields.errors import UnknownIdentityError
from encfields.orm import internals
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType
from encfields.orm.write.generated_keys.pending_key import (
    PendingKey,
    bind_of_ours,
    has_own_bind,
)
from encfields.orm.write.pending import is_null

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.dml import Insert


@dataclass(slots=True, eq=False, repr=False, weakref_slot=True)
class KeylessInsert:
    """An INSERT of encrypted values that lacks keys of their rows.

    :ivar written: the encrypted columns that have a value in any row, or are written along with
        one.
    :ivar missing: the columns whose values the database generates.
    :ivar values: what the statement itself assigns, by column key.
    :ivar rows: what each row is assigned in addition, and the values of the binds in it, or
        ``[{}]``.
    :ivar is_multi: whether the rows are in ``values([...])``.
    :ivar is_partial: whether the key is given by some rows, or by an SQL expression such as a
        default; or is stated as NULL where the database refuses that.
    :ivar may_skip: whether a row may not be stored, because of ON CONFLICT, IGNORE or the like.
    :ivar are_reported: whether SQLAlchemy would make the database return the keys it generates.
    :ivar holds_other: whether another INSERT or UPDATE is within it, in a CTE: SQLAlchemy takes a
        parameter for a value of that one's column of the name, too.
    :ivar statement: as the application gave it, with what is written along.
    :ivar last_number: the last one that MySQL generated before it is executed, if it may skip rows.
    :ivar is_found: whether an upsert may find its rows by another unique key, and then under
        another key than they are given.
    :ivar is_counted: whether it is told how many rows such an upsert has written.
    :ivar skipped: the numbers of the rows that such an upsert leaves as they are.
    :ivar places: the keys' places, row by row, in the order of `missing`.
    """

    table: Table
    written: list[ColumnBinding]
    missing: tuple[Column[Any], ...]
    values: dict[str, Any]
    rows: list[dict[str, Any]]
    is_multi: bool
    is_partial: bool
    may_skip: bool
    are_reported: bool
    holds_other: bool
    statement: Insert
    last_number: int | None = None
    is_found: bool = False
    is_counted: bool = False
    skipped: set[int] = field(default_factory=set)
    places: list[tuple[PendingKey, ...]] = field(default_factory=list)

    def has_own_bind(self, column: Column[Any], dialect: Dialect) -> bool:
        """Whether a key needs a bind of ours, and not that of its column."""
        return self.holds_other or has_own_bind(column, dialect)

    def bind_name(self, column: Column[Any], dialect: Dialect) -> str:
        """The name of a generated key's bind."""
        return bind_of_ours(column) if self.has_own_bind(column, dialect) else column.key

    def row_alone(self, row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What an INSERT of one row alone assigns by itself, and the parameters it is executed
        with."""
        if not self.is_multi:
            return self.values, row
        assigned = {key: value for key, value in row.items() if key in self.table.c}
        return assigned, {name: value for name, value in row.items() if name not in assigned}

    @property
    def binding(self) -> ColumnBinding:
        """An encrypted column that it writes, for error messages."""
        return self.written[0]

    def unknown(self, message: str, binding: ColumnBinding | None = None) -> UnknownIdentityError:
        """The error for an INSERT whose keys cannot be determined; it says what to do instead.

        :param binding: the encrypted column that it is about.
        """
        binding = binding or self.binding
        return UnknownIdentityError(
            message,
            table=binding.table,
            column=binding.column_name,
            reason="identity-unknown",
        )

    def without_value(self, column: Column[Any], number: int | None) -> UnknownIdentityError:
        """The error for a row whose key lacks a part that the database does not generate.

        :param number: of the row, if known.
        """
        row = {} if number is None else self.rows[number]
        binding = _sealed_without(column, self.written, self.values, row) if row else None
        binding = binding or self.binding
        message = f"{column.name} identifies the row and has no value: give it one"
        error = self.unknown(message, binding)
        given = {c.name: _assigned(c.key, self.values, row) for c in binding.identity}
        known = {name: str(v) for name, v in given.items() if isinstance(v, int | str | UUID)}
        error.row = known or None
        return error


def keyless_insert(
    statement: Insert,
    table: Table,
    bindings: Mapping[str, ColumnBinding],
    parameters: list[Any],
    dialect: Dialect,
) -> KeylessInsert | None:
    """The keys that an INSERT lacks; ``None`` if none.

    :param bindings: the table's encrypted columns, by key.
    :param parameters: the parameter sets that it is executed with; may be empty.
    """
    if statement.select is not None:
        return None
    multi = internals.multi_value_rows(statement)
    values, rows = values_and_rows(statement, table, parameters)
    identity = dict.fromkeys([c for binding in bindings.values() for c in binding.identity])
    lacking = [column for column in identity if is_missing(column, values, rows)]
    if not lacking or any(_lacks_parameter(column, values, rows) for column in lacking):
        return None
    written = [b for key, b in bindings.items() if _has_values(b.column, key, values, rows)]
    if not written and internals.is_joined_part_of_insert(statement):
        # A part whose keys are given does not return them, but all parts must return the same
        # columns.
        written = [*bindings.values()]
    needed = {column for binding in written for column in binding.identity}
    missing = tuple(
        column
        for column in lacking
        if column in needed and not _seals_nothing_without(column, written, values, rows)
    )
    if not missing:
        return None
    insert = KeylessInsert(
        table=table,
        written=written,
        missing=missing,
        values=values,
        rows=rows,
        is_multi=multi is not None,
        is_partial=any(
            _is_given(c, values, rows) or _is_by_sql(c) or _is_refused(c, values, rows, dialect)
            for c in missing
        ),
        may_skip=internals.may_skip_rows(statement),
        are_reported=internals.would_return_keys(statement, table, dialect, len(rows)),
        holds_other=multi is None and internals.holds_other_write(statement),
        statement=statement,
    )
    _refuse_without_value(insert)
    return insert


def values_and_rows(
    statement: Insert, table: Table, parameters: list[Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What an INSERT assigns to every row, and what to each, by key.

    SQLAlchemy makes the INSERT for what its first row has, and takes no notice of what only later
    ones have.

    :param parameters: the parameter sets that it is executed with; may be empty.
    """
    multi = internals.multi_value_rows(statement)
    values = {} if multi is not None else _values_of_table(statement, table)
    given = parameters if multi is None else multi
    first, *later = [internals.row_by_key(statement, row) for row in given or [{}]]
    rows = [first, *(_with_names_of(first, row) for row in later)]
    return values, rows if multi is None else _with_parameters(rows, parameters)


def _with_parameters(rows: list[dict[str, Any]], parameters: list[Any]) -> list[dict[str, Any]]:
    """The rows of ``values([...])``, each with the parameters that its binds get."""
    if not parameters or not parameters[0]:
        return rows
    elements = (v for row in rows for v in row.values() if isinstance(v, ClauseElement))
    names = {e.key for v in elements for e in iterate(v) if isinstance(e, BindParameter)}
    given = {name: value for name, value in parameters[0].items() if name in names}
    return [{**given, **row} for row in rows] if given else rows


def _with_names_of(first: Mapping[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    if row.keys() <= first.keys():
        return row
    return {name: value for name, value in row.items() if name in first}


def _values_of_table(statement: Insert, table: Table) -> dict[str, Any]:
    """What an INSERT's own ``values()`` assigns, by key of the table's column.

    The INSERT of a joined subclass is executed for each of its tables, with the values of all.
    """
    values = internals.insert_values_by_key(statement)
    if not internals.is_part_of_insert(statement):
        return values
    return {key: value for key, value in values.items() if key in table.c}


def _seals_nothing_without(
    column: Column[Any],
    written: list[ColumnBinding],
    values: Mapping[str, Any],
    rows: list[dict[str, Any]],
) -> bool:
    """Whether some rows get no value for a part of the identity, but have nothing to seal.

    :param written: the encrypted columns that have a value in any row.
    """
    if _is_by_database_or_sql(column):
        return False
    lacking = [row for row in rows if not _is_plain(_assigned(column.key, values, row))]
    return all(
        _is_null(_assigned(column.key, values, row))
        and _sealed_without(column, written, values, row) is None
        for row in lacking
    )


def _sealed_without(
    column: Column[Any],
    written: list[ColumnBinding],
    values: Mapping[str, Any],
    row: dict[str, Any],
) -> ColumnBinding | None:
    """The first encrypted column that has a value in a row and is bound to `column`."""
    return next(
        (
            binding
            for binding in written
            if column in binding.identity
            and _has_values(binding.column, binding.column.key, values, [row])
        ),
        None,
    )


def _is_by_database_or_sql(column: Column[Any]) -> bool:
    """Whether a column that the statement does not mention may have a value nevertheless."""
    is_generated = column.primary_key or column.server_default is not None
    return is_generated or column.default is not None or column.identity is not None


def _refuse_without_value(insert: KeylessInsert) -> None:
    """Refuse a row whose identity gets no value, not even from the database."""
    for column in insert.missing:
        given = [_assigned(column.key, insert.values, row) for row in insert.rows]
        if _is_by_database_or_sql(column) or any(not _is_null(value) for value in given):
            continue
        sealing = (
            number
            for number, row in enumerate(insert.rows)
            if _sealed_without(column, insert.written, insert.values, row)
        )
        raise insert.without_value(column, next(sealing, None))


def _has_values(
    column: Column[Any], key: str, values: Mapping[str, Any], rows: list[dict[str, Any]]
) -> bool:
    """Whether an encrypted column is given a value other than NULL in any row."""
    if key in values or key in rows[0]:
        has_none = cast("SealedColumnType", column.type).none_is_value
        given = (_assigned(key, values, row) for row in rows)
        return any(not is_null(value, none_is_value=has_none) for value in given)
    return column.default is not None


def _assigned(key: str, values: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
    """What one row assigns to a column: a value, SQL, or ``None``."""
    assigned = values.get(key) if key in values else row.get(key)
    if not isinstance(assigned, BindParameter):
        return assigned
    return row.get(assigned.key, assigned.effective_value)


def _lacks_parameter(
    column: Column[Any], values: Mapping[str, Any], rows: list[dict[str, Any]]
) -> bool:
    """Whether a ``bindparam()`` of the application's has no value in some row, which SQLAlchemy
    refuses: it is no NULL that the database may replace by a key."""
    for row in rows:
        bind = values.get(column.key) if column.key in values else row.get(column.key)
        if isinstance(bind, BindParameter) and bind.required and bind.key not in row:
            return True
    return False


def _is_null(value: Any) -> bool:
    return value is None or isinstance(value, Null)


def is_missing(column: Column[Any], values: Mapping[str, Any], rows: list[dict[str, Any]]) -> bool:
    """Whether no plain value is given to a column of the key in some row."""
    key, default = column.key, column.default
    if key in values or key in rows[0] or any(key in row for row in rows):
        return not all(_is_plain(_assigned(key, values, row)) for row in rows)
    return default is None or default.is_sequence or default.is_clause_element


def _is_given(column: Column[Any], values: Mapping[str, Any], rows: list[dict[str, Any]]) -> bool:
    """Whether it is given anything but NULL in some row."""
    return any(not _is_null(_assigned(column.key, values, row)) for row in rows)


def _is_refused(
    column: Column[Any], values: Mapping[str, Any], rows: list[dict[str, Any]], dialect: Dialect
) -> bool:
    """Whether it is stated, for which NULL is no reason to PostgreSQL to generate one."""
    is_stated = column.key in values or any(column.key in row for row in rows)
    return dialect.name == "postgresql" and is_stated


def _is_by_sql(column: Column[Any]) -> bool:
    """Whether SQLAlchemy inserts an SQL expression for an omitted value."""
    return column.default is not None and column.default.is_clause_element


def _is_plain(value: Any) -> bool:
    """Whether it is a value that Python knows, and not SQL or NULL."""
    is_sql = isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
    return value is not None and not is_sql
