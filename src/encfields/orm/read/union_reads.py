"""Reads encrypted columns through a UNION of tables whose branches identify themselves.

A concrete hierarchy is loaded from one: ``polymorphic_union()`` gives each branch a constant of its
own, the discriminator. The database cannot change a constant, so it identifies a row's table as
surely as a FROM does. The value is delivered with its row's key like any other, in the form that
its branch requires.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, Table, null
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import Cast, ColumnClause, ColumnElement, Label, Null, TypeCoerce
from sqlalchemy.sql.selectable import (
    Alias,
    AliasedReturnsRows,
    CompoundSelect,
    Select,
    SelectStatementGrouping,
)
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import TypeEngine

from encfields.orm import internals
from encfields.orm.declare.columns import ColumnBinding, binding_of, is_encrypted
from encfields.orm.internals import WrappedColumn
from encfields.orm.read.packed import Packed, without_result_map
from encfields.orm.read.row_reader import RowReader
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class UnionReader(TypeEngine[Any]):
    """The type of a :class:`PackedBranches` cell: opens it for the column that its tag names.

    :param readers: one for each branch.
    """

    def __init__(self, readers: Sequence[RowReader]) -> None:
        self.readers = readers

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        processors = {r.tag: r.result_processor(dialect, coltype) for r in self.readers}
        # It raises the error for a cell that comes from none of them.
        of_first = processors[self.readers[0].tag]

        def open_cell(cell: Any) -> Any:
            tag = (
                bytes(cell[:6]).decode("ascii", "replace")
                if isinstance(cell, bytes | bytearray | memoryview)
                else ""
            )
            return processors.get(tag, of_first)(cell)

        return leaves_no_trace(open_cell)


class PackedBranches(WrappedColumn):
    """The expression that selects a UNION's encrypted column, in each branch's own form.

    :param discriminator: the column that distinguishes the branches.
    :param branches: for each branch that has the column, its constant and its cell.
    """

    inherit_cache = False
    __visit_name__ = "encfields_packed_branches"

    def __init__(
        self,
        ciphertext: ColumnElement[Any],
        discriminator: ColumnElement[Any],
        branches: Sequence[tuple[ColumnElement[Any], Packed]],
    ) -> None:
        self.ciphertext = ciphertext
        self.discriminator = discriminator
        self.branches = branches
        self.type = UnionReader([packed.reader for _, packed in branches])

    def wrapped(self) -> ColumnElement[Any]:
        """The stored column."""
        return self.ciphertext


@compiles(PackedBranches)
def _compile_branches(element: PackedBranches, compiler: Any, **kw: Any) -> str:
    inner = without_result_map(kw)

    def sql(part: ColumnElement[Any]) -> str:
        return str(compiler.process(part, **inner))

    whens = [f"WHEN {sql(constant)} THEN {sql(packed)}" for constant, packed in element.branches]
    # Every row is from some branch; if one were not, its bare ciphertext would be refused.
    last = f"ELSE {sql(element.ciphertext)} END"
    return " ".join([f"CASE {sql(element.discriminator)}", *whens, last])


def packed_branches(expression: Any) -> PackedBranches | None:
    """The expression to select instead of an encrypted column of a UNION.

    :returns: ``None`` if the column does not come from a UNION, or not all branches of it identify
        themselves and select their row's key.
    """
    union = union_of(expression)
    place = None if union is None else union.discriminator()
    if union is None or place is None:
        return None
    rows = _rows_of(union, lambda binding: binding.bound_to)
    if rows is None:
        return None
    packed: list[tuple[ColumnElement[Any], Packed]] = []
    for branch, binding, identity in rows:
        cell = Packed(expression, identity, RowReader(binding, lazy=binding.lazy))
        packed.append((branch[place], cell))
    tags = {cell.reader.tag for _, cell in packed}
    if not packed or len(tags) < len(packed):
        return None
    return PackedBranches(expression, union.beside(place), packed)


def hides_union(expression: Any) -> bool:
    """Whether a subquery selects the column by itself from a class of a concrete hierarchy.

    The ORM then selects from its UNION, where the column is no longer the table's, which the
    subquery's own columns do not show.
    """
    for branch in branches_of(expression):
        table, entity = getattr(branch.value, "table", None), internals.entity_of(branch.value)
        if getattr(entity, "is_mapper", False):
            selected = entity.selectable.corresponding_column(branch.value)
            union = None if selected is None else union_of(selected)
            if union is not None and len(union.branches) > 1:
                return True
        elif table is not None and hides_union(branch.value):
            return True
    return False


def row_key_in_union(expression: Any) -> tuple[ColumnElement[Any], ...] | None:
    """The columns of a UNION that together determine the row of its encrypted column.

    :returns: the one that distinguishes the branches, and those that are a row's key in its branch;
        ``None`` as for :func:`packed_branches`.
    """
    union = union_of(expression)
    place = None if union is None else union.discriminator()
    if union is None or place is None:
        return None
    rows = _rows_of(union, lambda binding: binding.own_identity)
    if rows is None:
        return None
    return (union.beside(place), *(column for *_, identity in rows for column in identity))


_Keys = tuple[ColumnElement[Any], ...]


def _rows_of(
    union: Union, keys_of: Callable[[ColumnBinding], Iterable[Column[Any]]]
) -> list[tuple[Sequence[Any], ColumnBinding, _Keys]] | None:
    """The branches with an encrypted column of a table, what is declared of it, and the columns of
    the UNION that are its row's key.

    :param keys_of: the columns of its table that have to be selected beside it.
    :returns: ``None`` if one is not, or if a branch has other values.
    """
    rows = []
    for branch in union.branches:
        value = branch[union.place]
        if is_no_value(value):
            continue
        is_of_table = isinstance(value, Column) and isinstance(value.table, Table)
        if not is_of_table or not is_encrypted(value):
            return None
        binding = binding_of(value)
        identity = _selected_beside(union, branch, keys_of(binding))
        if identity is None:
            return None
        rows.append((branch, binding, identity))
    return rows


def _selected_beside(
    union: Union, branch: Sequence[Any], keys: Iterable[Column[Any]]
) -> _Keys | None:
    """The columns of the UNION that are a branch's `keys`; ``None`` if it does not select one."""
    identity: list[ColumnElement[Any]] = []
    for key in keys:
        # A class's attribute is an annotated copy of the column, with the column's hash.
        wanted = hash(key)
        place = next((n for n, selected in enumerate(branch) if hash(selected) == wanted), None)
        column = None if place is None else union.beside(place)
        if column is None:
            return None
        identity.append(column)
    return tuple(identity)


