"""A tour in one minute: encrypted columns on SQLite, with a local key instead of AWS KMS.

    make demo

It stores people, shows what the application sees beside what the database holds, swaps two
ciphertexts as an attacker with write access would, and rotates the key. In production only one
line differs: ``keyrings.aws_kms("arn:aws:kms:...")`` in place of ``keyrings.local(...)``.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from sqlalchemy import JSON, Date, Engine, create_engine, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import (
    BlindIndex,
    EncryptedType,
    Encryption,
    SqlKeyStore,
    attach,
    errors,
    keyrings,
    read_header,
)

console = Console(width=110)


class Base(DeclarativeBase):
    """The example's tables."""


class Person(Base):
    """Three columns that a stolen backup must not give away."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))
    born: Mapped[dt.date | None] = mapped_column(EncryptedType(Date))
    notes: Mapped[dict[str, Any] | None] = mapped_column(EncryptedType(JSON))


PEOPLE = [
    Person(
        name="Ada Lovelace",
        ssn="123-45-6789",
        born=dt.date(1815, 12, 10),
        notes={"allergies": ["penicillin"], "blood": "A+"},
    ),
    Person(name="Alan Turing", ssn="987-65-4321", born=dt.date(1912, 6, 23), notes=None),
    Person(name="Grace Hopper", ssn="555-12-3456", born=None, notes={"blood": "0-"}),
]


def title(words: str) -> None:
    """Begin a chapter."""
    console.print()
    console.rule(f"[bold cyan]{words}", align="left")


def show_declaration() -> None:
    """What the user of the library writes."""
    title("1. Declare a column, attach a key store, go on as before")
    code = """
    class Person(Base):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))
        born: Mapped[date | None] = mapped_column(EncryptedType(Date))
        notes: Mapped[dict | None] = mapped_column(EncryptedType(JSON))

    attach(engine, SqlKeyStore(keyrings.local("local.key")), create=True)
    """
    console.print(Syntax(code, "python", theme="ansi_dark", dedent=True))


def store_people(engine: Engine) -> None:
    """Ordinary SQLAlchemy."""
    with Session(engine) as session:
        session.add_all(PEOPLE)
        session.commit()


def show_both_sides(engine: Engine) -> None:
    """The same rows, as the application and as a thief of the database sees them."""
    title("2. What the application sees, and what the database holds")
    seen = Table(title="session.scalars(select(Person))", title_style="green", expand=True)
    for heading in ("id", "name", "ssn", "born", "notes"):
        seen.add_column(heading)
    with Session(engine) as session:
        for person in session.scalars(select(Person).order_by(Person.id)):
            born = person.born.isoformat() if person.born else "NULL"
            notes = str(person.notes) if person.notes else "NULL"
            seen.add_row(str(person.id), person.name, person.ssn, born, notes)
    console.print(seen)

    held = Table(title="SELECT * FROM person", title_style="red", expand=True)
    for heading in ("id", "name", "ssn", "born", "notes", "ssn_bidx"):
        held.add_column(heading)
    with engine.connect() as connection:
        for row in connection.execute(text("SELECT * FROM person ORDER BY id")):
            held.add_row(str(row.id), row.name, *(_hex(row[i]) for i in (2, 3, 4, 5)))
    console.print(held)


def find(engine: Engine) -> None:
    """A blind index answers equality: a keyed hash of the value, in a column of its own."""
    title("3. Find a row by an encrypted value")
    statement = select(Person).where(Person.ssn == "123-45-6789")
    with Session(engine) as session:
        found = session.scalars(statement).one()
    console.print(f'select(Person).where(Person.ssn == "123-45-6789")  →  [green]{found.name}[/]')
    sql = str(select(Person.id).where(Person.ssn == "123-45-6789"))
    console.print(Syntax(sql.replace("\n", ""), "sql", theme="ansi_dark"))


def _hex(stored: bytes | None) -> str:
    if stored is None:
        return "NULL"
    return f"{stored[:6].hex()}… {len(stored)} B"


def show_message(engine: Engine) -> None:
    """A value says what it is bound to, to anybody; only a key opens it."""
    title("4. Each value is an AWS Encryption SDK message, bound to its row and column")
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT ssn FROM person WHERE id = 1")).scalar_one()
    header = read_header(stored)
    facts = Table(show_header=False, box=None, padding=(0, 2))
    facts.add_row("format", "2, committing suite 0x0478 (AES-256-GCM, HKDF-SHA512)")
    facts.add_row("branch key", f"{header.key_id}, version {header.version}")
    facts.add_row("encryption context", str(header.encryption_context))
    console.print(facts)


SWAP = (
    "CREATE TEMPORARY TABLE loot AS SELECT id, ssn FROM person;",
    "UPDATE person SET ssn = (SELECT ssn FROM loot WHERE loot.id = 3 - person.id)"
    " WHERE id IN (1, 2);",
    "DROP TABLE loot;",
)


def swap(engine: Engine) -> None:
    """Exchange the numbers of persons 1 and 2, as ciphertext."""
    with engine.begin() as connection:
        for statement in SWAP:
            connection.execute(text(statement))


def attack(engine: Engine) -> None:
    """Swap two people's numbers with plain SQL: the classic attack on column encryption."""
    title("5. An attacker with write access swaps two ciphertexts")
    console.print(Syntax("\n".join(SWAP), "sql", theme="ansi_dark"))
    swap(engine)
    try:
        with Session(engine) as session:
            session.get_one(Person, 1)
    except errors.ContextMismatchError as error:
        refusal = f"[bold red]{type(error).__name__}[/]\n{error}"
        console.print(Panel(refusal, title="session.get(Person, 1)", border_style="red"))
    swap(engine)
    console.print("Swapped back, the rows open again.", style="dim")


