"""Cells, as a statement delivers them: the compiled reader and Python's have the same answers."""

from __future__ import annotations

import random

import pytest

from encfields.context import RowContext
from encfields.message import one_pass, seal
from encfields.message.cell import KeyForm
from tests.message.fuzz import MUTATIONS

UUID = b"0f8fad5bd9cb469fa16570867728950e"
HYPHENATED = "0f8fad5b-d9cb-469f-a165-70867728950e"

PARTS = {
    KeyForm.INTEGER: [("0", "0"), ("1029", "1029"), ("9" * 30, "9" * 30)],
    KeyForm.UUID: [(HYPHENATED, HYPHENATED)],
    KeyForm.UUID_DIGITS: [(UUID.decode(), HYPHENATED)],
    KeyForm.UUID_DIGITS_HEX: [(UUID.hex(), HYPHENATED), (UUID.hex().upper(), HYPHENATED)],
    KeyForm.TEXT_HEX: [("", ""), ("41C3A9", "Aé"), ("f09d849e", "𝄞"), ("2f3a", "/:")],
    KeyForm.BINARY_HEX: [("", ""), ("00ff", "00ff"), ("00FF", "00ff")],
}
"""For each form, some parts of it and their canonical texts."""

STRANGE = ["", "007", "-1", "+1", "1 ", "!null!", "ff", "eda080", "4", "4g", HYPHENATED.upper()]
"""Parts that are of some form or other, or of none."""

SHAPES = [*[(form,) for form in KeyForm], (KeyForm.TEXT_HEX, KeyForm.INTEGER), tuple(KeyForm)]
TEMPLATES = {"fixed": ("tenant/42",), "of the row": ("tenant/", 0, "/x")}


@pytest.mark.parametrize("forms", SHAPES, ids="+".join)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_every_cell_has_the_same_answer(native, key, forms, template):
    rng = random.Random(15)
    row = RowContext("patient.ssn", [f"{chr(122 - i)}é{i}" for i in range(len(forms))])
    arguments = (b"abcdef", row.head, row.parts, forms, template)
    compiled, python = native.CellReader(*arguments), one_pass.CellReader(*arguments)

    def find_key(key_id, version):
        return key

    opened = 0
    for _ in range(60):
        cell = a_cell(rng, row, forms, key)
        for data in [cell, *(altered(rng, cell) for _ in range(8))]:
            expected = python.open(data, find_key)
            assert compiled.open(data, find_key) == expected, data
            opened += expected == b"value"
    assert opened or template is TEMPLATES["of the row"]


@pytest.mark.parametrize("form", KeyForm)
def test_every_form_of_key_opens(native, key, form):
    row = RowContext("patient.ssn", ["id"])
    reader = native.CellReader(b"abcdef", row.head, row.parts, [form], [key.id])
    for part, text in PARTS[form]:
        message = seal(b"value", row.serialize([text]), key)
        cell = b":".join((b"abcdef", part.encode(), message))
        assert reader.open(cell, lambda key_id, version: key) == b"value"


def test_the_branch_key_is_the_one_that_the_row_demands(native, key):
    row = RowContext("patient.ssn", ["id", "tenant"])
    forms = [KeyForm.INTEGER, KeyForm.TEXT_HEX]
    reader = native.CellReader(b"abcdef", row.head, row.parts, forms, ["tenant/", 1])
    asked: list[str] = []

    def find_key(key_id, version):
        asked.append(key_id)
        return key

    message = seal(b"value", row.serialize(["7", "42"]), key)
    assert reader.open(b"abcdef:7:3432:" + message, find_key) == b"value"
    assert reader.open(b"abcdef:7:3433:" + message, find_key) is None
    assert asked == ["tenant/42"]


@pytest.mark.parametrize("cell", [None, 1, "abcdef:1:x", bytearray(b"abcdef:1:x"), b""])
def test_what_is_no_cell_is_left_to_python(native, cell):
    row = RowContext("patient.ssn", ["id"])
    reader = native.CellReader(b"abcdef", row.head, row.parts, [KeyForm.INTEGER], ["default"])
    assert reader.open(cell, None) is None


def test_a_form_that_the_core_does_not_know_is_refused_when_the_column_is_declared(native):
    row = RowContext("patient.ssn", ["id"])
    with pytest.raises(ValueError, match="form of key"):
        native.CellReader(b"abcdef", row.head, row.parts, ["date"], ["default"])


def a_cell(rng: random.Random, row: RowContext, forms: tuple[KeyForm, ...], key) -> bytes:
    """A cell; of some, one part is another than the one that the value was sealed for."""
    chosen = [rng.choice(PARTS[form]) for form in forms]
    message = seal(b"value", row.serialize([text for _, text in chosen]), key)
    parts = [part for part, _ in chosen]
    if rng.random() < 0.5:
        parts[rng.randrange(len(parts))] = rng.choice(STRANGE)
    return b":".join((b"abcdef", *(part.encode() for part in parts), message))


def altered(rng: random.Random, cell: bytes) -> bytes:
    data = bytearray(cell)
    rng.choice(MUTATIONS)(rng, data, cell)
    return bytes(data)
