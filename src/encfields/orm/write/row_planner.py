"""Planning the rows of an INSERT or UPDATE: encrypted binds, and where their key comes from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table
from sqlalchemy.sql.dml import Update
from sqlalchemy.sql.elements import BindParameter, Label, Null
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import TypeEngine

from encfields.databases import MYSQL_NAMES
from encfields.errors import (
    AmbiguousRowError,
    CiphertextCopyError,
    IdentityChangeError,
    UnboundValueError,
    UnknownIdentityError,
)
from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType
from encfields.orm.declare.row_keys import (
    IdentityBind,
    from_bound_value,
    is_bound_otherwise,
    may_match_another_spelling,
    null_stays_null,
)
from encfields.orm.internals import Assigned, BoundValue, Expression
from encfields.orm.query.statement_scope import equated
from encfields.orm.read.union_reads import is_no_value
from encfields.orm.write.application_bindparams import shared_bind
from encfields.orm.write.ciphertext_copies import refuse_other_copies
from encfields.orm.write.index_values import IndexedBind, indexed_binds, refuse_half_copy
from encfields.orm.write.statement_plan import (
    RAW_COPY_OPTION,
    Refusal,
    SealedBind,
    SetValues,
    UnchangedIdentity,
)
from encfields.orm.write.upsert_set_values import indexes_of_own_values, own_values

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


FOUND_KEY = "encfields_found_"
"""Prefix of the binds of a key that was read before, which are NULL where no row was found."""
COPIED_ROWS = "copied-rows"
"""Reason of the refusal that the option lifts."""


class RowPlanner:
    """Plans the rows of one INSERT or UPDATE."""

    def __init__(
        self,
        compiled: Any,
        dialect: Dialect,
        statement: Any,
        table: Table,
        bindings: Mapping[str, ColumnBinding],
    ) -> None:
        self.compiled = compiled
        self.dialect = dialect
        self.statement = statement
        self.table = table
        self.bindings = bindings
        self.is_update = isinstance(statement, Update)
        self.types = internals.types_by_bind_name(compiled)
        self.rendered = internals.rendered_bind_names(compiled)
        self.pinned = dict(_pinned(compiled, statement)) if self.is_update else {}

    def refuse_select_source(self) -> None:
        names = internals.select_source_names(self.statement)
        empty = _names_of_null(self.statement, names)
        filled = [name for name in names if name not in empty or self._is_adopting(name)]
        bindings = {key: one for key, one in self.bindings.items() if key in filled}
        refuse_half_copy(self.table, filled)
        refuse_other_copies(self.statement, self.table, bindings, names)
        for key in names:
            if key in bindings:
                raise _copy_refused(
                    self.bindings[key],
                    "INSERT .. SELECT would copy a ciphertext into another row, where it does "
                    "not open. Read and insert the values, or, to copy whole rows under the same "
                    f"table name and keys, pass execution_options({RAW_COPY_OPTION}=True)",
                    COPIED_ROWS,
                )
        self._refuse_select_defaults(names)

    def _is_adopting(self, name: str) -> bool:
        """Whether a column's value, and its NULL, may also be in a plaintext column."""
        binding = self.bindings.get(name)
        return binding is not None and adoption_of(binding.column) is not None

    def _refuse_select_defaults(self, names: Collection[str]) -> None:
        """Refuse a default, which would be one value for all selected rows."""
        if not self.statement.include_insert_from_select_defaults:
            return
        for key, binding in self.bindings.items():
            if key not in names and binding.column.default is not None:
                raise UnboundValueError(
                    "INSERT .. SELECT would give its default to rows that nobody knows: read and "
                    "insert the values, or pass from_select(..., include_defaults=False)",
                    table=binding.table,
                    column=binding.column_name,
                    reason="unbound",
                )

    def sealed_binds(self, row: Mapping[Any, Assigned]) -> Iterator[SealedBind]:
        for key, binding in self.bindings.items():
            assigned = row.get(key)
            if assigned is None:
                continue
            if isinstance(assigned, Expression):
                if isinstance(assigned.element, Null):
                    continue
                raise _copy_refused(
                    binding,
                    f"{_written(assigned.element)} is assigned to it, which the database would "
                    "store as it is: assign a Python value; a condition belongs into the WHERE, "
                    "and a value for each row into a list of parameters",
                    "expression",
                )
            self._check_bind(binding, assigned)
            yield self._sealed_bind(binding, assigned, row)

    def _check_bind(self, binding: ColumnBinding, assigned: BoundValue) -> None:
        """Refuse a bind with another type, which would store its plaintext."""
        types = self.types.get(assigned.bind, [])
        if len({isinstance(type_, SealedColumnType) for type_ in types}) > 1:
            raise shared_bind(binding, assigned.bind)
        if not types or not all(isinstance(type_, SealedColumnType) for type_ in types):
            raise CiphertextCopyError(
                "the value has a type of its own (that of a typed literal() or bindparam()), which "
                "would store it in plaintext: assign the plain Python value",
                table=binding.table,
                column=binding.column_name,
                reason="own-type",
            )

    def _sealed_bind(
        self, binding: ColumnBinding, assigned: BoundValue, row: Mapping[Any, Assigned]
    ) -> SealedBind:
        identity = [self._identity_bind(column, row) for column in binding.identity]
        missing = [c.name for c, part in zip(binding.identity, identity, strict=True) if not part]
        refusal = _row_not_pinned(binding, missing) if missing and self.is_update else None
        return SealedBind(assigned.bind, binding, tuple(identity), refusal)

    def indexed_binds(self, row: Mapping[Any, Assigned]) -> Iterator[IndexedBind]:
        def identity(column: Column[Any]) -> IdentityBind | None:
            return self._identity_bind(column, row)

        return indexed_binds(
            self.table, row, identity, self.types, self.dialect, is_update=self.is_update
        )

    def _identity_bind(
        self, column: Column[Any], row: Mapping[Any, Assigned]
    ) -> IdentityBind | None:
        stated = row.get(column.key)
        source = stated or self.pinned.get(column.key)
        if not isinstance(source, BoundValue) or source.bind in self.rendered:
            return None
        types = self.types.get(source.bind, [])
        others = [type_ for type_ in types if is_bound_otherwise(type_, column.type)]
        if len({type(type_) for type_ in types}) > 1 and others:
            return None  # one name, converted in two ways
        to_text = self._to_text(column, others[0] if others else None)
        matches_none = (
            stated is None
            and (not column.nullable or source.bind.startswith(FOUND_KEY))
            and all(null_stays_null(type_, self.dialect) for type_ in (column.type, *types))
        )
        return IdentityBind(source.bind, to_text, stated is None, matches_none)

    def _to_text(
        self, column: Column[Any], bound_as: TypeEngine[Any] | None
    ) -> Callable[[object], str]:
        to_text = from_bound_value(column.type, self.dialect, bound_as)
        if self.is_update or self.dialect.name not in MYSQL_NAMES:
            return to_text
        if column is not internals.autoincrement_column(self.table):
            return to_text
        return lambda value: to_text(_refuse_zero(value))

    def unchanged(self, row: Mapping[Any, Assigned]) -> Iterator[UnchangedIdentity]:
        """Key columns that are set while ciphertexts stay bound to the old key."""
        for binding in self.bindings.values():
            adopts = adoption_of(binding.column)
            if binding.column.key in row or (adopts and adopts.carries_unsealable):
                continue  # an adoption's triggers make such rows pending, or refuse
            for column in binding.bound_to:
                assigned = row.get(column.key)
                if assigned is None:
                    continue
                refusal = _identity_change(binding, column.name)
                where = self.pinned.get(column.key)
                if not isinstance(assigned, BoundValue) or where is None:
                    raise refusal()
                if self._is_bound_otherwise(column, assigned, where):
                    raise refusal()
                to_text = from_bound_value(column.type, self.dialect)
                yield UnchangedIdentity(assigned.bind, where.bind, to_text, refusal)

    def _is_bound_otherwise(self, column: Column[Any], *values: BoundValue) -> bool:
        types = [type_ for value in values for type_ in self.types.get(value.bind, [])]
        return any(is_bound_otherwise(type_, column.type) for type_ in types)

    def set_values(self, row: Mapping[Any, Assigned]) -> SetValues:
        """What an upsert's SET gives as plain values, and not as the inserted ones."""
        parts = (
            [] if self.is_update else internals.one_statement_per_conflict_clause(self.statement)
        )
        given = [own for part in parts if (own := own_values(self.compiled, part))]
        found = [self._set_values(own, row) for own in given]
        return SetValues(*(sum(kind, ()) for kind in zip(*found, strict=True)))

    def _set_values(self, own: Mapping[str, Assigned], row: Mapping[Any, Assigned]) -> SetValues:

        def identity(column: Column[Any]) -> IdentityBind | None:
            return self._identity_bind(column, row)

        sealed = [
            self._sealed_bind(binding, assigned, row)
            for key, binding in self.bindings.items()
            if isinstance(assigned := own.get(key), BoundValue)
        ]
        indexed = indexes_of_own_values(self.table, row, own, identity, self.dialect)
        return SetValues(tuple(sealed), tuple(indexed), tuple(self._same_keys(row, own)))

    def _same_keys(
        self, row: Mapping[Any, Assigned], own: Mapping[str, Assigned]
    ) -> Iterator[UnchangedIdentity]:
        for binding in self.bindings.values():
            for column in binding.identity:
                assigned, inserted = own.get(column.key), row.get(column.key)
                if isinstance(assigned, BoundValue) and isinstance(inserted, BoundValue):
                    to_text = from_bound_value(column.type, self.dialect)
                    refusal = _another_key(binding, column)
                    if self._is_bound_otherwise(column, assigned, inserted):
                        raise refusal()
                    yield UnchangedIdentity(assigned.bind, inserted.bind, to_text, refusal)

    def spelling_matters(self, row: Mapping[Any, Assigned]) -> bool:
        """Whether a key in WHERE may be spelt differently in the matching row."""
        return any(
            column.key not in row and may_match_another_spelling(column.type, self.dialect)
            for key, binding in self.bindings.items()
            if key in row
            for column in binding.identity
        )