class Union(NamedTuple):
    """The UNION that a column comes from.

    :ivar expression: the column.
    :ivar columns: all columns of the UNION.
    :ivar place: the position of the column among them.
    :ivar branches: the selected expressions of each SELECT.
    :ivar inside: the FROMs of the branches, by id.
    """

    expression: Any
    columns: Sequence[Any]
    place: int
    branches: Sequence[Sequence[Any]]
    inside: frozenset[int]

    def beside(self, place: int) -> Any:
        """The column for another position of the same row, or ``None``."""
        wanted = hash(self.columns[place])
        for candidate in self.expression.table.c:
            stands_for = {hash(one) for one in candidate.proxy_set}
            if wanted in stands_for and self._selectables_between(
                candidate
            ) == self._selectables_between(self.expression):
                return candidate
        return None

    def _selectables_between(self, column: Any) -> frozenset[int]:
        """The selectables between the UNION and a column."""
        tables = {id(getattr(one, "table", None)) for one in column.proxy_set}
        return frozenset(tables - self.inside - {id(None)})

    def discriminator(self) -> int | None:
        """The position of a selected column in which every branch has its own constant."""
        for place in range(len(self.columns)):
            of_branches = [branch[place] for branch in self.branches]
            if tell_apart(of_branches) and self.beside(place) is not None:
                return place
        return None


def union_of(expression: Any) -> Union | None:
    """The UNION that a column comes from, if there is exactly one."""
    sources = [
        (source, _compound(source.table))
        for source in expression.proxy_set
        if hasattr(source, "table")
    ]
    unions = [(column, compound) for column, compound in sources if compound is not None]
    if len(unions) != 1:
        return None
    ((column, compound),) = unions
    branches = [elements_of(select) for select in selects_of(compound)]
    columns = list(column.table.c)
    place = next((n for n, source in enumerate(columns) if source is column), None)
    if place is None or any(len(branch) != len(columns) for branch in branches):
        return None
    inside = frozenset(id(source) for source in iterate(compound))
    return Union(expression, columns, place, branches, inside)


def _compound(selectable: Any) -> CompoundSelect[Any] | None:
    """The UNION that a subquery or CTE consists of; ``None`` for anything else."""
    element = getattr(selectable, "element", None)
    if isinstance(element, SelectStatementGrouping):
        element = element.element
    return element if isinstance(element, CompoundSelect) else None


