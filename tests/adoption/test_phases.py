"""One attribute over two columns: the application's code is the same in every phase."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import aliased

from encfields.errors import UnreadableError, UnsupportedOperationError
from tests.adoption.models import PHASES, customer, encrypted
from tests.database import Database
from tests.servers.backends import Backend

OWN, OLD, LATER = "own@x", "old@x", "later@x"


@pytest.fixture(params=PHASES)
def phase(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(db: Database, phase: str) -> Any:
    """A customer of the phase's own, one whom a version before it wrote, and one of the next."""
    model = customer(phase)
    db.create(model.metadata)
    with db.session() as session:
        session.add(model(id=1, email=OWN))
        session.commit()
    if phase != "write-sealed":
        db.execute_plain("INSERT INTO customer (id, email) VALUES (2, 'old@x')")
    else:
        with db.session() as session:
            session.add(model(id=2, email=OLD))
            session.commit()
    with db.session() as session:
        session.add(
            customer("read-sealed" if phase != "write-sealed" else phase)(id=3, email=LATER)
        )
        session.commit()
    return model


def state(db: Database) -> dict[int, str]:
    """Of each row, which columns have a value: P the plaintext, S the sealed, I the index."""
    with db.plain.connect() as connection:
        rows = connection.execute(
            text("SELECT id, email, email_enc, email_enc_bidx FROM customer ORDER BY id")
        )
        return {
            row[0]: "".join(
                letter for letter, value in zip("PSI", row[1:], strict=True) if value is not None
            )
            for row in rows
        }


def test_every_query_answers_as_it_did_on_plaintext(app: Any, db: Database):
    other = aliased(app)
    with db.session() as session:
        count = select(func.count()).select_from(app)

        assert [c.email for c in session.scalars(select(app).order_by(app.id))] == [OWN, OLD, LATER]
        assert session.scalars(select(app.id).where(app.email == OLD)).all() == [2]
        assert session.scalar(count.where(app.email == OWN)) == 1
        assert session.scalar(count.where(app.email != OLD)) == 2
        assert session.scalar(count.where(~or_(app.email == OWN, app.email == OLD))) == 1
        assert session.scalar(count.where(app.email.in_([OWN, OLD, "nobody@x"]))) == 2
        assert session.scalar(count.where(app.email.not_in([OLD]))) == 2
        assert session.scalar(count.where(app.email.not_in([]))) == 3
        assert session.scalar(count.where(~app.email.in_([]))) == 3
        assert session.scalar(count.where(app.email.in_([]))) == 0
        assert session.scalar(count.where(app.email.is_(None))) == 0
        assert session.scalar(count.where(app.email.is_not(None))) == 3
        assert session.scalar(count.where(~app.email.is_(None))) == 3
        named = count.where(app.email == bindparam("who"))
        assert session.scalar(named, {"who": OLD}) == 1
        assert session.scalar(named, {"who": "nobody@x"}) == 0
        for value, others in ((OLD, 2), (None, 3), ("nobody@x", 3)):
            for given in (value, bindparam("who", value, String)):
                apart, alike = (
                    app.email.is_distinct_from(given),
                    app.email.is_not_distinct_from(given),
                )
                for condition, expected in ((apart, others), (alike, 3 - others)):
                    assert session.scalar(count.where(condition)) == expected
                    assert session.scalar(count.where(~condition)) == 3 - expected
        assert [e.email for e in session.scalars(select(other).where(other.email.in_([OLD])))] == [
            OLD
        ]
        in_rows = select(app.id).where(app.id == 2).subquery()
        assert (
            session.execute(
                select(app.email, in_rows.c.id).join(in_rows, in_rows.c.id == app.id)
            ).one()[0]
            == OLD
        )
        joined = select(app.id, other.id).join(other, app.email == other.email).order_by(app.id)
        assert [tuple(row) for row in session.execute(joined)] == [(1, 1), (2, 2), (3, 3)]
        if db.engine.driver != "pg8000":  # its numbered parameters are never equal for PostgreSQL
            for hit, found in ((app.email == OLD, 1), (app.email.in_([OWN, OLD]), 2)):
                grouped = select(hit, func.count()).group_by(hit).order_by(hit)
                counts = [(bool(is_hit), rows) for is_hit, rows in session.execute(grouped)]
                assert counts == [(False, 3 - found), (True, found)]
                distinct = select(hit).distinct().order_by(hit)
                assert [bool(is_hit) for is_hit in session.scalars(distinct)] == [False, True]
        sub = aliased(app, select(app).where(app.id < 3).subquery())
        assert session.scalars(select(sub.email).order_by(sub.id)).all() == [OWN, OLD]