def _written(element: Any) -> str:
    """An SQL expression, as an error calls it."""
    if isinstance(element, FunctionElement):
        return f"the function {getattr(element, 'name', '')}()"
    visited = str(getattr(element, "__visit_name__", ""))
    return f"a {visited.upper()}" if visited in ("case", "cast") else "an SQL expression"


def _names_of_null(statement: Any, names: Sequence[str]) -> set[str]:
    """The columns for which an INSERT .. SELECT selects NULL."""
    selected = statement.select.selected_columns if isinstance(statement.select, Select) else ()
    if len(selected) != len(names):
        return set()
    return {
        name
        for name, element in zip(names, selected, strict=True)
        if is_no_value(element.element if isinstance(element, Label) else element)
    }


def _refuse_zero(value: object) -> object:
    """Refuse a key of 0, for which MySQL generates a key."""
    if value == 0 and not isinstance(value, bool):
        raise UnknownIdentityError(
            "MySQL and MariaDB generate a new key when 0 is inserted, so the row's key is not "
            "known: leave the key out, or give another",
            reason="zero-key",
        )
    return value


def _pinned(compiled: Any, statement: Update) -> Iterator[tuple[str, BoundValue]]:
    """The key columns that WHERE compares with ``=`` to a bind, by column key."""
    columns = {hash(column): column for column in statement.table.c}
    for side, other in equated(internals.where_criteria(statement)):
        column = columns.get(hash(side)) if isinstance(side, Column) else None
        if column is not None and isinstance(other, BindParameter) and not other.expanding:
            name = internals.bind_name(compiled, other)
            if name is not None:
                yield column.key, BoundValue(name)


