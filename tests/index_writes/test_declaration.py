"""Declaring blind indexes: each gets a column and an index, wherever the table comes from."""

from __future__ import annotations

import datetime as dt
import enum
import pickle
import uuid
from typing import Annotated, Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.declarative import ConcreteBase, DeferredReflection
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    configure_mappers,
    declared_attr,
    mapped_column,
    registry,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, blind
from encfields.index.transforms import casefold, digits, last, year
from tests.index_writes import expected as known
from tests.index_writes.expected import check_indexes, folded, stored, utf8, year_of
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

PLAIN = EncryptedType(String, index=BlindIndex())


def table_of(*columns: Any, name: str = "t", **options: Any) -> Table:
    id_ = Column("id", Integer, primary_key=True, autoincrement=False)
    return Table(name, options.pop("metadata", None) or MetaData(), id_, *columns, **options)


def names(table: Table) -> list[str]:
    return [column.name for column in table.columns]


# -- names and types ---------------------------------------------------------------------------

NAMES = {
    "exact": (BlindIndex(), "ssn_bidx"),
    "named": (BlindIndex(name="all"), "ssn_all_bidx"),
    "last4": (BlindIndex(last(4)), "ssn_last4_bidx"),
    "chained": (BlindIndex(digits.then(last(4))), "ssn_digits_last4_bidx"),
    "casefold": (BlindIndex(casefold), "ssn_casefold_bidx"),
    "a second version": (BlindIndex(versions=(2,)), "ssn_bidx_v2"),
}


@pytest.mark.parametrize("index, name", NAMES.values(), ids=NAMES.keys())
def test_the_column_s_name_combines_the_encrypted_column_s_and_the_index_s(index, name):
    table = table_of(Column("ssn", EncryptedType(index=index)))
    assert names(table) == ["id", "ssn", name]


def test_two_versions_have_a_column_each():
    table = table_of(Column("ssn", EncryptedType(index=BlindIndex(versions=(1, 2)))))
    assert names(table) == ["id", "ssn", "ssn_bidx", "ssn_bidx_v2"]


def test_a_compound_index_s_column_is_named_after_it():
    table = table_of(
        Column("a", EncryptedType()),
        Column("b", EncryptedType()),
        CompoundBlindIndex("who", "a", "b"),
    )
    assert names(table) == ["id", "a", "b", "who_bidx"]


def test_the_column_is_nullable_and_indexed_and_never_selected():
    table = table_of(Column("ssn", EncryptedType(index=BlindIndex()), nullable=False))
    assert table.c.ssn_bidx.nullable
    assert [list(index.columns) for index in table.indexes] == [[table.c.ssn_bidx]]
    assert [index.name for index in table.indexes] == ["ix_t_ssn_bidx"]
    assert list(select(table).selected_columns) == [table.c.id, table.c.ssn]


TYPES = {
    "sqlite": (sqlite.dialect(), "BLOB"),
    "postgresql": (postgresql.dialect(), "BYTEA"),
    "mysql": (mysql.dialect(), "VARBINARY(16)"),
}


@pytest.mark.parametrize("dialect, type_", TYPES.values(), ids=TYPES.keys())
def test_the_column_s_type(dialect, type_):
    table = table_of(Column("ssn", EncryptedType(index=BlindIndex())))
    assert f"ssn_bidx {type_}" in str(CreateTable(table).compile(dialect=dialect))
    (index,) = table.indexes
    assert "ssn_bidx" in str(CreateIndex(index).compile(dialect=dialect))


@pytest.mark.parametrize("bits, length", [(4, 1), (8, 1), (12, 2), (128, 16), (256, 32)])
def test_the_column_holds_as_many_bytes_as_the_bits_need(bits, length):
    table = table_of(Column("ssn", EncryptedType(index=BlindIndex(bits=bits))))
    statement = str(CreateTable(table).compile(dialect=mysql.dialect()))
    assert f"VARBINARY({length})" in statement


