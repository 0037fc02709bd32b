"""A model whose table the database completes, or that is a part of one, is judged when whole."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.ext.declarative import DeferredReflection
from sqlalchemy.orm import DeclarativeBase, Session, configure_mappers, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import DeclarationError
from encfields.testing import attach_locally

TYPE = EncryptedType(index=BlindIndex())


@pytest.fixture
def engine(backend: Any) -> Any:
    """Attached; its table ``patient`` was made by somebody else."""
    engine = backend.create_engine()
    binary = {"postgresql": "BYTEA", "mariadb": "LONGBLOB"}.get(backend.name, "BLOB")
    hashed = {"postgresql": "BYTEA", "mariadb": "VARBINARY(16)"}.get(backend.name, "BLOB")
    with engine.begin() as connection:
        connection.execute(
            text(f"CREATE TABLE patient (id INTEGER PRIMARY KEY, ssn {binary}, ssn_bidx {hashed})")
        )
    attach_locally(engine)
    return engine


def deferred_reflection(engine: Any, type_: Any = TYPE) -> Any:
    class Base(DeclarativeBase):
        pass

    class Reflected(DeferredReflection):
        __abstract__ = True

    class Patient(Reflected, Base):
        __tablename__ = "patient"
        ssn = mapped_column(type_)

    Reflected.prepare(engine)
    return Patient


def bound_to_a_reflected_column(engine: Any) -> Any:
    return deferred_reflection(engine, EncryptedType(bind_to="id", index=BlindIndex()))


def automap(engine: Any) -> Any:
    base = automap_base()

    class Patient(base):  # type: ignore[valid-type, misc]
        __tablename__ = "patient"
        ssn = mapped_column(TYPE)

    base.prepare(autoload_with=engine)
    return Patient


def column_reflect(engine: Any) -> Any:
    """SQLAlchemy's documented hook for the types of reflected columns."""
    base = automap_base()

    @event.listens_for(base.metadata, "column_reflect")
    def encrypt(inspector: Any, table: Any, column: Any) -> None:
        if column["name"] == "ssn":
            column["type"] = TYPE

    base.prepare(autoload_with=engine)
    return base.classes.patient


@pytest.mark.parametrize(
    "model_of", [deferred_reflection, bound_to_a_reflected_column, automap, column_reflect]
)
def test_a_reflected_model_is_written_read_and_looked_up(engine, model_of):
    model = model_of(engine)
    with Session(engine) as session:
        session.add_all([model(id=1, ssn="one"), model(id=2, ssn="two")])
        session.commit()
        assert session.get_one(model, 1).ssn == "one"
        assert session.scalars(select(model.id).where(model.ssn == "two")).all() == [2]


def test_a_column_is_added_by_alembic(engine):
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    with engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        operations.add_column("patient", Column("note", EncryptedType(), nullable=True))
        bound = EncryptedType(bind_to="id")
        operations.add_column("patient", Column("more", bound, nullable=True))
    added = {column["name"] for column in inspect(engine).get_columns("patient")}
    assert {"note", "more"} <= added


def test_what_is_wrong_with_the_column_itself_is_said_at_once():
    with pytest.raises(DeclarationError, match="server default"):
        Table("patient", MetaData(), Column("ssn", EncryptedType(), server_default="x"))


def test_a_table_that_never_gets_a_primary_key_is_refused_when_it_is_used(engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE log (ssn INTEGER)"))
    table = Table("log", MetaData(), Column("ssn", EncryptedType()), autoload_with=engine)
    with engine.connect() as connection, pytest.raises(DeclarationError, match="no primary key"):
        connection.execute(select(table))


def test_a_key_has_the_type_of_a_table_that_is_declared_later(sqlite):
    class Base(DeclarativeBase):
        pass

    class Visit(Base):
        __tablename__ = "visit"
        patient_id = mapped_column(ForeignKey("patient.id"), primary_key=True)
        tenant = mapped_column(ForeignKey("tenant.name"))
        ssn = mapped_column(EncryptedType(key="tenant/{tenant}", index=BlindIndex()))

    found = select(Visit).where(Visit.tenant == "a", Visit.ssn == "one")
    configure_mappers()

    class Patient(Base):
        __tablename__ = "patient"
        id = mapped_column(ForeignKey("person.id"), primary_key=True)

    class Tenant(Base):
        __tablename__ = "tenant"
        name = mapped_column(String(10), primary_key=True)

    assert "ssn_bidx" not in Visit.__table__.c

    class Person(Base):
        __tablename__ = "person"
        id = mapped_column(Integer, primary_key=True)

    assert "ssn_bidx" in Visit.__table__.c
    engine = sqlite.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine).keys.create("tenant/a")
    with Session(engine) as session:
        session.add(Person(id=1))
        session.flush()
        session.add_all([Patient(id=1), Tenant(name="a")])
        session.flush()
        session.add(Visit(patient_id=1, tenant="a", ssn="one"))
        session.commit()
        visit = session.scalars(found).one()
        assert visit.patient_id == 1
        visit.ssn = "two"
        session.commit()
        assert session.scalars(found).all() == []


def test_a_key_whose_type_nothing_declares_is_refused_when_it_is_used(sqlite):
    metadata = MetaData()
    key: Column[Any] = Column("id", ForeignKey("patient.id"), primary_key=True)
    visit = Table("visit", metadata, key, Column("ssn", EncryptedType()))
    engine = sqlite.create_engine()
    attach_locally(engine)
    with (
        engine.connect() as connection,
        pytest.raises(DeclarationError, match="declare the table that its foreign key refers to"),
    ):
        connection.execute(select(visit))


def test_a_key_is_refused_as_soon_as_its_type_is_known():
    metadata = MetaData()
    key: Column[Any] = Column("id", ForeignKey("patient.id"), primary_key=True)
    Table("visit", metadata, key, Column("ssn", EncryptedType()))
    with pytest.raises(DeclarationError, match="a column of type Double cannot identify"):
        Table("patient", metadata, Column("id", Double, primary_key=True))
