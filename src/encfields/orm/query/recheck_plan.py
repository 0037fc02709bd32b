"""Which rows of a statement are compared again after decryption, and with what.

A truncated index, and one that holds only a part of the value, finds more than what was looked
up. There the rows *must* be compared: what cannot be is refused. Of a count, of EXISTS or behind
LIMIT nothing can be taken out any more.

A full-length index finds what was asked for, unless somebody who can write to the table gave a
row another one's hash. There the rows are compared wherever the statement delivers the value.

What a statement's comparisons by blind index demand of each row that it delivers.
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
from encfields.orm.declare.index_binding import stays_as_kept
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
    """What every row of the statement has to meet.

    :param lookups: the statement's.
    :param statement: as SQLAlchemy compiled it.
    :raises UnsupportedOperationError: the statement does not deliver rows that would have to be
        compared.
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
        raise _refused(index, why)
    cells = []
    for source in index.sources:
        expression = sibling(compared.scope.expression, source.column, compared.scope.column)
        cell = _delivered(compiled, _same_as(expression), dialect)
        if cell is None:
            raise _refused(index, f"the encrypted column {source.column_name} is not selected")
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


def _refused(index: IndexBinding, why: str) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"its blind index {index.label!r} finds rows that only look alike, which are taken out "
        f"after decryption; that is not possible here, because {why}. {_ADVICE}",
        table=index.table,
        column=index.column_name,
        reason="needs-filter",
    )


# -- indexes that are believed only where nothing better is delivered --------------------------


class _Verifiable:
    """Finds those comparisons by full-length indexes whose rows deliver the value.

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
        """What holds for every row of a SELECT, those in its FROM included.

        :param via: the subqueries that it stands in, the outermost first.
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
        """What can be compared of a criterion; ``None`` where that is nothing."""
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
            cell = _delivered(self._compiled, wanted, self._dialect)
            if cell is None:
                return None
            cells.append(cell)
        return RowFilter.of(group, cells, self._dialect)


def _delivered(
    compiled: Any, is_wanted: Callable[[Any], bool], dialect: Dialect
) -> DeliveredCell | None:
    delivered = internals.result_position(compiled, is_wanted)
    if delivered is None:
        return None
    position, type_ = delivered
    reader = cast("RowReader", type_)
    if not stays_as_kept(reader.binding):
        return DeliveredCell(position, reader, reader.opener(dialect), is_shown=True)
    carry = reader.opener(dialect, carried)
    return DeliveredCell(position, reader, lambda cell: carry(_as_delivered(cell)), is_shown=False)


def _as_delivered(cell: Any) -> Any:
    return cell.cell if type(cell) is core.OpenedCell else cell


def _same_as(expression: Any) -> Callable[[Any], bool]:
    return lambda part: hash(part) == hash(expression)


def _through(via: tuple[Any, ...], expression: Any) -> Callable[[Any], bool]:
    """Whether a column is the subquery's, and within it stands for `expression`."""
    return lambda part: proxies(part, expression, via)


class DeliveredCell(NamedTuple):
    """Where a row delivers one of the columns that an index is of.

    :ivar position: in the row, as the driver delivers it.
    :ivar reader: the column's, which tells a cell's row.
    :ivar open: gives what is compared of a cell.
    :ivar is_shown: whether that is the value that the result shows.
    """

    position: int
    reader: RowReader
    open: Callable[[Any], Any]
    is_shown: bool


@dataclass(slots=True, eq=False, repr=False)
class RowFilter:
    """What one comparison asked for, and where its rows deliver it.

    :ivar index: the index that was asked.
    :ivar binds: those that were looked up for it.
    :ivar cells: one for each column of the index.
    :ivar form: gives what two values have in common if the comparison holds them for equal.
    :ivar is_full: whether the index finds nothing else, unless somebody tampered with it.
    :ivar is_negative: whether it asks for the rows that differ.
    :ivar is_checked: whether a value without a form was refused when it was hashed.
    :ivar takes_none: whether ``None`` may be asked for like any value.
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
        """That of a comparison, given its binds and where rows deliver its columns."""
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
    """An OR, of whose parts each can be compared."""

    parts: tuple[Condition, ...]


class AllOf(NamedTuple):
    """An AND; parts that cannot be compared are left out of it."""

    parts: tuple[Condition, ...]


Condition = RowFilter | AnyOf | AllOf