def rotate(engine: Engine, encryption: Encryption) -> None:
    """A new key version seals what is written from now on; the old values stay readable."""
    title("6. Rotate the key: new values use it, old values stay readable")
    encryption.keys.rotate("default")
    with Session(engine) as session:
        session.add(Person(name="Edith Clarke", ssn="222-33-4444"))
        session.commit()
    table = Table(expand=True)
    for heading in ("name", "ssn", "sealed under key version"):
        table.add_column(heading)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, ssn FROM person"))
        stored = {row.id: row.ssn for row in rows}
    with Session(engine) as session:
        for person in session.scalars(select(Person).order_by(Person.id)):
            table.add_row(person.name, person.ssn, read_header(stored[person.id]).version)
    console.print(table)


def refuse(engine: Engine) -> None:
    """What ciphertext cannot answer is refused, with the fix, instead of answered wrongly."""
    title("7. What ciphertext cannot answer is refused")
    attempts: dict[str, Callable[[Session], object]] = {
        "Person.born == date(1815, 12, 10)": lambda s: s.scalars(
            select(Person).where(Person.born == dt.date(1815, 12, 10))
        ).all(),
        "order_by(Person.born)": lambda s: s.scalars(select(Person).order_by(Person.born)).all(),
        "update(Person).values(ssn=...)": lambda s: s.execute(
            update(Person).values(ssn="000-00-0000")
        ),
    }
    table = Table(expand=True, show_lines=True)
    table.add_column("written", ratio=3)
    table.add_column("answer", ratio=7)
    with Session(engine) as session:
        for code, attempt in attempts.items():
            try:
                attempt(session)
            except errors.EncFieldsError as error:
                table.add_row(code, f"[bold]{type(error).__name__}[/]\n{error}")
    console.print(table)


def main() -> None:
    """The tour."""
    console.print(Panel("[bold]encfields[/]: field-level encryption for SQLAlchemy", expand=False))
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "local.key"
        keyrings.generate_local_key(key)
        engine = create_engine(f"sqlite:///{folder}/people.db")
        Base.metadata.create_all(engine)
        encryption = attach(engine, SqlKeyStore(keyrings.local(key)), create=True)
        show_declaration()
        store_people(engine)
        show_both_sides(engine)
        find(engine)
        show_message(engine)
        attack(engine)
        rotate(engine, encryption)
        refuse(engine)
        stats = encryption.stats
        title("Done")
        console.print(
            f"{stats.sealed} values sealed and {stats.opened} opened with "
            f"{stats.keys.store_calls} uses of the wrapping key, which in production is KMS."
        )
        engine.dispose()


if __name__ == "__main__":
    main()