@pytest.mark.parametrize("bits", [4, 7, 8, 12, 64, 127, 128, 255, 256])
def test_any_number_of_bits_is_stored(db, bits):
    table = table_of(Column("ssn", EncryptedType(index=BlindIndex(bits=bits))))
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": n, "ssn": f"v-{n}"} for n in range(20)])
        rows = connection.execute(select(table).where(table.c.ssn == "v-7")).all()
    assert [tuple(row) for row in rows] == [(7, "v-7")]
    index = known.Index("ssn_bidx", "t.ssn", {"ssn": utf8}, bits=bits)
    held = stored(db, table, "ssn_bidx")
    assert held == {(n,): index.of(db, {"ssn": f"v-{n}"}) for n in range(20)}


def test_a_domain_and_a_key_of_its_own(db):
    table = table_of(
        Column("a", EncryptedType(index=BlindIndex(domain="shared", key="other"))),
        Column("b", EncryptedType(index=BlindIndex(domain="shared", key="other"))),
    )
    db.create(table.metadata)
    db.create_key("other")
    with db.begin() as connection:
        connection.execute(insert(table).values(id=1, a="same", b="same"))
    expect = [known.Index(f"{n}_bidx", "shared", {n: utf8}, key="other") for n in "ab"]
    check_indexes(db, table, *expect)
    assert stored(db, table, "a_bidx") == stored(db, table, "b_bidx")


def test_a_pinned_logical_name_is_the_index_s_domain(db):
    table = table_of(Column("a", EncryptedType(name="pinned", index=BlindIndex())))
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=1, a="v"))
    check_indexes(db, table, known.Index("a_bidx", "pinned", {"a": utf8}))


class Colour(enum.Enum):
    RED = 1


VALUES = {
    "integer": (Integer(), 7, b"7"),
    "date": (Date(), dt.date(2024, 2, 29), b"2024-02-29"),
    "bytes": (LargeBinary(), b"\x00\xff", b"\x00\xff"),
    "uuid": (Uuid(), uuid.UUID(int=5), b"00000000-0000-0000-0000-000000000005"),
    "boolean": (Boolean(), True, b"true"),
    "enum": (Enum(Colour), Colour.RED, b"RED"),
}


@pytest.mark.parametrize("inner, value, canonical", VALUES.values(), ids=VALUES.keys())
def test_a_value_of_any_scalar_type_is_indexed_by_its_canonical_text(db, inner, value, canonical):
    index = BlindIndex(accept_leakage="a test")
    table = table_of(Column("v", EncryptedType(inner, index=index)))
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=1, v=value))
        assert connection.scalar(select(table.c.id).where(table.c.v == value)) == 1
    check_indexes(db, table, known.Index("v_bidx", "t.v", {"v": lambda _: canonical}))


# -- ways to declare ---------------------------------------------------------------------------


Indexed = Annotated[str, mapped_column(EncryptedType(String, index=BlindIndex()))]


