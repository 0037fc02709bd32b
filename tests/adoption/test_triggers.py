"""The database keeps a row's state true, whoever writes to it and with whatever."""

from __future__ import annotations

from traceback import format_exception
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from encfields.adopt import Adoption, close_plaintext, ensure_adopted
from encfields.errors import ConfigurationError
from encfields.orm.adoption.refusals import (
    MOVED,
    SEALED_ALONE,
    TOO_EARLY,
    TOO_LATE,
    refusal_text,
    tell_of_refused_write,
)
from tests.adoption.models import customer
from tests.database import Database


@pytest.fixture
def app(db: Database) -> Any:
    """Three customers whose rows hold both values."""
    model = customer("read-sealed")
    db.create(model.metadata)
    with db.session() as session:
        session.add_all([model(id=n, email=f"c{n}@x") for n in (1, 2, 3)])
        session.commit()
    return model


def pending(db: Database) -> list[int]:
    with db.plain.connect() as connection:
        found = connection.execute(
            text("SELECT id FROM customer WHERE email_enc IS NULL AND email_enc_bidx IS NULL")
        )
        return sorted(row[0] for row in found)


def test_a_writer_who_knows_only_the_plaintext_makes_the_row_pending(app: Any, db: Database):
    db.execute_plain("UPDATE customer SET email = 'new@x' WHERE id = 1")
    db.execute_plain("UPDATE customer SET email = 'C2@x' WHERE id = 2")  # by a collation the same
    db.execute_plain("UPDATE customer SET id = 4 WHERE id = 3")
    db.execute_plain("INSERT INTO customer (id, email) VALUES (5, 'five@x')")

    assert pending(db) == [1, 2, 4, 5]
    with db.session() as session:
        found = session.execute(select(app.id, app.email).order_by(app.id))
        assert [tuple(row) for row in found] == [
            (1, "new@x"),
            (2, "C2@x"),
            (4, "c3@x"),
            (5, "five@x"),
        ]
        assert session.scalars(select(app.id).where(app.email == "C2@x")).all() == [2]
        assert session.scalars(select(app.id).where(app.email == "c2@x")).all() == []


def test_what_does_not_touch_the_value_leaves_it_sealed(app: Any, db: Database):
    db.execute_plain("UPDATE customer SET note = 'n', email = email")

    assert pending(db) == []


def test_a_value_is_never_lost_to_an_update_by_hand(app: Any, db: Database):
    for statement in (
        "UPDATE customer SET email = NULL",
        "INSERT INTO customer (id) VALUES (7)",
        "UPDATE customer SET email = NULL, email_enc = NULL",
    ):
        with pytest.raises(DBAPIError):
            db.execute_plain(statement)

    with db.session() as session:
        assert session.scalars(select(app.email).order_by(app.id)).all() == ["c1@x", "c2@x", "c3@x"]


def test_a_row_without_a_value_is_refused_as_by_not_null(app: Any, db: Database):
    for statement in (
        "INSERT INTO customer (id) VALUES (7)",
        "UPDATE customer SET email = NULL, email_enc = NULL, email_enc_bidx = NULL",
    ):
        with pytest.raises(IntegrityError, match="must have a value"):
            db.execute_plain(statement)


def test_the_last_phase_is_refused_before_values_were_compared(app: Any, db: Database):
    last = customer("write-sealed")
    with db.session() as session:
        session.add(last(id=9, email="nine@x"))
        with pytest.raises(ConfigurationError, match="ensure_adopted"):
            session.flush()
    with db.session() as session:
        session.get_one(last, 1).email = "one@x"
        with pytest.raises(ConfigurationError, match="ensure_adopted") as caught:
            session.flush()
    refused = caught.value
    assert (refused.table, refused.column) == ("customer", "email")
    assert refused.reason == "adoption-refused"
    assert "one@x" not in "".join(format_exception(refused))


def test_plaintext_is_refused_after_the_close_by_an_error_of_this_library(db: Database):
    model = customer("write-both")
    db.create(model.metadata)
    adoption = Adoption.of(model.__table__.c.email_enc)
    ensure_adopted(db.engine, db.encryption, adoption)
    close_plaintext(db.engine, db.encryption, adoption)
    with db.session() as session:
        session.add(model(id=1, email="canary-4711@x"))
        with pytest.raises(ConfigurationError, match="accepts no plaintext") as caught:
            session.flush()
    shown = "".join(format_exception(caught.value))
    assert "canary-4711" not in shown
    with db.session() as session, pytest.raises(ConfigurationError, match="accepts no plaintext"):
        session.execute(text("INSERT INTO customer (id, email) VALUES (2, 'by hand')"))


@pytest.mark.parametrize("refusal", [MOVED, TOO_EARLY, SEALED_ALONE, TOO_LATE])
@pytest.mark.parametrize("column", ["customer.email", f"{'t' * 64}.{'c' * 64}"])
def test_a_refusal_is_told_by_its_text_whatever_the_names(refusal: str, column: str):
    sent = refusal_text(refusal, column)
    assert len(sent) <= 128  # of MySQL's MESSAGE_TEXT
    context = SimpleNamespace(original_exception=Exception(sent), engine=None)
    error = tell_of_refused_write(cast("Any", context))
    assert error is not None
    assert f"{error.table}.{error.column}".startswith(column[:20])


def test_no_error_of_the_database_shows_a_plaintext(app: Any, db: Database):
    with db.session() as session:
        session.add(app(id=1, email="canary-4711@x"))
        with pytest.raises(DBAPIError) as caught:
            session.flush()

    assert "canary-4711" not in str(caught.value)
    assert "canary-4711" not in repr(caught.value.params)
