"""A flush writes what changed, as it does for a plaintext twin, and nothing that it remembers."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, inspect, select
from sqlalchemy.orm import defer, load_only
from sqlalchemy.orm.exc import StaleDataError

from encfields import blind
from encfields.errors import AmbiguousRowError
from tests.database import Database
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


def held(db: Database, model: Any) -> list[tuple[Any, ...]]:
    """What the database holds of every row, to whoever loads it anew."""
    with db.session() as session:
        rows = session.scalars(select(model).order_by(model.id)).all()
        return [(r.id, r.tenant, r.email, r.phone, r.title, r.version, r.changes) for r in rows]


def assert_found(db: Database, model: Any, email: str, phone: str, tenant: int = 1) -> None:
    """The blind indexes are those of the values."""
    with db.session() as session:
        query = select(model).where(model.tenant == tenant)  # whose key the index may be under
        if hasattr(model.__table__.c, "who_bidx"):
            query = query.where(blind(model, "who").matches(email=email, phone=phone))
        else:
            query = query.where(model.email == email)
        assert session.scalars(query).one().phone == phone


def test_a_change_of_another_session_is_not_undone(db, pair):
    for model in pair:
        with db.session(expire_on_commit=False) as one, db.session() as two:
            mine = one.get(model, 1)
            one.commit()
            theirs = two.get(model, 1)
            theirs.phone = "NEW"
            two.commit()
            inspect(mine).dict["version"] = 2  # the versions are not what is tried here
            mine.email = "NEW"
            one.commit()
    plain, encrypted = pair
    assert held(db, encrypted) == held(db, plain) == [(1, 1, "NEW", "NEW", "old", 3, 1)]
    assert_found(db, encrypted, "NEW", "NEW")


@pytest.mark.parametrize("change", [{"id": 2}, {"tenant": 2}, {"id": 2, "tenant": 2}])
def test_a_row_that_moves_takes_along_what_it_holds_now(db, pair, change):
    for model in pair:
        with db.session(expire_on_commit=False) as one, db.session() as two:
            mine = one.get(model, 1)
            one.commit()
            two.get(model, 1).phone = "NEW"
            two.commit()
            inspect(mine).dict["version"] = 2
            for name, value in change.items():
                setattr(mine, name, value)
            one.commit()
    plain, encrypted = pair
    assert held(db, encrypted) == held(db, plain)
    assert held(db, encrypted)[0][3] == "NEW"
    assert_found(db, encrypted, "old", "NEW", change.get("tenant", 1))


def test_a_value_that_is_set_to_what_it_was_updates_nothing(db, pair):
    for model in pair:
        with db.session() as session:
            one = session.get(model, 1)
            one.email, one.phone = "other", one.phone
            one.email = "old"
            one.tenant = 1
            session.commit()
    plain, encrypted = pair
    assert held(db, encrypted) == held(db, plain) == [(1, 1, "old", "old", "old", 1, 0)]


NOT_LOADED = {
    "the other value": (lambda m: defer(m.phone, raiseload=True), {"email": "NEW"}),
    "the tenant": (lambda m: defer(m.tenant, raiseload=True), {"email": "NEW"}),
    "what a plain change does not need": (
        lambda m: load_only(m.title, m.version, raiseload=True),
        {"title": "NEW"},
    ),
    "all, and the key changes": (lambda m: load_only(m.version, raiseload=True), {"id": 3}),
    "all, and the tenant changes": (lambda m: load_only(m.version), {"tenant": 2}),
}


@pytest.mark.parametrize("option, change", NOT_LOADED.values(), ids=NOT_LOADED.keys())
def test_what_was_not_loaded_does_not_stand_in_the_way(db, pair, option, change):
    for model in pair:
        with db.session() as session:
            one = session.scalars(select(model).options(option(model))).one()
            for name, value in change.items():
                setattr(one, name, value)
            session.commit()
    plain, encrypted = pair
    assert held(db, encrypted) == held(db, plain)
    assert held(db, encrypted)[0] != (1, 1, "old", "old", "old", 1, 0)


def test_a_column_that_was_never_set_does_not_stand_in_the_way(db, pair):
    for model in pair:
        with db.session(expire_on_commit=False) as session:
            one = model(id=5, tenant=2, email="old")
            session.add(one)
            session.commit()
            one.email = "NEW"
            session.commit()
            one.id = 6
            session.commit()
    plain, encrypted = pair
    assert held(db, encrypted) == held(db, plain)
    assert held(db, encrypted)[1] == (6, 2, "NEW", None, None, 3, 1)


def test_a_key_that_changes_in_the_transaction_that_added_the_row(db, pair):
    for model in pair:
        with db.session() as session:
            one = model(id=5, tenant=1, email="e", phone="p")
            session.add(one)
            session.flush()
            one.id = 6
            session.flush()
            one.tenant = 2
            session.commit()
    plain, encrypted = pair
    assert held(db, encrypted) == held(db, plain)


def test_a_savepoint_that_is_rolled_back_leaves_no_trace(db, pair):
    for model in pair:
        with db.session() as session:
            one = session.get(model, 1)
            with session.begin_nested() as point:
                one.tenant, one.email = 2, "lost"
                session.flush()
                point.rollback()
            one.phone = "NEW"
            session.commit()
    plain, encrypted = pair
    assert held(db, encrypted) == held(db, plain) == [(1, 1, "old", "NEW", "old", 2, 1)]


def test_a_merged_copy_writes_what_it_says(db, pair):
    for model in pair:
        with db.session() as session:
            session.merge(model(id=1, phone="merged"))
            session.commit()
    plain, encrypted = pair
    assert held(db, encrypted) == held(db, plain) == [(1, 1, "old", "merged", "old", 2, 1)]


def test_an_update_sets_the_changed_column_alone(db, models):
    _, model = models.tenant
    sql: list[str] = []
    with db.session() as session:
        one = session.get(model, 1)
        one.phone = "first"  # the first UPDATE of a table may be read back
        session.commit()
        assert one.phone == "first"
        one.phone = "NEW"
        event.listen(db.engine, "before_cursor_execute", lambda *a: sql.append(a[2]))
        session.commit()
    (statement,) = [s for s in sql if s.lstrip().upper().startswith(("UPDATE", "SELECT"))]
    assigned = statement.split("WHERE")[0]
    assert "phone" in assigned
    assert not any(name in assigned for name in ("email", "tenant="))


def test_a_value_for_a_row_that_went_to_another_tenant_is_refused(db, models):
    """It would be sealed under the key of a tenant that the session knows nothing of."""
    _, model = models.tenant
    with db.session(expire_on_commit=False) as one, db.session() as two:
        mine = one.get(model, 1)
        one.commit()
        two.get(model, 1).tenant = 2
        two.commit()
        inspect(mine).dict["version"] = 2
        mine.email = "NEW"
        with pytest.raises(StaleDataError):
            one.commit()
    assert held(db, model) == [(1, 2, "old", "old", "old", 2, 1)]


def test_a_row_without_a_tenant_gets_one_with_its_first_value(db, models):
    for model in models.tenant:
        with db.session() as session:
            session.add(model(id=7))
            session.commit()
            one = session.get(model, 7)
            one.phone = None
            one.tenant, one.email = 2, "first"
            session.commit()
            one.title = "t"
            session.commit()
    plain, encrypted = models.tenant
    assert held(db, encrypted) == held(db, plain)


@pytest.mark.parametrize("value", [{}, {"email": "NEW"}], ids=["values stay", "a new value"])
def test_the_error_for_a_row_whose_tenant_was_removed_says_that_it_has_none(db, models, value):
    _, model = models.tenant
    with db.session() as session:
        one = session.get(model, 1)
        one.tenant = None
        for name, new in value.items():
            setattr(one, name, new)
        with pytest.raises(AmbiguousRowError, match="tenant identifies the row and is NULL"):
            session.flush()


def test_a_row_whose_values_are_taken_away_needs_no_tenant(db, models):
    for model in models.tenant:
        with db.session() as session:
            one = session.get(model, 1)
            one.tenant = one.email = one.phone = None
            session.commit()
    plain, encrypted = models.tenant
    assert held(db, encrypted) == held(db, plain)


def test_rows_of_a_batch_that_stay_and_that_move(db, models):
    for model in models.tenant_compound:
        with db.session() as session:
            session.add_all(model(id=n, tenant=1, email=f"e{n}", phone="p") for n in (2, 3, 4))
            session.commit()
            for one in session.scalars(select(model)):
                one.tenant = 1 + one.id % 2
                one.phone = f"p{one.id}" if one.id > 2 else one.phone
            session.commit()
    plain, encrypted = models.tenant_compound
    assert held(db, encrypted) == held(db, plain)
    assert_found(db, encrypted, "e4", "p4")