def make_declarative() -> Any:
    class Base(DeclarativeBase):
        pass

    class Model(Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        ssn: Mapped[str | None] = mapped_column(PLAIN)

    return Model


def make_mixin() -> Any:
    class Base(DeclarativeBase):
        pass

    class HasSsn:
        ssn: Mapped[str | None] = mapped_column(PLAIN)

    class Other(HasSsn, Base):
        __tablename__ = "other"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    class Model(HasSsn, Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    assert "ssn_bidx" in Other.__table__.c
    return Model


def make_declared_attr() -> Any:
    class Base(DeclarativeBase):
        pass

    class HasSsn:
        @declared_attr
        def ssn(cls) -> Mapped[str | None]:
            return mapped_column(PLAIN)

    class Model(HasSsn, Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    return Model


def make_abstract() -> Any:
    class Base(DeclarativeBase):
        pass

    class Secret(Base):
        __abstract__ = True
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        ssn: Mapped[str | None] = mapped_column(PLAIN)

    class Model(Secret):
        __tablename__ = "t"

    return Model


def make_annotated() -> Any:
    class Base(DeclarativeBase):
        pass

    class Model(Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        ssn: Mapped[Indexed]

    return Model


def make_dataclass() -> Any:
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Model(Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        ssn: Mapped[str | None] = mapped_column(PLAIN, default=None)

    assert repr(Model(1, "x")).endswith("Model(id=1, ssn='x')")
    return Model


def make_imperative() -> Any:
    class Model:
        def __init__(self, **values: Any) -> None:
            for name, value in values.items():
                setattr(self, name, value)

    registry().map_imperatively(Model, table_of(Column("ssn", PLAIN)))
    return Model


def make_table() -> Any:
    class Base(DeclarativeBase):
        pass

    class Model(Base):
        __table__ = table_of(Column("ssn", PLAIN), metadata=Base.metadata)

    return Model


def make_late_attribute() -> Any:
    class Base(DeclarativeBase):
        pass

    class Model(Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    configure_mappers()
    Model.ssn = mapped_column(PLAIN)
    return Model


def make_late_attribute_beside_another() -> Any:
    class Base(DeclarativeBase):
        pass

    class Model(Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        other: Mapped[str | None] = mapped_column(EncryptedType())

    configure_mappers()
    Model.ssn = mapped_column(PLAIN)
    return Model


WAYS = [
    make_declarative,
    make_mixin,
    make_declared_attr,
    make_abstract,
    make_annotated,
    make_dataclass,
    make_imperative,
    make_table,
    make_late_attribute,
    make_late_attribute_beside_another,
]
SSN = known.Index("ssn_bidx", "t.ssn", {"ssn": utf8})


@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__.removeprefix("make_"))
def test_every_way_to_declare_a_model(sqlite_db, make):
    db, model = sqlite_db, make()
    table: Any = inspect(model).local_table
    assert "ssn_bidx" in table.c
    assert "ssn_bidx" not in inspect(model).attrs
    table.metadata.create_all(db.engine)
    with db.session() as session:
        session.add_all(model(id=n, ssn=f"v-{n}") for n in (1, 2))
        session.commit()
        session.get_one(model, 1).ssn = "new"
        session.commit()
        session.get_one(model, 2).id = 7
        session.commit()
        assert session.scalars(select(model.id).where(model.ssn == "new")).all() == [1]
        assert session.scalars(select(model.id).where(model.ssn == "v-2")).all() == [7]
    check_indexes(db, table, SSN)


def test_a_column_appended_to_a_finished_table(db):
    table = table_of(Column("name", String(20)))
    table.append_column(Column("ssn", PLAIN))
    assert names(table) == ["id", "name", "ssn", "ssn_bidx"]
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "ssn": "a"}, {"id": 2, "ssn": None}])
        table_update = update(table).where(table.c.id == 2)
        connection.execute(table_update.values(ssn="b"))
    check_indexes(db, table, SSN)


def test_a_column_that_is_replaced(db):
    table = table_of(Column("ssn", EncryptedType(index=BlindIndex(bits=64))))
    table.append_column(Column("ssn", PLAIN), replace_existing=True)
    assert names(table).count("ssn_bidx") == 1
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "ssn": "a"}])
    check_indexes(db, table, SSN)
    assert len(table.indexes) == 1


def test_a_table_that_is_extended(db):
    metadata = MetaData()
    table_of(Column("name", String(20)), metadata=metadata)
    table = Table("t", metadata, Column("ssn", PLAIN), extend_existing=True)
    db.create(metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "ssn": "a"}])
    check_indexes(db, table, SSN)


# -- inheritance -------------------------------------------------------------------------------


class Family(DeclarativeBase):
    pass


class Being(Family):
    __tablename__ = "being"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str | None] = mapped_column(PLAIN)
    __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "being"}  # noqa: RUF012


class Doctor(Being):
    """In a table of its own, whose key is its parent's."""

    __tablename__ = "doctor"
    id: Mapped[int] = mapped_column(ForeignKey("being.id"), primary_key=True)
    licence: Mapped[str | None] = mapped_column(PLAIN)
    born: Mapped[dt.date | None] = mapped_column(EncryptedType(Date))
    __mapper_args__: Any = {"polymorphic_identity": "doctor"}  # noqa: RUF012
    __table_args__ = (CompoundBlindIndex("who", "licence", ("born", year)),)


class Nurse(Being):
    """In its parent's table."""

    badge: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex(casefold)))
    __mapper_args__: Any = {"polymorphic_identity": "nurse"}  # noqa: RUF012


BEING = (
    known.Index("name_bidx", "being.name", {"name": utf8}),
    known.Index("badge_casefold_bidx", "being.badge", {"badge": folded}, "casefold"),
)
DOCTOR = (
    known.Index("licence_bidx", "doctor.licence", {"licence": utf8}),
    known.Index("who_bidx", "doctor.who", {"licence": utf8, "born": year_of}, "exact+year"),
)


