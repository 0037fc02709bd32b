"""Of which class a column is, and a condition asks.

Read::

    sqlalchemy.schema.Column                       _annotate _annotations _propagate_attrs

Written::

    sqlalchemy.sql.elements.Grouping               _propagate_attrs

Overridden::

    sqlalchemy.sql.elements.Grouping               _negate
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy.sql.elements import BooleanClauseList, ColumnElement, Grouping, UnaryExpression
from sqlalchemy.sql.operators import inv
from sqlalchemy.util import immutabledict


def entity_of(element: Any) -> Any:
    """The mapper or aliased class to which a table or column belongs, or ``None``."""
    annotations: Mapping[str, Any] = getattr(element, "_annotations", {})
    return annotations.get("parententity")


class OfEntity(Grouping[Any]):
    """A condition that stands for one of a plain column, and asks about a class, or about none.

    SQLAlchemy's comparisons and their negations say of which class they ask, but AND, OR and NOT do
    not. A SELECT that names the class nowhere else has the condition of single-table inheritance
    from there alone.
    """

    inherit_cache = True

    def __init__(self, element: ColumnElement[Any], entity: Mapping[str, Any]) -> None:
        super().__init__(element)
        self._propagate_attrs = immutabledict(entity)

    def _negate(self) -> ColumnElement[Any]:
        # With a type: MySQL and SQLite would give numbers.
        type_ = super()._negate().type
        negated: Any = UnaryExpression(Grouping(self.element), operator=inv, type_=type_)
        return OfEntity(negated, self._propagate_attrs)


def with_entity_of(column: ColumnElement[Any], element: ColumnElement[Any]) -> ColumnElement[Any]:
    """Several comparisons, as one question about the class to which `column` belongs; a single one,
    which says itself of which, unchanged."""
    if isinstance(element, BooleanClauseList):
        return OfEntity(element, column._propagate_attrs)
    if type(element) is not Grouping:
        return element
    if element.__visit_name__ == Grouping.__visit_name__:
        return OfEntity(cast("ColumnElement[Any]", element.element), column._propagate_attrs)
    return OfEntity(element, column._propagate_attrs)


def without_entity(element: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same condition, as a question about no class."""
    return OfEntity(element, {})


def annotated_like(column: ColumnElement[Any], other: Any) -> ColumnElement[Any]:
    """A column that the ORM treats as one of the same entity as `other`.

    Otherwise a SELECT of the column would lose what the ORM adds for the entity: the condition of
    single-table inheritance, and ``with_loader_criteria()``.
    """
    annotations = getattr(other, "_annotations", None)
    return column._annotate(dict(annotations)) if annotations else column
