"""``or_(bindparam("q").is_(None), column == bindparam("q"))``: an optional filter.

A bind has one value, and if it is compared with an encrypted column that is a hash. So a second
bind tells whether the value is NULL, and nothing else about it. This is done in every statement
with look-ups, because a value split into several look-ups does not show which NULL test is about
it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Integer
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    Case,
    Cast,
    ClauseList,
    Grouping,
    Null,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.orm import internals
from encfields.orm.declare.columns import SealedColumnType
from encfields.orm.query.comparison import EQUALITY, BlindValue, is_converted, ungrouped
from encfields.orm.query.criteria_lookups import is_indexed
from encfields.orm.query.lookup_type import renamed_bind
from encfields.orm.query.statement_elements import elements_of
from encfields.orm.read.provenance import source_column

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


_IS = (operators.is_, operators.is_not)


class NullMark(internals.CacheKeyedType, TypeDecorator[Any]):
    """The type of a bind that is NULL if a value is, and otherwise 1.

    :param inner: the type of the column that the value is compared with, which may store a value
        as NULL, or ``None`` as a value.
    """

    impl = Integer
    cache_ok = True

    def __init__(self, inner: TypeEngine[Any]) -> None:
        super().__init__()
        self.inner = inner

    def statement_cache_key(self) -> tuple[Any, ...]:
        """Distinguishes marks in SQLAlchemy's statement cache."""
        return NullMark, internals.cache_key_of(self.inner)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        process = self.inner.dialect_impl(dialect).bind_processor(dialect)

        def mark(value: Any) -> int | None:
            try:
                stored = value if process is None else process(value)
            except Exception:  # refused where the value is looked up
                stored = value
            return None if stored is None else 1

        return mark

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        mark = self.bind_processor(dialect)
        return lambda value: "NULL" if mark(value) is None else "1"


def null_test_marked(test: BinaryExpression[Any], compiler: Any) -> BinaryExpression[Any]:
    """IS [NOT] NULL of a bind, with a mark in place of the bind, in a statement that compares an
    indexed column; anything else unchanged.

    :param compiler: the current one.
    """
    bind = tested_bind(test)
    inner = None if bind is None else _compared_as(bind, compiler)
    if bind is None or inner is None:
        return test
    mark = NullMark(inner)
    if bind.unique:
        renamed = renamed_bind(bind, compiler, NullMark)
        marked = internals.retyped_bind(renamed, mark, rename=False)
    else:
        marked = internals.same_value_bind(bind, mark, compiler, "null")
    return BinaryExpression(marked, test.right, test.operator, type_=test.type)


def tested_bind(test: BinaryExpression[Any]) -> BindParameter[Any] | None:
    """The bind of one value that is tested for NULL; ``None`` if it is not such a test."""
    if test.operator not in _IS or not isinstance(test.right, Null):
        return None
    tested: Any = test.left
    while isinstance(tested, Grouping | Cast):
        tested = tested.element if isinstance(tested, Grouping) else tested.clause
    if not isinstance(tested, BindParameter) or tested.expanding or tested.literal_execute:
        return None
    is_mark = isinstance(tested.type, NullMark)
    return None if is_mark or is_converted(tested) else tested


def _compared_as(bind: BindParameter[Any], compiler: Any) -> TypeEngine[Any] | None:
    """The inner type of an indexed column that the statement compares the bind with; the bind's own
    type, if it compares such a column only with others; ``None`` if it compares none.

    A relationship's loader puts a value in the place of a tested column, whose type it has."""
    if isinstance(bind.type, SealedColumnType):
        return bind.type.inner
    found = None
    for element in elements_of(compiler):
        if not _asks_index(element):
            continue
        found = bind.type
        if not isinstance(element, BinaryExpression) or element.operator not in EQUALITY:
            continue
        sides = ungrouped(element.left), ungrouped(element.right)
        for column, other in (sides, sides[::-1]):
            is_same = isinstance(other, BindParameter) and other.key == bind.key
            if is_same and is_indexed(column):
                of = column.clause if isinstance(column, BlindValue) else column
                return cast("SealedColumnType", source_column(of).type).inner
    return found


def _asks_index(element: Any) -> bool:
    """Whether it compares an indexed column, alone or in a list or row."""
    if isinstance(element, Case):
        return element.value is not None and is_indexed(element.value)
    if not isinstance(element, BinaryExpression) or element.operator in _IS:
        return False
    sides = map(ungrouped, (element.left, element.right))
    parts = chain.from_iterable(s.clauses if isinstance(s, ClauseList) else (s,) for s in sides)
    return any(map(is_indexed, parts))
