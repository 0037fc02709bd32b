"""Nobody who can fill a plaintext column has it read as another row's encrypted value.

A value is delivered in one cell with its row's key. In a UNION, whatever another SELECT has at its
position would be opened as such a cell, with the key and the message that it names.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    case,
    cast,
    func,
    insert,
    literal_column,
    null,
    select,
    type_coerce,
    union,
    union_all,
)

from encfields import EncryptedType
from encfields.errors import MalformedMessageError, UnreadableError, UnsupportedOperationError
from encfields.orm.declare.columns import binding_of
from encfields.orm.read.row_reader import RowReader
from tests.database import Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

METADATA = MetaData()
SECRET = Table(
    "secret",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("value", EncryptedType(String(20))),
)
UPLOAD = Table(
    "upload", METADATA, Column("id", Integer, primary_key=True), Column("file", LargeBinary)
)
FILE: Any = UPLOAD.c.file

EXPRESSIONS: dict[str, Any] = {
    "column": FILE,
    "another type": type_coerce(FILE, String),
    "cast": cast(FILE, LargeBinary),
    "cast of a function": cast(func.coalesce(null(), FILE), LargeBinary),
    "window": func.max(FILE).over(partition_by=UPLOAD.c.id),
    "last of a window": func.last_value(FILE).over(partition_by=UPLOAD.c.id).label("value"),
    "filter": func.max(FILE).filter(UPLOAD.c.id.is_not(null())),
    "within a group": func.mode().within_group(FILE),
    "case": case((UPLOAD.c.id.is_not(null()), FILE)),
    "operator": null().concat(FILE),
    "subquery": select(FILE).scalar_subquery(),
    "a window in a subquery": select(func.max(FILE).over()).scalar_subquery(),
}


@pytest.fixture
def filled(db: Database) -> Database:
    db.create(METADATA)
    with db.begin() as connection:
        connection.execute(insert(SECRET), {"id": 1, "value": "of row 1"})
    return db


def upload(filled: Database, tag: str) -> None:
    """Have an upload of number 66 look like the cell of row 1."""
    message = filled.stored(SECRET.c.value, 1)
    with filled.begin() as connection:
        cell = tag.encode() + b":1:" + message
        connection.execute(insert(UPLOAD), {"id": 66, "file": cell})


@pytest.mark.parametrize("name", [*EXPRESSIONS])
def test_what_is_not_encrypted_is_no_part_of_a_union_with_what_is(filled, name):
    upload(filled, RowReader(binding_of(SECRET.c.value)).tag)
    below = select(UPLOAD.c.id, EXPRESSIONS[name])
    statements = [
        union(select(SECRET), below),
        union_all(select(SECRET), below),
        union_all(select(SECRET), union_all(select(UPLOAD.c.id, null()), below)),
        select(union_all(select(SECRET), below).subquery()),
    ]
    refused = UnsupportedOperationError, UnreadableError
    for statement in statements:
        with filled.begin() as connection, pytest.raises(refused):
            connection.execute(statement)


@on_each_database
def test_a_cell_that_a_columns_name_would_give_is_not_opened(filled):
    """What raw SQL brings into a UNION is refused, though it is laid out as a cell is."""
    upload(filled, hashlib.sha256(b"secret.value").hexdigest()[:6])
    file: Any = literal_column("upload.file")
    with filled.begin() as connection, pytest.raises(MalformedMessageError):
        connection.execute(union_all(select(SECRET), select(UPLOAD.c.id, file))).all()
