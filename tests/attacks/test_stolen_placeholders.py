"""What a row holds before its value is sealed, copied into a row of the attacker's own.

While an INSERT was under way, a row whose key the database generates once held something that
stood for its value. Whoever read it at READ UNCOMMITTED, or from a trigger, could have it sealed
for, or shown as, another row. Now there is nothing of the kind to be had.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, String, event, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType
from encfields.errors import DecryptionError
from encfields.testing import attach_locally
from tests.servers.backends import Backend


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str | None] = mapped_column(String(20), unique=True)
    secret: Mapped[str | None] = mapped_column(EncryptedType())


account: Any = Account.__table__
COPIES = {
    "sqlite": "CREATE TRIGGER t AFTER INSERT ON account BEGIN {}; END",
    "postgresql": "CREATE TRIGGER t AFTER INSERT ON account FOR EACH ROW EXECUTE FUNCTION f()",
    "mariadb": "CREATE TRIGGER t AFTER INSERT ON account FOR EACH ROW {}",
}


@pytest.fixture
def engine(backend: Backend) -> Engine:
    engine = backend.create_engine()
    attach_locally(engine)
    Base.metadata.create_all(engine)
    return engine


WRITES = {
    "one": lambda s: s.execute(insert(account), {"login": "v0", "secret": "of-v0"}),
    "few": lambda s: s.execute(insert(account), rows(3)),
    "many": lambda s: s.execute(insert(account), rows(100)),
    "objects": lambda s: (s.add_all(Account(**row) for row in rows(3)), s.flush()),
}


def rows(count: int) -> list[dict[str, str]]:
    return [{"login": f"v{n}", "secret": f"of-v{n}"} for n in range(count)]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_what_a_trigger_copies_is_the_sealed_value_and_opens_nowhere_else(
    engine, attacker, write, backend
):
    copy_what_is_inserted(attacker, backend.family)
    with Session(engine) as session:
        write(session)
        session.commit()
    with attacker.begin() as connection:
        stolen = connection.execute(text("SELECT id, secret FROM stolen ORDER BY id")).all()
        kept = connection.execute(text("SELECT id, secret FROM account ORDER BY id")).all()
        assert stolen == kept
        connection.execute(text("INSERT INTO account (id, login) VALUES (9999, 'mallory')"))
        take = "UPDATE account SET secret = (SELECT secret FROM stolen WHERE id = :id)"
        connection.execute(text(f"{take} WHERE id = 9999"), {"id": stolen[0].id})
    with Session(engine) as session, pytest.raises(DecryptionError):
        session.get(Account, 9999)


def copy_what_is_inserted(attacker: Engine, name: str) -> None:
    bytes_type = {"postgresql": "BYTEA", "mariadb": "LONGBLOB"}.get(name, "BLOB")
    copy = "INSERT INTO stolen (id, secret) VALUES (new.id, new.secret)"
    with attacker.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE stolen (id INTEGER, secret {bytes_type})")
        if name == "postgresql":
            body = f"BEGIN {copy}; RETURN NULL; END"
            connection.exec_driver_sql(
                f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"
            )
        connection.exec_driver_sql(COPIES[name].format(copy))


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_what_is_sent_before_the_value_is_not_plaintext_and_is_never_read(engine, write):
    sent: list[tuple[str, Any]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def listen(connection, cursor, sql, parameters, context, many):
        sent.append((sql, parameters))

    with Session(engine) as session:
        write(session)
        session.commit()
    assert "of-v0" not in repr(sent)
    assert not any(sql.lstrip().startswith("UPDATE account SET secret") for sql, _ in sent)


def test_bytes_that_were_once_a_placeholder_are_no_value(engine, attacker):
    with Session(engine) as session:
        session.execute(insert(account), {"id": 1, "secret": "mine"})
        session.commit()
    forged = b"encfields: inserted, and not yet sealed: " + bytes(20)
    with attacker.begin() as connection:
        connection.execute(text("UPDATE account SET secret = :s"), {"s": forged})
    with Session(engine) as session, pytest.raises(DecryptionError):
        session.scalars(select(Account.secret)).all()