def elements_of(select: Any) -> list[Any]:
    """The columns that a branch selects, without labels; none if it is not a simple SELECT."""
    if not isinstance(select, Select):
        return []
    return [_without_label(column) for column in select.selected_columns]


def _without_label(column: Any) -> Any:
    return _without_label(column.element) if isinstance(column, Label) else column


def is_no_value(element: Any) -> bool:
    """Whether it is NULL, which a branch has for a column that it lacks."""
    inner = element.clause if isinstance(element, Cast | TypeCoerce) else element
    return isinstance(inner, Null)


def with_bare_nulls(compound: CompoundSelect[Any]) -> CompoundSelect[Any]:
    """The UNION with plain NULLs where its first SELECT has an encrypted column.

    PostgreSQL demands one type of all SELECTs, which a NULL such as ``cast(null(), String)`` would
    not have, since messages are bytes.
    """
    first, *others = compound.selects
    above = elements_of(first)
    changed = [_with_bare_nulls(select, above) for select in others]
    if all(map(is_, changed, others)):
        return compound
    united: CompoundSelect[Any] = internals.with_selects(compound, [first, *changed])
    return united


def _with_bare_nulls(select: Any, above: Sequence[Any]) -> Any:
    """A later SELECT of a UNION.

    :param above: what the first one selects.
    """
    places = [
        is_encrypted(column) and isinstance(element, Cast) and is_no_value(element)
        for column, element in zip(above, elements_of(select), strict=False)
    ]
    if not any(places):
        return select
    selected = zip(select.selected_columns, places, strict=False)
    columns = [null() if is_bare else column for column, is_bare in selected]
    return select.with_only_columns(*columns, maintain_column_froms=True)


def tell_apart(elements: Iterable[Any]) -> bool:
    """Whether those that the branches select at one position are constants, each another one."""
    constants = [_constant(element) for element in elements]
    return None not in constants and len(set(constants)) == len(constants)


def _constant(element: Any) -> str | None:
    """The text of a ``literal_column()`` that is a string or a number."""
    if not isinstance(element, ColumnClause) or not element.is_literal:
        return None
    text = str(element.name)
    return text.casefold() if re.fullmatch(_LITERAL, text) else None


_LITERAL = r"[0-9]+|'(?:[^'\\]|'')*'"
"""A constant that every database reads in the same way."""


class Branch(NamedTuple):
    """One SELECT of a subquery.

    :ivar columns: the selected ones, without labels.
    :ivar value: the one that the subquery's column represents.
    """

    select: Select[Any]
    columns: Sequence[Any]
    value: Any


def branches_of(expression: Any) -> list[Branch]:
    """Each SELECT behind a subquery's column; none if they cannot be determined."""
    subquery = expression.table
    if not isinstance(subquery, AliasedReturnsRows):
        return []
    columns = list(subquery.c)
    place = next(
        (n for n, selected in enumerate(columns) if hash(selected) == hash(expression)), None
    )
    if place is not None and isinstance(subquery.element, AliasedReturnsRows):
        return branches_of(list(subquery.element.c)[place])
    branches: list[Branch] = []
    for select in selects_of(subquery.element):
        inner = [_without_label(selected) for selected in getattr(select, "selected_columns", ())]
        if place is None or not isinstance(select, Select) or len(inner) != len(columns):
            return []
        branches.append(Branch(select, inner, inner[place]))
    return branches


def selects_rows(expression: Any, source: Column[Any]) -> bool:
    """Whether all SELECTs of a UNION take a column, and its row's key, directly from its table.

    :param expression: the UNION's column. :param source: the table's column that it is.
    """
    places = {_key_places(branch, source) for branch in branches_of(expression)}
    return len(places) == 1 and None not in places


def _key_places(branch: Branch, source: Column[Any]) -> tuple[str | None, ...] | None:
    """The key column at each position of a SELECT; ``None`` if it may be another row's."""
    table: Any = getattr(branch.value, "table", None)
    element = table.element if isinstance(table, Alias) else table
    if not isinstance(element, Table) or hash(element) != hash(source.table):
        return None
    keys = source.table.primary_key.columns
    found: list[str | None] = []
    for column in branch.columns:
        key = next((key.key for key in keys if key in getattr(column, "base_columns", ())), None)
        if key is not None and hash(column.table) != hash(table):
            return None
        found.append(key)
    return tuple(found)


def selects_of(selectable: Any) -> Iterator[Any]:
    if isinstance(selectable, SelectStatementGrouping):
        yield from selects_of(selectable.element)
    elif isinstance(selectable, CompoundSelect):
        for part in selectable.selects:
            yield from selects_of(part)
    else:
        yield selectable
