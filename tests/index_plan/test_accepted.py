"""What an index gives away may have been accepted in writing, in its declaration."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, MetaData, Table

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.bulk.rows.spec import TableSpec
from encfields.planner.subjects import subjects_of


def test_the_words_are_read_of_an_index_of_one_column_and_of_several() -> None:
    metadata = MetaData()
    table = Table(
        "pair",
        metadata,
        Column("id", Integer, primary_key=True),
        Column(
            "smoker", EncryptedType(Boolean, index=BlindIndex(accept_leakage="it is on the door"))
        ),
        Column("donor", EncryptedType(Boolean)),
        CompoundBlindIndex("both", "smoker", "donor", accept_leakage="so are both"),
    )
    subjects = subjects_of(TableSpec.from_table(table), metadata, [], None, named=False)
    assert {one.name: one.accepted for one in subjects} == {
        None: "it is on the door",
        "both": "so are both",
    }
