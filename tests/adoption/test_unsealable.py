"""Statements that encryption cannot carry: they write the plaintext, are counted, and named."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    union_all,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects import mysql, postgresql, sqlite

from encfields.errors import BindingError, IdentityChangeError, UnsupportedOperationError
from tests.adoption.models import customer, encrypted
from tests.database import Database
from tests.servers.backends import Backend


@pytest.fixture(params=["write-both", "read-sealed"])
def app(request: pytest.FixtureRequest, db: Database) -> Any:
    model = customer(request.param)
    db.create(model.metadata)
    with db.session() as session:
        session.add_all([model(id=n, email=f"c{n}@x") for n in (1, 2, 3)])
        session.commit()
    return model


def read(app: Any, db: Database) -> list[str]:
    with db.session() as session:
        return list(session.scalars(select(app.email).order_by(app.id)))


def counted(db: Database) -> int:
    return db.encryption.stats.adoption.unsealed_statements["customer.email_enc"]


def test_an_update_of_many_rows_is_carried_and_named_with_its_place(
    app: Any, db: Database, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "encfields.adoption"), db.session() as session:
        session.execute(update(app).where(app.id < 3, app.id > 1).values(email="many@x"))
        session.commit()

    assert read(app, db) == ["c1@x", "many@x", "c3@x"]
    assert counted(db) == 1
    assert "test_unsealable.py" in caplog.text
    assert "many@x" not in caplog.text
    with db.session() as session:
        assert session.scalars(select(app.id).where(app.email == "many@x")).all() == [2]


def test_an_onupdate_default_of_unknown_rows_is_carried(sqlite: Backend):
    db = Database(sqlite)
    for phase, default in (("write-both", "set@x"), ("read-sealed", lambda: "set@x")):
        id_, note = Column("id", Integer, primary_key=True), Column("note", String(40))
        email: Column[str] = Column("email_enc", encrypted(phase), onupdate=default)
        table = Table("customer", MetaData(), id_, note, email)
        db.create(table.metadata)
        with db.begin() as connection:
            connection.execute(delete(table))
            rows = [{"id": n, "email_enc": f"c{n}@x"} for n in (1, 2, 3)]
            connection.execute(insert(table), rows)
            connection.execute(update(table).where(table.c.id < 3).values(note="changed"))
            emails = select(table.c.email_enc).order_by(table.c.id)
            assert connection.scalars(emails).all() == ["set@x", "set@x", "c3@x"]
    assert counted(db) == 2


def test_an_sql_expression_is_computed_from_the_plaintext(app: Any, db: Database):
    with db.session() as session:
        session.execute(update(app).where(app.id == 1).values(email=func.upper(app.email)))
        session.execute(update(app).where(app.id == 2).values(email=app.email + ".org"))
        session.commit()

    assert read(app, db) == ["C1@X", "c2@x.org", "c3@x"]
    assert counted(db) == 2


def test_a_literal_is_carried(app: Any, db: Database):
    table = app.__table__
    with db.session() as session:
        session.execute(update(app).where(app.id == 1).values(email=literal("one@x")))
        session.get_one(app, 2).email = literal("two@x")
        session.add(app(id=4, email=literal("four@x")))
        session.execute(insert(table).values(id=5, email_enc=literal("five@x")))
        typed = bindparam("given", type_=String)
        session.execute(
            update(table).where(table.c.id == 3).values(email_enc=typed), {"given": "three@x"}
        )
        session.commit()

    assert read(app, db) == ["one@x", "two@x", "three@x", "four@x", "five@x"]
    assert counted(db) == 5


def test_an_insert_from_a_select_is_carried(app: Any, db: Database):
    table = app.__table__
    rows: Any = select(literal_column("9"), literal_column("'nine@x'"))
    with db.begin() as connection:
        connection.execute(insert(table).from_select(["id", "email_enc"], rows))
        connection.execute(insert(table).values(id=10, email_enc=func.lower("TEN@x")))

    assert read(app, db)[3:] == ["nine@x", "ten@x"]


def test_every_upsert_of_the_old_application_goes_on(app: Any, db: Database):
    table = app.__table__
    with db.begin() as connection:
        if db.backend.family == "mariadb":
            upsert = mysql.insert(table).values(id=1, email_enc="up@x", note="n")
            changed = {"email_enc": upsert.inserted.email_enc, "note": "changed"}
            connection.execute(upsert.on_duplicate_key_update(changed))
        else:
            dialect = postgresql if db.name == "postgresql" else sqlite
            by_key = dialect.insert(table).values(id=1, email_enc="up@x")
            connection.execute(
                by_key.on_conflict_do_update(
                    index_elements=["id"], set_={"email_enc": by_key.excluded.email_enc}
                )
            )
            assert counted(db) == 0
            by_value = dialect.insert(table).values(id=1, email_enc="other@x")
            connection.execute(
                by_value.on_conflict_do_update(
                    index_elements=["id"], set_={"email_enc": "literal@x"}
                )
            )

    expected = "up@x" if db.backend.family == "mariadb" else "literal@x"
    assert read(app, db) == [expected, "c2@x", "c3@x"]
    assert counted(db) == 1


def test_an_upsert_sets_what_another_column_would_have_been_given(app: Any, db: Database):
    table = app.__table__
    if db.backend.family == "mariadb":
        upsert: Any = mysql.insert(table).values(id=1, email_enc="own@x", note="other@x")
        upsert = upsert.on_duplicate_key_update({"email_enc": upsert.inserted.note})
    else:
        dialect = postgresql if db.name == "postgresql" else sqlite
        upsert = dialect.insert(table).values(id=1, email_enc="own@x", note="other@x")
        changed = {"email_enc": upsert.excluded.note}
        upsert = upsert.on_conflict_do_update(index_elements=["id"], set_=changed)
    with db.begin() as connection:
        connection.execute(upsert)
    assert read(app, db) == ["other@x", "c2@x", "c3@x"]


def test_from_the_last_phase_on_they_are_refused(db: Database):
    app = customer("write-sealed")
    db.create(app.metadata)
    with db.session() as session, pytest.raises(BindingError):
        session.execute(update(app).where(app.id > 0).values(email="many@x"))


def test_sorting_follows_the_plaintext_as_long_as_it_is_read(db: Database):
    app = customer("write-both")
    db.create(app.metadata)
    with db.session() as session:
        session.add_all([app(id=1, email="b@x"), app(id=2, email="a@x"), app(id=3, email="c@x")])
        session.commit()

        assert session.scalars(select(app.id).order_by(app.email)).all() == [2, 1, 3]
        assert session.scalars(select(app.id).order_by(app.email.desc())).all() == [3, 1, 2]
        assert session.scalars(select(app.id).where(app.email.like("a%"))).all() == [2]
        assert session.scalars(select(app.id).where(func.upper(app.email) == "B@X")).all() == [1]


def test_an_update_of_the_key_alone_leaves_the_row_pending(app: Any, db: Database):
    table = app.__table__
    with db.begin() as connection:
        connection.execute(update(table).where(table.c.id == 3).values(id=9))

    assert read(app, db) == ["c1@x", "c2@x", "c3@x"]
    assert counted(db) == 1
    assert db.stored(app.email, 9) is None
    with db.session() as session:
        assert session.scalars(select(app.id).where(app.email == "c3@x")).all() == [9]


def test_an_update_of_the_key_of_a_row_without_plaintext_is_refused(db: Database):
    app = customer("write-sealed")
    db.create(app.metadata)
    with db.session() as session:
        session.add(app(id=1, email="c1@x"))
        session.commit()

    before = customer("read-sealed").__table__
    with pytest.raises(IdentityChangeError, match="bound to"), db.begin() as connection:
        connection.execute(update(before).where(before.c.id == 1).values(id=9))
    assert read(app, db) == ["c1@x"]


def test_a_value_is_not_lost_to_an_expression_over_a_plaintext_that_is_gone(db: Database):
    after, before = (
        Table(
            "customer",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("email_enc", encrypted(phase)),
        )
        for phase in ("write-sealed", "read-sealed")
    )
    db.create(after.metadata)
    with db.begin() as connection:
        connection.execute(insert(after).values(id=1, email_enc="c1@x"))
        connection.execute(insert(before).values(id=2, email_enc="c2@x"))

    email = before.c.email_enc
    changed = update(before).values(email_enc=func.upper(email))
    if db.backend.family == "mariadb":
        upsert: Any = mysql.insert(before).values(id=1, email_enc=None)
        kept = func.coalesce(upsert.inserted.email_enc, email)
        upsert = upsert.on_duplicate_key_update({"email_enc": kept})
    else:
        dialect = postgresql if db.name == "postgresql" else sqlite
        upsert = dialect.insert(before).values(id=1, email_enc=None)
        kept = func.coalesce(upsert.excluded.email_enc, email)
        upsert = upsert.on_conflict_do_update(index_elements=["id"], set_={"email_enc": kept})
    refused = [changed, changed.where(before.c.id == 1)]
    if db.backend.family == "mariadb":  # elsewhere both rows' values are chosen, sealed or not
        refused.append(upsert)
    else:
        with db.begin() as connection:
            connection.execute(upsert)
    for statement in refused:
        refusal = pytest.raises(UnsupportedOperationError, match="that has none any more")
        with refusal, db.begin() as connection:
            connection.execute(statement)
    other = before.alias()
    asked = select(other.c.email_enc).where(other.c.id == 1).scalar_subquery()
    with pytest.raises(UnsupportedOperationError, match="subquery"), db.begin() as connection:
        connection.execute(update(before).where(before.c.id == 2).values(email_enc=asked))
    with db.begin() as connection:
        connection.execute(changed.where(before.c.id == 2))
        emails = connection.scalars(select(after.c.email_enc).order_by(after.c.id))
        assert emails.all() == ["c1@x", "C2@X"]


@pytest.mark.parametrize("phase", ["write-both", "read-sealed", "write-sealed"])
def test_an_upsert_that_keeps_or_replaces_a_value_leaves_no_row_with_another_s_plaintext(
    db: Database, phase: str
):
    if db.backend.family == "mariadb":
        pytest.skip("no CASE in ON DUPLICATE KEY UPDATE, and no key that it names")
    app, table = customer(phase), customer(phase).__table__
    db.create(app.metadata)
    rows = [{"id": n, "email_enc": f"c{n}@x", "note": f"n{n}"} for n in (1, 2, 3)]
    with db.begin() as connection:
        connection.execute(insert(table), rows)
    with db.plain.begin() as connection:  # one row is pending
        connection.execute(sql("UPDATE customer SET email = 'c2@y' WHERE id = 2"))
    again = [{"id": n, "email_enc": f"new{n}@x", "note": "again"} for n in (1, 2, 3, 4)]
    upsert = {"postgresql": postgresql, "sqlite": sqlite}[db.name].insert(table).values(again)
    chosen = case((table.c.note == "n3", upsert.excluded.email_enc), else_=table.c.email_enc)
    upsert = upsert.on_conflict_do_update(index_elements=["id"], set_={"email_enc": chosen})

    with db.begin() as connection:
        connection.execute(upsert)

    assert read(app, db) == ["c1@x", "c2@y", "new3@x", "new4@x"]
    kept = None if phase == "write-sealed" else "c1@x"
    with db.plain.connect() as connection:
        stored = connection.execute(sql("SELECT email FROM customer ORDER BY id")).scalars().all()
    assert stored == [kept, "c2@y", kept and "new3@x", kept and "new4@x"]
    assert counted(db) == 0


def test_an_insert_from_a_select_copies_what_the_plaintext_holds(db: Database):
    app, table = customer("write-both"), customer("write-both").__table__
    db.create(app.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=1, email_enc="c1@x"))
        copied = select(table.c.id + 10, func.upper(table.c.email_enc))
        connection.execute(insert(table).from_select(["id", "email_enc"], copied))
    assert read(app, db) == ["c1@x", "C1@X"]

    later = customer("read-sealed").__table__
    copied = select(later.c.id + 20, later.c.email_enc)
    copy = insert(later).from_select(["id", "email_enc"], copied)
    with (
        pytest.raises(UnsupportedOperationError, match="SELECT that is inserted"),
        db.begin() as connection,
    ):
        connection.execute(copy)


def test_an_insert_from_a_union_may_leave_the_column_out(sqlite: Backend):
    db = Database(sqlite)
    id_ = Column("id", Integer, primary_key=True)
    table = Table("customer", MetaData(), id_, Column("email_enc", encrypted("write-both")))
    db.create(table.metadata)
    ids: Any = union_all(select(literal_column("1")), select(literal_column("2")))
    with db.begin() as connection:
        connection.execute(insert(table).from_select(["id"], ids))
        assert connection.scalars(select(table.c.id)).all() == [1, 2]
