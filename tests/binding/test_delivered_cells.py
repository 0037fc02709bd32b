"""A delivered cell, opened in one pass or the long way: the same value, or the same error."""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    Column,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Uuid,
    create_engine,
)

from encfields import EncryptedType
from encfields.branch_key import BranchKey
from encfields.errors import EncFieldsError, KeyNotFoundError
from encfields.message import core, seal
from encfields.orm.declare.columns import ColumnBinding, binding_of
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.read import row_reader
from encfields.orm.read.row_reader import RowReader
from tests.message.fuzz import Corpus, mutate

URLS = ("sqlite://", "postgresql+psycopg://", "mysql+pymysql://")
UUID = "0f0e0d0c-0b0a-0908-0706-050403020100"


@dataclass
class Keys:
    """What opens the cells: an encryption without a key store."""

    made: dict[str, BranchKey] = field(default_factory=dict)
    destroyed: object = "raise"
    legacy: dict[str, Any] = field(default_factory=dict)
    stats: Any = field(default_factory=lambda: SimpleNamespace(opened=0))

    def of(self, key_id: str) -> BranchKey:
        made = BranchKey(key_id, str(uuid.uuid4()), os.urandom(32))
        return self.made.setdefault(key_id, made)

    def find_key(self, key_id: str, version: str) -> BranchKey:
        key = self.made.get(key_id)
        if key is None or key.version != version:
            raise KeyNotFoundError("no such key", key_id=key_id)
        return key


def column(key: str, *identity: Column[Any], **options: Any) -> Column[Any]:
    sealed: Column[Any] = Column("ssn", EncryptedType(String, key=key, **options))
    Table(f"t_{uuid.uuid4().hex}", MetaData(), *identity, sealed)
    return sealed


def hexed(text: str) -> bytes:
    return text.encode().hex().upper().encode()


def digits(text: str) -> str:
    return text.replace("-", "")


SHAPES = {
    "integer": (lambda: column("default", Column("id", Integer, primary_key=True)), ["42"]),
    "uuid": (lambda: column("default", Column("id", Uuid, primary_key=True)), [UUID]),
    "text": (lambda: column("default", Column("id", String(9), primary_key=True)), ["Grüße:1"]),
    "char": (lambda: column("default", Column("id", CHAR(9), primary_key=True)), ["ab"]),
    "binary": (lambda: column("default", Column("id", LargeBinary(9), primary_key=True)), ["00ff"]),
    "date": (lambda: column("default", Column("id", Date, primary_key=True)), ["2026-01-31"]),
    "tenant": (
        lambda: column(
            "tenant/{z}",
            Column("id", Integer, primary_key=True),
            Column("z", Integer, nullable=False),
            former_keys=["default"],
        ),
        ["42", "7"],
    ),
    "tenant by name": (
        lambda: column(
            "tenant/{a}/x",
            Column("id", Uuid, primary_key=True),
            Column("a", String(9), primary_key=True),
        ),
        [UUID, "b/c"],
    ),
}
"""For each kind of row key a column, and the canonical texts of one row's."""


def delivered(binding: ColumnBinding, texts: list[str], dialect: str) -> list[bytes]:
    """A row's key as the database delivers it."""
    parts = []
    for one, text in zip(binding.identity, texts, strict=True):
        if isinstance(one.type, Integer):
            parts.append(text.encode())
        elif isinstance(one.type, LargeBinary):
            parts.append(text.encode().upper())
        elif isinstance(one.type, Uuid):
            uuids = {"postgresql": text.encode(), "sqlite": hexed(digits(text))}
            parts.append(uuids.get(dialect, digits(text).encode()))
        elif isinstance(one.type, Date):
            dates = {"postgresql": text.encode() + b"AD", "sqlite": hexed(text)}
            parts.append(dates.get(dialect, text.encode()))
        else:
            parts.append(hexed(text))
    return parts


