"""The models of the asyncio tests: one with a client-side key, one with a generated key."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(String))
    notes: Mapped[Any] = mapped_column(EncryptedType(JSON), nullable=True)


class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    diagnosis: Mapped[str] = mapped_column(EncryptedType(String))


PATIENT: Any = Patient.__table__
VISIT: Any = Visit.__table__
ID = uuid.UUID(int=1)
OTHER = uuid.UUID(int=2)
ROW: dict[str, Any] = {"id": ID, "ssn": "123-45-6789", "notes": {"a": [1]}}
