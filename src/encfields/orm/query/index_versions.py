"""A comparison while the beacon key is rotated: a row has its index under one version or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import and_, func, not_, or_
from sqlalchemy.sql.elements import BinaryExpression, ColumnElement, Grouping
from sqlalchemy.sql.selectable import ScalarSelect

from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.query.comparison import MEMBERSHIP, NEGATIVE, IndexComparison


@dataclass(frozen=True, slots=True)
class VersionSides:
    """Both sides of a comparison under one version of the beacon key.

    :ivar left: the column of the index, a subquery of it, or a value that is looked up.
    :ivar right: likewise.
    """

    left: Any
    right: Any


def either_version(element: IndexComparison, sides: list[VersionSides]) -> ColumnElement[Any]:
    """The comparison of `element` by each version, the older first, in SQL's three-valued logic.

    :param sides: one for each version that is in use; one or two.
    """
    each = [
        BinaryExpression(
            side.left, side.right, element.operator, type_=element.type, modifiers=element.modifiers
        )
        for side in sides
    ]
    if len(each) == 1:
        return each[0]
    older, newer = each
    if not any(
        isinstance(part, ScalarSelect) for side in sides for part in (side.left, side.right)
    ):
        return _newer_or_older(newer, older)
    if element.operator in MEMBERSHIP:
        return _in_subquery(element, sides)
    return cast("ColumnElement[Any]", func.coalesce(newer, older, type_=element.type))


def _newer_or_older(newer: Any, older: Any) -> ColumnElement[bool]:
    """By the newer index where the row has it, else by the older.

    ``coalesce()`` would say the same, but the database could not use an index for it.
    """
    columns = [part for part in (newer.left, newer.right) if isinstance(part.type, IndexColumnType)]
    return Grouping(
        or_(
            and_(*(column.is_not(None) for column in columns), newer),
            and_(or_(*(column.is_(None) for column in columns)), older),
        )
    )


def _in_subquery(element: IndexComparison, sides: list[VersionSides]) -> ColumnElement[bool]:
    """Whether a value is selected under any version: a row of the subquery may have the other one
    than the row that is compared.

    A row without one of the versions is not asked by it, but a NULL, which has none, by both.
    """
    is_null = and_(*(side.left.is_(None) for side in sides))
    found = or_(
        *(and_(or_(side.left.is_not(None), is_null), side.left.in_(side.right)) for side in sides)
    )
    return Grouping(not_(found) if element.operator in NEGATIVE else found)
