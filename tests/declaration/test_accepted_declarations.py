"""Every way of declaring a column that SQLAlchemy has works for an encrypted one."""

from __future__ import annotations

import copy
import datetime as dt
import gc
import pickle
import weakref
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    DateTime,
    Enum,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.schema import CreateTable

from encfields import BlindIndex, EncryptedType
from encfields.errors import DeclarationError
from encfields.orm.declare.columns import ColumnBinding
from encfields.orm.declare.columns import binding_of as binding_of_column

pytestmark = pytest.mark.usefixtures("older_objects_stay")


class Secret(str):
    """A name for what is to be encrypted, in annotations."""


def _table(metadata: MetaData | None = None, **options: Any) -> Table:
    return Table(
        "patient",
        metadata or MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(String(11), **options)),
    )


def binding_of(column: Any) -> ColumnBinding:
    """The binding of a column, also where a model's ``__table__`` is typed as any FROM clause."""
    return binding_of_column(column)


def _ddl(table: Table, dialect: Any) -> str:
    return str(CreateTable(table).compile(dialect=dialect))


# -- names -------------------------------------------------------------------------------------


def test_the_logical_name_is_table_and_column() -> None:
    assert binding_of(_table().c.ssn).logical_name == "patient.ssn"


def test_the_logical_name_includes_the_schema() -> None:
    assert binding_of(_table(MetaData(schema="clinic")).c.ssn).logical_name == "clinic.patient.ssn"


def test_a_pinned_name_survives_a_rename() -> None:
    assert binding_of(_table(name="people.ssn").c.ssn).logical_name == "people.ssn"


def test_a_naming_convention_does_not_touch_the_logical_name() -> None:
    metadata = MetaData(
        naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(column_0_label)s"}
    )
    table = _table(metadata)
    assert binding_of(table.c.ssn).logical_name == "patient.ssn"
    assert "pk_patient" in _ddl(table, sqlite.dialect())


def test_one_type_instance_serves_several_columns_and_tables() -> None:
    shared = EncryptedType(String(11))
    metadata = MetaData()
    tables = [
        Table(
            name,
            metadata,
            Column("id", Integer, primary_key=True),
            Column("first", shared),
            Column("second", shared),
        )
        for name in ("patient", "doctor")
    ]
    names = [
        binding_of(table.c[key]).logical_name for table in tables for key in table.c.keys()[1:]
    ]
    assert names == ["patient.first", "patient.second", "doctor.first", "doctor.second"]


# -- declarative -------------------------------------------------------------------------------


def test_declarative_mapped_columns() -> None:
    class Base(DeclarativeBase):
        pass

    class Patient(Base):
        __tablename__ = "patient"
        id: Mapped[int] = mapped_column(primary_key=True)
        ssn: Mapped[str | None] = mapped_column("ssn_sealed", EncryptedType(String(11)))

    binding = binding_of(Patient.__table__.c.ssn_sealed)
    assert binding.logical_name == "patient.ssn_sealed"
    assert Patient.__table__.c.ssn_sealed.nullable


def test_a_type_annotation_map_names_it_once_for_all_models() -> None:
    class Base(DeclarativeBase):
        type_annotation_map = {Secret: EncryptedType(String)}  # noqa: RUF012

    class Patient(Base):
        __tablename__ = "patient"
        id: Mapped[int] = mapped_column(primary_key=True)
        ssn: Mapped[Secret]

    assert binding_of(Patient.__table__.c.ssn).logical_name == "patient.ssn"


def test_mixins_and_abstract_bases_give_each_table_its_own_column() -> None:
    class Base(DeclarativeBase):
        pass

    class HasSsn:
        ssn: Mapped[str] = mapped_column(EncryptedType())

        @declared_attr
        def notes(cls) -> Mapped[dict[str, Any]]:
            return mapped_column(EncryptedType(JSON))

    class Person(HasSsn, Base):
        __abstract__ = True
        id: Mapped[int] = mapped_column(primary_key=True)

    class Patient(Person):
        __tablename__ = "patient"

    class Doctor(Person):
        __tablename__ = "doctor"

    for model, name in ((Patient, "patient"), (Doctor, "doctor")):
        columns = model.__table__.c
        assert binding_of(columns.ssn).logical_name == f"{name}.ssn"
        assert binding_of(columns.notes).logical_name == f"{name}.notes"


def test_a_column_can_be_added_after_the_class_was_made() -> None:
    class Base(DeclarativeBase):
        pass

    class Patient(Base):
        __tablename__ = "patient"
        id: Mapped[int] = mapped_column(primary_key=True)

    Patient.ssn = mapped_column("ssn", EncryptedType())
    assert binding_of(Patient.__table__.c.ssn).logical_name == "patient.ssn"


# -- copies ------------------------------------------------------------------------------------