def test_joined_and_single_table_inheritance(db):
    db.create(Family.metadata)
    with db.session() as session:
        session.add_all(
            [
                Being(name="b"),
                Doctor(name="d", licence="l", born=dt.date(1970, 1, 1)),
                Nurse(name="n", badge="Badge"),
                Nurse(name="n2"),
            ]
        )
        session.commit()
        assert session.scalars(select(Doctor).where(Doctor.name == "d")).one().licence == "l"
        assert session.scalars(select(Nurse).where(Nurse.badge == "Badge")).one().name == "n"
    check_indexes(db, Being, *BEING)
    check_indexes(db, Doctor.__table__, *DOCTOR)
    with db.session() as session:
        doctor = session.scalars(select(Doctor)).one()
        doctor.name, doctor.licence = "new", "new-licence"
        session.scalars(select(Nurse).where(Nurse.name == "n2")).one().badge = "B2"
        session.commit()
        asked = blind(Doctor, "who").matches(licence="new-licence", born=1970)
        assert session.scalars(select(Doctor.name).where(asked)).all() == ["new"]
        session.execute(insert(Nurse), [{"name": f"bulk-{n}", "badge": f"b-{n}"} for n in range(3)])
        session.commit()
    check_indexes(db, Being, *BEING)
    check_indexes(db, Doctor.__table__, *DOCTOR)


def test_concrete_tables(db):
    class Root(DeclarativeBase):
        pass

    class Vehicle(ConcreteBase, Root):
        __tablename__ = "vehicle"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        plate: Mapped[str | None] = mapped_column(PLAIN)
        __mapper_args__: Any = {  # noqa: RUF012
            "polymorphic_identity": "vehicle",
            "concrete": True,
        }

    class Bus(Vehicle):
        __tablename__ = "bus"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        plate: Mapped[str | None] = mapped_column(PLAIN)
        __mapper_args__: Any = {"polymorphic_identity": "bus", "concrete": True}  # noqa: RUF012

    configure_mappers()
    db.create(Root.metadata)
    with db.session() as session:
        session.add_all([Vehicle(id=1, plate="v"), Bus(id=1, plate="b")])
        session.commit()
        assert session.scalars(select(Bus.id).where(Bus.plate == "b")).all() == [1]
    check_indexes(db, Bus.__table__, known.Index("plate_bidx", "bus.plate", {"plate": utf8}))
    assert "plate_bidx" not in inspect(Vehicle).attrs


# -- copies, pickles, reflection ---------------------------------------------------------------


def original() -> Table:
    return table_of(
        Column("tenant", Integer),
        Column("ssn", EncryptedType(index=[BlindIndex(), BlindIndex(last(4), bits=16)])),
        Column("born", EncryptedType(Date)),
        CompoundBlindIndex("who", ("ssn", casefold), ("born", year), unique=True),
        UniqueConstraint("tenant", "ssn", name="once"),
        Index("ix_both", "tenant", "ssn"),
    )


COPIED = (
    SSN,
    known.Index("ssn_last4_bidx", "t.ssn", {"ssn": lambda v: v[-4:].encode()}, "last4", 16),
    known.Index("who_bidx", "t.who", {"ssn": folded, "born": year_of}, "casefold+year"),
)


def without_defaults(table: Table) -> Table:
    """A copy as libraries make it that keep a table's history."""
    copied = table.to_metadata(MetaData())
    for column in copied.c:
        column.default = column.server_default = None
    return copied


COPIES = {
    "without defaults": without_defaults,
    "to_metadata": lambda table: table.to_metadata(MetaData()),
    "to_metadata twice": lambda table: table.to_metadata(MetaData()).to_metadata(MetaData()),
    "pickle": lambda table: pickle.loads(pickle.dumps(table.metadata)).tables["t"],
    "pickle of a copy": lambda table: pickle.loads(
        pickle.dumps(table.to_metadata(MetaData()).metadata)
    ).tables["t"],
    "copy of a pickle": lambda table: (
        pickle.loads(pickle.dumps(table.metadata)).tables["t"].to_metadata(MetaData())
    ),
}


