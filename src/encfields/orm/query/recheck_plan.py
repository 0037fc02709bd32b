"""Plans which rows of a statement to compare again after decryption, and with what.

A truncated index, or one over a part of the value, finds more than was looked up, so its rows
*must* be compared. Statements where that is impossible are refused: nothing can be removed from a
count, from EXISTS or behind LIMIT.

A full-length index finds only matches, unless somebody with write access gave a row another row's
hash. Its rows are compared wherever the statement selects the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BooleanClauseList, Grouping
from sqlalchemy.sql.selectable import AliasedReturnsRows, Select

from encfields.errors import UnreadableError, UnsupportedOperationError
from encfields.message import core
from encfields.orm import internals
from encfields.orm.declare.index_binding import is_indexed_as_stored
from encfields.orm.query.comparison import NEGATIVE
from encfields.orm.query.grouping import merges_rows
from encfields.orm.query.lookup_plan import LookupBind
from encfields.orm.query.lookup_type import Compared
from encfields.orm.query.lookups import normalised_lookup, whole_lookup
from encfields.orm.query.statement_scope import certain_sources, conjunction_of
from encfields.orm.read.lazy import carried
from encfields.orm.read.provenance import proxies, sibling

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.index_binding import IndexBinding
    from encfields.orm.read.row_reader import RowReader


_ADVICE = (
    "Use a full-length index over the whole value (BlindIndex()), or select the rows with the "
    "encrypted column and continue in Python"
)


def plan_filters(
    lookups: tuple[LookupBind, ...], compiled: Any, statement: Any, dialect: Dialect
) -> tuple[Condition, ...]:
    """The conditions that every row of the statement must meet.

    :param lookups: the statement's.
    :param statement: as SQLAlchemy compiled it.
    :raises UnsupportedOperationError: rows must be compared, and the statement does not deliver
        them.
    """
    needed: dict[Compared, list[LookupBind]] = {}
    exact: dict[Compared, list[LookupBind]] = {}
    for lookup in lookups:
        compared = lookup.type.compared
        (needed if compared.needs_filter else exact).setdefault(compared, []).append(lookup)
    return (
        *(_needed_filter(group, compiled, statement, dialect) for group in needed.values()),
        *_Verifiable(exact, compiled, dialect).conditions(statement, ()),
    )


# -- indexes that find too much ----------------------------------------------------------------


def _needed_filter(
    group: list[LookupBind], compiled: Any, statement: Any, dialect: Dialect
) -> RowFilter:
    index, compared = group[0].type.index, group[0].type.compared
    why = _obstacle(compared, statement)
    if why is not None:
        raise _not_possible_error(index, why)
    cells = []
    for source in index.sources:
        expression = sibling(compared.scope.expression, source.column, compared.scope.column)
        cell = _delivered_cell(compiled, _same_as(expression), dialect)
        if cell is None:
            raise _not_possible_error(
                index, f"the encrypted column {source.column_name} is not selected"
            )
        cells.append(cell)
    return RowFilter.of(group, cells, dialect)


def _obstacle(compared: Compared, statement: Any) -> str | None:
    if not isinstance(statement, Select):
        return "the statement is not a SELECT"
    is_nested = len(compared.enclosing) > 1 or compared.scope.subquery is not None
    place = compared.element.place if compared.element.is_all else None
    if is_nested or not any(criterion is place for criterion in conjunction_of(statement)):
        return "the comparison is part of an OR, a NOT, a subquery or an expression"
    if internals.has_row_limit(statement):
        return "LIMIT or OFFSET would count them"
    if internals.is_distinct(statement) or internals.group_by_clauses(statement):
        return "DISTINCT or GROUP BY would merge them"
    if internals.having_criteria(statement) or merges_rows(statement.inner_columns):
        return (
            "an aggregate or a window function (as which any function counts that is not known to "
            "work row by row) would count them"
        )
    return None


def _not_possible_error(index: IndexBinding, why: str) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"its blind index {index.label!r} finds rows that only look alike, which are taken out "
        f"after decryption; that is not possible here, because {why}. {_ADVICE}",
        table=index.table,
        column=index.column_name,
        reason="needs-filter",
    )


# -- indexes that are believed only where nothing better is delivered --------------------------


class _Verifiable:
    """Finds the comparisons by full-length indexes whose rows contain the value.

    :param exact: the comparisons, each with its binds.
    """

    def __init__(
        self, exact: dict[Compared, list[LookupBind]], compiled: Any, dialect: Dialect
    ) -> None:
        self._compiled = compiled
        self._dialect = dialect
        self._groups = {
            id(compared.element.place): group
            for compared, group in exact.items()
            if compared.scope.subquery is None and compared.element.is_all
        }

    def conditions(self, statement: Any, via: tuple[Any, ...]) -> Iterator[Condition]:
        """The conditions on every row of a SELECT, including those of its FROM.

        :param via: the subqueries around it, outermost first.
        """
        if not self._groups or not isinstance(statement, Select):
            return
        for criterion in conjunction_of(statement):
            condition = self._condition(criterion, via)
            if condition is not None:
                yield condition
        for source in certain_sources(statement):
            element = source
            while isinstance(element, AliasedReturnsRows):
                element = element.element
            yield from self.conditions(element, (*via, source))

    def _condition(self, criterion: Any, via: tuple[Any, ...]) -> Condition | None:
        """The part of a criterion that can be compared; ``None`` if there is none."""
        if isinstance(criterion, Grouping):
            return self._condition(criterion.element, via)
        if isinstance(criterion, BooleanClauseList):
            parts = [self._condition(part, via) for part in criterion.clauses]
            known = tuple(part for part in parts if part is not None)
            if criterion.operator is operators.or_:
                return AnyOf(known) if len(known) == len(parts) else None
            return AllOf(known) if known else None
        if id(criterion) in self._groups:
            return self._filter(self._groups[id(criterion)], via)
        return None

    def _filter(self, group: list[LookupBind], via: tuple[Any, ...]) -> RowFilter | None:
        scope = group[0].type.compared.scope
        cells = []
        for source in group[0].type.index.sources:
            try:
                expression = sibling(scope.expression, source.column, scope.column)
            except UnreadableError:
                return None
            wanted = _through(via, expression) if via else _same_as(expression)
            cell = _delivered_cell(self._compiled, wanted, self._dialect)
            if cell is None:
                return None
            cells.append(cell)
        return RowFilter.of(group, cells, self._dialect)


def _delivered_cell(
    compiled: Any, is_wanted: Callable[[Any], bool], dialect: Dialect
) -> DeliveredCell | None:
    delivered = internals.result_position(compiled, is_wanted)
    if delivered is None:
        return None
    position, type_ = delivered
    reader = cast("RowReader", type_)
    if not is_indexed_as_stored(reader.binding):
        return DeliveredCell(position, reader, reader.opener(dialect), is_shown=True)
    carry = reader.opener(dialect, carried)
    return DeliveredCell(position, reader, lambda cell: carry(_as_delivered(cell)), is_shown=False)


def _as_delivered(cell: Any) -> Any:
    return cell.cell if type(cell) is core.OpenedCell else cell


def _same_as(expression: Any) -> Callable[[Any], bool]:
    return lambda part: hash(part) == hash(expression)


def _through(via: tuple[Any, ...], expression: Any) -> Callable[[Any], bool]:
    """Whether a column is the subquery's and selects `expression`."""
    return lambda part: proxies(part, expression, via)


