"""The statements around a comparison, recorded during compilation.

Only then, after the ORM's changes, is it certain which of them a table belongs to: a subquery
either has the table in its own FROM, or refers to the surrounding statement's row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Delete, Insert, Update
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BooleanClauseList,
    Case,
    FunctionFilter,
    Grouping,
    Label,
    Null,
)
from sqlalchemy.sql.selectable import (
    AliasedReturnsRows,
    CompoundSelect,
    Join,
    ScalarSelect,
    Select,
    SelectBase,
    SelectStatementGrouping,
)

from encfields.orm import internals


class OuterStatement(NamedTuple):
    """One statement around a comparison.

    :ivar statement: a SELECT, UPDATE or DELETE; an INSERT, whose upsert may have a ``where=``; or a
        UNION.
    :ivar own: hashes of the tables, aliases and subqueries in its own FROM, and of those that they
        are copies of: a lambda's FROM has a copy of an alias, and its WHERE the alias itself.
    """

    statement: Any
    own: frozenset[int]


def enclosing(compiler: Any) -> tuple[OuterStatement, ...]:
    """The statements being compiled, innermost first."""
    return tuple(
        OuterStatement(
            entry["selectable"],
            frozenset(
                hash(known)
                for source in entry["asfrom_froms"]
                for known in internals.copied_from(source)
            ),
        )
        for entry in reversed(compiler.stack)
    )


def deciding(
    around: tuple[OuterStatement, ...], table: Any
) -> Iterator[tuple[OuterStatement, ...]]:
    """The statements whose conditions a row of `table` must meet for the comparison to count: the
    one with the table in its FROM, and those between it and the comparison.

    :returns: each with those around it, innermost first.
    """
    passed: list[tuple[OuterStatement, ...]] = []
    for place, outer in enumerate(around):
        is_insert = isinstance(outer.statement, Insert)
        if is_insert or isinstance(outer.statement, Select | Update | Delete):
            passed.append(around[place:])
            own = {hash(outer.statement.table)} if is_insert else outer.own
            if hash(table) in own:
                yield from passed
                return


def selected_in(column: Any) -> tuple[Select[Any], Any] | None:
    """The SELECT behind a column of a subquery or CTE, and the element that it selects.

    What holds for every row of that SELECT holds for the column's row.
    """
    selected = _selected_by(column.table)
    if selected is None:
        return None
    select, pairs = selected
    for outside, inside in pairs:
        if hash(outside) == hash(column) and getattr(inside, "table", None) is not None:
            return select, inside
    return None


def equal_beside(column: Any) -> Iterator[Any]:
    """Other columns of a subquery or CTE that its SELECT sets equal to one of its columns.

    A subclass's tenant equals its parent's in the subquery of ``aliased(Subclass)``.
    """
    inner, selected = selected_in(column), _selected_by(column.table)
    if inner is None or selected is None:
        return
    select, pairs = selected
    equal = [
        (hash(one), hash(other))
        for one, other in equated(conjunction_of(select))
        if have_same_texts(one, other)
    ]
    reached = all_equal(hash(inner[1]), equal)
    for outside, inside in pairs:
        if hash(outside) != hash(column) and hash(inside) in reached:
            yield outside


def _selected_by(subquery: Any) -> tuple[Select[Any], list[tuple[Any, Any]]] | None:
    """The SELECT that a subquery or CTE is, and each of its columns with what it selects there.

    By their position: a column of an alias also stands for its table's, which may be selected too.
    """
    element = subquery
    while isinstance(element, AliasedReturnsRows):
        element = element.element
    if not isinstance(element, Select):
        return None
    inside = [*map(unlabelled, element.selected_columns)]
    outside = [*subquery.c]
    if len(inside) != len(outside):
        return None
    return element, [*zip(outside, inside, strict=True)]


def all_equal(start: int, equal: Iterable[tuple[int, int]]) -> set[int]:
    """What a column is equal to, by hash.

    :param equal: pairs of columns that are equal, by hash.
    """
    reached, pairs = {start}, list(equal)
    while True:
        others = {other for one, other in pairs if one in reached} - reached
        if not others:
            return reached
        reached |= others


def have_same_texts(column: Any, other: Any) -> bool:
    """Whether the other side is a column whose equal values have the same text."""
    is_column = getattr(other, "table", None) is not None
    return is_column and repr(other.type) == repr(column.type)


def unlabelled(element: Any) -> Any:
    """The element inside labels and parentheses."""
    while isinstance(element, Label | Grouping):
        element = element.element
    return element


def selects_in(side: Any) -> Iterator[Any]:
    """The SELECTs that one side of a comparison is made of; none where it is no subquery."""
    while isinstance(side, Grouping | Label | ScalarSelect | SelectStatementGrouping):
        side = side.element
    if isinstance(side, CompoundSelect):
        for select in side.selects:
            yield from selects_in(select)
    elif isinstance(side, Select):
        yield side


def conjunction_of(statement: Any) -> Iterator[Any]:
    """The conditions that hold for every row of a statement: WHERE, and ON of inner joins."""
    yield from conjunction(internals.where_criteria(statement))
    if isinstance(statement, Select):
        for source in internals.top_level_from(statement):
            yield from _join_conditions(source)


class ConditionBeside(NamedTuple):
    """A condition joined with a comparison by AND.

    :ivar condition: the condition.
    :ivar null_counts_as_false: whether NULL and false mean the same for that AND, as in a WHERE.
        Under NOT, or in a selected expression, they differ.
    """

    condition: Any
    null_counts_as_false: bool


def conditions_beside(statement: Any, comparison: Any) -> list[ConditionBeside]:
    """The conditions joined with a comparison by AND, anywhere: in an OR, a CASE, an ON.

    If one of them does not hold, the comparison's result does not matter. If the same object is in
    several places, only conditions beside all of them count.

    :param statement: that contains the comparison.
    """
    places = [
        beside
        for part, is_condition in _parts(statement)
        for beside in _places_within(part, comparison, (), is_condition=is_condition)
    ]
    first, *others = places or [()]
    common = []
    for one in first:
        alike = [one, *(o for other in others for o in other if o.condition is one.condition)]
        if len(alike) > len(others):
            common.append(
                one._replace(null_counts_as_false=all(o.null_counts_as_false for o in alike))
            )
    return common


def _parts(statement: Any) -> Iterator[tuple[Any, bool]]:
    """The parts of a statement, and whether NULL and false mean the same in each."""
    conditions = [*internals.where_criteria(statement)]
    if isinstance(statement, Insert):
        conditions += internals.upsert_conditions(statement)
    if isinstance(statement, Select):
        conditions += internals.having_criteria(statement)
        others = [*internals.select_parts(statement), *internals.top_level_from(statement)]
    else:
        others = [*statement.get_children()]
    known = set(map(id, conditions))
    yield from ((condition, True) for condition in conditions)
    yield from ((part, False) for part in others if id(part) not in known)


def _places_within(
    part: Any,
    comparison: Any,
    around: tuple[ConditionBeside, ...],
    *,
    is_condition: bool,
    is_nested: bool = False,
) -> Iterator[tuple[ConditionBeside, ...]]:
    """The conditions beside each place of a comparison within `part`.

    Conditions of a SELECT inside concern other rows, and are handled with that SELECT.

    :param is_condition: whether NULL and false mean the same for `part`.
    """
    if part is comparison:
        yield around
        return
    is_nested = is_nested or isinstance(part, SelectBase)
    if isinstance(part, BooleanClauseList) and part.operator is operators.and_ and not is_nested:
        around = (*around, *(ConditionBeside(one, is_condition) for one in conjunction([part])))
    keeps = is_condition and isinstance(part, BooleanClauseList | Grouping)
    decide = set(map(id, _deciding_parts(part)))
    for child in part.get_children():
        is_one = keeps or id(child) in decide
        yield from _places_within(
            child, comparison, around, is_condition=is_one, is_nested=is_nested
        )


def _deciding_parts(part: Any) -> tuple[Any, ...]:
    """The conditions within a part for which NULL and false mean the same."""
    if isinstance(part, Join):
        return (part.onclause,)
    if isinstance(part, Case) and part.value is None:
        return tuple(condition for condition, _ in part.whens)
    return (part.criterion,) if isinstance(part, FunctionFilter) else ()


def certain_sources(select: Select[Any]) -> Iterator[Any]:
    """The sources that every row of a SELECT has a row of: one side of an outer join."""
    for source in internals.top_level_from(select):
        yield from _certain_within(source)


def _certain_within(source: Any) -> Iterator[Any]:
    if not isinstance(source, Join):
        yield source
    elif not source.full:
        yield from _certain_within(source.left)
        if not source.isouter:
            yield from _certain_within(source.right)


def sources_of(select: Select[Any]) -> Iterator[Any]:
    """All sources that a SELECT selects from, both sides of its joins."""
    waiting = [*internals.top_level_from(select)]
    while waiting:
        source = waiting.pop()
        if isinstance(source, Join):
            waiting += (source.left, source.right)
        else:
            yield source


def _join_conditions(source: Any) -> Iterator[Any]:
    if not isinstance(source, Join) or source.full:
        return
    yield from _join_conditions(source.left)
    if not source.isouter:
        yield from conjunction([source.onclause])
        yield from _join_conditions(source.right)


def conjunction(criteria: Any) -> Iterator[Any]:
    """The conditions that must all hold for `criteria` to hold."""
    for criterion in criteria:
        if isinstance(criterion, Grouping):
            yield from conjunction([criterion.element])
        elif isinstance(criterion, BooleanClauseList) and criterion.operator is operators.and_:
            yield from conjunction(criterion.clauses)
        else:
            yield criterion


def is_null_test_of(criterion: Any, column: Any) -> bool:
    """Whether a condition is that a column IS NULL."""
    if not isinstance(criterion, BinaryExpression) or not isinstance(criterion.right, Null):
        return False
    is_asked = criterion.operator in (operators.is_, operators.is_not_distinct_from)
    return is_asked and hash(criterion.left) == hash(column)


_EQUALITY = (operators.eq, operators.is_not_distinct_from)


def equated(criteria: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Both sides of each equality that must hold, in both orders.

    :param criteria: joined by AND.
    """
    for criterion in conjunction(criteria):
        if isinstance(criterion, BinaryExpression) and criterion.operator in _EQUALITY:
            yield criterion.left, criterion.right
            yield criterion.right, criterion.left