def _copy_refused(binding: ColumnBinding, message: str, reason: str) -> CiphertextCopyError:
    return CiphertextCopyError(
        message, table=binding.table, column=binding.column_name, reason=reason
    )


def _row_not_pinned(binding: ColumnBinding, missing: list[str]) -> Refusal:
    """The error for an UPDATE that gives no value for these columns of the row's key."""
    names = ", ".join(missing)
    default = ""
    if binding.column.onupdate is not None:  # the caller may not have set the column
        default = ". Its onupdate default gives it one where the UPDATE does not set the column"
    return lambda: AmbiguousRowError(
        f"the UPDATE does not say which row the value is for: its WHERE must pin {names} with =, "
        "each to one value, or another unique key. To update many rows, execute it with a list of "
        f"parameters, one for each row{default}",
        table=binding.table,
        column=binding.column_name,
        reason="row-not-pinned",
    )


def _another_key(binding: ColumnBinding, column: Column[Any]) -> Refusal:
    return lambda: IdentityChangeError(
        f"the upsert sets {column.name}, to which the stored value is bound, to another value than "
        "the inserted row has: leave it out, or set it to the inserted row's",
        table=binding.table,
        column=binding.column_name,
        reason="identity-change",
    )


def _identity_change(binding: ColumnBinding, column: str) -> Refusal:
    return lambda: IdentityChangeError(
        f"this statement changes {column}, to which the stored value is bound, and would leave "
        "the value unreadable: set the encrypted columns in the same statement, or change the key "
        "through the ORM",
        table=binding.table,
        column=binding.column_name,
        reason="identity-change",
    )
