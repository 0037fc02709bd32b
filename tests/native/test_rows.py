"""The cells of many rows, opened at once: what one by one gives, and what does not open is left."""

from __future__ import annotations

import os
import pickle
import random
import uuid
from typing import Any

import pytest

from encfields.branch_key import BranchKey
from encfields.context import RowContext
from encfields.errors import KeyUnavailableError
from encfields.message import one_pass, seal
from encfields.message.cell import KeyForm
from tests.message.fuzz import MUTATIONS
from tests.native.test_cells import TEMPLATES, a_cell, altered

ROW = RowContext("patient.ssn", ["id"])
INTEGER = (KeyForm.INTEGER,)


@pytest.fixture
def reader(native, key):
    return native.CellReader(b"abcdef", ROW.head, ROW.parts, INTEGER, [key.id])


def sealed(key: BranchKey, number: int, value: bytes = b"value") -> bytes:
    return b"abcdef:%d:" % number + seal(value, ROW.serialize([str(number)]), key)


def seen(row, place):
    """What stands at a place of a row: a value that was opened, or what was there."""
    cell = row[place]
    return cell.value if hasattr(cell, "value") else cell


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 17, 500, 2_500])
def test_every_cell_of_every_row_is_opened(native, key, find_key, reader, count):
    asked: list[str] = []

    def find(key_id, version):
        asked.append(version)
        return find_key(key_id, version)

    texts = [f"value é {number}" for number in range(count)]
    rows = [
        (number, sealed(key, number, text.encode()), "plain", sealed(key, number, b"\x00\xff"))
        for number, text in enumerate(texts)
    ]
    columns = [(1, reader, None), (3, reader, bytes.hex)]
    found, opened = native.open_rows(list(rows), columns, find)

    assert opened == 2 * count
    assert len(asked) <= 1 + 2 * count // 1024
    for number, (row, given) in enumerate(zip(found, rows, strict=True)):
        assert type(row) is tuple
        assert row[::2] == (number, "plain")
        assert (row[1].value, row[3].value) == (texts[number], "00ff")
        assert (row[1].cell, row[3].cell) == given[1::2]


@pytest.mark.parametrize("forms", [INTEGER, (KeyForm.TEXT_HEX, KeyForm.INTEGER), tuple(KeyForm)])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_every_cell_has_the_answer_that_python_gives_one_by_one(native, key, forms, template):
    rng = random.Random(18)
    row = RowContext("patient.ssn", [f"{chr(122 - i)}é{i}" for i in range(len(forms))])
    arguments = (b"abcdef", row.head, row.parts, forms, template)
    python = one_pass.CellReader(*arguments)
    cells = []
    for _ in range(60):
        cell = a_cell(rng, row, forms, key)
        cells += [cell, *(altered(rng, cell) for _ in range(4))]
    rng.shuffle(cells)

    columns = [(0, native.CellReader(*arguments), bytes)]
    expected = [python.open(cell, lambda *_: key) for cell in cells]
    kept: Any = BranchKey(key.id, key.version, key.material)
    kept.keeps_data_keys = True
    for one_key in (key, kept, kept):  # the last time, what opens was opened before
        found, opened = native.open_rows([(cell,) for cell in cells], columns, lambda *_: one_key)  # noqa: B023
        assert [getattr(one, "value", None) for (one,) in found] == expected
        assert opened == sum(value is not None for value in expected)
        assert all(seen((one,), 0) is not None for (one,) in found)
    assert opened == 0 or kept.compiled.reopened >= opened


def test_no_altered_bit_and_no_cut_opens_among_cells_that_do(native, key, reader):
    good = sealed(key, 7)
    bad = [good[:size] for size in range(len(good))] + [good + b"\0"]
    for place in range(len(good)):
        for bit in range(8):
            flipped = bytearray(good)
            flipped[place] ^= 1 << bit
            bad.append(bytes(flipped))
    rows = [(one, good) for one in bad]
    columns = [(0, reader, None), (1, reader, None)]
    found, opened = native.open_rows(rows, columns, lambda key_id, version: key)
    assert opened == len(bad)
    assert all(row[0] is one for row, one in zip(found, bad, strict=True))
    assert all(row[1].value == "value" for row in found)


def test_mutated_cells_are_left_as_they_are(native, key, reader):
    rng = random.Random(19)
    rows = []
    for number in range(1_000):
        cell = sealed(key, number)
        data = bytearray(cell)
        rng.choice(MUTATIONS)(rng, data, cell)
        rows.append((bytes(data),))
    python = one_pass.CellReader(b"abcdef", ROW.head, ROW.parts, INTEGER, [key.id])
    found, _ = native.open_rows(list(rows), [(0, reader, None)], lambda *_: key)
    for row, (cell,) in zip(found, rows, strict=True):
        expected = python.open(cell, lambda *_: key)
        assert seen(row, 0) == (cell if expected is None else expected.decode())


