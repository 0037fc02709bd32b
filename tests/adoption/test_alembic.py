"""The steps in migrations: autogenerate writes each when its time has come."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from encfields import encryption_of
from encfields.adopt import Adoption, AdoptionError, adopt
from tests.adoption.models import customer
from tests.alembic.project import WRAPPING_KEY, Project, body_of
from tests.attached import attach_with_kept_keys
from tests.servers.backends import Backend
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

EMAILS = ["a@x", "b@x", "c@x"]


@pytest.fixture
def project(tmp_path: Path, backend: Backend) -> Project:
    return Project(tmp_path, backend)


@pytest.fixture
def engine(backend: Backend) -> Engine:
    """Attached, on a table that holds plaintext."""
    engine = backend.create_engine()
    attach_with_kept_keys(engine, WRAPPING_KEY)
    old = customer("old")
    old.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([old(id=n, email=email) for n, email in enumerate(EMAILS, start=1)])
        session.commit()
    return engine


def read(engine: Engine, phase: str) -> list[str]:
    model = customer(phase)
    with Session(engine) as session:
        return list(session.scalars(select(model.email).order_by(model.id)))


@on_each_database
def test_autogenerate_writes_one_step_after_the_other(project: Project, engine: Engine):
    steps = (
        ("write-both", "begin_adoption"),
        ("write-both", "adopt"),
        ("write-sealed", "ensure_adopted"),
        ("done", "close_plaintext"),
        ("done", "end_adoption"),
    )
    for phase, verb in steps:
        body = body_of(project.autogenerate(customer(phase).metadata))
        assert f"op.{verb}('customer', 'email', into=SealedColumn('email_enc', " in body
        assert body.count("op.") == 1
        project.upgrade()
        if phase != "done":
            assert read(engine, phase) == EMAILS

    assert read(engine, "done") == EMAILS
    assert "email" not in {c["name"] for c in inspect(engine).get_columns("customer")}
    assert "op." not in body_of(project.autogenerate(customer("done").metadata))


def test_a_guarded_column_begins_with_its_check(tmp_path: Path, sqlite: Backend):
    engine = sqlite.create_engine()
    customer("old").metadata.create_all(engine)
    project = Project(tmp_path, sqlite)
    guarded = customer("write-both").metadata
    guarded.tables["customer"].c.email_enc.type.guard = True

    assert "guard=True)" in body_of(project.autogenerate(guarded))
    project.upgrade()

    assert "op." not in body_of(project.autogenerate(guarded))
    engine.dispose()  # a connection of before remembers the table as it was
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("INSERT INTO customer VALUES (1, NULL, 'a@x', 'plain', NULL)"))


@on_each_database
def test_a_downgrade_leads_back_to_the_table_of_before(project: Project, engine: Engine):
    for phase in ("write-both", "write-both", "write-sealed", "done"):
        project.autogenerate(customer(phase).metadata)
        project.upgrade()
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT email FROM customer")).all() == [None] * 3

    project.downgrade("base")

    assert read(engine, "old") == EMAILS
    found = {str(c["name"]): c["nullable"] for c in inspect(engine).get_columns("customer")}
    assert found == {"id": False, "note": True, "email": False}


def test_a_step_that_is_not_due_fails_and_leaves_the_version_where_it_was(
    project: Project, engine: Engine
):
    project.revision("op.ensure_adopted('customer', 'email', type_=sa.String(120))")
    with pytest.raises(AdoptionError, match="run begin_adoption first"):
        project.upgrade()
    assert project.version() is None


def test_a_script_ends_where_a_step_was_not_done(project: Project, engine: Engine):
    project.autogenerate(customer("write-both").metadata)
    script = project.script("head")
    assert "op.begin_adoption() of customer.email" in script
    assert "encfields-adoption" in script
    project.upgrade()


@on_each_database
def test_the_triggers_learn_of_a_blind_index_that_comes_or_goes_meanwhile(
    project: Project, engine: Engine
):
    for _ in ("begin", "adopt"):
        project.autogenerate(customer("read-sealed").metadata)
        project.upgrade()
    encryption = encryption_of(engine)
    encryption.keys.rotate_beacon("default")
    both, other, last = (customer("read-sealed", n) for n in ((1, 2), (2, 1), (2,)))
    adoption = Adoption.of(both.__table__.c.email_enc)
    with pytest.raises(AdoptionError, match="email_enc_bidx_v2; run begin_adoption again"):
        adopt(engine, encryption, adoption)

    body = body_of(project.autogenerate(both.metadata))
    assert body.count("op.") == 1
    assert "op.begin_adoption('customer', 'email'" in body
    project.upgrade()
    assert adopt(engine, encryption, adoption).finished
    change_as_an_old_process(engine, 1, "new@x")
    with Session(engine) as session:
        for model in (both, other):
            assert session.scalars(select(model.id).where(model.email == "a@x")).all() == []
            assert session.scalars(select(model.id).where(model.email == "new@x")).all() == [1]

    adopt(engine, encryption, adoption)
    assert "op.begin_adoption(" in body_of(project.autogenerate(last.metadata))
    project.upgrade()
    dropped = body_of(project.autogenerate(last.metadata))
    assert "op.drop_column('customer', 'email_enc_bidx')" in dropped
    project.upgrade()
    change_as_an_old_process(engine, 2, "newer@x")
    project.downgrade("-2")
    assert read(engine, "old") == ["new@x", "newer@x", "c@x"]
    with Session(engine) as session:
        assert session.scalars(select(last.id).where(last.email == "c@x")).all() == [3]


def change_as_an_old_process(engine: Engine, key: int, email: str) -> None:
    old = customer("old")
    with engine.begin() as connection:
        connection.execute(update(old).where(old.id == key).values(email=email))
