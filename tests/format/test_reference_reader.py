"""docs/format.md is enough to read a value: its reader, which uses no code of ours, does."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, insert, text

from encfields import EncryptedType
from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.engine import engine_encryption
from encfields.message import seal
from encfields.testing import attach_locally
from tests.servers.backends import Backend

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "format.md"
KEY = BranchKey("tenant/42", str(uuid.UUID(int=7)), bytes(range(32)))

Reader = Callable[[bytes, bytes, dict[str, str]], bytes]


def _reader() -> Reader:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    reader: Reader = names["read"]
    return reader


read = _reader()
contexts = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda key: not key.startswith("aws-crypto-")),
    st.text(max_size=30),
    min_size=1,
    max_size=5,
)


def test_it_uses_no_code_of_ours() -> None:
    code = DOCUMENT.read_text()
    assert "import encfields" not in code
    assert "from encfields" not in code


@given(st.binary(max_size=6000), contexts)
def test_it_reads_what_we_write(plaintext: bytes, context: dict[str, str]) -> None:
    message = seal(plaintext, serialize(context), KEY)
    assert read(message, KEY.material, context) == plaintext


def test_it_refuses_another_context_and_every_altered_byte() -> None:
    context = {"enc:column": "patient.ssn", "enc:row:id": "1"}
    message = seal(b"123-45-6789", serialize(context), KEY)
    with pytest.raises(AssertionError):
        read(message, KEY.material, {**context, "enc:row:id": "2"})
    for position in range(len(message)):
        altered = bytearray(message)
        altered[position] ^= 1
        with pytest.raises((AssertionError, ValueError, InvalidTag)):
            read(bytes(altered), KEY.material, context)


def test_it_reads_a_column_of_a_database(sqlite: Backend) -> None:
    """With nothing but the branch key and what the document says of contexts and plaintexts."""
    table = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String)),
        Column("notes", EncryptedType(JSON, name="patient.remarks")),
    )
    engine = sqlite.create_engine()
    table.metadata.create_all(engine)
    encryption = attach_locally(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": 5, "ssn": "123-45-6789", "notes": {"a": "ü"}})
    with engine.connect() as connection:
        ssn, notes = connection.execute(text("SELECT ssn, notes FROM patient")).one()
    material = engine_encryption(encryption).active_key("default").material
    row = {"enc:row:id": "5"}
    assert read(ssn, material, {"enc:column": "patient.ssn", **row}) == b"123-45-6789"
    remarks = read(notes, material, {"enc:column": "patient.remarks", **row})
    assert remarks == '{"a":"ü"}'.encode()