def test_rows_written_by_every_path_hold_what_the_phase_demands(app: Any, db: Database, phase: str):
    table = app.__table__
    with db.session() as session:
        session.add_all([app(id=4 + n, email=f"new{n}@x") for n in range(3)])
        session.flush()
        session.get_one(app, 2).email = "changed@x"
        session.commit()
    with db.begin() as connection:
        connection.execute(
            insert(table), [{"id": 10, "email_enc": "a@x"}, {"id": 11, "email_enc": "b@x"}]
        )
        connection.execute(
            insert(table).values([{"id": 12, "email_enc": "c@x"}, {"id": 13, "email_enc": "d@x"}])
        )
        connection.execute(insert(table).values(id=14, email_enc=bindparam("e")), {"e": "e@x"})
        connection.execute(update(table).where(table.c.id == 10).values(email_enc="aa@x"))
        connection.execute(
            update(table).where(table.c.id == bindparam("k")).values(email_enc=bindparam("v")),
            [{"k": 11, "v": "bb@x"}, {"k": 12, "v": "cc@x"}],
        )

    expected = "SI" if phase == "write-sealed" else "PSI"
    assert set(state(db).values()) == {expected}
    with db.session() as session:
        written = [c.email for c in session.scalars(select(app).where(app.id > 3).order_by(app.id))]
    assert written == ["new0@x", "new1@x", "new2@x", "aa@x", "bb@x", "cc@x", "d@x", "e@x"]
    if phase != "write-sealed":
        with db.plain.connect() as connection:
            plain = connection.scalars(text("SELECT email FROM customer WHERE id > 3 ORDER BY id"))
            assert plain.all() == written


def test_what_an_onupdate_default_sets_is_written_in_both_columns(db: Database, phase: str):
    default = (f"set{n}@x" for n in range(9)).__next__
    email: Column[str] = Column("email_enc", encrypted(phase), onupdate=default)
    id_, note = Column("id", Integer, primary_key=True), Column("note", String(40))
    table = Table("customer", MetaData(), id_, note, email)
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(
            insert(table), [{"id": 1, "email_enc": OWN}, {"id": 2, "email_enc": None}]
        )
        changed = update(table).where(table.c.id == bindparam("k")).values(note="changed")
        connection.execute(changed, [{"k": 1}, {"k": 2}])
        written = connection.scalars(select(table.c.email_enc).order_by(table.c.id)).all()
    assert written == ["set0@x", "set1@x"]
    with db.plain.connect() as connection:
        plain = connection.scalars(text("SELECT email FROM customer ORDER BY id")).all()
    assert plain == ([None, None] if phase == "write-sealed" else written)
    assert set(state(db).values()) == {"SI" if phase == "write-sealed" else "PSI"}


def test_coalesce_with_the_column_itself_sets_or_keeps_both_columns(
    app: Any, db: Database, phase: str
):
    kept = update(app).values(email=func.coalesce(bindparam("new"), app.email), note="changed")
    with db.session() as session:
        for n, new in ((1, "new@x"), (3, None)):
            session.execute(kept.where(app.id == n), {"new": new})
        session.commit()
        read = session.scalars(select(app.email).where(app.note == "changed").order_by(app.id))
        assert read.all() == ["new@x", LATER]
    assert {state(db)[n] for n in (1, 3)} == {"SI" if phase == "write-sealed" else "PSI"}


def test_rows_whose_keys_the_database_generates_are_written_in_both_columns(
    db: Database, phase: str
):
    app = customer(phase)
    db.create(app.metadata)
    with db.session() as session:
        session.add_all([app(email=f"new{n}@x") for n in range(3)])
        session.flush()
        session.execute(insert(app).values([{"email": "a@x"}, {"email": "b@x"}]))
        session.commit()

        assert session.scalars(select(app.email).order_by(app.id)).all()[3:] == ["a@x", "b@x"]
    expected = "SI" if phase == "write-sealed" else "PSI"
    assert list(state(db).values()) == [expected] * 5


