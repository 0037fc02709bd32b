"""A column in few words in a migration is still the column that was declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.alembic.descriptions import (
    IndexColumn,
    columns_without_defaults,
    index_column_of,
    with_indexes,
)
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.index.transforms import casefold, last
from encfields.orm.declare.columns import bindings_of
from encfields.orm.declare.table_indexes import indexes_of


def _visit(*more: Any, **options: Any) -> Table:
    return Table(
        "visit",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant", Integer, nullable=False),
        Column("number", Integer, nullable=False),
        Column("name", EncryptedType(String(40), **options)),
        *more,
        schema="clinic",
    )


@pytest.mark.parametrize(
    "options, told",
    [
        ({}, SealedColumn("name")),
        ({"name": "clinic.visit.name"}, SealedColumn("name")),
        ({"name": "who"}, SealedColumn("name", "who")),
        ({"bind_to": "id"}, SealedColumn("name")),
        ({"bind_to": "number"}, SealedColumn("name", bind_to=("number",))),
        ({"key": "t/{tenant}"}, SealedColumn("name", key="t/{tenant}")),
        ({"former_keys": ["old"]}, SealedColumn("name", former_keys=("old",))),
        (
            {"key": "t/{tenant}", "bind_to": "tenant"},
            SealedColumn("name", key="t/{tenant}", bind_to=("tenant",)),
        ),
    ],
    ids=[
        "plain",
        "own-name",
        "name",
        "own-key",
        "bind_to",
        "template",
        "former-key",
        "bound-to-template",
    ],
)
def test_what_is_left_out_is_the_default(options: dict[str, Any], told: SealedColumn) -> None:
    table = _visit(**options)
    assert columns_without_defaults(table) == (told,)
    named = _visit(key=told.key, name=told.logical_name, bind_to=told.bind_to)
    (again,), (declared,) = bindings_of(named).values(), bindings_of(table).values()
    assert again.context.serialize(["1"] * len(again.identity)) == declared.context.serialize(
        ["1"] * len(declared.identity)
    )


INDEXES: dict[str, tuple[Any, IndexColumn]] = {
    "plain": (BlindIndex(), IndexColumn("name_bidx")),
    "version": (BlindIndex(versions=(3,)), IndexColumn("name_bidx_v3")),
    "transform": (
        BlindIndex(last(4), bits=20),
        IndexColumn("name_last4_bidx", "name", "last4", 20),
    ),
    "name": (BlindIndex(name="x"), IndexColumn("name_x_bidx", "name")),
    "key-and-domain": (
        BlindIndex(key="k", domain="d"),
        IndexColumn("name_bidx", key="k", domain="d"),
    ),
    "own-key-and-domain": (
        BlindIndex(key="default", domain="clinic.visit.name"),
        IndexColumn("name_bidx"),
    ),
}


@pytest.mark.parametrize("index, told", INDEXES.values(), ids=list(INDEXES))
def test_an_index_is_told_by_what_is_not_the_default(index: BlindIndex, told: IndexColumn) -> None:
    table = _visit(index=index)
    (binding,) = indexes_of(table)
    assert index_column_of(binding) == told
    _same_derivation(table)


def test_a_compound_index_names_its_columns() -> None:
    more: Column[Any] = Column("town", EncryptedType(String(40)))
    table = _visit(more, CompoundBlindIndex("who", ("name", casefold), "town", versions=(1, 2)))
    first, second = indexes_of(table)
    told = ("name", "town"), ("casefold", "exact")
    assert index_column_of(first) == IndexColumn("who_bidx", *told)
    assert index_column_of(second) == IndexColumn("who_bidx_v2", *told)
    _same_derivation(table)


def _same_derivation(table: Table) -> None:
    """The description computes what the declaration does."""
    spec = TableSpec(table.name, columns_without_defaults(table), table.schema)
    whole = with_indexes(spec, [index_column_of(index) for index in indexes_of(table)])
    for found, index in zip(whole.indexes, indexes_of(table), strict=True):
        declared = index.definition
        assert (found.key or "default") == (declared.key or "default")
        assert replace(found, label="", key=None) == replace(declared, label="", key=None)