class Given(Corpus):
    """Cells that are given, to be altered."""

    def __init__(self, cells: list[bytes]) -> None:
        self.messages = cells
        self.genuine = set(cells)


class Reading:
    """One column's cells on one database, read both ways."""

    def __init__(self, url: str, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dialect = create_engine(url).dialect
        self.keys = Keys()
        attachment: Any = attachment_of(self.dialect)
        attachment.encryption = self.keys
        make, self.texts = SHAPES[shape]
        self.binding = binding_of(make())
        reader = RowReader(self.binding)
        self._tag = reader.tag.encode()
        self._quick = reader.result_processor(self.dialect, None)
        self._patch = monkeypatch
        with monkeypatch.context() as patch:
            patch.setattr(row_reader, "form_of", lambda type_, dialect: None)
            self._long = reader.result_processor(self.dialect, None)

    def cell(self, plaintext: bytes, key_id: str | None = None) -> bytes:
        key = self.keys.of(key_id or self.binding.key_id(self.texts))
        message = seal(plaintext, self.binding.context.serialize(self.texts), key)
        parts = delivered(self.binding, self.texts, self.dialect.name)
        return b":".join([self._tag, *parts, message])

    def outcome(self, cell: object) -> object:
        """What a cell reads as, both ways."""
        quick = told(self._quick, cell)
        with self._patch.context() as patch:
            for name in ("open_", "open_kept"):
                patch.setattr(core, name, lambda *anything: None)
            assert told(self._long, cell) == quick, cell
        return quick


def told(read: Any, cell: object) -> object:
    try:
        return read(cell)
    except EncFieldsError as error:
        return type(error), error.reason, str(error), error.table, error.column, error.row


@pytest.fixture(params=[(url, shape) for url in URLS for shape in SHAPES], ids="-".join)
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Reading:
    url, shape = request.param
    return Reading(url, shape, monkeypatch)


def test_a_value_reads_alike_whatever_bytes_the_driver_delivers(reading):
    cell = reading.cell("Ämterzeichen".encode())
    for form in (bytes, bytearray, memoryview):
        assert reading.outcome(form(cell)) == "Ämterzeichen"
    assert reading.outcome(None) is None
    assert reading.keys.stats.opened == 6


def test_altered_cells_are_refused_alike(reading):
    rng, cell = random.Random(17), reading.cell(b"123-45-6789")
    for _ in range(250):
        assert isinstance(reading.outcome(mutate(rng, Given([cell]), Counter())), tuple)


def test_keys_that_no_database_delivers_are_refused_alike(reading):
    tag, *parts, message = reading.cell(b"123-45-6789").split(b":", len(reading.texts) + 1)
    for at in range(len(parts)):
        for part in (b"", b"!", b"!!", b"!!!", b"!text", b"!\xff!\xff", b"!null", b"\xff", b"0!x"):
            cell = b":".join([tag, *parts[:at], part, *parts[at + 1 :], message])
            assert isinstance(reading.outcome(cell), tuple), cell


def test_every_flipped_bit_before_the_message_is_refused_alike(reading):
    cell = reading.cell(b"123-45-6789")
    for offset in range(cell.index(b"\x02\x04\x78") + 3):
        for bit in range(8):
            altered = bytearray(cell)
            altered[offset] ^= 1 << bit
            found = reading.outcome(bytes(altered))
            # Of a hexadecimal digit, the other case is the same digit.
            assert isinstance(found, tuple) or bytes(altered).lower() == cell.lower()


def test_what_does_not_decode_or_has_no_key_is_told_alike(reading):
    assert isinstance(reading.outcome(reading.cell(b"\xff")), tuple)
    cell = reading.cell(b"value")
    reading.keys.made.clear()
    assert isinstance(reading.outcome(cell), tuple)


def test_a_value_of_another_key_reads_alike(reading):
    found = reading.outcome(reading.cell(b"value", "default"))
    allowed = "default" in reading.binding.key_ids(reading.texts)
    assert (found == "value") is allowed
