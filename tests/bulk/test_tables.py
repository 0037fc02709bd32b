"""Tables of every shape: keys, inheritance, key templates, partitions."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import (
    BINARY,
    CHAR,
    DOUBLE,
    REAL,
    VARBINARY,
    Enum,
    ForeignKey,
    LargeBinary,
    String,
    create_engine,
    inspect,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.survey.census import census
from encfields.bulk.survey.verify import verify
from encfields.errors import DeclarationError
from tests.attached import attach_with_kept_keys
from tests.bulk.support import WRAPPING_KEY, Clinic


class Base(DeclarativeBase):
    pass


class ByUuid(Base):
    __tablename__ = "by_uuid"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByPair(Base):
    __tablename__ = "by_pair"
    ward: Mapped[str] = mapped_column(String(10), primary_key=True)
    bed: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByText(Base):
    __tablename__ = "by_text"
    code: Mapped[str] = mapped_column(String(20), primary_key=True)
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByCollatedText(Base):
    """Of another collation than its database."""

    __tablename__ = "by_collated_text"
    code: Mapped[str] = mapped_column(
        String(20)
        .with_variant(String(20, collation="C"), "postgresql")
        .with_variant(String(20, collation="utf8mb4_bin"), "mysql", "mariadb"),
        primary_key=True,
    )
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByEnum(Base):
    """MySQL sorts these by their number, and compares them with a text as texts."""

    __tablename__ = "by_enum"
    kind: Mapped[str] = mapped_column(Enum("z", "a", "m", name="kind_of_key"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByChar(Base):
    __tablename__ = "by_char"
    code: Mapped[str] = mapped_column(CHAR(6), primary_key=True)
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByBytes(Base):
    __tablename__ = "by_bytes"
    code: Mapped[bytes] = mapped_column(
        LargeBinary().with_variant(VARBINARY(20), "mysql", "mariadb"), primary_key=True
    )
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByFixedBytes(Base):
    """As a type of GUIDs stores them. To SQLite the type is a name, and PostgreSQL has none."""

    __tablename__ = "by_fixed_bytes"
    code: Mapped[bytes] = mapped_column(
        LargeBinary().with_variant(BINARY(4), "sqlite", "mysql", "mariadb"), primary_key=True
    )
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByDate(Base):
    __tablename__ = "by_date"
    day: Mapped[dt.date] = mapped_column(primary_key=True)
    secret: Mapped[str] = mapped_column(EncryptedType(String))


class ByReal(Base):
    """0.1 in single precision is more than 0.1, and so for ever the next row; a third of it in
    double precision has more places than ten."""

    __tablename__ = "by_real"
    size: Mapped[float] = mapped_column(
        REAL().with_variant(DOUBLE(), "mysql", "mariadb"), primary_key=True
    )
    number: Mapped[int]
    secret: Mapped[str] = mapped_column(EncryptedType(String, bind_to="number"))


class ByTime(Base):
    """A time cannot identify a row; it can be walked by."""

    __tablename__ = "by_time"
    at: Mapped[dt.datetime] = mapped_column(primary_key=True)
    number: Mapped[int]
    secret: Mapped[str] = mapped_column(EncryptedType(String, bind_to="number"))


class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(EncryptedType(String))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Doctor(Person):
    __tablename__ = "doctor"
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    licence: Mapped[str] = mapped_column(EncryptedType(String))
    __mapper_args__ = {"polymorphic_identity": "doctor"}  # noqa: RUF012


class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    secret: Mapped[str] = mapped_column(EncryptedType(String, key="tenant/{tenant}"))


class Odd(Base):
    """Names that have to be quoted, percent signs included."""

    __tablename__ = 'order "%s" by'
    key: Mapped[int] = mapped_column("select", primary_key=True)
    secret: Mapped[str] = mapped_column("100% secret", EncryptedType(String))


FIRST_DAY = dt.date(2026, 1, 1)
ROWS = {
    ByUuid: lambda i: {"id": uuid.uuid5(uuid.NAMESPACE_OID, str(i))},
    ByPair: lambda i: {"ward": f"w{i % 7}", "bed": i},
    ByText: lambda i: {"code": f"{'Ab'[i % 2]}é'\\% {i}"},
    ByCollatedText: lambda i: {"code": f"{'Ab'[i % 2]}é'\\% {i}"},
    ByEnum: lambda i: {"kind": "zam"[i % 3], "number": i},
    ByChar: lambda i: {"code": f"c{i}"},
    ByBytes: lambda i: {"code": b"\xff'\\%%\0" + str(i).encode()},
    ByFixedBytes: lambda i: {"code": i.to_bytes(4, "little")},
    ByDate: lambda i: {"day": FIRST_DAY + dt.timedelta(days=i)},
    ByTime: lambda i: {"at": dt.datetime(2026, 1, 1, second=i % 60, minute=i // 60), "number": i},
    ByReal: lambda i: {"size": i / 8 if i % 2 else i / 30, "number": i},
    Odd: lambda i: {"key": i},
}


@pytest.fixture
def tables(backend) -> Clinic:
    """Keys, and no table: each test makes those that it is about."""
    return Clinic(backend, None)


def make(clinic: Clinic, *models: Any) -> None:
    Base.metadata.create_all(clinic.engine, tables=[model.__table__ for model in models])


def spec_of(model: Any) -> TableSpec:
    return TableSpec.from_table(model.__table__)


def fill(clinic: Clinic, model: Any, rows: int = 150) -> None:
    """Make a table, with rows in it."""
    make(clinic, model)
    with Session(clinic.engine) as session:
        session.add_all([model(**ROWS[model](i), secret=f"secret {i}") for i in range(1, rows + 1)])
        session.commit()


@pytest.mark.parametrize("model", ROWS, ids=lambda model: model.__name__)
def test_rows_are_walked_by_any_primary_key(tables, model):
    fill(tables, model)
    before = tables.values(model)
    version = tables.rotate()
    report = tables.run(spec_of(model), batch_rows=20, range_rows=50).run()
    assert report.finished
    assert (report.rows_seen, report.rows_written) == (150, 150)
    assert tables.versions(model) == {("default", version): 150}
    assert tables.values(model) == before
    assert tables.run(spec_of(model), batch_rows=20).ensure().current == 150
    assert census(tables.engine, spec_of(model), batch_rows=20).rows == 150


def test_joined_table_inheritance_is_two_tables(tables):
    make(tables, Person, Doctor)
    with Session(tables.engine) as session:
        session.add_all([Doctor(id=i, name=f"n{i}", licence=f"l{i}") for i in range(1, 60)])
        session.add_all([Person(id=i, name=f"n{i}") for i in range(60, 80)])
        session.commit()
    version = tables.rotate()
    for model in (Person, Doctor):
        assert tables.run(spec_of(model)).run().finished
    assert tables.versions(Person) == {("default", version): 79}
    assert tables.versions(Doctor) == {("default", version): 59}
    with Session(tables.engine) as session:
        doctor = session.get_one(Doctor, 7)
        assert (doctor.name, doctor.licence) == ("n7", "l7")


def test_each_tenants_values_move_to_that_tenants_active_version(tables):
    make(tables, Account)
    for tenant in range(4):
        tables.encryption.keys.create(f"tenant/{tenant}")
    with Session(tables.engine) as session:
        session.add_all([Account(id=i, tenant=i % 4, secret=f"secret {i}") for i in range(1, 101)])
        session.commit()
    before = tables.values(Account)
    rotated = tables.rotate("tenant/2")
    report = tables.run(spec_of(Account)).run()
    assert report.rows_written == 25
    assert tables.versions(Account)[("tenant/2", rotated)] == 25
    assert tables.values(Account) == before


def test_a_key_of_which_the_server_shows_a_rounded_number_is_refused(tables):
    if tables.backend.family != "mariadb":
        pytest.skip("the others show the number that is stored")
    with tables.engine.begin() as connection:
        connection.execute(text("CREATE TABLE rounds (size FLOAT PRIMARY KEY, secret BLOB, n INT)"))
    spec = TableSpec.of("rounds", [SealedColumn("secret", bind_to=("n",))])
    with pytest.raises(DeclarationError, match=r"rounds.size: .* make it DOUBLE or DECIMAL"):
        tables.run(spec).run()


NO_KEYS = {
    "postgresql": {
        "TIME": "'10:00'",
        "INTERVAL": "'1 day'",
        "INET": "'::1'",
        "BIT(4)": "'0101'",
        "INT[]": "'{1}'",
        "DATE": "'infinity'",
        "TIMESTAMP": "'0044-03-15 BC'",
    },
    "mariadb": {"TIME": "'10:00'", "SET('a','b')": "'a,b'"},
    "sqlite": {"TEXT": "NULL"},
}


def test_a_key_that_a_table_cannot_be_walked_by_is_refused_before_a_run_is_recorded(tables):
    binary = "BYTEA" if tables.backend.family == "postgresql" else "BLOB"
    for number, (kind, value) in enumerate(NO_KEYS[tables.backend.family].items()):
        with tables.engine.begin() as connection:
            for statement in (
                f"CREATE TABLE odd{number} (kept {kind} PRIMARY KEY, secret {binary}, n INT)",
                f"INSERT INTO odd{number} (kept, n) VALUES ({value}, 1)",
            ):
                connection.exec_driver_sql(statement)
        run = tables.run(TableSpec.of(f"odd{number}", [SealedColumn("secret", bind_to=("n",))]))
        with pytest.raises(DeclarationError, match=rf"odd{number}\.kept: .*key") as refused:
            run.record()
        assert refused.value.reason == "primary-key"
        assert not inspect(tables.engine).has_table("encfields_runs")


def test_a_census_names_a_key_that_cannot_be_read_and_counts_no_part_of_a_table(backend):
    tables = Clinic(backend, Base)
    key = {"sqlite": "TEXT", "postgresql": "DATE"}.get(backend.family)
    if key is None:
        pytest.skip("the server has no such keys")
    keys = ["NULL", "'a'"] if key == "TEXT" else ["'2026-01-01'", "'infinity'"]
    spec = TableSpec.of("odd", [SealedColumn("secret", bind_to=("n",))])
    with tables.engine.begin() as connection:
        blob = "BLOB" if key == "TEXT" else "BYTEA"
        connection.exec_driver_sql(
            f"CREATE TABLE odd (kept {key} PRIMARY KEY, secret {blob}, n INT)"
        )
        for number, one in enumerate(keys):
            connection.exec_driver_sql(f"INSERT INTO odd (kept, n) VALUES ({one}, {number})")
    for look in (
        lambda: census(tables.engine, spec, batch_rows=1),
        lambda: verify(tables.engine, tables.encryption, spec, batch_rows=1),
        lambda: tables.run(spec, batch_rows=1).dry_run(),
        lambda: tables.run(spec, batch_rows=1).ensure(),
    ):
        with pytest.raises(DeclarationError, match=r"odd\.kept: .*key"):
            look()


def test_a_driver_that_reads_infinity_as_the_last_date_does_not_go_round_for_ever(postgresql):
    pytest.importorskip("psycopg2")
    engine = create_engine(postgresql.url.set(drivername="postgresql+psycopg2"))
    encryption = attach_with_kept_keys(engine, WRAPPING_KEY)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE odd (kept DATE PRIMARY KEY, secret BYTEA, n INT)")
        connection.exec_driver_sql("INSERT INTO odd (kept, n) VALUES ('infinity', 1)")
    spec = TableSpec.of("odd", [SealedColumn("secret", bind_to=("n",))])
    for run in (
        Reencryption(engine, encryption, spec).dry_run,
        lambda: census(engine, spec, batch_rows=1),
    ):
        with pytest.raises(DeclarationError, match=r"odd\.kept: .*infinity"):
            run()
    engine.dispose()


def test_a_table_without_a_primary_key_is_refused(tables):
    with tables.engine.begin() as connection:
        binary = "BYTEA" if tables.backend.name == "postgresql" else "BLOB"
        connection.execute(text(f"CREATE TABLE keyless (number INTEGER, secret {binary})"))
    spec = TableSpec.of("keyless", [SealedColumn("secret", bind_to=("number",))])
    with pytest.raises(DeclarationError, match="no primary key"):
        Reencryption(tables.engine, tables.encryption, spec).record()


def test_a_partitioned_table_is_walked_through_its_parent(postgresql):
    clinic = Clinic(postgresql, None)
    with clinic.engine.begin() as connection:
        for statement in (
            "CREATE TABLE by_pair (ward varchar(10), bed int, secret bytea NOT NULL,"
            " PRIMARY KEY (ward, bed)) PARTITION BY HASH (ward)",
            *(
                f"CREATE TABLE by_pair_{i} PARTITION OF by_pair"
                f" FOR VALUES WITH (MODULUS 3, REMAINDER {i})"
                for i in range(3)
            ),
        ):
            connection.execute(text(statement))
    fill(clinic, ByPair)
    before = clinic.values(ByPair)
    version = clinic.rotate()
    assert clinic.run(spec_of(ByPair)).run().finished
    assert clinic.versions(ByPair) == {("default", version): 150}
    assert clinic.values(ByPair) == before
