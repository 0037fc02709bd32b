"""Writes a column that is being adopted: its plaintext column is written along with it.

An INSERT does so by the column's default. An UPDATE and an upsert are completed before compilation,
as they are for blind indexes. A statement whose rows are unknown writes the plaintext and makes the
rows pending, as long as every row has plaintext.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, bindparam, null
from sqlalchemy.sql.dml import Update
from sqlalchemy.sql.elements import BindParameter, Null

from encfields.databases import MYSQL_NAMES
from encfields.orm import internals
from encfields.orm.adoption.columns import (
    PlaintextType,
    adopted_columns,
    hidden,
    null_of,
    plaintext_type,
)
from encfields.orm.adoption.expressions import (
    in_plaintext,
    null_of_pending,
    selected_in_plaintext,
)
from encfields.orm.adoption.plaintext import WRITE_SEALED, Plaintext
from encfields.orm.adoption.unsealed import note_unsealed
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType
from encfields.orm.query.statement_scope import equated
from encfields.orm.write.application_bindparams import has_no_type_of_its_own
from encfields.orm.write.statement_plan import RAW_COPY_OPTION
from encfields.orm.write.upsert import targets_row_key
from encfields.orm.write.upsert_choices import (
    ChosenValue,
    as_case_over,
    changing_answer,
    choice_of,
    index_of_choice,
    is_excluded,
    refuse_changing_answers,
)

if TYPE_CHECKING:
    from encfields.orm.write.execution import WriteExecution


_COPY = "__plaintext"


class _Adopting(NamedTuple):
    """One encrypted column of the table that a statement writes to.

    :ivar plain: its plaintext column.
    """

    binding: ColumnBinding
    adopts: Plaintext
    plain: Column[Any]

    @property
    def key(self) -> str:
        """Key of the encrypted column."""
        return str(self.binding.column.key)

    @property
    def type(self) -> PlaintextType:
        return PlaintextType(plaintext_type(self.binding.column, self.adopts))


def write_plaintext_along(execution: WriteExecution) -> None:
    """Make a statement also write the plaintext columns of its table."""
    for adopted in adopted_columns(execution.table):
        _Completion(execution).complete(_Adopting(*adopted))


class _Completion:
    """Completes the execution of one INSERT or UPDATE."""

    def __init__(self, execution: WriteExecution) -> None:
        self._execution = execution
        self._connection = execution.connection

    @property
    def statement(self) -> Any:
        return self._execution.statement

    @statement.setter
    def statement(self, completed: Any) -> None:
        self._execution.statement = completed

    def complete(self, adopting: _Adopting) -> None:
        """Make the statement write the plaintext column if it writes the encrypted one."""
        if isinstance(self.statement, Update):
            self._update(adopting)
        elif internals.has_select_source(self.statement):
            self._insert_from_select(adopting)
        else:
            self._insert(adopting)
        if not isinstance(self.statement, Update):
            self._upsert(adopting)

    # -- UPDATE --------------------------------------------------------------------------------

    def _update(self, adopting: _Adopting) -> None:
        stated = internals.update_values_by_key(self.statement)
        in_rows = any(adopting.key in row for row in self._rows())
        if adopting.key not in stated and not in_rows:
            self._note_moved(adopting, stated)
            self._leave_default_pending(adopting, stated)
            return
        if adopting.plain.key in stated:
            return
        why = self._cannot_be_sealed(adopting, stated)
        if why and adopting.adopts.carries_unsealable:
            self._leave_pending(adopting, stated, why)
            return
        if adopting.key in stated:
            added = {adopting.plain: self._plain_value(adopting, stated[adopting.key])}
            self.statement = internals.with_update_values(self.statement, added)
        if in_rows:
            self._each_row(lambda row: self._along(adopting, row))

    def _note_moved(self, adopting: _Adopting, stated: Mapping[str, Any]) -> None:
        """Note an UPDATE of what a value is bound to; the trigger does the rest."""
        rows = self._rows()
        in_row = rows[0] if rows and not _is_by_orm(self.statement, rows) else {}
        given = {*stated, *in_row}
        moves = [column.name for column in adopting.binding.identity if column.key in given]
        if moves and adopting.adopts.carries_unsealable:
            note_unsealed(
                self._connection, adopting.binding, f"an UPDATE changes {', '.join(moves)}"
            )

    def _leave_default_pending(self, adopting: _Adopting, stated: Mapping[str, Any]) -> None:
        """Let only the plaintext have the column's ``onupdate`` default if its rows are unknown."""
        column = adopting.binding.column
        if column.onupdate is None or not adopting.adopts.carries_unsealable:
            return
        if why := self._cannot_be_sealed(adopting, stated):
            note_unsealed(self._connection, adopting.binding, why)
            self.statement = internals.with_update_values(self.statement, {column: null()})

    def _along(self, adopting: _Adopting, row: Mapping[str, Any]) -> Mapping[str, Any]:
        if adopting.key not in row or adopting.plain.key in row:
            return row
        value = (
            null_of(adopting.plain) if adopting.adopts.phase == WRITE_SEALED else row[adopting.key]
        )
        return {**row, adopting.plain.key: hidden(value)}

    def _plain_value(self, adopting: _Adopting, value: Any) -> Any:
        """What the plaintext column is assigned if the encrypted one is assigned `value`."""
        if adopting.adopts.phase == WRITE_SEALED or isinstance(value, Null) or value is None:
            return null()
        if not internals.is_expression(value):
            return hidden(value)  # of an upsert: early releases of SQLAlchemy 2.0 do not bind it
        if not isinstance(value, BindParameter):
            return in_plaintext(value)
        type_ = PlaintextType(value.type) if _has_own_type(value) else adopting.type
        if value.unique:
            bind = internals.retyped_bind(value, type_, rename=True)
            if (given := bind.callable) is not None:
                bind.callable = lambda: hidden(given())
            return bind
        key, name = value.key, value.key + _COPY
        self._each_row(lambda row: {**row, name: hidden(row[key])} if key in row else row)
        if value.required:
            return bindparam(name, type_=type_, required=True)
        return bindparam(name, value=value.effective_value, type_=type_)

    def _leave_pending(self, adopting: _Adopting, stated: Mapping[str, Any], why: str) -> None:
        """Write only the plaintext: the next backfill seals the row."""
        note_unsealed(self._connection, adopting.binding, why)
        value = stated.get(adopting.key)
        pending = null_of_pending(value) if _is_expression(value) else null()
        added: dict[Column[Any], Any] = {adopting.binding.column: pending}
        if adopting.key in stated:
            added[adopting.plain] = self._plain_value(adopting, value)
        self.statement = internals.with_replaced_values(
            self.statement, adopting.binding.column, added
        )

        def moved(row: Mapping[str, Any]) -> Mapping[str, Any]:
            if adopting.key not in row:
                return row
            rest = {key: value for key, value in row.items() if key != adopting.key}
            return {**rest, adopting.plain.key: hidden(row[adopting.key])}

        self._each_row(moved)

    def _cannot_be_sealed(self, adopting: _Adopting, stated: Mapping[str, Any]) -> str | None:
        """Why an UPDATE's value cannot be sealed, in a few words; ``None`` if it can."""
        value = stated.get(adopting.key)
        if _is_expression(value):
            return "an UPDATE assigns an SQL expression"
        if _has_own_type(value):
            return "an UPDATE assigns a literal() or the like"
        if isinstance(value, Null):
            return None
        pinned = _pinned(self.statement)
        rows = self._rows()
        given = set(stated) | (set(rows[0]) if rows else set())
        missing = [
            c for c in adopting.binding.identity if c.key not in pinned and c.key not in given
        ]
        if not missing or _is_by_orm(self.statement, rows):
            return None
        names = ", ".join(column.name for column in missing)
        return f"an UPDATE does not say which row, its WHERE pins no {names},"

    # -- INSERT --------------------------------------------------------------------------------

    def _insert(self, adopting: _Adopting) -> None:
        value = internals.insert_values_by_key(self.statement).get(adopting.key)
        if _has_own_type(value) and adopting.adopts.carries_unsealable:
            note_unsealed(
                self._connection,
                adopting.binding,
                "an INSERT gives a literal() or typed bindparam()",
            )
            column = adopting.binding.column
            added = {column: null(), adopting.plain: self._plain_value(adopting, value)}
            self.statement = internals.with_insert_values(self.statement, [column], added)
        elif isinstance(value, BindParameter) and not value.unique:
            added = {adopting.plain: self._plain_value(adopting, value)}
            self.statement = internals.with_insert_values(self.statement, [], added)
        elif _is_expression(value) and adopting.adopts.carries_unsealable:
            note_unsealed(self._connection, adopting.binding, "an INSERT gives an SQL expression")
            pending = null_of_pending(value)
            added = {adopting.binding.column: pending, adopting.plain: in_plaintext(value)}
            column = adopting.binding.column
            self.statement = internals.with_insert_values(self.statement, [column], added)

    def _insert_from_select(self, adopting: _Adopting) -> None:
        names = internals.select_source_names(self.statement)
        if (
            adopting.key not in names
            or self._execution.options.get(RAW_COPY_OPTION)
            or adopting.plain.key in names
        ):
            return
        if adopting.adopts.carries_unsealable:
            note_unsealed(self._connection, adopting.binding, "an INSERT copies from a SELECT")
            number = list(names).index(adopting.key)
            select = selected_in_plaintext(self.statement.select, number)
            filled = internals.with_select_name(self.statement, adopting.key, adopting.plain.key)
            self.statement = internals.with_select_source(filled, select)

    def _upsert(self, adopting: _Adopting) -> None:
        """Make ON CONFLICT or ON DUPLICATE KEY set the plaintext if it sets the value."""
        whole = self.statement
        parts = []
        for part in internals.one_statement_per_conflict_clause(whole):
            self.statement = part
            self._upsert_by_clause(adopting)
            parts.append(self.statement)
        self.statement = internals.with_all_conflict_clauses(whole, parts)

    def _upsert_by_clause(self, adopting: _Adopting) -> None:
        given = dict(internals.upsert_values(self.statement))
        name = adopting.key if adopting.key in given else adopting.binding.column.name
        if name not in given or adopting.plain.key in given:
            return
        value = given[name]
        if _is_none(value) and null_of(adopting.plain) is None:
            value = null()
        is_own = is_excluded(value, adopting.binding.column)
        along = internals.sibling_in(value, adopting.plain.key) if is_own else None
        clause = internals.post_values_clause(self.statement)
        is_sealed = is_own and targets_row_key(clause, adopting.binding)
        if isinstance(value, Null):
            pairs = [(name, null()), (adopting.plain.key, null())]
            self.statement = internals.with_upsert_values(self.statement, pairs)
            return
        chosen = self._chosen(adopting, value, is_for_row=targets_row_key(clause, adopting.binding))
        if chosen is not None:
            plain = index_of_choice(chosen, adopting.binding.column, adopting.plain)
            both = [(name, chosen), (adopting.plain.key, plain)]
            self.statement = internals.with_upsert_values(self.statement, both)
            return
        if is_sealed or not adopting.adopts.carries_unsealable:
            if along is not None:
                pairs = [(adopting.plain.key, along)]
                self.statement = internals.with_upsert_values(self.statement, pairs)
            return
        note_unsealed(self._connection, adopting.binding, "an upsert may hit a row of another key")
        plain = self._plain_value(adopting, value) if along is None else along
        pending = null_of_pending(value) if _is_expression(value) else null()
        pairs = [(name, pending), (adopting.plain.key, _as_value(plain, adopting))]
        self.statement = internals.with_upsert_values(self.statement, pairs)

    def _chosen(self, adopting: _Adopting, value: Any, *, is_for_row: bool) -> ChosenValue | None:
        """The value, if the database chooses between what is inserted and the row's own, both with
        their plaintext.

        :param is_for_row: whether the row that is hit has the inserted row's key.
        """
        is_mysql = self._connection.dialect.name in MYSQL_NAMES
        column = adopting.binding.column
        found = choice_of(value, column, is_mysql=is_mysql)
        if found is None:
            return None
        chosen = as_case_over(found, column, adopting.plain)
        if not adopting.adopts.carries_unsealable:
            refuse_changing_answers(value, column)
            return chosen
        return chosen if is_for_row and not changing_answer(value) else None

    # -- parameters ----------------------------------------------------------------------------

    def _rows(self) -> list[Mapping[str, Any]]:
        return [row for row in self._execution.rows if isinstance(row, Mapping)]

    def _each_row(self, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        def changed(row: Any) -> Any:
            return change(row) if isinstance(row, Mapping) else row

        execution = self._execution
        execution.multiparams = [changed(row) for row in execution.multiparams]
        execution.params = changed(execution.params) if execution.params else execution.params


def _as_value(value: Any, adopting: _Adopting) -> Any:
    """A value in an upsert's SET, which SQLAlchemy would give the column's type if it is plain."""
    return (
        value
        if internals.is_expression(value)
        else bindparam(None, value, type_=adopting.type, unique=True)
    )


def _is_none(value: Any) -> bool:
    """Whether an upsert's SET gives a column ``None``, as it is or in a bind of its own."""
    is_bind = isinstance(value, BindParameter) and value.unique
    return (value.effective_value if is_bind else value) is None


def _is_expression(value: Any) -> bool:
    """Whether a column is assigned an SQL expression, and neither a value nor NULL."""
    if value is None or isinstance(value, BindParameter | Null):
        return False
    return internals.is_expression(value)


def _has_own_type(value: Any) -> bool:
    """Whether a column is assigned a value whose type the application chose, as by literal()."""
    if not isinstance(value, BindParameter) or isinstance(value.type, SealedColumnType):
        return False
    return not has_no_type_of_its_own(value)


def _pinned(statement: Update) -> set[str]:
    """Keys of the columns that WHERE sets equal to one value."""
    columns = {hash(column): column.key for column in internals.written_table(statement).c}
    return {
        columns[hash(side)]
        for side, other in equated(internals.where_criteria(statement))
        if hash(side) in columns and isinstance(other, BindParameter) and not other.expanding
    }


def _is_by_orm(statement: Update, rows: list[Mapping[str, Any]]) -> bool:
    """Whether the ORM updates rows by primary key, in which case we add what is missing."""
    table = internals.written_table(statement)
    binds = {internals.old_value_bind(column) for column in table.primary_key}
    return bool(rows) and all(binds <= set(row) for row in rows)