def test_a_statement_that_names_rows_by_value_finds_those_of_every_version(app: Any, db: Database):
    with db.session() as session:
        session.execute(update(app).where(app.email == OLD).values(note="found"))
        session.execute(delete(app).where(app.email.in_([OWN])))
        session.commit()

        assert session.scalars(select(app.note).order_by(app.id)).all() == ["found", None]


def test_the_session_sees_which_rows_it_names(app: Any, db: Database, phase: str):
    conditions = [
        app.email == OLD,
        app.email.is_distinct_from(null()),
        app.email.is_not_distinct_from(null()),
    ]
    if phase == "write-both":
        conditions += [app.email > OLD, app.email + "!" == f"{OLD}!"]
    with db.session() as session:
        customers = session.scalars(select(app).order_by(app.id)).all()
        for condition in conditions:
            found = session.scalars(select(app.id).where(condition)).all()
            session.execute(
                update(app).where(condition).values(note="found"),
                execution_options={"synchronize_session": "evaluate"},
            )
            assert [c.id for c in customers if c.note == "found"] == sorted(found)
            session.rollback()


@pytest.mark.parametrize("phase", ["read-sealed", "write-sealed"])
def test_what_only_plaintext_can_answer_is_refused_with_every_synchronize_session(
    sqlite: Backend, phase: str
):
    db, app = Database(sqlite), customer(phase)
    db.create(app.metadata)
    for kept in ("evaluate", "fetch", "auto"):
        with db.session() as session, pytest.raises(UnsupportedOperationError, match="'>'"):
            session.execute(
                update(app).where(app.email > OLD).values(note="found"),
                execution_options={"synchronize_session": kept},
            )


def test_values_come_back_with_the_statement_that_wrote_them(app: Any, db: Database):
    db.backend.require_returning()
    with db.session() as session:
        statement = insert(app).values(id=20, email="back@x").returning(app.email)
        assert session.scalar(statement) == "back@x"


def test_a_pending_row_s_value_comes_back_with_the_statement_that_left_it_so(db: Database):
    app = customer("read-sealed")
    db.create(app.metadata)
    table = app.__table__
    if db.name in ("mariadb", "mysql"):
        pytest.skip("no RETURNING in an UPDATE")
    changed = update(table).where(table.c.note == "n").returning(table.c.id, table.c.email_enc)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=1, note="n", email_enc=OWN))
        for value in (OLD, LATER):
            assert connection.execute(changed.values(email_enc=value)).all() == [(1, value)]


def test_a_row_whose_key_changes_comes_back_with_its_value(db: Database):
    db.backend.require_returning()
    if db.name in ("mariadb", "mysql"):
        pytest.skip("no RETURNING in an UPDATE")
    app = customer("read-sealed")
    db.create(app.metadata)
    table = app.__table__
    moved = update(table).where(table.c.id == 1).values(id=2).returning(table.c.email_enc)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=1, email_enc=OWN))
        assert connection.scalars(moved).all() == [OWN]
        assert connection.scalars(select(table.c.email_enc)).all() == [OWN]


@pytest.mark.parametrize("phase", ["write-both", "read-sealed"])
def test_what_would_leave_pending_rows_out_is_refused(sqlite: Backend, phase: str):
    db, app = Database(sqlite), customer(phase)
    db.create(app.metadata)
    for statement in (
        select(func.count(app.email)),
        select(func.count(app.id)).group_by(app.email.blind()),
    ):
        with db.session() as session, pytest.raises(UnsupportedOperationError, match="phase"):
            session.execute(statement)


def test_a_bare_null_of_raw_sql_is_refused_for_the_row_may_have_a_plaintext(
    app: Any, db: Database, phase: str
):
    raw = text("SELECT id, note, email_enc FROM customer")
    with db.session() as session:
        with pytest.raises(UnreadableError, match="bare"):
            session.scalars(select(app).from_statement(raw)).all()
        table = app.__table__.c
        rows = aliased(app, raw.columns(table.id, table.note, table.email_enc).subquery())
        found = session.scalars(select(rows).order_by(rows.id)).all()
        assert [row.email for row in found] == [OWN, OLD, LATER]