class DeliveredCell(NamedTuple):
    """Where a row has one of an index's columns.

    :ivar position: in the driver's row.
    :ivar reader: the column's reader, which tells a cell's row.
    :ivar open: gives the comparable value of a cell.
    :ivar is_shown: whether that is the value that the result shows.
    """

    position: int
    reader: RowReader
    open: Callable[[Any], Any]
    is_shown: bool


@dataclass(slots=True, eq=False, repr=False)
class RowFilter:
    """One comparison, and where its rows contain the columns.

    :ivar index: the index that answers it.
    :ivar binds: its look-up binds.
    :ivar cells: one for each column of the index.
    :ivar form: gives the same result for two values that the comparison treats as equal.
    :ivar is_full: whether the index finds only matches, unless tampered with.
    :ivar is_negative: whether it asks for rows that differ.
    :ivar is_checked: whether a value without a form was refused when hashed.
    :ivar takes_none: whether ``None`` can be looked up like any value.
    """

    index: IndexBinding
    binds: tuple[str, ...]
    cells: tuple[DeliveredCell, ...]
    form: Callable[[object], bytes | None]
    is_full: bool
    is_negative: bool
    is_checked: bool
    takes_none: bool

    @classmethod
    def of(cls, group: list[LookupBind], cells: list[DeliveredCell], dialect: Dialect) -> RowFilter:
        """The filter of a comparison, from its binds and the cells of its columns."""
        type_ = group[0].type
        index, compared = type_.index, type_.compared
        return cls(
            index=index,
            binds=tuple(lookup.bind for lookup in group),
            cells=tuple(cells),
            form=_form(index.of_values, compared, dialect),
            is_full=not compared.needs_filter,
            is_negative=compared.element.operator in NEGATIVE,
            is_checked=index.is_exact or compared.scope.view is not None,
            takes_none=any(source.none_is_value for source in index.sources),
        )


def _form(
    index: IndexBinding, compared: Compared, dialect: Dialect
) -> Callable[[object], bytes | None]:
    """See :attr:`RowFilter.form`."""
    if compared.scope.view is None:
        return partial(whole_lookup, index.whole_form(dialect))
    return partial(normalised_lookup, index, index.forms(dialect, asked=True))


class AnyOf(NamedTuple):
    """An OR, all of whose parts can be compared."""

    parts: tuple[Condition, ...]


class AllOf(NamedTuple):
    """An AND; parts that cannot be compared are left out of it."""

    parts: tuple[Condition, ...]


Condition = RowFilter | AnyOf | AllOf
