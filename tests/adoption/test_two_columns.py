"""Two columns of one table are adopted at once, each in a phase of its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text, update

from encfields import BlindIndex, EncryptedType, Plaintext
from encfields.adopt import (
    Adoption,
    adopt,
    begin_adoption,
    close_plaintext,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    withdraw_adoption,
)
from tests.database import Database


def person(mail: str | None, phone: str | None) -> Table:
    def sealed(name: str, phase: str | None) -> Column[Any]:
        adopts: Any = Plaintext(name, phase=phase) if phase else None  # type: ignore[arg-type]
        index = BlindIndex()
        type_ = EncryptedType(String(60), name=f"person.{name}", index=index, adopts=adopts)
        return Column(f"{name}_enc", type_)

    key: Any = Column("id", Integer, primary_key=True, autoincrement=False)
    columns = [sealed("mail", mail), sealed("phone", phone)]
    return Table("person", MetaData(), key, *columns)


def check(db: Database, table: Table, expected: dict[int, tuple[str, str]]) -> None:
    with db.engine.connect() as connection:
        found = {row[0]: (row[1], row[2]) for row in connection.execute(select(table))}
        assert found == expected
        for key, (mail, phone) in expected.items():
            asked = select(table.c.id).where(table.c.mail_enc == mail, table.c.phone_enc == phone)
            assert connection.scalars(asked).all() == [key]


def test_each_goes_on_in_its_own_phase(db: Database) -> None:
    engine, keys = db.engine, db.encryption
    db.execute_plain(
        "CREATE TABLE person (id INT NOT NULL PRIMARY KEY, mail VARCHAR(60) NOT NULL, "
        "phone VARCHAR(60) NOT NULL)"
    )
    db.execute_plain(
        "INSERT INTO person (id, mail, phone) VALUES (1, 'ada@x', '1'), (2, 'e@x', '2')"
    )
    mail, phone = (
        Adoption.of(person("write-both", "write-both").c[f"{n}_enc"]) for n in ("mail", "phone")
    )

    begin_adoption(engine, mail)
    assert adopt(engine, keys, mail).finished
    ensure_adopted(engine, keys, mail)
    begin_adoption(engine, phone)
    table = person("write-sealed", "write-both")
    with db.begin() as connection:
        connection.execute(insert(table), {"id": 3, "mail_enc": "bob@x", "phone_enc": "3"})
        connection.execute(update(table).where(table.c.id == 1), {"mail_enc": "ada@y"})
    close_plaintext(engine, keys, mail)
    # An old process knows phones in plaintext yet.
    db.execute_plain("UPDATE person SET phone = '22' WHERE id = 2")
    expected = {1: ("ada@y", "1"), 2: ("e@x", "22"), 3: ("bob@x", "3")}
    check(db, table, expected)

    assert adopt(engine, keys, phone).finished
    check(db, person("write-sealed", "read-sealed"), expected)
    end_adoption(engine, mail)
    db.execute_plain("UPDATE person SET phone = '33' WHERE id = 3")
    expected[3] = ("bob@x", "33")
    check(db, person(None, "read-sealed"), expected)

    assert adopt(engine, keys, phone).finished
    ensure_adopted(engine, keys, phone)
    close_plaintext(engine, keys, phone)
    check(db, person(None, "write-sealed"), expected)
    assert refill_plaintext(engine, keys, phone).finished
    check(db, person(None, "read-sealed"), expected)
    withdraw_adoption(engine, phone)
    with db.plain.connect() as connection:
        phones = connection.execute(text("SELECT phone FROM person ORDER BY id")).scalars().all()
    assert phones == ["1", "22", "33"]