def rules(table: Table) -> list[Any]:
    every: list[Any] = [*table.constraints, *table.indexes]
    found = [
        (type(one).__name__, one.name, [c.name for c in one.columns], getattr(one, "unique", None))
        for one in every
    ]
    return sorted(found, key=str)


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_a_copy_of_a_table_has_the_same_indexes(db, copy):
    table = original()
    copied = copy(table)
    assert names(copied) == names(table)
    assert rules(copied) == rules(table)
    db.create(copied.metadata)
    with db.begin() as connection:
        connection.execute(
            insert(copied),
            [{"id": n, "tenant": 1, "ssn": f"S-{n}", "born": dt.date(2000, 1, n)} for n in (1, 2)],
        )
        connection.execute(update(copied).where(copied.c.id == 1).values(ssn="new", born=None))
    check_indexes(db, copied, *COPIED)
    assert list(select(copied).selected_columns.keys()) == ["id", "tenant", "ssn", "born"]


@on_each_database
def test_a_reflected_table_takes_over_the_columns_of_its_indexes(db):
    declared = original()
    db.create(declared.metadata)
    table = Table(
        "t",
        MetaData(),
        Column("ssn", EncryptedType(index=[BlindIndex(), BlindIndex(last(4), bits=16)])),
        Column("born", EncryptedType(Date)),
        CompoundBlindIndex("who", ("ssn", casefold), ("born", year), unique=True),
        autoload_with=db.engine,
    )
    assert sorted(names(table)) == sorted(names(declared))
    assert list(select(table).selected_columns.keys()).count("ssn_bidx") == 0
    columns = {column for rule in table.indexes for column in rule.columns}
    assert all(table.c[column.key] is column for column in columns)
    with db.begin() as connection:
        connection.execute(insert(table).values(id=1, tenant=1, ssn="a", born=dt.date(2000, 1, 1)))
        connection.execute(update(table).where(table.c.id == 1).values(ssn="B", born=None))
        assert connection.scalar(select(table.c.id).where(table.c.ssn == "B")) == 1
    check_indexes(db, table, *COPIED)


@on_each_database
def test_a_model_that_is_reflected_later(db):
    declared = table_of(Column("ssn", PLAIN), Column("name", String(20)))
    db.create(declared.metadata)

    class Base(DeferredReflection, DeclarativeBase):
        pass

    class Model(Base):
        __tablename__ = "t"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        ssn: Mapped[str | None] = mapped_column(PLAIN)

    Base.prepare(db.engine)
    model: Any = Model
    with db.session() as session:
        session.add(model(id=1, ssn="a", name="n"))
        session.commit()
        assert session.scalars(select(model.name).where(model.ssn == "a")).all() == ["n"]
    assert "ssn_bidx" not in inspect(model).attrs
    check_indexes(db, model, SSN)


# -- schemas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["one", "Two %"])
def test_a_schema(schemas, schema):
    table = table_of(Column("ssn", PLAIN), schema=schema)
    schemas.create(table.metadata)
    with schemas.begin() as connection:
        connection.execute(insert(table), [{"id": n, "ssn": f"v-{n}"} for n in (1, 2)])
        connection.execute(update(table).where(table.c.id == 2).values(ssn="new"))
    check_indexes(schemas, table, known.Index("ssn_bidx", f"{schema}.t.ssn", {"ssn": utf8}))


def test_schema_translate_map(schemas):
    table = table_of(Column("ssn", PLAIN))
    for schema in ("one", "Two %"):
        engine = schemas.engine.execution_options(schema_translate_map={None: schema})
        table.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(table), [{"id": n, "ssn": f"v-{n}"} for n in range(3)])
            connection.execute(update(table).where(table.c.id == 2).values(ssn="changed"))
            assert connection.scalar(select(table.c.id).where(table.c.ssn == "changed")) == 2
        there = table_of(Column("ssn", PLAIN), schema=schema)
        held = stored(schemas, there, "ssn_bidx")
        expect = {0: "v-0", 1: "v-1", 2: "changed"}
        assert held == {(n,): SSN.of(schemas, {"ssn": v}) for n, v in expect.items()}
