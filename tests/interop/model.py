"""The model of the interoperability tests: a value bound to its row, and one to its tenant too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str | None] = mapped_column(EncryptedType())
    notes: Mapped[dict[str, Any] | None] = mapped_column(EncryptedType(JSON))


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    body: Mapped[str] = mapped_column(EncryptedType(key="tenant/{tenant_id}"))
