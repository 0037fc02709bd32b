"""Views that compare two columns, made before, during and after a rotation of the beacon key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from encfields import BlindIndex, EncryptedType
from tests.database import Database


def both_tables(versions: Sequence[int]) -> tuple[Table, Table]:
    """Those of an application that declares these versions."""
    metadata = MetaData()

    def table(name: str) -> Table:
        index = BlindIndex(domain="ssn", versions=versions)
        encrypted: Column[Any] = Column("ssn", EncryptedType(index=index))
        return Table(name, metadata, Column("id", Integer, primary_key=True), encrypted)

    return table("patient"), table("visit")


def make_view(db: Database, name: str, versions: Sequence[int]) -> None:
    patient, visit = both_tables(versions)
    compared = select(patient.c.id).where(patient.c.ssn == visit.c.ssn)
    sql = compared.compile(db.engine, compile_kwargs={"literal_binds": True})
    db.execute_plain(f"CREATE VIEW {name} AS {sql}")


def seen(db: Database, name: str) -> list[int]:
    with db.begin() as connection:
        found = connection.exec_driver_sql(f"SELECT id FROM {name} ORDER BY id")
        return [number for (number,) in found]


def test_a_view_compares_the_versions_that_were_declared_when_it_was_created(db):
    both = both_tables((1, 2))
    db.create(both[0].metadata)
    db.encryption.keys.rotate_beacon("default")
    for number, versions in enumerate([(1,), (1, 2), (2, 1), (2,)], start=1):
        with db.begin() as connection:
            for table in both_tables(versions):
                connection.execute(insert(table), {"id": number, "ssn": f"of {versions}"})

    try:
        for name, versions, rows in (
            ("before_it", (1,), [1, 2, 3]),
            ("during_it", (1, 2), [1, 2, 3, 4]),
            ("later", (2, 1), [1, 2, 3, 4]),
            ("after_it", (2,), [2, 3, 4]),
        ):
            make_view(db, name, versions)
            assert seen(db, name) == rows
    finally:
        for name in ("before_it", "during_it", "later", "after_it"):
            db.execute_plain(f"DROP VIEW IF EXISTS {name}")
