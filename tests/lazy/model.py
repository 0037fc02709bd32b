"""The models of the tests of lazy values."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType, Sealed
from encfields.index.transforms import casefold


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "lazy_person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[Sealed[str] | None] = mapped_column(
        EncryptedType(String(50), index=[BlindIndex(), BlindIndex(casefold)], lazy=True)
    )
    notes: Mapped[Sealed[dict[str, Any]] | None] = mapped_column(
        EncryptedType(JSON(none_as_null=True), lazy=True)
    )
    level: Mapped[Sealed[str] | None] = mapped_column(
        EncryptedType(String(9), lazy=True), default="public"
    )


class Member(Base):
    """Of a tenant, under the tenant's key."""

    __tablename__ = "lazy_member"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    code: Mapped[Sealed[str]] = mapped_column(
        EncryptedType(String(50), key="lazy/{tenant}", lazy=True)
    )
