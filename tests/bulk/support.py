"""What the tests of bulk runs share: tables, an attached engine, and a look at what is stored."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import partial
from typing import Any

from sqlalchemy import Engine, String, create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.bulk.reencryption import Options, Reencryption
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.runs.ranges import RangeStore
from encfields.bulk.runs.run_row import read_run
from encfields.bulk.runs.sealed_job import JobSealer
from encfields.message import read_header

ROWS = 200
"""Patients that the fixture ``clinic`` has."""

NOTES = ROWS - ROWS // 3
"""Those of them that have notes."""

VALUES = ROWS + NOTES

WRAPPING_KEY = hashlib.sha256(b"the tests' own wrapping key").digest()


class Base(DeclarativeBase):
    pass


class Patient(Base):
    """Two encrypted columns, one of which may be NULL."""

    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String))
    notes: Mapped[str | None] = mapped_column(EncryptedType(String))
    seen: Mapped[int] = mapped_column(default=0)


PATIENT = TableSpec.from_table(Patient.__table__)  # type: ignore[arg-type]


def attach_to(url: str, **options: Any) -> tuple[Engine, Encryption]:
    """An engine and its encryption, the same keys every time: in this process or another."""
    engine = create_engine(url)
    store = SqlKeyStore(keyrings.local(WRAPPING_KEY))
    return engine, attach(engine, store, **{"create": True, **options})


class Clinic:
    """A database with tables, keys and rows, and bulk runs over it.

    :param base: whose tables to make; None for none.
    :ivar backend: which database. :ivar engine: an attached engine. :ivar encryption: its keys.
    """

    def __init__(self, backend: Any, base: Any = Base) -> None:
        # Worker processes import this module too, and none of what only tests need.
        from tests.attached import attach_with_kept_keys

        self.backend = backend
        self.engine = backend.create_engine()
        self.encryption = attach_with_kept_keys(self.engine, WRAPPING_KEY)
        if base is not None:
            base.metadata.create_all(self.engine)
        self.setup = partial(attach_to, backend.url_text)

    def fill(self, rows: int, first: int = 1) -> None:
        """Patients with ids from `first` on; every third has no notes."""
        values = [
            {"id": i, "ssn": f"ssn {i}", "notes": None if i % 3 == 0 else f"notes {i}", "seen": 0}
            for i in range(first, first + rows)
        ]
        with self.engine.begin() as connection:
            connection.execute(insert(Patient), values)

    def rotate(self, key: str = "default") -> str:
        """A new version of a key, in force for this engine at once."""
        return self.encryption.keys.rotate(key).version

    def run(self, spec: TableSpec = PATIENT, **options: Any) -> Reencryption:
        """A bulk run with small batches and ranges, so that there are several."""
        extra = {k: options.pop(k) for k in ("source", "to_plaintext") if k in options}
        chosen = {"batch_rows": 20, "range_rows": 48, **options}
        return Reencryption(self.engine, self.encryption, spec, options=Options(**chosen), **extra)

    def ranges_of(self, run_id: str, options: Options | None = None) -> RangeStore:
        """A run's ranges, as one of its workers sees them."""
        with self.engine.connect() as connection:
            run = read_run(connection, run_id)
        opened = JobSealer(self.encryption, options or Options()).open_job(run)
        return RangeStore(self.engine.dialect.name, opened)

    def values(self, model: Any = Patient) -> dict[Any, tuple[Any, ...]]:
        """Every row as the application reads it, by primary key."""
        table = model.__table__
        with Session(self.engine) as session:
            rows = session.execute(select(*table.c)).all()
        width = len(table.primary_key.columns)
        names = [c.name for c in table.c]
        keys = [names.index(c.name) for c in table.primary_key.columns]
        assert width
        return {tuple(row[k] for k in keys): tuple(row) for row in rows}

    def versions(self, model: Any = Patient) -> Counter[tuple[str, str]]:
        """How many stored values there are under each key id and version."""
        found: Counter[tuple[str, str]] = Counter()
        for _, data in self.stored(model):
            header = read_header(data)
            found[(header.key_id, header.version)] += 1
        return found

    def stored(self, model: Any = Patient) -> list[tuple[str, bytes]]:
        """Every stored value that is not NULL, with its column's name."""
        from tests.database import raw_select

        table = model.__table__
        names = [c.name for c in table.c if isinstance(c.type, EncryptedType)]
        with self.engine.connect() as connection:
            rows = connection.execute(raw_select(table)).mappings().all()
        return [(n, bytes(row[n])) for row in rows for n in names if row[n] is not None]
