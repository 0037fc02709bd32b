"""Plans which rows of an OR to compare again, where one of its parts may find too many.

A row that an index found belongs to the result if any part of the OR holds for it. So each part has
to be known of the row: a comparison of an encrypted column that is selected, whether such a column
is NULL, or whether a bind is. A comparison under a tenant's key may have the tenant beside it,
which the row's own key tells: so are several tenants asked, each for the value's hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    False_,
    Null,
    True_,
)
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import TypeDecorator

from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.comparison import ungrouped
from encfields.orm.query.lookup_plan import LookupBind
from encfields.orm.query.lookup_type import Compared
from encfields.orm.query.null_tests import tested_bind
from encfields.orm.query.recheck_conditions import (
    AllOf,
    AnyOf,
    Condition,
    NoValueGiven,
    NullTest,
    OfTenant,
    RowFilter,
    delivered_cell,
    known_filter,
)
from encfields.orm.query.statement_scope import conjunction_of
from encfields.orm.read.provenance import sibling

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

Group = list[LookupBind]
"""The binds of one comparison."""


class Alternatives:
    """Finds each OR of a statement whose parts are all known of a row.

    :param needed: the comparisons that may find too many rows, each with its binds.
    :param exact: those by full-length indexes.
    """

    def __init__(
        self,
        needed: dict[Compared, Group],
        exact: dict[Compared, Group],
        compiled: Any,
        dialect: Dialect,
    ) -> None:
        self._compiled = compiled
        self._dialect = dialect
        self._needed = needed
        self._groups: dict[int, list[Group]] = {}
        for compared, group in (*needed.items(), *exact.items()):
            if compared.element.is_all and not compared.is_nested:
                self._groups.setdefault(id(compared.element.place), []).append(group)
        self._used: list[tuple[Group, RowFilter]] = []

    def conditions(self, statement: Any) -> Iterator[tuple[Condition, list[Group]]]:
        """What the rows must meet for each OR, and its comparisons that may find too many."""
        if not isinstance(statement, Select):
            return
        for criterion in conjunction_of(statement):
            if not isinstance(criterion, BooleanClauseList):
                continue
            self._used = []
            condition = self._known(criterion)
            used = (group for group, _ in self._used)
            found = [group for group in used if group[0].type.compared in self._needed]
            if condition is not None and found:
                yield condition, found

    def _known(self, part: Any) -> Condition | None:
        """What a part of an OR is of a row; ``None`` if that is not known."""
        part = ungrouped(part)
        if isinstance(part, BooleanClauseList):
            return self._known_parts(part)
        if isinstance(part, True_ | False_):
            return AllOf(()) if isinstance(part, True_) else AnyOf(())
        if id(part) in self._groups:
            return self._comparison(self._groups[id(part)])
        return self._null_test(part) if type(part) is BinaryExpression else None

    def _known_parts(self, whole: BooleanClauseList) -> Condition | None:
        is_or, before = whole.operator is operators.or_, len(self._used)
        parts = [(part, self._known(part)) for part in whole.clauses]
        known = [condition for _, condition in parts if condition is not None]
        unknown = [part for part, condition in parts if condition is None]
        if unknown and is_or:
            return None
        for part in unknown:
            # Last, because the cells that tell a row's key are opened by the comparisons.
            tenant = self._tenant_test(part, self._used[before:])
            if tenant is None:
                return None
            known.append(tenant)
        return AnyOf(tuple(known)) if is_or else AllOf(tuple(known))

    def _tenant_test(self, part: Any, beside: list[tuple[Group, RowFilter]]) -> OfTenant | None:
        """Whether a row is of the tenant that a part of an AND names for comparisons beside it."""
        part = ungrouped(part)
        if type(part) is not BinaryExpression or part.operator is not operators.eq:
            return None
        for column, bind in permutations((part.left, part.right)):
            if not isinstance(bind, BindParameter):
                continue
            name = internals.bind_name(self._compiled, bind)
            for (lookup, *_), found in beside:
                scope = lookup.type.compared.scope
                for key, told in zip(lookup.type.index.key_columns, lookup.key, strict=True):
                    is_key = hash(sibling(scope.expression, key, scope.column)) == hash(column)
                    if is_key and told.bind == name and _tells_its_row(found):
                        return OfTenant(found.cells[0], key.name, told.bind, told.to_text)
        return None

    def _comparison(self, groups: list[Group]) -> Condition | None:
        if len(groups) > 1:  # the same object is compared elsewhere too
            return None
        (group,) = groups
        found = known_filter(group, self._compiled, self._dialect)
        if found is None:
            return None
        self._used.append((group, found))
        # A row that another part found is no sign of tampering.
        return replace(found, is_full=False)

    def _null_test(self, part: BinaryExpression[Any]) -> Condition | None:
        is_null, bind, tested = part.operator is operators.is_, tested_bind(part), part.left
        if bind is not None:
            is_known = not bind.unique and self._stores_none_as_null(bind.key)
            return NoValueGiven(bind.key, is_null) if is_known else None
        is_test = part.operator in (operators.is_, operators.is_not)
        if not is_test or not isinstance(part.right, Null) or not is_encrypted(tested):
            return None
        if cast("Any", tested.type).adopts is not None:
            return None  # what is NULL may still have a plaintext
        cell = delivered_cell(self._compiled, tested, self._dialect)
        return None if cell is None else NullTest(cell, is_null)

    def _stores_none_as_null(self, bind: str) -> bool:
        """Whether a bind is looked up in columns that store ``None``, and only that, as NULL."""
        indexes = [
            lookup.type.index
            for groups in self._groups.values()
            for group in groups
            for lookup in group
            if lookup.bind == bind
        ]
        types = [cast("Any", source.column.type).inner for i in indexes for source in i.sources]
        return bool(types) and not any(isinstance(type_, TypeDecorator) for type_ in types)


def _tells_its_row(found: RowFilter) -> bool:
    """Whether rows that meet a comparison have a message in its cell, beside which their key is."""
    adopts = any(cast("Any", source.column.type).adopts for source in found.index.sources)
    return not adopts and not found.is_negative
