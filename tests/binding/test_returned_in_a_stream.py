"""On MariaDB, `stream_results` and `yield_per` leave the rows of RETURNING on the connection, and
PyMySQL throws away what is unread when the connection is asked something else."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import String, func, insert, select
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, EncryptedType
from tests.database import Database

# Which early releases of SQLAlchemy 2.0 say of ON DUPLICATE KEY UPDATE.
pytestmark = pytest.mark.filterwarnings("ignore:Class OnDuplicateClause will not make use of SQL")


class Base(DeclarativeBase):
    pass


class Given(Base):
    __tablename__ = "given"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    mail: Mapped[str] = mapped_column(String(40), unique=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


class Generated(Base):
    __tablename__ = "generated"
    id: Mapped[int] = mapped_column(primary_key=True)
    mail: Mapped[str] = mapped_column(String(40), unique=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))


ROWS: list[dict[str, Any]] = [{"id": n, "mail": f"m{n}", "ssn": f"s{n}"} for n in range(1, 8)]
KEYLESS = [{"mail": row["mail"], "ssn": row["ssn"]} for row in ROWS]
VALUES = [(row["mail"], row["ssn"]) for row in ROWS]


@pytest.fixture
def streaming(innodb_db: Database, request: pytest.FixtureRequest) -> Any:
    """A connection that streams results, to a database whose tables were never written."""
    innodb_db.backend.require_returning()
    innodb_db.create(Base.metadata)
    with innodb_db.engine.connect() as connection:
        yield connection.execution_options(**request.param)


streams = pytest.mark.parametrize(
    "streaming", [{"stream_results": True}, {"yield_per": 2}], ids=str, indirect=True
)


@streams
@pytest.mark.parametrize("model, rows", [(Given, ROWS), (Generated, KEYLESS)])
def test_an_insert_returns_each_of_its_rows_in_a_stream(streaming, model, rows):
    statement = insert(model).values(rows).returning(model.mail, model.ssn)
    assert sorted(map(tuple, streaming.execute(statement))) == VALUES
    assert streaming.scalar(select(func.count()).select_from(model)) == len(rows)


@streams
@pytest.mark.parametrize("model, rows", [(Given, ROWS), (Generated, KEYLESS)])
def test_insert_ignore_returns_the_rows_that_it_stored_in_a_stream(streaming, model, rows):
    streaming.execute(insert(model), rows[0])
    statement: Any = mysql_insert(model).prefix_with("IGNORE").values(rows)
    stored = streaming.execute(statement.returning(model.mail, model.ssn))
    assert sorted(map(tuple, stored)) == VALUES[1:]


@streams
def test_an_upsert_returns_each_of_its_rows_in_a_stream(streaming):
    streaming.execute(insert(Generated), {"mail": "m1", "ssn": "before"})
    statement: Any = mysql_insert(Generated).values(KEYLESS)
    statement = statement.on_duplicate_key_update(ssn=statement.inserted.ssn)
    returned = streaming.execute(statement.returning(Generated.mail, Generated.ssn))
    assert sorted(map(tuple, returned)) == VALUES
