"""Compiles a comparison of encrypted columns as one of their blind indexes.

During a beacon key rotation a row has its index under one version or both. The version declared
first decides for every row that has it: a process deployed earlier writes only the version it
knows, and leaves the other outdated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import LargeBinary, and_, or_
from sqlalchemy import cast as sql_cast
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseList,
    ColumnClause,
    ColumnElement,
    False_,
    Grouping,
    Null,
    True_,
)
from sqlalchemy.sql.selectable import ScalarSelect, Select
from sqlalchemy.sql.visitors import iterate

from encfields.errors import EncFieldsError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.comparisons import (
    by_either,
    compared_in_plaintext,
    is_answered_by_plaintext,
    is_last_phase,
    is_random,
    join_by_either,
    joined_in_plaintext,
    may_be_pending,
)
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.query.comparison import (
    MEMBERSHIP,
    NEGATIVE,
    BlindValue,
    IndexComparison,
    any_or_all_advice,
    is_converted_for,
    own_type_advice,
    ungrouped,
)
from encfields.orm.query.index_operand import (
    IndexOperand,
    asked,
    refuse_list_for_many,
    refused,
)
from encfields.orm.query.joined_tenants import NEED_ONE_TENANT, have_one_key
from encfields.orm.query.listed_by_query import compared_with_each
from encfields.orm.query.lookup_type import (
    Compared,
    LookupType,
    SharedLookupType,
    renamed_bind,
)
from encfields.orm.query.statement_scope import enclosing
from encfields.orm.query.versions_compared import VersionSides, either_version
from encfields.orm.read.provenance import column_named, table_named


def resolved(element: IndexComparison, compiler: Any) -> ColumnElement[Any]:
    """What to compile in place of `element`.

    :param compiler: SQLAlchemy's, at `element`.
    :raises UnsupportedOperationError: no index answers it, or the two sides have none in common.
    """
    if element.operator in (operators.is_, operators.is_not):
        # The ORM made it from ==, for a relationship compared with None.
        return BinaryExpression(element.left, element.right, element.operator, type_=element.type)
    if parts := compared_with_each(element):
        either = and_ if element.operator in NEGATIVE else or_
        return Grouping(either(*(resolved(part, compiler) for part in parts)))
    left, right = _asked_sides(element)
    index_side = left or right
    if index_side is None:
        return _values_compared(element, compiler)
    if left is not None and right is not None:
        if is_answered_by_plaintext(left, right):
            return joined_in_plaintext(element, left, right)
        return _join(element, left, right, compiler)
    operand = element.right if left is not None else element.left
    versions = answering(element, index_side)
    if is_answered_by_plaintext(index_side):
        return compared_in_plaintext(element, index_side, operand, versions[0], compiler)
    needs_filter = index_side.needs_filter(versions[0])
    compared = Compared(element, index_side, needs_filter, enclosing(compiler))

    all_asked = [*versions, *(i.other for i in versions if i.other is not None)]

    def side(part: Any, index: IndexBinding) -> Any:
        if asked(part) is not None:
            return _selected(part, index_side, index, element)
        return _lookup(part, index, all_asked, compared, compiler)

    def by_versions(indexes: list[IndexBinding]) -> ColumnElement[Any]:
        sides = [VersionSides(side(element.left, i), side(element.right, i)) for i in indexes]
        return either_version(element, sides)

    by_index = by_versions(versions)
    if len(all_asked) > len(versions):
        in_other_way = by_versions([i.other or i for i in versions])
        either = and_ if element.operator in NEGATIVE else or_
        by_index = Grouping(either(by_index, in_other_way))
    if not may_be_pending(versions[0]) or _is_unanswerable(
        index_side, versions[0], compiler.dialect
    ):
        return by_index
    in_plaintext = compared_in_plaintext(element, index_side, operand, versions[0], compiler)
    return by_either(by_index, [index_side.index_column(i) for i in versions], in_plaintext)


def _values_compared(element: IndexComparison, compiler: Any) -> ColumnElement[Any]:
    """A value that a loader has put in the place of a column, compared with another: their hashes
    are compared, which no row has to have."""
    compares = asked(element.compares) if element.compares is not None else None
    if compares is None:
        raise _name_column(
            refused(None, element, "compare the column itself with a value, without a function"),
            element,
        )
    index = answering(element, compares)[0]
    if compares.needs_filter(index):
        raise refused(
            compares,
            element,
            "the condition of the relationship compares a value of its own row, and the blind "
            "index also finds values that only look alike: use a full-length index over the "
            "whole value",
        )
    compared = Compared(element, compares, False, enclosing(compiler))
    left, right = (
        _lookup(part, index, [index], compared, compiler) for part in (element.left, element.right)
    )
    return either_version(element, [VersionSides(_as_bytes(left), right)])


def _as_bytes(hashed: Any) -> Any:
    # For drivers that ask the server for parameter types.
    return sql_cast(hashed, LargeBinary) if isinstance(hashed, BindParameter) else hashed


def _asked_sides(element: IndexComparison) -> tuple[IndexOperand | None, IndexOperand | None]:
    try:
        return asked(element.left), asked(element.right)
    except UnsupportedOperationError as error:
        raise _name_column(error, element) from None


def _name_column(error: EncFieldsError, element: IndexComparison) -> EncFieldsError:
    """Add an encrypted column of the comparison to a refusal."""
    for part in iterate(element):
        if error.column is None and isinstance(part, ColumnClause) and is_encrypted(part):
            error.table, error.column = table_named(part), column_named(part)
    return error


def null_given(element: IndexComparison, compiler: Any) -> ColumnElement[bool]:
    """Whether the bind that a column is compared with is NULL.

    :param element: the comparison, with the column on its left side.
    :raises UnsupportedOperationError: no index answers it.
    """
    index_side = cast("IndexOperand", asked(element.left))
    versions = answering(element, index_side)
    compared = Compared(
        element, index_side, index_side.needs_filter(versions[0]), enclosing(compiler)
    )
    all_asked = [*versions, *(i.other for i in versions if i.other is not None)]
    # Cast to bytes, for drivers that ask the server for parameter types.
    hashed = _lookup(element.right, versions[0], all_asked, compared, compiler)
    return sql_cast(hashed, LargeBinary).is_(None)


def _is_unanswerable(index_side: IndexOperand, index: IndexBinding, dialect: Any) -> bool:
    """Whether the database cannot answer an operand even by plaintext: the transform does not exist
    in SQL, or the operand is ciphertext."""
    if not is_last_phase(index_side):
        return False
    lossy = any(transform.lossy for transform in index.definition.transforms)
    sources = [source.column for source in index.sources]
    return (lossy and index_side.view is not None) or any(is_random(c, dialect) for c in sources)


def answering(element: IndexComparison, index_side: IndexOperand) -> list[IndexBinding]:
    """The versions of the index that can answer a comparison with a value."""
    groups = index_side.candidates()
    if not groups:
        raise refused(index_side, element, "the column has no blind index that answers it")
    groups = [versions for versions in groups if index_side.carries(versions[0])] or groups
    if index_side.needs_filter(groups[0][0]) and element.operator in NEGATIVE:
        raise refused(
            index_side,
            element,
            "its blind index also finds rows that only look alike, so it cannot tell which values "
            "differ: use a full-length index over the whole value, or compare in Python",
        )
    versions = groups[0]
    return versions if index_side.carries(versions[-1]) else versions[:1]


# -- columns compared with columns -------------------------------------------------------------


def _join(
    element: IndexComparison, left: IndexOperand, right: IndexOperand, compiler: Any
) -> ColumnElement[Any]:
    """Two columns compared by indexes in which equal values have equal hashes."""
    if any(v[0].other for side in (left, right) for v in side.candidates()):
        raise refused(
            left,
            element,
            "while the declaration of one of the columns is being changed (formerly=), equal "
            "values may have two hashes: compare in Python until the change is over",
        )
    for ours in left.candidates():
        for theirs in right.candidates():
            filters = left.needs_filter(ours[0]) or right.needs_filter(theirs[0])
            pairs = list(_pairs(ours, theirs, left, right))
            if pairs and not filters:
                if not have_one_key(element, (left, right), pairs[0], compiler):
                    raise refused(left, element, NEED_ONE_TENANT)
                by_index = either_version(element, _joined_sides(element, left, right, pairs))
                if is_last_phase(left, right):
                    return by_index
                o, t = pairs[0]
                sides = [(left, left.index_column(o)), (right, right.index_column(t))]
                return join_by_either(element, by_index, sides)
    raise refused(
        left,
        element,
        "the two columns have no full-length blind index in common: equal values have equal hashes "
        "only under the same domain=, transform, bits= and key",
    )


def _joined_sides(
    element: IndexComparison,
    left: IndexOperand,
    right: IndexOperand,
    pairs: list[tuple[IndexBinding, IndexBinding]],
) -> list[VersionSides]:
    """Both columns under each version."""
    first = pairs[0][1]
    return [
        VersionSides(
            _selected(element.left, left, ours, element),
            _selected(element.right, right, theirs, element),
            None
            if theirs is first
            else _selected(element.right, right, theirs, element, without=first),
        )
        for ours, theirs in pairs
    ]


def _pairs(
    ours: list[IndexBinding], theirs: list[IndexBinding], left: IndexOperand, right: IndexOperand
) -> Iterator[tuple[IndexBinding, IndexBinding]]:
    """The versions that both have; if a subquery selects none, the first that they should have."""
    same = [(o, t) for o in ours for t in theirs if o.comparable == t.comparable]
    carried = [(o, t) for o, t in same if left.carries(o) and right.carries(t)]
    yield from carried or same[:1]


def _selected(
    part: Any,
    index_side: IndexOperand,
    index: IndexBinding,
    element: IndexComparison,
    *,
    without: IndexBinding | None = None,
) -> Any:
    """The index's column in place of the encrypted one, also in a subquery.

    :param without: select only rows that lack the index under this other version.
    """
    index_column = index_side.index_column(index)
    part = ungrouped(part)
    if isinstance(part, ScalarSelect):
        part = part.element
    if not isinstance(part, Select):
        return index_column
    (column,) = part.selected_columns
    alike = internals.annotated_like(index_column, column)
    inner = part.with_only_columns(alike, maintain_column_froms=True)
    if len(index.declared.versions) > 1 and element.operator in MEMBERSHIP:
        # Leave out rows that have only the other version, but keep NULLs. Not for a single row's
        # value, which would become another row's.
        inner = inner.where(or_(index_column.is_not(None), index_side.expression.is_(None)))
        if without is not None:
            inner = inner.where(index_side.index_column(without).is_(None))
    return inner.scalar_subquery()


# -- columns compared with values --------------------------------------------------------------


def _lookup(
    part: Any,
    index: IndexBinding,
    versions: list[IndexBinding],
    compared: Compared,
    compiler: Any,
) -> Any:
    """A comparison's value, or list of values, as look-up binds.

    :param versions: all versions compared with, of which `index` is one.
    """
    part = ungrouped(part)
    if isinstance(part, ClauseList) and compared.element.operator in MEMBERSHIP:
        listed = [
            one if isinstance(one, Null) else _lookup(one, index, versions, compared, compiler)
            for one in part.clauses
        ]
        return ClauseList(*listed).self_group(against=operators.in_op)
    value = part.clause if isinstance(part, BlindValue) else part
    if isinstance(value, True_ | False_):
        # SQLAlchemy renders `column == True` as a constant.
        type_ = LookupType(index, compared)
        return BindParameter(None, isinstance(value, True_), type_=type_, unique=True)
    if not isinstance(value, BindParameter):
        raise refused(
            compared.scope,
            compared.element,
            any_or_all_advice(compared.element.operator, value)
            or "it can be compared with a value or an equally indexed column only",
        )
    column_type = index.sources[0].column.type
    if is_converted_for(value, column_type):
        raise refused(compared.scope, compared.element, own_type_advice(value, column_type))
    refuse_list_for_many(value, compared.scope, compared.element, compiler)
    if not value.unique and len(versions) > 1:
        # One name has one value: the hashes of both versions, and each side takes its own.
        if any(one.key_columns != index.key_columns for one in versions):
            raise refused(
                compared.scope,
                compared.element,
                "while the key of the column is being changed (formerly=), compare it with the "
                "value itself, not with a named bindparam()",
            )
        shared = SharedLookupType(index, compared, value, tuple(versions))
        return internals.retyped_bind(value, shared, rename=False)
    if index is not versions[0]:
        value = renamed_bind(value, compiler, index)
    return internals.retyped_bind(value, LookupType(index, compared, value), rename=False)
