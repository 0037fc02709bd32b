"""A clinic whose values are moved by runs, with a column to which plaintext could be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Integer, String, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import TableSpec
from tests.bulk import support


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    manager_id: Mapped[int | None]
    ssn: Mapped[str] = mapped_column(EncryptedType(String))
    plain: Mapped[str | None] = mapped_column(String(50))


SSN = TableSpec.of("patient", ["ssn"])


class Clinic(support.Clinic):
    """Sixty patients; runs with several ranges and batches.

    :ivar key_file: the wrapping key, as the command takes it.
    """

    def __init__(self, backend: Any, folder: Path) -> None:
        super().__init__(backend, Base)
        self.key_file = folder / "wrapping.key"
        self.key_file.write_bytes(support.WRAPPING_KEY)
        self.key_file.chmod(0o600)
        rows = [{"id": i, "ssn": f"123-45-{i:04}"} for i in range(1, 61)]
        with self.engine.begin() as connection:
            connection.execute(insert(Patient), rows)

    def run(self, spec: TableSpec = SSN, **options: Any) -> Reencryption:
        return super().run(spec, **{"batch_rows": 10, "range_rows": 20, **options})

    def stored(self, model: Any = Patient) -> list[tuple[str, bytes]]:
        return super().stored(model)

    def versions(self, model: Any = Patient) -> Any:
        return super().versions(model)
