"""Whether two rows that are compared with each other have one tenant, and so one key.

Under a key template, equal values of two tenants have two hashes. Beside ``a.tenant == b.tenant``
that makes no difference: where it does not hold, the comparison's result does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column

from encfields.errors import UnreadableError
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.row_keys import may_match_another_spelling
from encfields.orm.query.comparison import IndexComparison
from encfields.orm.query.index_operand import IndexOperand
from encfields.orm.query.statement_scope import (
    all_equal,
    conditions_beside,
    conjunction_of,
    enclosing,
    equated,
)
from encfields.orm.read.provenance import sibling

NEED_ONE_TENANT = (
    "equal values of two tenants have two hashes: set their tenants equal beside the comparison, "
    "as in and_(a.tenant == b.tenant, a.column == b.column), for columns that an alias or subquery "
    "carries too; tenants of text need a binary collation"
)
"""Why columns with a tenant's index each are not compared."""


def have_one_key(
    element: IndexComparison,
    sides: tuple[IndexOperand, IndexOperand],
    indexes: tuple[IndexBinding, IndexBinding],
    compiler: Any,
) -> bool:
    """Whether the rows of both sides have the same key wherever the comparison counts.

    :param indexes: of both sides, with the same key template.
    :param compiler: SQLAlchemy's, at `element`.
    """
    ours, theirs = indexes
    if not ours.key_columns:
        return True
    pairs = list(zip(ours.key_columns, theirs.key_columns, strict=True))
    if any(_differ_in_spelling(*pair, compiler.dialect) for pair in pairs):
        return False
    equal = [
        (hash(one), hash(other)) for one, other in equated(_conditions(element, sides, compiler))
    ]
    try:
        return all(
            hash(sibling(sides[1].expression, theirs_too, sides[1].column))
            in all_equal(hash(sibling(sides[0].expression, key, sides[0].column)), equal)
            for key, theirs_too in pairs
        )
    except UnreadableError:
        return False


def _differ_in_spelling(one: Column[Any], other: Column[Any], dialect: Any) -> bool:
    """Whether the database may take two tenants for equal whose keys differ."""
    if any(may_match_another_spelling(column.type, dialect) for column in (one, other)):
        return True
    return repr(one.type) != repr(other.type)


def _conditions(
    element: IndexComparison, sides: tuple[IndexOperand, IndexOperand], compiler: Any
) -> Iterator[Any]:
    """The conditions that hold wherever the comparison counts."""
    for outer in enclosing(compiler)[:1]:
        yield from conjunction_of(outer.statement)
        for beside in conditions_beside(outer.statement, element.place):
            yield beside.condition
    for side in sides:
        if side.subquery is not None:
            yield from conjunction_of(side.subquery)
