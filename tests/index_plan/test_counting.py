"""Values are counted as they are in the database, encrypted or not, and nothing else is kept."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, text

from encfields import EncryptedType
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.engine import engine_encryption
from encfields.errors import DeclarationError, KeyUnavailableError
from encfields.index.transforms import digits, exact, first_letter, last, year
from encfields.planner.counting import count_values
from tests.index_plan.people import COUNT, ROWS, SURNAMES
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

LAST4 = digits.then(last(4))
CODE = (("code", exact),)


def no_key(key_id: str, version: str):
    raise AssertionError("a key was asked for")


def counted(engine, encryption, column, *transforms, sample=None):
    """One column's counts under each transform."""
    return count_values(
        engine,
        engine_encryption(encryption).find_key,
        TableSpec.of("people", [column]),
        [((column, transform),) for transform in transforms],
        sample=sample,
    )


def frequencies(told, number=0):
    """How often each value of the first, second, ... index occurs."""
    return told.frequencies(told.indexes[number])


@on_each_database
@pytest.mark.parametrize("column", ["surname", "plain_surname"])
def test_encrypted_and_plaintext_values_have_the_same_frequencies(
    engine, encryption, people, column
):
    told = counted(engine, encryption, column, exact, first_letter)

    (count,) = told.columns
    assert frequencies(told).counts == sorted([*SURNAMES.values(), *[3] * 40], reverse=True)
    # Lovelace, Hopper, Noether, and all that are rare
    assert frequencies(told, 1).counts == [200, 120, 120, 40]
    assert (told.rows, count.nulls) == (COUNT, 0)
    assert (count.encrypted, count.plaintext) in [(COUNT, 0), (0, COUNT)]
    assert count.encrypted == COUNT * (column == "surname")
    assert told.sample is None


@on_each_database
def test_values_of_every_kind_are_counted(engine, encryption, people):
    for column, transform, counts in [
        ("ssn", exact, [1] * COUNT),
        ("ssn", LAST4, [1] * COUNT),
        ("smoker", exact, [320, 160]),
        ("plain_smoker", exact, [320, 160]),
        ("blood", exact, [160, 160, 160]),
        ("born", year, [12] * 40),
    ]:
        assert frequencies(counted(engine, encryption, column, transform)).counts == counts


