"""One application, as it is before, during and after its column is adopted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType, Plaintext

PHASES = ("write-both", "read-sealed", "write-sealed")
NAME = "customer.email"


def customer(phase: str, versions: tuple[int, ...] = (1,)) -> Any:
    """The class ``Customer`` of one version: ``"old"``, one of the phases, or ``"done"``.

    :param versions: of the blind index's key.
    """

    class Base(DeclarativeBase):
        pass

    class Customer(Base):
        __tablename__ = "customer"

        id: Mapped[int] = mapped_column(primary_key=True)
        note: Mapped[str | None] = mapped_column(String(40))
        if phase == "old":
            email: Mapped[str] = mapped_column(String(120), unique=True)
        else:
            email: Mapped[str] = mapped_column("email_enc", encrypted(phase, versions))  # type: ignore[no-redef]

    return Customer


def encrypted(phase: str, versions: tuple[int, ...] = (1,)) -> EncryptedType:
    """The encrypted column's type."""
    adopts: Any = None if phase == "done" else Plaintext("email", phase=phase)  # type: ignore[arg-type]
    index = BlindIndex(unique=True, versions=versions)
    return EncryptedType(String(120), name=NAME, index=index, adopts=adopts)
