"""One comparison by all versions of a beacon key that are in use, in SQL's three-valued logic."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from sqlalchemy import and_, func, not_, or_
from sqlalchemy.sql.elements import BinaryExpression, ColumnElement, Grouping
from sqlalchemy.sql.selectable import ScalarSelect

from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.query.comparison import MEMBERSHIP, NEGATIVE, IndexComparison


class VersionSides(NamedTuple):
    """Both sides of a comparison under one version of the beacon key.

    :ivar left: the index's column, a subquery of it, or a look-up value.
    :ivar right: likewise.
    :ivar right_alone: `right` without the rows that have the first version, if it is a subquery.
    """

    left: Any
    right: Any
    right_alone: Any = None


def either_version(element: IndexComparison, sides: list[VersionSides]) -> ColumnElement[Any]:
    """The comparison of `element` by all versions, in SQL's three-valued logic.

    :param sides: one or two, for the versions in use, the deciding one first.
    """
    each = [
        BinaryExpression(
            side.left, side.right, element.operator, type_=element.type, modifiers=element.modifiers
        )
        for side in sides
    ]
    if len(each) == 1:
        return each[0]
    first, second = each
    if not any(
        isinstance(part, ScalarSelect) for side in sides for part in (side.left, side.right)
    ):
        return _first_or_second(first, second)
    if element.operator in MEMBERSHIP and isinstance(sides[0].right, ScalarSelect):
        return _in_subquery(element, sides)
    return cast("ColumnElement[Any]", func.coalesce(first, second, type_=element.type))


def _first_or_second(first: Any, second: Any) -> ColumnElement[bool]:
    """By the first index if the row has it, otherwise by the second.

    ``coalesce()`` means the same, but the database could not use an index for it.
    """
    columns = [part for part in (first.left, first.right) if isinstance(part.type, IndexColumnType)]
    return Grouping(
        or_(
            and_(*(column.is_not(None) for column in columns), first),
            and_(or_(*(column.is_(None) for column in columns)), second),
        )
    )


def _in_subquery(element: IndexComparison, sides: list[VersionSides]) -> ColumnElement[bool]:
    """Whether a subquery selects a value: by the first version for rows that have it on both sides,
    otherwise by the second. NULL has neither, and is compared like any value."""
    first, second = sides
    is_null = and_(first.left.is_(None), second.left.is_(None))
    lacks_first = and_(first.left.is_(None), second.left.is_not(None))
    has_both = and_(first.left.is_not(None), second.left.is_not(None))
    alone = second.right if second.right_alone is None else second.right_alone
    is_found = or_(
        and_(or_(first.left.is_not(None), is_null), first.left.in_(first.right)),
        and_(lacks_first, second.left.in_(second.right)),
        and_(has_both, second.left.in_(alone)),
        and_(is_null, second.left.in_(second.right)),
    )
    return Grouping(not_(is_found) if element.operator in NEGATIVE else is_found)
