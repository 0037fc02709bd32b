"""From a comparison of encrypted columns to one of their blind indexes, as it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Column, and_, or_
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ColumnElement, Grouping
from sqlalchemy.sql.selectable import ScalarSelect, Select

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.columns import is_encrypted
from encfields.binding.companion_type import CompanionType
from encfields.binding.index_columns import IndexBinding, indexes_of
from encfields.binding.index_comparison import NEGATIVE, BlindValue, BlindView, IndexComparison
from encfields.binding.lookup_type import LookupType
from encfields.binding.reads import sibling, source_column
from encfields.errors import EncFieldsError, UnreadableError, UnsupportedOperationError


@dataclass(frozen=True, slots=True)
class Asked:
    """One side of a comparison that a blind index stands for.

    :ivar expression: the encrypted column, or an alias's or subquery's.
    :ivar column: the table's column that it is.
    :ivar label: the index that was asked for by name, or ``None``.
    """

    expression: Any
    column: Column[Any]
    label: str | None

    def candidates(self, operator: Any) -> list[list[IndexBinding]]:
        """The indexes that can answer, the best first; each as its versions."""
        by_index: dict[int, list[IndexBinding]] = {}
        for index in indexes_of(self.column.table):
            if self._may_answer(index, operator):
                by_index.setdefault(id(index.declared), []).append(index)
        return sorted(by_index.values(), key=lambda versions: self.needs_filter(versions[0]))

    def _may_answer(self, index: IndexBinding, operator: Any) -> bool:
        if self.column is not index.sources[0].column:
            return False
        if self.label is not None:
            return index.label == self.label
        return len(index.sources) == 1

    def needs_filter(self, index: IndexBinding) -> bool:
        """Whether the index may find rows that were not asked for."""
        return not index.is_full or (self.label is None and not index.is_exact)

    def companion(self, index: IndexBinding) -> ColumnElement[Any]:
        """The index's column, out of the same row as the encrypted column.

        :raises UnreadableError: the column comes out of a subquery that does not select it.
        """
        try:
            return sibling(self.expression, index.companion, self.column)
        except UnreadableError:
            pass
        raise UnreadableError(
            "the subquery that it is selected from does not carry the column's blind index: put "
            f"the comparison into the subquery, or select column.blind({index.label!r}) too and "
            "compare with that",
            table=index.table,
            column=index.column_name,
            reason="index-not-selected",
        )


def resolved(element: IndexComparison) -> ColumnElement[Any]:
    """What is compiled in the place of `element`.

    :raises UnsupportedOperationError: no index answers it, or the two sides have none in common.
    """
    left, right = asked(element.left), asked(element.right)
    there = left or right
    if there is None:
        raise _refused(None, element, "a comparison of two values needs no database")
    if left is not None and right is not None:
        return _join(element, left, right)
    groups = there.candidates(element.operator)
    if not groups:
        raise _refused(there, element, "the column has no blind index that answers it")
    versions = groups[0]
    needs_filter = there.needs_filter(versions[0])
    if needs_filter and element.operator in NEGATIVE:
        raise _refused(
            there,
            element,
            "its blind index finds rows that only look alike, so what differs cannot be told "
            "from it: use a full-length index over the whole value, or compare in Python",
        )

    def side(part: Any, index: IndexBinding) -> Any:
        if asked(part) is not None:
            return there.companion(index)
        return _lookup(part, index, element, there, needs_filter=needs_filter)

    return _all_versions(element, _askable(element, versions), side)


def _askable(element: IndexComparison, versions: list[IndexBinding]) -> list[IndexBinding]:
    """All versions; the older alone, to which every row is written in a rotation, for a bind that
    the application named: one name has one value."""
    parts = [p.clause if isinstance(p, BlindValue) else p for p in (element.left, element.right)]
    named = any(isinstance(part, BindParameter) and not part.unique for part in parts)
    return versions[:1] if named else versions


def companion_of_view(view: BlindValue) -> ColumnElement[Any]:
    """The column that ``column.blind(name)`` is, selected or grouped by.

    :raises UnsupportedOperationError: there is no such index.
    """
    there = asked(view)
    groups = there.candidates(operators.eq) if there is not None else []
    if there is None or not groups:
        raise UnsupportedOperationError("there is no such blind index", reason="no-index")
    return there.companion(groups[0][0])


def asked(part: Any) -> Asked | None:
    """What a side of a comparison asks; ``None`` if it is a value."""
    if isinstance(part, Grouping):
        return asked(part.element)
    if isinstance(part, ScalarSelect | Select):
        inner = part.element if isinstance(part, ScalarSelect) else part
        if not isinstance(inner, Select) or len(inner.selected_columns) != 1:
            raise UnsupportedOperationError(
                "an encrypted column can be compared with a subquery of one column, and not with "
                "a UNION",
                reason="operator",
            )
        (column,) = inner.selected_columns
        return asked(column)
    if isinstance(part, BlindValue):
        if isinstance(part.clause, BindParameter):
            return None
        return Asked(part.clause, source_column(part.clause), cast("BlindView", part.type).label)
    if isinstance(part, BindParameter) or not is_encrypted(part):
        return None
    return Asked(part, source_column(part), None)


def _all_versions(
    element: IndexComparison,
    versions: list[IndexBinding],
    side: Callable[[Any, IndexBinding], Any],
) -> ColumnElement[Any]:
    """The comparison by each version of the beacon key: while it is rotated, a row may have the
    index under either, or under both."""
    each = [
        BinaryExpression(
            side(element.left, index),
            side(element.right, index),
            element.operator,
            type_=element.type,
            modifiers=element.modifiers,
        )
        for index in versions
    ]
    if len(each) == 1:
        return each[0]
    older, newer = each
    return _newer_or_older(newer, older)


def _newer_or_older(newer: Any, older: Any) -> ColumnElement[bool]:
    """By the newer index where the row has it, else by the older.

    ``coalesce()`` would say the same, but the database could not use an index for it.
    """
    parts = [part for part in (newer.left, newer.right) if isinstance(part.type, CompanionType)]
    columns = [part for part in parts if not isinstance(part, ScalarSelect)]
    return Grouping(
        or_(
            and_(*(column.is_not(None) for column in columns), newer),
            and_(or_(*(column.is_(None) for column in columns)), older),
        )
    )


def _join(element: IndexComparison, left: Asked, right: Asked) -> ColumnElement[Any]:
    """Two columns compared by indexes under which equal values look alike."""
    for ours in left.candidates(element.operator):
        for theirs in right.candidates(element.operator):
            same = [i.comparable for i in ours] == [i.comparable for i in theirs]
            filters = left.needs_filter(ours[0]) or right.needs_filter(theirs[0])
            if same and not filters and not ours[0].key_columns:
                pairs = {id(o): t for o, t in zip(ours, theirs, strict=True)}

                def side(part: Any, index: IndexBinding, pairs: Any = pairs) -> Any:
                    if part is element.left:
                        return _selected(part, left, index)
                    return _selected(part, right, pairs[id(index)])

                return _all_versions(element, ours, side)
    raise _refused(
        left,
        element,
        "the two columns have no full-length blind index in common: equal values look alike only "
        "under the same domain=, transform, bits= and key, which no tenant's column may be part "
        "of",
    )


def _selected(part: Any, there: Asked, index: IndexBinding) -> Any:
    """The index's column in the place of the encrypted one, in a subquery too."""
    companion = there.companion(index)
    while isinstance(part, Grouping):
        part = part.element
    if isinstance(part, ScalarSelect):
        inner = cast("Select[Any]", part.element)
        return inner.with_only_columns(companion, maintain_column_froms=True).scalar_subquery()
    if isinstance(part, Select):
        return part.with_only_columns(companion, maintain_column_froms=True).scalar_subquery()
    return companion


def _lookup(
    part: Any, index: IndexBinding, element: IndexComparison, there: Asked, *, needs_filter: bool
) -> Any:
    """A value of the comparison, as a bind that is looked up."""
    while isinstance(part, Grouping):
        part = part.element
    value = part.clause if isinstance(part, BlindValue) else part
    if not isinstance(value, BindParameter):
        raise _refused(
            there, element, "it can be compared with a value or an equally indexed column only"
        )
    type_ = LookupType(index, element, there, needs_filter=needs_filter)
    return internals.retyped_bind(value, type_, rename=index.version > min(_versions(index)))


def _versions(index: IndexBinding) -> tuple[int, ...]:
    return index.declared.versions


def _refused(there: Asked | None, element: IndexComparison, why: str) -> EncFieldsError:
    operator = getattr(element.operator, "__name__", str(element.operator))
    return UnsupportedOperationError(
        f"{operator!r} cannot be answered: {why}",
        table=str(there.column.table.fullname) if there else None,
        column=there.column.name if there else None,
        reason="operator",
    )
