"""Checks upserts: SET may store a value only in a row with the inserted row's key.

An upsert may hit an existing row. Three things determine that row's key: the conflict target, whose
columns are equal; a WHERE that compares a column with the inserted one; and SET itself, which may
assign the inserted row's key. ON DUPLICATE KEY UPDATE has only the last, since any unique key may
have been hit.

An encrypted column in the target stands for its unique blind index: no two ciphertexts are equal,
so the unique constraint is on the index's column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Column, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, ClauseElement, Null
from sqlalchemy.sql.visitors import iterate

from encfields.errors import (
    AmbiguousRowError,
    BindingError,
    CiphertextCopyError,
    IdentityChangeError,
)
from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.row_keys import may_match_another_spelling
from encfields.orm.internals import Assigned, BoundValue
from encfields.orm.query.statement_scope import equated
from encfields.orm.write.upsert_choices import ChosenValue, is_excluded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding


_UNIQUE = (PrimaryKeyConstraint, UniqueConstraint)


def refuse_upsert(
    statement: Any,
    rows: Sequence[Mapping[Any, Assigned]],
    bindings: Mapping[str, ColumnBinding],
    dialect: Dialect,
) -> tuple[Callable[[], BindingError] | None, Callable[[], BindingError] | None]:
    """Refuse an upsert that may hit a row, or set a value, other than the inserted one.

    :param rows: what each VALUES row assigns.
    :param bindings: the table's encrypted columns, by key.
    :returns: the error to raise if the row must be checked afterwards but cannot be: by the table's
        declaration, the upsert hits the inserted row's key; and the one to raise unless the key of
        the row that it hits is found out before.
    :raises AmbiguousRowError: the conflict may hit a row of another key.
    :raises CiphertextCopyError: an encrypted column is set to something other than its inserted
        value, or a column is set by a name that only the database accepts for it.
    :raises IdentityChangeError: a key column is set, and a value that is bound to it stays.
    """
    if internals.upsert_values(statement):
        if bindings:
            _refuse_misspelt(statement)
        upsert = Upsert(statement, rows, dialect)
        for binding in bindings.values():
            upsert.check(binding)
        return upsert.unseen, upsert.unfound
    return None, None


def _refuse_misspelt(statement: Any) -> None:
    """Refuse SET's ``"SSN"`` for the column ``ssn``.

    SQLAlchemy only warns about an unknown name, and renders it with a value that no column's type
    has processed. SQLite accepts it as the column's name in any case.
    """
    table = statement.table
    known = {name for column in table.c for name in (column.key, column.name)}
    by_letters = {_letters(column.name): column for column in table.c}
    for given, _ in internals.upsert_values(statement):
        column = None if given in known else by_letters.get(_letters(given))
        if column is not None:
            raise CiphertextCopyError(
                f"the upsert sets {given!r}, a name by which SQLAlchemy does not know "
                f"{column.name}, so the database would store the value unencrypted. Name it "
                f"{column.key!r}",
                table=table.name,
                column=column.name,
                reason="upsert",
            )


def _letters(name: str) -> str:
    """A name without case and quotes."""
    return re.sub(r"\W", "", name).casefold()


def is_own_value(value: Any, column: Column[Any]) -> bool:
    """Whether `value` is a plain value that SET assigns directly.

    SQLAlchemy would give it the column's type; a value that has a type of its own is stored by
    that.
    """
    return isinstance(value, BindParameter) and value.type is column.type


def targets_row_key(clause: Any, binding: ColumnBinding) -> bool:
    """Whether the row that an ON CONFLICT clause hits has the inserted row's key.

    :param clause: SQLAlchemy's ON CONFLICT clause.
    :param binding: of the encrypted column that is set.
    """
    return set(binding.identity) <= _targeted(clause, binding.column.table)


def _targeted(clause: Any, table: Any) -> set[Column[Any]]:
    """The columns of the conflict target; a row that is hit has equal values in them."""
    primary = table.primary_key
    constraint = getattr(clause, "constraint_target", None)
    if constraint is not None:
        return set(primary.columns) if constraint == primary.name else set()
    elements = getattr(clause, "inferred_target_elements", None) or ()
    names = {targeted_name(element) for element in elements}
    return {column for column in table.c if column.name in names}.difference(_recollated(table))


def _recollated(table: Any) -> Iterator[Column[Any]]:
    """The columns that a unique index compares under a collation of its own.

    A conflict target without a collation matches such an index too, and a row that it finds may be
    spelt differently.
    """
    for index in table.indexes:
        for element in index.expressions if index.unique else ():
            if getattr(element, "operator", None) is operators.collate:
                yield cast("Column[Any]", element.left)


def targeted_name(element: Any) -> str | None:
    """The name of a column in a conflict target; ``None`` for an expression."""
    if isinstance(element, str):
        return element
    # Early releases of SQLAlchemy 2.0 do not convert a mapped class's attribute.
    attribute = getattr(element, "__clause_element__", None)
    column = element if attribute is None else attribute()
    return column.name if isinstance(column, Column) else None


class Upsert:
    """One upsert, and what is known about the row that it hits."""

    def __init__(
        self,
        statement: Any,
        rows: Sequence[Mapping[Any, Assigned]],
        dialect: Dialect,
        table: Table | None = None,
    ) -> None:
        self._statement = statement
        self._table = statement.table if table is None else table
        self._dialect = dialect
        is_single = len(rows) == 1 and not internals.has_select_source(statement)
        self._inserted_row = rows[0] if is_single else None
        self._given = internals.upsert_values(statement)
        self.unseen: Callable[[], BindingError] | None = None
        self.unfound: Callable[[], BindingError] | None = None
        clause = internals.post_values_clause(statement)
        self._hits_any = not hasattr(clause, "update_values_to_set")
        self._agreeing = _targeted(clause, self._table) | set(self._compared(clause))

    def check(self, binding: ColumnBinding) -> None:
        """Refuse to leave a value of this column in a row that it is not bound to."""
        values = self._set_to(binding.column)
        sealed = [value for value in values if not isinstance(value, Null)]
        if not all(self._is_for_this_row(value, binding.column) for value in sealed):
            raise _refusal(
                CiphertextCopyError,
                binding,
                f"an upsert may set it to {self._inserted(binding.column)}, to null() or, if it "
                "inserts a single row, to a plain value, to coalesce() of the inserted value and "
                f"{binding.column.key}, and to nothing else: give the value to values()",
            )
        # The row's own value, which may be chosen, is bound to the row's present key.
        is_set_along = bool(values) and not any(isinstance(v, ChosenValue) for v in values)
        for column in binding.identity:
            self._check_change(binding, column, is_set_along=is_set_along)
        if sealed:
            self._check_row(binding)

    def _check_change(
        self, binding: ColumnBinding, column: Column[Any], *, is_set_along: bool
    ) -> None:
        changed = self._set_to(column)
        is_inserted = self._becomes_inserted(column)
        if not changed or (is_inserted and (is_set_along or self._agrees(column))):
            return
        along = binding.column if is_inserted else column
        raise _refusal(
            IdentityChangeError,
            binding,
            f"the upsert changes {column.name}, to which the stored value is bound: set "
            f"{along.name} to {self._inserted(along)}"
            + (" in the same statement" if is_inserted else ", or leave it out"),
        )

    def to_find(self, binding: ColumnBinding) -> list[Column[Any]]:
        """The parts of the key of a row that may be hit under another one, if they can be found out
        before; none if there is nothing to find out, or the upsert is refused."""
        values = self._set_to(binding.column)
        missing = [] if all(isinstance(v, Null) for v in values) else self._missing(binding)
        return missing if self._is_findable(binding, missing) else []

    def _missing(self, binding: ColumnBinding) -> list[Column[Any]]:
        """The parts of the key in which a row that is hit may differ and is not changed."""
        return [
            column
            for column in binding.identity
            if not self._agrees(column) and not self._becomes_inserted(column)
        ]

    def _is_findable(self, binding: ColumnBinding, missing: list[Column[Any]]) -> bool:
        """Whether RETURNING tells these columns, and the upsert has no other use for them.

        The database does not choose under which key a value is sealed.
        """
        if self._hits_any or not internals.has_set_clause(self._statement):
            return False
        if any(column in binding.key_columns for column in missing):
            return False
        given = (value for _, value in self._given)
        parts = [*given, *internals.upsert_conditions(self._statement)]
        used = [e for part in parts if isinstance(part, ClauseElement) for e in iterate(part)]
        return all(
            column.primary_key
            and not self._set_to(column)
            and not may_match_another_spelling(column.type, self._dialect)
            and not any(is_excluded(element, column) for element in used)
            for column in missing
        )

    def _check_row(self, binding: ColumnBinding) -> None:
        """Refuse an upsert that may hit a row with another key, and does not set the key."""
        missing = self._missing(binding)
        if not missing:
            return
        names = ", ".join(column.name for column in missing)
        along = ", ".join(f"{column.name}={self._inserted(column)}" for column in missing)
        if self._hits_any:
            message = (
                "ON DUPLICATE KEY does not say which unique key was hit, so the row is not known: "
                f"{self._leave_out(missing)}set its key in the same statement ({along}), or update "
                "by primary key"
            )
        elif all(column in self._agreeing for column in missing):
            message = (
                f"under the collation of ({names}) the upsert may hit a row whose key is spelt "
                f"differently: set it in the same statement ({along}), or give the column a "
                "binary collation"
            )
        else:
            where = ", ".join(f"{c.table.name}.{c.name} == {self._inserted(c)}" for c in missing)
            key = ", ".join(column.name for column in binding.identity)
            message = (
                f"the upsert may hit a row whose ({names}) is different: make its conflict target "
                f"({key}), compare {where} in its where=, or set it in the same statement "
                f"({along})"
            )
        if self._is_findable(binding, missing):
            self.unfound = partial(_refusal, AmbiguousRowError, binding, message)
            return
        if self._hits_any and self._is_hit_by(missing):
            self.unseen = partial(_refusal, AmbiguousRowError, binding, message)
            return
        if self._hits_any and self._is_counted(missing):
            self.unseen = self.unfound = partial(_refusal, AmbiguousRowError, binding, message)
            return
        raise _refusal(AmbiguousRowError, binding, message)

    def _leave_out(self, missing: list[Column[Any]]) -> str:
        """The fix for a key that MySQL counts, whose row can be found out before."""
        is_counted = self._is_counted(missing)
        return f"leave {missing[0].name} out of the values, " if is_counted else ""

    def _is_counted(self, missing: list[Column[Any]]) -> bool:
        """Whether only a key is missing that MySQL counts."""
        counted = internals.autoincrement_column(self._table)
        return len(missing) == 1 and missing[0] is counted

    def _is_hit_by(self, missing: Sequence[Column[Any]]) -> bool:
        """Whether every declared unique key contains all key columns that SET does not assign."""
        table = self._table
        unique = [
            *(
                constraint.columns
                for constraint in table.constraints
                if isinstance(constraint, _UNIQUE)
            ),
            *(index.columns for index in table.indexes if index.unique),
        ]
        return all(set(missing) <= set(columns) for columns in unique) and not any(
            may_match_another_spelling(column.type, self._dialect) for column in missing
        )

    def _is_for_this_row(self, value: Any, column: Column[Any]) -> bool:
        if is_excluded(value, column) or isinstance(value, ChosenValue):
            return True
        is_single = self._inserted_row is not None and adoption_of(column) is None
        return is_single and is_own_value(value, column)

    # -- what is known about the row --------------------------------------------------------------

    def _agrees(self, column: Column[Any]) -> bool:
        """Whether a row that is hit has the inserted row's text in this column."""
        is_compared = column in self._agreeing
        return is_compared and not may_match_another_spelling(column.type, self._dialect)

    def _becomes_inserted(self, column: Column[Any]) -> bool:
        """Whether SET assigns the inserted row's value of this column.

        A value that SET assigns directly is compared with it when the statement is executed.
        """
        values = self._set_to(column)
        return bool(values) and all(
            is_excluded(v, column) or self._is_comparable(v, column) for v in values
        )

    def _is_comparable(self, value: Any, column: Column[Any]) -> bool:
        row = self._inserted_row or {}
        return is_own_value(value, column) and isinstance(row.get(column.key), BoundValue)

    def _set_to(self, column: Column[Any]) -> list[Any]:
        """What SET assigns to a column, by its key or, which SQLAlchemy warns about, its name.

        Of a key, without what is its own value: ``id=func.last_insert_id(table.c.id)`` has MySQL
        report the row's key.
        """
        given = [value for key, value in self._given if key in (column.key, column.name)]
        if is_encrypted(column):
            return given
        return [value for value in given if not internals.keeps_value(value, column)]

    def _compared(self, clause: Any) -> Iterator[Column[Any]]:
        """The columns that the clause's WHERE compares with those of the inserted row."""
        columns = {hash(column): column for column in self._table.c}
        where = getattr(clause, "update_whereclause", None)
        for side, other in equated(() if where is None else (where,)):
            column = columns.get(hash(side))
            if column is not None and is_excluded(other, column):
                yield column

    def _inserted(self, column: Column[Any]) -> str:
        """The inserted value of a column, in an application's notation."""
        return f"statement.{'inserted' if self._hits_any else 'excluded'}.{column.key}"


def _refusal(cls: type[BindingError], binding: ColumnBinding, message: str) -> BindingError:
    return cls(message, table=binding.table, column=binding.column_name, reason="upsert")
