"""pandas: a frame is written to encrypted columns, and read back through the model."""

from __future__ import annotations

from typing import Any

import pandas
import pytest
from sqlalchemy import Integer, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import DeclarationError
from encfields.testing import attach_locally
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex()))
    age: Mapped[int | None] = mapped_column(EncryptedType(Integer))


FRAME = pandas.DataFrame({"id": [1, 2], "ssn": ["123-45-6789", "987-65-4321"], "age": [36, 41]})


def test_a_table_without_a_primary_key_is_refused_and_nothing_is_stored(backend: Backend) -> None:
    """``to_sql()`` declares its table by itself, and no row of it could be told from another."""
    engine = backend.create_engine()
    attach_locally(engine)
    with pytest.raises(DeclarationError, match="primary key"):
        FRAME.to_sql("patient", engine, index=False, dtype={"ssn": EncryptedType(String(11))})


def _insert(table: Any, connection: Any, keys: list[str], rows: Any) -> None:
    """A ``method=`` of ``to_sql()`` that writes to the application's own table."""
    data = [dict(zip(keys, row, strict=True)) for row in rows]
    connection.execute(Patient.__table__.insert(), data)  # type: ignore[attr-defined]


def test_a_frame_is_appended_through_the_models_table_and_read_back(backend: Backend) -> None:
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine)
    FRAME.to_sql("patient", engine, index=False, if_exists="append", method=_insert)
    assert_sealed(engine, "patient", "ssn", "123-45-6789", "987-65-4321")
    with engine.connect() as connection:
        read = pandas.read_sql(
            select(Patient.id, Patient.ssn, Patient.age).order_by(Patient.id), connection
        )
    pandas.testing.assert_frame_equal(read, FRAME)
    with Session(engine) as session:
        assert session.scalars(select(Patient.age).where(Patient.ssn == "987-65-4321")).all() == [
            41
        ]
