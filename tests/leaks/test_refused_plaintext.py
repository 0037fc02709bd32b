"""A column that does not take the plaintext it is to hold: what is told of that shows nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import CheckConstraint, Integer, String, insert, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.bulk.reencryption import Options, Reencryption
from encfields.bulk.rows.spec import TableSpec
from encfields.testing import assert_absent, attach_locally

CANARY = "CANARY-4711-XYZ-and-long"


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String))
    short: Mapped[str | None] = mapped_column(String(5))
    number: Mapped[int | None]
    unique: Mapped[str | None] = mapped_column(String(50), unique=True)
    checked: Mapped[str | None] = mapped_column(String(50), CheckConstraint("checked = 'x'"))


@pytest.mark.parametrize("target", ["short", "number", "unique", "checked"])
def test_neither_an_error_nor_a_run_row_shows_what_a_column_refused(backend, caplog, target):
    engine = backend.create_engine()
    encryption = attach_locally(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Person), [{"id": i, "ssn": CANARY} for i in (1, 2)])
    run = Reencryption(
        engine,
        encryption,
        TableSpec.of("person", ["ssn"]),
        to_plaintext={"ssn": target},
        options=Options(outage_seconds=1),
    )
    report = run.run()
    stored: list[str] = []
    with engine.connect() as connection:
        for table in ("encfields_runs", "encfields_ranges", "encfields_quarantine"):
            stored += map(str, connection.execute(text(f"SELECT * FROM {table}")).all())
    assert stored
    assert_absent(CANARY, report, caplog.records, *stored)
    if backend.name != "sqlite" or target != "short":  # SQLite knows no length
        assert not report.finished
        assert report.state == "quarantined"
        assert {one.column for one in report.quarantined} <= {target, "ssn"}
