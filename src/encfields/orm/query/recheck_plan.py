"""Plans which rows of a statement to compare again after decryption, and with what.

A truncated index, or one over a part of the value, finds more than was looked up, so its rows
*must* be compared. Statements where that is impossible are refused: nothing can be removed from a
count, from EXISTS or behind LIMIT.

A full-length index finds only matches, unless somebody with write access gave a row another row's
hash. Its rows are compared wherever the statement selects the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BooleanClauseList, Grouping
from sqlalchemy.sql.selectable import AliasedReturnsRows, Select

from encfields.errors import UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.query.alternatives import Alternatives
from encfields.orm.query.grouping import merges_rows
from encfields.orm.query.lookup_plan import LookupBind
from encfields.orm.query.lookup_type import Compared
from encfields.orm.query.recheck_conditions import (
    AllOf,
    AnyOf,
    Condition,
    RowFilter,
    Within,
    delivered_cells,
    known_filter,
)
from encfields.orm.query.statement_scope import certain_sources, conjunction_of, sources_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.index_binding import IndexBinding


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
    planned: list[Condition] = []
    if needed:
        alternatives = Alternatives(needed, exact, compiled, dialect)
        for condition, groups in alternatives.conditions(statement):
            _refuse_hidden_rows(groups[0][0].type.index, statement)
            planned.append(condition)
            for group in groups:
                del needed[group[0].type.compared]
    return (
        *planned,
        *(_needed_filter(group, compiled, statement, dialect) for group in needed.values()),
        *_Verifiable(exact, compiled, dialect).conditions(statement, ()),
    )


# -- indexes that find too much ----------------------------------------------------------------


def _needed_filter(
    group: list[LookupBind], compiled: Any, statement: Any, dialect: Dialect
) -> RowFilter:
    index, compared = group[0].type.index, group[0].type.compared
    if isinstance(statement, Select) and not _is_condition(compared, statement):
        raise _not_possible_error(
            index,
            "the comparison is part of a NOT, a subquery (as subqueryload() makes one, and "
            "selectinload() does not) or an expression, or of an OR with conditions that are not "
            "about encrypted columns that are selected (one SELECT for each side of it works)",
        )
    _refuse_hidden_rows(index, statement)
    cells = []
    for source, cell in delivered_cells(group, compiled, dialect):
        if cell is None:
            raise _not_possible_error(
                index, f"the encrypted column {source.column_name} is not selected"
            )
        cells.append(cell)
    return RowFilter.of(group, cells, dialect)


def _is_condition(compared: Compared, statement: Any) -> bool:
    """Whether the comparison is one of the conditions that all rows must meet."""
    place = compared.element.place if compared.element.is_all else None
    return not compared.is_nested and any(one is place for one in conjunction_of(statement))


def _refuse_hidden_rows(index: IndexBinding, statement: Any) -> None:
    why = _obstacle(statement)
    if why is not None:
        raise _not_possible_error(index, why)


def _obstacle(statement: Any) -> str | None:
    if not isinstance(statement, Select):
        return "the statement is not a SELECT"
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
        within = Within(via, tuple(sources_of(statement))) if via else None
        for criterion in conjunction_of(statement):
            condition = self._condition(criterion, within)
            if condition is not None:
                yield condition
        for source in certain_sources(statement):
            element = source
            while isinstance(element, AliasedReturnsRows):
                element = element.element
            yield from self.conditions(element, (*via, source))

    def _condition(self, criterion: Any, within: Within | None) -> Condition | None:
        """The part of a criterion that can be compared; ``None`` if there is none."""
        if isinstance(criterion, Grouping):
            return self._condition(criterion.element, within)
        if isinstance(criterion, BooleanClauseList):
            parts = [self._condition(part, within) for part in criterion.clauses]
            known = tuple(part for part in parts if part is not None)
            if criterion.operator is operators.or_:
                # An OR of nothing is no condition: SQLAlchemy leaves it out.
                return AnyOf(known) if known and len(known) == len(parts) else None
            return AllOf(known) if known else None
        if id(criterion) in self._groups:
            return known_filter(self._groups[id(criterion)], self._compiled, self._dialect, within)
        return None
