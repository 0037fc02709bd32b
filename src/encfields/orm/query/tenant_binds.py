"""Which bind of a statement tells the tenant that a look-up is in.

The statement has to compare the template's columns, of the same table or alias, with ``=`` to a
value, or with ``IN`` to a list of one, in the same SELECT's WHERE, in one around it, or in the AND
that the comparison is part of. So it may another table's column, which the template's has to equal
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter
from sqlalchemy.sql.selectable import Select

from encfields.orm import internals
from encfields.orm.query.lookup_type import Compared
from encfields.orm.query.statement_scope import (
    OuterStatement,
    certain_sources,
    conditions_beside,
    conjunction_of,
    deciding,
    selected_in,
)


class TenantBinds:
    """The binds that columns are compared with wherever a comparison counts."""

    def __init__(self, compiled: Any, compared: Compared) -> None:
        self._compiled = compiled
        self._compared = compared
        self._rendered = internals.rendered_bind_names(compiled)

    def binds_of(self, column: Any) -> Iterator[tuple[str, bool]]:
        """The binds that a column of the comparison's row has the value of, each with whether the
        answer is right where that is given NULL."""
        inner = self._compared.scope.subquery
        if inner is not None:
            return self._binds_in([(OuterStatement(inner, frozenset()),)], column, frozenset())
        around = deciding(self._compared.enclosing, self._compared.scope.expression.table)
        return self._binds_in(around, column, frozenset())

    def _binds_in(
        self,
        scopes: Iterable[tuple[OuterStatement, ...]],
        column: Any,
        seen: frozenset[int],
    ) -> Iterator[tuple[str, bool]]:
        """The same within statements, each with those around it.

        :param seen: hashes of the columns that this one is known to equal.
        """
        equal: list[tuple[Any, tuple[OuterStatement, ...]]] = []
        for scope in scopes:
            for side, other, takes_null in self._compared_in(scope):
                if hash(side) != hash(column):
                    continue
                if isinstance(other, BindParameter):
                    name = internals.bind_name(self._compiled, other)
                    if name is not None and name not in self._rendered:
                        yield name, takes_null
                elif _is_alike(column, other) and hash(other) not in seen:
                    equal.append((other, scope))
        for other, scope in equal:
            around = deciding(scope, other.table)
            yield from self._binds_in(around, other, seen | {hash(column)})
        inner = selected_in(column)
        if inner is None or hash(inner[1]) in seen:
            return
        select, selected = inner
        within = [(OuterStatement(select, frozenset()),)]
        yield from self._binds_in(within, selected, seen | {hash(column)})

    def _compared_in(self, scope: tuple[OuterStatement, ...]) -> Iterator[tuple[Any, Any, bool]]:
        """Both sides of each comparison that holds wherever a statement's row counts, those with
        one value before those with a list; and whether the bind in it may be given NULL.

        Where NULL is compared, the comparison is not met, and no row of a WHERE counts. But
        what NOT makes of it depends on what stands beside.
        """
        statement = scope[0].statement
        beside = conditions_beside(statement, self._compared.element.place)
        whole = (c for c in conjunction_of(statement) if not _may_hold_of_no_row(c, statement))
        naming = [
            (criterion, is_met_or_not or criterion.operator is operators.is_not_distinct_from)
            for criterion, is_met_or_not in (*((c, True) for c in whole), *beside)
            if isinstance(criterion, BinaryExpression) and criterion.operator in _NAMES_TENANT
        ]
        for criterion, takes_null in sorted(naming, key=lambda one: one[0].operator is _IN):
            for side, other in permutations((criterion.left, criterion.right)):
                yield side, other, takes_null


def _may_hold_of_no_row(criterion: Any, statement: Any) -> bool:
    """Whether a condition may hold where an outer join finds no row, as when told apart from NULL.

    The look-up may be what it finds none by.
    """
    if getattr(criterion, "operator", None) is not operators.is_not_distinct_from:
        return False
    if not isinstance(statement, Select):
        return False
    certain = {hash(source) for source in certain_sources(statement)}
    tables = (getattr(side, "table", None) for side in (criterion.left, criterion.right))
    return any(table is not None and hash(table) not in certain for table in tables)


def _is_alike(column: Any, other: Any) -> bool:
    """Whether what stands beside a column is one whose values have the same text."""
    is_column = getattr(other, "table", None) is not None
    return is_column and repr(other.type) == repr(column.type)


_IN = operators.in_op
_NAMES_TENANT = (operators.eq, operators.is_not_distinct_from, _IN)
