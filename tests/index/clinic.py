"""Models with blind indexes that the tests of queries share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Integer, String, Table, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from encfields import BlindIndex, EncryptedType
from encfields.index.transforms import casefold, last
from encfields.testing import assert_absent
from tests.database import CANARY, Database


class Base(DeclarativeBase):
    pass


class Patient(Base):
    """Found by number, by the number's end, and by e-mail address however it is written."""

    __tablename__ = "patient"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str | None] = mapped_column(String(40))
    ssn: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), index=[BlindIndex(domain="ssn"), BlindIndex(last(1))])
    )
    mail: Mapped[str | None] = mapped_column(EncryptedType(String, index=BlindIndex(casefold)))
    notes: Mapped[str | None] = mapped_column(EncryptedType(String))
    claims: Mapped[list[Claim]] = relationship(
        primaryjoin="foreign(Claim.ssn) == Patient.ssn",
        back_populates="patient",
        order_by="Claim.id",
        viewonly=True,
    )


class Claim(Base):
    """Tells its patient by the number, which is encrypted here too."""

    __tablename__ = "claim"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    amount: Mapped[int | None]
    ssn: Mapped[str | None] = mapped_column(
        EncryptedType(String(20), index=BlindIndex(domain="ssn"))
    )
    patient: Mapped[Patient | None] = relationship(
        primaryjoin="foreign(Claim.ssn) == Patient.ssn", back_populates="claims", viewonly=True
    )


patient: Any = Patient.__table__
claim: Any = Claim.__table__


def fill(db: Database) -> None:
    """Patients 1 to 3 with numbers "ssn-1" to "ssn-3", and 4 without; claims 1 to 5."""
    with db.session() as session:
        session.add_all(
            Patient(id=n, name=f"name-{n}", ssn=f"ssn-{n}", mail=f"User{n}@x.org", notes=f"n{n}")
            for n in (1, 2, 3)
        )
        session.add(Patient(id=4, name="name-4"))
        numbers = ("ssn-1", "ssn-1", "ssn-2", "ssn-9", None)
        session.add_all(
            Claim(id=n, amount=n * 10, ssn=number) for n, number in enumerate(numbers, start=1)
        )
        session.commit()


@contextmanager
def sent(db: Database, canary: str = CANARY) -> Iterator[list[tuple[str, Any]]]:
    """What the driver is given meanwhile, in which the canary must not show."""
    seen: list[tuple[str, Any]] = []

    def listen(
        connection: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool
    ) -> None:
        seen.append((sql, parameters))

    event.listen(db.engine, "after_cursor_execute", listen)
    try:
        yield seen
    finally:
        event.remove(db.engine, "after_cursor_execute", listen)
    assert seen
    assert_absent(canary, seen)


def ids(db: Database, statement: Any) -> list[int]:
    """The first column of the statement's rows, in order."""
    with db.session() as session:
        return sorted(session.scalars(statement))


def table_of(model: Any) -> Table:
    table: Table = model.__table__
    return table