@pytest.mark.parametrize("cell", [None, 1, "abcdef:1:x", bytearray(b"abcdef:1:x"), b""])
def test_what_is_no_cell_is_left_beside_one_that_is(native, key, find_key, reader, cell):
    rows = [[cell, sealed(key, 1)], (sealed(key, 2), cell)]
    columns = [(0, reader, None), (1, reader, None)]
    found, opened = native.open_rows(rows, columns, find_key)
    assert opened == 2
    assert (found[0][0], found[0][1].value) == (cell, "value")
    assert (found[1][0].value, found[1][1]) == ("value", cell)


def test_a_row_moved_to_another_key_is_not_opened(native, key, find_key, reader):
    moved = sealed(key, 1).replace(b"abcdef:1:", b"abcdef:2:", 1)
    assert native.open_rows([(moved,)], [(0, reader, None)], find_key) == ([(moved,)], 0)


def test_each_row_is_opened_under_the_branch_key_that_it_demands(native, key):
    row = RowContext("patient.ssn", ["id", "tenant"])
    forms = [KeyForm.INTEGER, KeyForm.TEXT_HEX]
    reader = native.CellReader(b"abcdef", row.head, row.parts, forms, ["tenant/", 1])
    keys = {
        f"tenant/{number}": BranchKey(f"tenant/{number}", str(uuid.uuid4()), os.urandom(32))
        for number in range(20)
    }

    def cell(number, tenant):
        message = seal(
            b"value", row.serialize([str(number), str(tenant)]), keys[f"tenant/{tenant}"]
        )
        return b"abcdef:%d:%s:" % (number, str(tenant).encode().hex().encode()) + message

    asked: list[str] = []

    def find(key_id, version):
        asked.append(key_id)
        return keys[key_id]

    rows = [(cell(number, number % 20),) for number in range(100)]
    other = rows[0][0].replace(b"abcdef:0:30:", b"abcdef:0:31:", 1)  # of tenant 0, shown by 1
    found, opened = native.open_rows([*rows, (other,)], [(0, reader, None)], find)
    assert opened == 100
    assert found[-1] == (other,)
    assert sorted(asked) == sorted(keys)


def test_a_key_that_is_not_found_leaves_its_cells_and_no_others(native, key, find_key, reader):
    lost = BranchKey(key.id, str(uuid.uuid4()), os.urandom(32))
    asked: list[str] = []

    def find(key_id, version):
        asked.append(version)
        if version == lost.version:
            raise KeyUnavailableError("KMS is away")
        return find_key(key_id, version)

    rows = [(sealed(lost if number % 2 else key, number),) for number in range(10)]
    found, opened = native.open_rows(list(rows), [(0, reader, None)], find)
    assert opened == 5
    assert found[1::2] == rows[1::2]
    assert sorted(asked) == sorted([key.version, lost.version])


def test_once_a_key_is_not_to_be_had_no_other_is_waited_for(native, key, find_key, reader):
    asked: list[str] = []

    def find(key_id, version):
        asked.append(version)
        if version != key.version:
            raise KeyUnavailableError("KMS is away")
        return key

    others = [BranchKey(key.id, str(uuid.uuid4()), os.urandom(32)) for _ in range(20)]
    rows = [(sealed(key, 0),), *((sealed(other, 1),) for other in others), (sealed(key, 2),)] * 100
    found, opened = native.open_rows(list(rows), [(0, reader, None)], find)
    assert asked == [key.version, others[0].version]
    assert opened == sum(not isinstance(cell, bytes) for (cell,) in found) >= 2
    assert found[1:21] == rows[1:21]


def test_a_plaintext_that_the_columns_type_does_not_write_is_left_to_python(
    native, key, find_key, reader
):
    rows = [(sealed(key, 1, b"\xff"), sealed(key, 1, b"no number"), sealed(key, 1, b"7"))]
    columns = [(0, reader, None), (1, reader, int), (2, reader, int)]
    found, opened = native.open_rows(list(rows), columns, find_key)
    assert opened == 1
    assert found[0][:2] == rows[0][:2]
    assert found[0][2].value == 7


def test_an_interrupt_passes(native, key, find_key, reader):
    def interrupted(*_):
        raise KeyboardInterrupt

    rows = [(sealed(key, 1),)]
    with pytest.raises(KeyboardInterrupt):
        native.open_rows(rows, [(0, reader, None)], interrupted)
    with pytest.raises(KeyboardInterrupt):
        native.open_rows(rows, [(0, reader, interrupted)], find_key)


def test_a_row_without_such_a_column_is_an_error_and_not_a_crash(native, find_key, reader):
    with pytest.raises(IndexError):
        native.open_rows([()], [(0, reader, None)], find_key)


def test_an_opened_cell_shows_nothing(native):
    cell = native.OpenedCell("123-45-6789", b"cell")
    assert "123" not in repr(cell)
    with pytest.raises(TypeError):
        pickle.dumps(cell)
    with pytest.raises(AttributeError):
        cell.value = "another"
