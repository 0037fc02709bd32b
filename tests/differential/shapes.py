"""Forms of SELECT: DISTINCT and GROUP BY with the key, aliases, subqueries, CTEs, joins, UNIONs.

Each is a function of a class, of the columns that identify its rows, and of an attribute's name.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased


def _distinct(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(*keys, getattr(item, name)).distinct().order_by(item.tag)


def _group_by(item: Any, keys: list[Any], name: str) -> Any:
    value = getattr(item, name)
    counted = sa.select(*keys, value, sa.func.count().label("rows"))
    return counted.group_by(*keys, value).order_by(item.tag)


def _aliased(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    return (
        sa.select(item, getattr(other, name))
        .join(other, other.tag >= item.tag)
        .order_by(item.tag, other.tag)
    )


def _named(item: Any, name: str) -> str:
    return str(sa.inspect(item).attrs[name].columns[0].name)


def _subquery(item: Any, keys: list[Any], name: str) -> Any:
    inner = sa.select(*keys, getattr(item, name)).subquery()
    return sa.select(inner.c.tag, inner.c[_named(item, name)]).order_by(inner.c.tag)


def _cte(item: Any, keys: list[Any], name: str) -> Any:
    inner = sa.select(*keys, getattr(item, name)).cte("some")
    return sa.select(inner.c[_named(item, name)]).order_by(inner.c.tag)


def _entity_subquery(item: Any, keys: list[Any], name: str) -> Any:
    inner = aliased(item, sa.select(item).order_by(item.tag).limit(3).subquery())
    return sa.select(inner).order_by(inner.tag)


def _joined(item: Any, keys: list[Any], name: str) -> Any:
    child = item.children.property.mapper.class_
    chosen = sa.select(getattr(item, name), child.note)
    return chosen.join(item.children).order_by(item.tag, child.tag)


def _outer_joined(item: Any, keys: list[Any], name: str) -> Any:
    child = item.children.property.mapper.class_
    return sa.select(item, child).outerjoin(item.children).order_by(item.tag, child.tag)


def _union(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(*keys, getattr(item, name))
    return sa.union_all(one, one.where(item.tag > 3)).order_by("tag")


def _rows_of(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(item).distinct().order_by(item.tag)


def _grouped_rows(item: Any, keys: list[Any], name: str) -> Any:
    joined = sa.select(item, sa.func.count().label("rows")).join(item.children)
    return joined.group_by(*_columns(item)).order_by(item.tag)


def _columns(item: Any) -> list[Any]:
    return [c for table in sa.inspect(item).tables for c in table.c if "bidx" not in c.name]


def _counted(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(sa.func.count(getattr(item, name)), sa.func.count(sa.distinct(item.tag)))


def _numbered(item: Any, keys: list[Any], name: str) -> Any:
    number = sa.func.row_number().over(order_by=item.tag.desc()).label("number")
    return sa.select(item.tag, getattr(item, name), number).order_by(item.tag)


def _scalar(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    one = sa.select(getattr(other, name)).where(other.tag == item.tag).limit(1)
    return sa.select(item.tag, one.scalar_subquery().label(name)).order_by(item.tag)


def _is_null(item: Any, keys: list[Any], name: str) -> Any:
    told = sa.case((getattr(item, name).is_(None), "none"), else_="some").label("told")
    return sa.select(item.tag, told, getattr(item, name).is_(None).label("null")).order_by(item.tag)


def _grouped_null(item: Any, keys: list[Any], name: str) -> Any:
    null = getattr(item, name).is_(None).label("null")
    return sa.select(null, sa.func.count().label("rows")).group_by(null).order_by(null)


def _labelled(item: Any, keys: list[Any], name: str) -> Any:
    return (
        sa.select(*keys, getattr(item, name).label("other")).order_by(sa.desc(item.tag)).offset(1)
    )


def _nested(item: Any, keys: list[Any], name: str) -> Any:
    inner = sa.select(*keys, getattr(item, name).label("value")).limit(4).subquery()
    outer = sa.select(inner).where(inner.c.tag > 1).cte("outermost")
    return sa.select(outer.c.value, outer.c.tag).order_by(outer.c.tag)


def _entity_union(item: Any, keys: list[Any], name: str) -> Any:
    both = sa.union(sa.select(item).where(item.tag <= 60), sa.select(item).where(item.tag > 60))
    return sa.select(item).from_statement(both.order_by("tag"))


def _entity_cte(item: Any, keys: list[Any], name: str) -> Any:
    some = aliased(item, sa.select(item).where(item.tag > 10).cte("some"))
    return sa.select(some, getattr(some, name)).order_by(some.tag)


def _semi_joined(item: Any, keys: list[Any], name: str) -> Any:
    tags = sa.select(item.tag).where(getattr(item, name).is_not(None))
    return sa.select(item).where(item.tag.in_(tags)).order_by(item.tag)


def _self_outer_joined(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item, flat=True)
    chosen = sa.select(item.tag, getattr(other, name), other)
    return chosen.outerjoin(other, other.tag == item.tag + 1).order_by(item.tag)


SHAPES = {
    "rows": _rows_of,
    "grouped rows": _grouped_rows,
    "counted": _counted,
    "numbered": _numbered,
    "scalar": _scalar,
    "is null": _is_null,
    "grouped null": _grouped_null,
    "labelled": _labelled,
    "nested": _nested,
    "entity union": _entity_union,
    "entity cte": _entity_cte,
    "semi joined": _semi_joined,
    "self outer joined": _self_outer_joined,
    "distinct": _distinct,
    "group by": _group_by,
    "aliased": _aliased,
    "subquery": _subquery,
    "cte": _cte,
    "entity subquery": _entity_subquery,
    "joined": _joined,
    "outer joined": _outer_joined,
    "union all": _union,
}
