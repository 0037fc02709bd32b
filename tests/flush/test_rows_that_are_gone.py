"""An object whose row somebody else has deleted, or that was never there, is flushed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Integer, String, delete, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import (
    DeclarativeBase,
    Session,
    make_transient_to_detached,
    mapped_column,
)
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from encfields import EncryptedType
from tests.database import Database


class Base(DeclarativeBase):
    pass


class Plain(Base):
    __tablename__ = "plain_gone"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant = mapped_column(String(40))
    body = mapped_column(String(40))


class Encrypted(Base):
    __tablename__ = "gone"

    id = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant = mapped_column(String(40))
    body = mapped_column(EncryptedType(String, key="tenant/{tenant}"))


def _write_without_a_row(session: Session, model: Any) -> None:
    made = model(id=7)
    make_transient_to_detached(made)
    session.add(made)
    made.body = "new"


def _write_after_the_row_was_deleted(session: Session, model: Any) -> None:
    row = model(id=1, tenant="acme", body="old")
    session.add(row)
    session.commit()
    session.execute(delete(model.__table__).where(model.__table__.c.id == 1))
    session.commit()
    row.body = "new"


@pytest.mark.parametrize(
    "write, raised",
    [
        (_write_without_a_row, StaleDataError),
        (_write_after_the_row_was_deleted, ObjectDeletedError),
    ],
)
def test_a_row_that_is_gone_is_reported_as_by_a_plain_column(
    db: Database, write: Callable[[Session, Any], None], raised: type[SQLAlchemyError]
) -> None:
    db.create(Base.metadata)
    db.create_key("tenant/acme")
    outcomes = []
    for model in (Plain, Encrypted):
        updated: list[str] = []
        with db.session() as session:
            write(session, model)
            recorder = _recorder(updated)
            event.listen(model, "before_update", recorder)
            with pytest.raises(SQLAlchemyError) as caught:
                session.flush()
            event.remove(model, "before_update", recorder)
        assert type(caught.value) is raised
        outcomes.append(updated)
    assert outcomes == [["new"], ["new"]]


def _recorder(updated: list[str]) -> Callable[..., None]:
    """Notes what the application's own hook is shown, which runs before the row is missed."""
    return lambda mapper, connection, target: updated.append(target.body)