def test_nulls_are_told_apart(engine, encryption, people):
    told = counted(engine, encryption, "notes", exact)

    (count,) = told.columns
    assert (count.nulls, count.encrypted) == (COUNT // 4, COUNT - COUNT // 4)
    assert frequencies(told).counts == [COUNT - COUNT // 4]


def test_no_key_is_asked_for_where_nothing_is_encrypted(engine, people):
    spec = TableSpec.of("people", ["plain_surname", "born"])

    told = count_values(engine, no_key, spec, [(("plain_surname", exact),), (("born", year),)])

    assert [column.plaintext for column in told.columns] == [COUNT, COUNT]


def test_a_column_halfway_through_its_encryption_is_counted_as_one(engine, encryption):
    table = Table(
        "halfway", MetaData(), Column("id", Integer, primary_key=True, autoincrement=False),
        Column("code", EncryptedType(String)),
    )  # fmt: skip
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": i, "code": f"c{i % 2}"} for i in range(10)])
        connection.execute(
            text("INSERT INTO halfway (id, code) VALUES (:id, :code)"),
            [{"id": i, "code": b"c%d" % (i % 2)} for i in range(10, 16)],
        )

    told = count_values(
        engine, engine_encryption(encryption).find_key, TableSpec.of("halfway", ["code"]), [CODE]
    )

    (count,) = told.columns
    assert (count.encrypted, count.plaintext) == (10, 6)
    assert frequencies(told).counts == [8, 8]


def test_what_does_not_open_in_its_place_is_counted_nowhere(engine, encryption, people):
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE people SET ssn = (SELECT o.s FROM (SELECT ssn AS s FROM people "
                 "WHERE id = 1) AS o) WHERE id = 2")
        )  # fmt: skip

    told = counted(engine, encryption, "ssn", exact)

    (count,) = told.columns
    assert count.unreadable.total() == 1
    assert frequencies(told).counts == [1] * (COUNT - 1)


def test_an_outage_is_no_fault_of_the_values(engine, people):
    def out_of_reach(key_id: str, version: str):
        raise KeyUnavailableError("out of reach", key_id=key_id, reason="unreachable")

    with pytest.raises(KeyUnavailableError) as caught:
        count_values(engine, out_of_reach, TableSpec.of("people", ["ssn"]), [(("ssn", exact),)])

    assert (caught.value.table, caught.value.column) == ("people", "ssn")


def test_values_that_a_transform_is_not_for_are_told(engine, encryption, people):
    told = counted(engine, encryption, "surname", year, exact)

    assert [index.inapplicable for index in told.indexes] == [COUNT, 0]
    assert frequencies(told).counts == []


def test_equal_values_under_two_keys_are_counted_apart(engine, encryption):
    table = Table(
        "visit", MetaData(), Column("id", Integer, primary_key=True, autoincrement=False),
        Column("clinic", String(10)),
        Column("code", EncryptedType(String, key="clinic/{clinic}")),
    )  # fmt: skip
    table.create(engine)
    for clinic in ("north", "south"):
        encryption.keys.create(f"clinic/{clinic}")
    rows = [{"id": i, "clinic": "north" if i < 30 else "south", "code": f"c{i % 2}"}
            for i in range(40)]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
    spec = TableSpec.of("visit", [SealedColumn("code", key="clinic/{clinic}")])

    told = count_values(engine, engine_encryption(encryption).find_key, spec, [CODE])

    (index,) = told.indexes
    assert (len(index.by_key), index.largest_key()) == (2, "clinic/north")
    assert told.frequencies(index, "clinic/north").counts == [15, 15]
    assert told.frequencies(index, "clinic/south").counts == [5, 5]
    assert told.frequencies(index, None).counts == [20, 20]


def test_several_columns_are_counted_together(engine, encryption, people):
    """A row with NULL in one of them is in no index of both."""
    spec = TableSpec.of("people", ["surname", "plain_smoker", "notes"])
    together = (("surname", first_letter), ("plain_smoker", exact))
    with_nulls = (("plain_smoker", exact), ("notes", exact))

    told = count_values(
        engine, engine_encryption(encryption).find_key, spec, [together, with_nulls]
    )

    pairs = Counter((str(row["surname"])[0], row["smoker"]) for row in ROWS)
    assert frequencies(told).counts == sorted(pairs.values(), reverse=True)
    smokers = Counter(row["smoker"] for row in ROWS if row["notes"] is not None)
    assert frequencies(told, 1).counts == sorted(smokers.values(), reverse=True)
    assert (told.indexes[0].column, told.indexes[0].transform) == (
        "surname+plain_smoker", "first_letter+exact",
    )  # fmt: skip


@on_each_database
def test_a_sample_is_extrapolated(engine, encryption, people):
    told = counted(engine, encryption, "surname", exact, sample=200)
    seen = frequencies(told)

    assert told.sample is not None
    assert told.sample.rows == seen.counted_rows == told.rows < COUNT
    assert seen.rows == COUNT
    assert seen.is_sample


def test_nothing_is_kept_that_could_be_compared(engine, encryption, people):
    """Neither a value nor what is the same in the next count."""
    told = [counted(engine, encryption, "surname", exact) for _ in range(2)]

    kept = [set(one.indexes[0].by_key["default"]) for one in told]
    assert len(kept[0]) == len(kept[1]) == 43
    assert not kept[0] & kept[1]
    assert {len(digest) for digest in kept[0]} == {16}
    assert not any(str(row["surname"]) in repr(told) for row in ROWS)


@on_each_database
def test_a_missing_column_is_said(engine, people):
    with pytest.raises(DeclarationError, match="no column nowhere"):
        count_values(engine, no_key, TableSpec.of("people", ["nowhere"]), [(("nowhere", exact),)])
