"""The clinic's tables, and what in them is encrypted under which key."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Any

from sqlalchemy import Date, ForeignKey, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType, Plaintext

KEY_OF_CLINIC = "clinic/{clinic_id}"


class Base(DeclarativeBase):
    pass


class Clinic(Base):
    """A tenant: its patients' values are sealed under a branch key of its own."""

    __tablename__ = "clinic"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(60))


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    clinic_id: Mapped[int] = mapped_column(ForeignKey("clinic.id"))
    name: Mapped[str] = mapped_column(String(80))
    ssn: Mapped[str] = mapped_column(
        EncryptedType(String(11), key=KEY_OF_CLINIC, index=BlindIndex())
    )
    born: Mapped[dt.date | None] = mapped_column(EncryptedType(Date, key=KEY_OF_CLINIC))


class Visit(Base):
    """The archive: many rows, under the key ``default``."""

    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[dt.date] = mapped_column(Date)
    diagnosis: Mapped[str] = mapped_column(EncryptedType(Text))


PHASES = ("plaintext", "write-both", "read-sealed", "write-sealed", "sealed")
"""What the declaration of ``contact.phone`` says, from the first version of the application on."""


@cache
def contact_in(phase: str) -> Any:
    """The model of contacts as the version of the application declares it that is deployed now.

    In an application there is one such class, and each phase is a deployment. Here all of them
    are at hand, so that a page can step through.
    """
    namespace: dict[str, Any] = {
        "__tablename__": "contact",
        "__annotations__": {"id": Mapped[int], "name": Mapped[str], "phone": Mapped[str]},
        "id": mapped_column(primary_key=True),
        "name": mapped_column(String(80)),
        "phone": _phone(phase),
    }
    versions = type("Version", (DeclarativeBase,), {})
    return type("Contact", (versions,), namespace)


def _phone(phase: Any) -> Any:
    if phase == "plaintext":
        return mapped_column(String(20))
    adopts = None if phase == "sealed" else Plaintext("phone", phase=phase)
    sealed = EncryptedType(String(20), name="contact.phone", index=BlindIndex(), adopts=adopts)
    return mapped_column("phone_enc", sealed)
