"""Forms of SELECT: DISTINCT and GROUP BY with the key, aliases, subqueries, CTEs, joins, UNIONs.

Each is a function of a class, of the columns that identify its rows, and of an attribute's name.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Bundle, aliased, defer, load_only


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


def _counted_join(item: Any, keys: list[Any], name: str) -> Any:
    child = aliased(item.children.property.mapper.class_)
    joined = sa.select(*keys, getattr(item, name), child.note).join(child, item.children)
    return sa.select(sa.func.count().label("rows")).select_from(joined.subquery())


def _with_other_columns(item: Any, keys: list[Any], name: str) -> Any:
    child = aliased(item.children.property.mapper.class_)
    joined = sa.select(*keys, getattr(item, name)).join(item.children.of_type(child))
    others = joined.with_only_columns(child.tag, maintain_column_froms=True)
    return sa.union_all(others, sa.select(sa.literal(1))).order_by("tag")


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


def _keys_of(other: Any, keys: list[Any]) -> list[Any]:
    return [getattr(other, key.key) for key in keys if key.key != "tag"]


def _bundle(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(Bundle("some", item.tag, getattr(item, name)), item.touched).order_by(item.tag)


def _exists(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    higher = sa.exists().where(other.tag > item.tag, getattr(other, name).is_not(None))
    return sa.select(item.tag, higher.label("higher")).order_by(item.tag)


def _entity_exists(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    higher = sa.select(other).where(other.tag > item.tag).exists()
    return sa.select(item).where(~higher).order_by(item.tag)


def _in_subquery(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    tags = sa.select(other.tag).where(getattr(other, name).is_(None))
    return sa.select(item.tag, getattr(item, name)).where(item.tag.not_in(tags)).order_by(item.tag)


def _recursive(item: Any, keys: list[Any], name: str) -> Any:
    first = sa.select(item.tag, sa.literal(1).label("depth")).cte("steps", recursive=True)
    steps = first.union_all(sa.select(first.c.tag, first.c.depth + 1).where(first.c.depth < 2))
    found = sa.select(item, steps.c.depth).join(steps, steps.c.tag == item.tag)
    return found.order_by(item.tag, steps.c.depth)


def _having(item: Any, keys: list[Any], name: str) -> Any:
    child = item.children.property.mapper.class_
    counted = sa.select(*keys, sa.func.count(child.note).label("notes")).outerjoin(item.children)
    return counted.group_by(*keys).having(sa.func.count(child.tag) < 3).order_by(item.tag)


def _two_joins(item: Any, keys: list[Any], name: str) -> Any:
    one, other = aliased(item, name="one"), aliased(item, name="two")
    chosen = sa.select(getattr(one, name).label("first"), getattr(other, name).label("second"))
    return chosen.join_from(one, other, one.tag < other.tag).order_by(one.tag, other.tag)


def _union_distinct(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(*keys, getattr(item, name))
    return sa.union(one.where(item.tag < 50), one.where(item.tag > 20)).order_by("tag")


def _intersect(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(*keys, getattr(item, name))
    return sa.intersect(one.where(item.tag < 90), one.where(item.tag > 20)).order_by("tag")


def _except(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(*keys, getattr(item, name))
    return sa.except_(one, one.where(item.tag > 60)).order_by("tag")


def _of_union(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(item)
    both = sa.union_all(one.where(item.tag <= 60), one.where(item.tag > 60)).subquery()
    some = aliased(item, both)
    return sa.select(some).order_by(some.tag)


def _column_of_entity_subquery(item: Any, keys: list[Any], name: str) -> Any:
    inner = sa.select(item).subquery()
    return sa.select(inner.c[_named(item, name)], inner.c.tag).order_by(inner.c.tag)


def _star(item: Any, keys: list[Any], name: str) -> Any:
    inner = sa.select(*keys, getattr(item, name)).subquery()
    return sa.select(inner).order_by(inner.c.tag)


def _join_subquery(item: Any, keys: list[Any], name: str) -> Any:
    inner = (
        sa.select(*keys, getattr(item, name).label("value")).order_by(item.tag).limit(3).subquery()
    )
    chosen = sa.select(item, inner.c.value).outerjoin(inner, inner.c.tag == item.tag)
    return chosen.order_by(item.tag)


def _twice(item: Any, keys: list[Any], name: str) -> Any:
    value = getattr(item, name)
    return sa.select(value, value.label("again"), item, item.tag).order_by(item.tag)


def _correlated_update_like(item: Any, keys: list[Any], name: str) -> Any:
    child = item.children.property.mapper.class_
    names = [c.key for c in keys if hasattr(child, f"item_{c.key}")]
    is_of = [getattr(child, f"item_{n}") == getattr(item, n) for n in names]
    first = sa.select(child.note).where(*is_of).order_by(child.tag).limit(1).scalar_subquery()
    return sa.select(item.tag, first.label("note"), getattr(item, name)).order_by(item.tag)


def _case_of_null(item: Any, keys: list[Any], name: str) -> Any:
    is_null = getattr(item, name).is_(None)
    told = sa.func.sum(sa.case((is_null, 1), else_=0)).label("nulls")
    return sa.select(told, sa.func.max(item.tag).label("last"))


def _ranked(item: Any, keys: list[Any], name: str) -> Any:
    number = sa.func.row_number().over(order_by=item.tag).label("number")
    inner = sa.select(item, number).subquery()
    some = aliased(item, inner)
    return sa.select(some, inner.c.number).where(inner.c.number <= 2).order_by(inner.c.number)


def _partitioned(item: Any, keys: list[Any], name: str) -> Any:
    is_null = getattr(item, name).is_(None)
    number = sa.func.count().over(partition_by=is_null).label("alike")
    return sa.select(item.tag, getattr(item, name), number).order_by(item.tag)


def _literal_beside(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(sa.literal("x").label("x"), sa.null().label("n"), item).order_by(item.tag)


def _filtered_count(item: Any, keys: list[Any], name: str) -> Any:
    found = sa.func.count(getattr(item, name)).filter(item.tag > 20)
    return sa.select(found.label("found"), sa.func.count().label("all")).select_from(item)


def _tuple_in(item: Any, keys: list[Any], name: str) -> Any:
    inner = sa.select(*keys).where(item.tag > 20).subquery()
    return sa.select(item).where(item.tag.in_(sa.select(inner.c.tag))).order_by(item.tag)


def _joined_entities(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    return sa.select(item, other).where(item.tag < other.tag).order_by(item.tag, other.tag)


def _child_of_alias(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    child = aliased(item.children.property.mapper.class_)
    chosen = sa.select(getattr(other, name), child.note, child, other)
    return chosen.join(other.children.of_type(child)).order_by(other.tag, child.tag)


def _only_some(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(item).options(load_only(getattr(item, name))).distinct().order_by(item.tag)


def _deferred_distinct(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(item).options(defer(getattr(item, name))).distinct().order_by(item.tag)


def _table(item: Any, keys: list[Any], name: str) -> Any:
    table = item.__table__
    return sa.select(table).order_by(*table.primary_key)


def _core_columns(item: Any, keys: list[Any], name: str) -> Any:
    column = sa.inspect(item).attrs[name].columns[0]
    return sa.select(column, item.tag).order_by(item.tag)


def _from_text(item: Any, keys: list[Any], name: str) -> Any:
    table = sa.inspect(item).base_mapper.local_table
    plain = sa.text(f"SELECT tag FROM {table.name} WHERE tag > 10").columns(sa.column("tag"))
    tags = plain.subquery()
    return sa.select(item).where(item.tag.in_(sa.select(tags.c.tag))).order_by(item.tag)


def _fetch(item: Any, keys: list[Any], name: str) -> Any:
    return sa.select(item, getattr(item, name)).order_by(item.tag.desc()).limit(2).offset(1)


def _aliased_columns(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item, name="renamed")
    return sa.select(other.tag, getattr(other, name)).where(other.tag > 10).order_by(other.tag)


def _distinct_alias(item: Any, keys: list[Any], name: str) -> Any:
    other = aliased(item)
    return sa.select(other, *_keys_of(other, keys)).distinct().order_by(other.tag)


def _nested_exists(item: Any, keys: list[Any], name: str) -> Any:
    child = item.children.property.mapper.class_
    has = item.children.any(child.note.is_not(None))
    return sa.select(item.tag, has.label("has"), getattr(item, name)).order_by(item.tag)


def _two_ctes(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(*keys, getattr(item, name).label("value")).where(item.tag > 20).cte("one")
    two = sa.select(one.c.tag, sa.func.count().label("n")).group_by(one.c.tag).cte("two")
    return sa.select(one.c.value, two.c.n).join(two, two.c.tag == one.c.tag).order_by(one.c.tag)


def _outer_union_all(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(*keys, getattr(item, name).label("value"))
    both = sa.union_all(one, one.where(item.tag > 40)).subquery()
    return sa.select(both.c.value, both.c.tag).where(both.c.tag < 90).order_by(both.c.tag)


def _null_column_union(item: Any, keys: list[Any], name: str) -> Any:
    one = sa.select(item.tag, getattr(item, name).label("value")).where(item.tag > 40)
    none = sa.select(item.tag, sa.null().label("value")).where(item.tag <= 40)
    return sa.union_all(one, none).order_by("tag")


SHAPES = {
    "bundle": _bundle,
    "exists": _exists,
    "entity exists": _entity_exists,
    "in subquery": _in_subquery,
    "recursive": _recursive,
    "having": _having,
    "two joins": _two_joins,
    "union distinct": _union_distinct,
    "intersect": _intersect,
    "except": _except,
    "of union": _of_union,
    "column of entity subquery": _column_of_entity_subquery,
    "star": _star,
    "join subquery": _join_subquery,
    "twice": _twice,
    "note beside": _correlated_update_like,
    "case of null": _case_of_null,
    "ranked": _ranked,
    "partitioned": _partitioned,
    "literal beside": _literal_beside,
    "filtered count": _filtered_count,
    "tuple in": _tuple_in,
    "joined entities": _joined_entities,
    "child of alias": _child_of_alias,
    "only some": _only_some,
    "deferred distinct": _deferred_distinct,
    "table": _table,
    "core columns": _core_columns,
    "from text": _from_text,
    "fetch": _fetch,
    "aliased columns": _aliased_columns,
    "distinct alias": _distinct_alias,
    "nested exists": _nested_exists,
    "two ctes": _two_ctes,
    "outer union all": _outer_union_all,
    "null column union": _null_column_union,
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
    "counted join": _counted_join,
    "with other columns": _with_other_columns,
    "union all": _union,
}
