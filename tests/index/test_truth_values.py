"""A boolean with a blind index is asked for its truth value as a plaintext column is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Boolean, Integer, and_, case, delete, false, not_, or_, select, true, update
from sqlalchemy.orm import aliased, declarative_base, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from tests.database import Database

INDEX = BlindIndex(accept_leakage="a test")
TESTS: dict[str, Any] = {
    "is_(True)": lambda c: c.is_(True),
    "is_(False)": lambda c: c.is_(False),
    "is_not(True)": lambda c: c.is_not(True),
    "is_not(False)": lambda c: c.is_not(False),
    "is_(true())": lambda c: c.is_(true()),
    "is_not(false())": lambda c: c.is_not(false()),
    "not of is_(True)": lambda c: not_(c.is_(True)),
    "not of is_not(True)": lambda c: ~c.is_not(True),
    "not": lambda c: ~c,
    "not_()": not_,
    "not of not": lambda c: not_(~c),
    "or": lambda c: or_(c.is_(True), c.is_(None)),
    "and not": lambda c: and_(~c, c.is_not(None)),
    "case": lambda c: case((c.is_(False), 1), else_=0) == 1,
}


@pytest.fixture
def flags(db: Database) -> Any:
    """Rows 1 to 3 are true, false and NULL, in plaintext and encrypted."""
    base: Any = declarative_base()

    class Flag(base):  # type: ignore[misc]
        __tablename__ = "flag"
        id = mapped_column(Integer, primary_key=True)
        plain = mapped_column(Boolean)
        sealed = mapped_column(EncryptedType(Boolean, index=INDEX))
        unindexed = mapped_column(EncryptedType(Boolean))

    db.create(base.metadata)
    with db.session() as session:
        values = enumerate((True, False, None), start=1)
        session.add_all(Flag(id=key, plain=value, sealed=value) for key, value in values)
        session.commit()
    return Flag


@pytest.mark.parametrize("asked", TESTS.values(), ids=TESTS)
def test_its_truth_is_asked_for_as_of_a_plaintext_column(db, flags, asked):
    with db.session() as session:
        for model in (flags, aliased(flags)):
            found = [
                session.scalars(select(model.id).where(asked(column)).order_by(model.id)).all()
                for column in (model.plain, model.sealed)
            ]
            assert found[0] == found[1]
        selected = select(asked(flags.plain), asked(flags.sealed)).order_by(flags.id)
        for plain, sealed in session.execute(selected):
            assert sealed == plain


def test_rows_are_written_by_its_truth(db, flags):
    with db.session() as session:
        session.execute(update(flags).where(flags.sealed.is_(True)).values(plain=None))
        session.execute(delete(flags).where(~flags.sealed))
        session.commit()
        left = session.execute(select(flags.id, flags.plain).order_by(flags.id))
        assert [tuple(row) for row in left] == [(1, None), (3, None)]


@pytest.mark.parametrize("name", ["is_(True)", "is_not(True)", "is_(False)", "not"])
def test_objects_are_found_by_its_truth_as_in_the_database(db, flags, name):
    with db.session() as session:
        found = session.scalars(select(flags).order_by(flags.id)).all()
        asked = update(flags).where(TESTS[name](flags.sealed)).values(plain=None)
        session.execute(asked, execution_options={"synchronize_session": "evaluate"})
        changed = [one.plain for one in found]
        session.commit()
        assert [one.plain for one in found] == changed


def test_without_an_index_it_is_refused(db, flags):
    with db.session() as session:
        for refused in (lambda: flags.unindexed.is_(True), lambda: ~flags.unindexed):
            with pytest.raises(UnsupportedOperationError):
                session.execute(select(flags.id).where(refused()))


def test_as_a_condition_by_itself_it_is_refused_with_what_to_write(db, flags):
    with db.session() as session, pytest.raises(UnsupportedOperationError, match="== True"):
        session.execute(select(flags.id).where(flags.sealed))
