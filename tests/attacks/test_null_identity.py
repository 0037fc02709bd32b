"""A part of what identifies a row is set to NULL, so that its value reads as if there were none."""

from __future__ import annotations

from typing import Any, cast

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.verify import verify
from encfields.errors import UnreadableError
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Doc(Base):
    """Its tenant's key, and the tenant itself, are part of what its value is bound to."""

    __tablename__ = "doc"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[int | None]
    body: Mapped[str | None] = mapped_column(EncryptedType(key="tenant/{tenant_id}"))


class Note(Base):
    """Bound to another column than the primary key."""

    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    doc_id: Mapped[int | None]
    body: Mapped[str | None] = mapped_column(EncryptedType(bind_to="doc_id"))


@pytest.fixture
def app(backend: Backend) -> tuple[Engine, Encryption]:
    """Document 7 and note 1, and with them document 8 and note 2, which hold no value."""
    engine = backend.create_engine()
    encryption = attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Doc(id=7, tenant_id=1, body="secret"), Note(id=1, doc_id=7, body="n")])
        session.add_all([Doc(id=8, tenant_id=1), Note(id=2, doc_id=8)])
        session.commit()
    return engine, encryption


@pytest.fixture
def bereft(app: tuple[Engine, Encryption], attacker: Engine) -> tuple[Engine, Encryption]:
    """The same, after every tenant and every note's document became NULL."""
    with attacker.begin() as connection:
        connection.execute(text("UPDATE doc SET tenant_id = NULL"))
        connection.execute(text("UPDATE note SET doc_id = NULL"))
    return app


@pytest.mark.parametrize("model, key, column", [(Doc, 7, "tenant_id"), (Note, 1, "doc_id")])
def test_a_stored_value_never_reads_as_none(bereft, model: Any, key: int, column: str) -> None:
    engine, _ = bereft
    with Session(engine) as session, pytest.raises(UnreadableError) as caught:
        session.get(model, key)
    assert caught.value.reason == "no-identity"
    assert (caught.value.table, caught.value.column) == (model.__tablename__, "body")
    assert caught.value.row is not None
    assert caught.value.row[column] == "NULL"
    assert column in caught.value.message


def test_where_nothing_is_stored_there_is_nothing_to_refuse(bereft) -> None:
    engine, _ = bereft
    with Session(engine) as session:
        doc, note = session.get_one(Doc, 8), session.get_one(Note, 2)
        assert (doc.body, note.body) == (None, None)
        assert session.scalars(select(Doc.id).where(Doc.body.is_not(None))).all() == [7]


def test_an_outer_join_that_finds_no_row_reads_none(app) -> None:
    engine, _ = app
    with Session(engine) as session:
        session.add(Doc(id=9, tenant_id=2, body="lonely"))
        session.commit()
        joined = select(Doc.body, Note.body).join_from(
            Doc, Note, Note.doc_id == Doc.id, isouter=True
        )
        assert session.execute(joined.where(Doc.id == 9)).one() == ("lonely", None)


def test_an_outer_join_that_finds_the_row_does_not_read_none(bereft) -> None:
    engine, _ = bereft
    joined = select(Doc.id, Note.body).join_from(Doc, Note, Note.id == Doc.id - 6, isouter=True)
    with Session(engine) as session, pytest.raises(UnreadableError):
        session.execute(joined).all()


def test_the_value_is_read_again_when_the_identity_is_put_back(bereft, attacker) -> None:
    engine, _ = bereft
    with attacker.begin() as connection:
        connection.execute(text("UPDATE doc SET tenant_id = 1 WHERE id = 7"))
    with Session(engine) as session:
        assert session.get_one(Doc, 7).body == "secret"


def test_a_verification_reports_it(bereft) -> None:
    engine, encryption = bereft
    result = verify(engine, encryption, TableSpec.from_table(cast("Table", Doc.__table__)))
    assert result.failed == {("body", "no-identity"): 1}


def test_a_primary_key_that_sqlite_lets_be_null_is_no_identity(sqlite) -> None:
    table = Table(
        "loose",
        MetaData(),
        Column("a", Integer, primary_key=True),
        Column("b", Integer, primary_key=True),
        Column("v", EncryptedType()),
    )
    engine = sqlite.create_engine()
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE loose (a INT, b INT, v BLOB, PRIMARY KEY (a, b))"))
        connection.execute(insert(table).values(a=1, b=2, v="v"))
        connection.execute(text("UPDATE loose SET b = NULL"))
        with pytest.raises(UnreadableError, match="b, which identifies its row, is NULL"):
            connection.execute(select(table.c.v)).all()