def test_a_table_copied_to_other_metadata_is_bound_anew() -> None:
    table = _table(key="tenant")
    moved = table.to_metadata(MetaData(), schema="archive")
    assert binding_of(moved.c.ssn).logical_name == "archive.patient.ssn"
    assert binding_of(moved.c.ssn).key.template == "tenant"
    assert binding_of(moved.c.ssn).identity == (moved.c.id,)
    assert binding_of(table.c.ssn).logical_name == "patient.ssn"


def test_a_bad_copy_is_refused_like_a_bad_table() -> None:
    keyed = Table(
        "log", MetaData(), Column("at", Integer), Column("ssn", EncryptedType(bind_to="at"))
    )
    keyed.c.at.type = DateTime()
    with pytest.raises(DeclarationError, match="DateTime"):
        keyed.to_metadata(MetaData())


def _pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, _pickled])
def test_types_are_copied_and_pickled_with_all_their_options(again: Any) -> None:
    type_ = EncryptedType(
        Numeric(10, 2),
        key="tenant/{tenant_id}",
        name="a.b",
        bind_to=("id",),
        storage=LargeBinary(900),
    )
    assert repr(again(type_)) == repr(type_)
    assert again(type_).codec.max_bytes == type_.codec.max_bytes


@pytest.mark.parametrize(
    "inner",
    [String(4), LargeBinary(), BigInteger(), Numeric(8, 2), DateTime(timezone=True), Interval(),
     Uuid(), Enum("a", "b"), JSON(), ARRAY(Integer)],
    ids=lambda inner: type(inner).__name__,
)  # fmt: skip
def test_metadata_with_encrypted_columns_is_pickled(inner: Any) -> None:
    metadata = MetaData()
    Table(
        "patient",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(inner)),
    )
    table = _pickled(metadata).tables["patient"]
    assert binding_of(table.c.ssn).logical_name == "patient.ssn"
    assert binding_of(table.c.ssn).identity == (table.c.id,)


def test_a_table_that_is_gone_leaves_nothing_behind() -> None:
    table = _table()
    binding_of(table.c.ssn)
    gone = weakref.ref(table)
    del table
    gc.collect()
    assert gone() is None


# -- what the type says of itself --------------------------------------------------------------


def test_the_python_type_is_the_inner_types() -> None:
    assert EncryptedType().python_type is str
    assert EncryptedType(DateTime).python_type is dt.datetime
    assert EncryptedType(LargeBinary).python_type is bytes


def test_the_repr_is_the_declaration() -> None:
    assert repr(EncryptedType(String(9))) == "EncryptedType(String(length=9), key='default')"
    assert repr(EncryptedType(JSON, key="a", name="b.c", bind_to="id", storage=LargeBinary())) == (
        "EncryptedType(JSON(), key='a', name='b.c', bind_to=('id',), storage=LargeBinary())"
    )


def test_equal_declarations_share_a_statement_cache_key() -> None:
    assert EncryptedType(String(9))._static_cache_key == EncryptedType(String(9))._static_cache_key
    assert EncryptedType()._static_cache_key != EncryptedType(key="other")._static_cache_key
    assert EncryptedType(Integer)._static_cache_key != EncryptedType(BigInteger)._static_cache_key


def test_the_statement_cache_key_survives_copies_and_pickling() -> None:
    type_ = EncryptedType(String(9), index=BlindIndex(bits=160))
    key = type_._static_cache_key
    for made in (copy.copy(type_), copy.deepcopy(type_), pickle.loads(pickle.dumps(type_))):
        assert made._static_cache_key == key
    assert EncryptedType(String(9), index=BlindIndex())._static_cache_key != key


def test_statement_cache_keys_go_with_the_types_that_have_them() -> None:
    type_ = EncryptedType(String(9), name="a.name.of.this.test")
    key = weakref.ref(type_._static_cache_key)
    assert key() is not None
    del type_
    gc.collect()
    assert key() is None


# -- DDL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dialect, sql",
    [
        (sqlite.dialect(), "ssn BLOB"),
        (postgresql.dialect(), "ssn BYTEA"),
        (mysql.dialect(), "ssn LONGBLOB"),
    ],
    ids=["sqlite", "postgresql", "mysql"],
)
def test_the_column_is_the_databases_binary_type_without_a_limit(dialect: Any, sql: str) -> None:
    assert sql in _ddl(_table(), dialect)


@pytest.mark.parametrize(
    "dialect, sql",
    [
        (sqlite.dialect(), "ssn BLOB"),
        (postgresql.dialect(), "ssn BYTEA"),
        (mysql.dialect(), "ssn BLOB(400)"),
    ],
    ids=["sqlite", "postgresql", "mysql"],
)
def test_storage_sets_a_limit_where_the_database_has_one(dialect: Any, sql: str) -> None:
    assert sql in _ddl(_table(storage=LargeBinary(400)), dialect)


def test_nullability_and_comments_are_the_columns_own() -> None:
    table = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(), nullable=False, comment="social security"),
    )
    ddl = _ddl(table, mysql.dialect())
    assert "ssn LONGBLOB NOT NULL COMMENT 'social security'" in ddl
