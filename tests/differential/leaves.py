"""Rows whose key has their item's in it, and the kinds of collections that an item has them in."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.orderinglist import ordering_list
from sqlalchemy.orm import attribute_keyed_dict, mapped_column, relationship

from tests.differential import pickled

LEAVES: dict[str, dict[str, Any]] = {
    "list": {"passive_updates": False},
    "ordered": {"passive_updates": False, "collection_class": ordering_list("weight")},
    "keyed": {"passive_updates": False, "collection_class": attribute_keyed_dict("word")},
    "dynamic": {"lazy": "dynamic"},
    "write only": {"lazy": "write_only"},
}
"""Kinds of collections, each with the options of its relationship."""


def add_leaves(item: Any, base: Any, names: tuple[str, ...], how: str, word: Any) -> Any:
    """The class of an item's leaves, which the database deletes with it.

    :param names: of the item's key columns. :param how: one of ``LEAVES``.
    :param word: the column that the twins hold plain and encrypted.
    """
    table = item.__table__
    columns = {
        f"item_{n}": mapped_column(f"item_{n}", table.c[n].type, primary_key=True) for n in names
    }
    refers = sa.ForeignKeyConstraint(list(columns), [table.c[n] for n in names], ondelete="CASCADE")
    body: dict[str, Any] = {
        "__tablename__": table.name.replace("item", "leaf"),
        **columns,
        "number": mapped_column(sa.Integer, primary_key=True, autoincrement=False),
        "word": word,
        "weight": mapped_column(sa.Integer, default=1),
        "__table_args__": (refers,),
        "item": relationship("Item", back_populates="leaves"),
    }
    leaf: Any = pickled.show(type("Leaf", (base,), body | pickled.body()))
    item.leaves = relationship(
        leaf,
        back_populates="item",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by=(leaf.weight, leaf.number) if how == "ordered" else leaf.number,
        **LEAVES[how],
    )
    return leaf
