"""What a run finds out for a whole batch is what it would find out row by row."""

from __future__ import annotations

import pytest
from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.dialects import mysql

from encfields.bulk.rows.row_work import ABSENT, RowChange
from encfields.bulk.writers.base import shape_of, shapes_of
from encfields.errors import UnknownIdentityError
from encfields.orm.declare.row_keys import from_bound_value, texts_of_each

DIALECT = mysql.dialect()

USUAL = RowChange((1,), (b"old",), (b"new",))


@pytest.mark.parametrize(
    "other",
    [
        USUAL,
        RowChange((2,), (None,), (None,)),
        RowChange((2,), (None,), (b"new",)),
        RowChange((2,), (b"old",), (None,)),
        RowChange((2,), (ABSENT,), (b"new",)),
        RowChange((2,), (b"old",), (b"new",), (b"index",)),
        RowChange((2,), (b"old",), (b"new",), ()),
    ],
)
def test_the_shapes_of_changes_are_those_of_each(other):
    for changes in ([USUAL, USUAL], [USUAL, other], [other, USUAL], [other]):
        assert shapes_of(changes) == [*map(shape_of, changes)]


def test_the_shapes_of_changes_of_several_columns_are_those_of_each():
    changes = [
        RowChange((1, "a"), (b"old", None), (b"new", None)),
        RowChange((1, "b"), (b"old", ABSENT), (b"new", b"new")),
    ]
    assert shapes_of(changes) == [*map(shape_of, changes)]


@pytest.mark.parametrize(
    "type_, values",
    [
        (BigInteger(), [1, 2**63 - 1, -1]),
        (BigInteger(), [1, "22", True]),
        (BigInteger(), []),
        (String(20), ["a", "1", ""]),
        (LargeBinary(), [b"\0", b""]),
    ],
    ids=["integers", "with others", "none", "texts", "bytes"],
)
def test_the_texts_of_keys_are_those_of_each(type_, values):
    convert = from_bound_value(type_, DIALECT)
    assert texts_of_each(convert, values) == [*map(convert, values)]


@pytest.mark.parametrize("odd", [1.0, None, "01"])
def test_a_key_that_identifies_no_row_is_refused_among_many(odd):
    convert = from_bound_value(BigInteger(), DIALECT)
    with pytest.raises(UnknownIdentityError):
        convert(odd)
    with pytest.raises(UnknownIdentityError):
        texts_of_each(convert, [1, odd, 2])
