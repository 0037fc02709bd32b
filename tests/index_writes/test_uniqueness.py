"""Uniqueness: the database itself refuses a second row of the same value."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_mock_engine,
    insert,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.errors import DeclarationError
from encfields.index.transforms import casefold, last
from encfields.testing import assert_absent
from tests.index_writes.expected import Index as Known
from tests.index_writes.expected import check_indexes, utf8

CANARY = "canary-4711-ssn"


def table_of(*items: Any, metadata: MetaData | None = None) -> Table:
    return Table(
        "t",
        metadata or MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", Integer),
        Column("name", String(20)),
        *items,
    )


def ssn(*indexes: BlindIndex, key: str = "default", **options: Any) -> Column[Any]:
    return Column("ssn", EncryptedType(key=key, index=indexes), **options)


def late(make: Any) -> Table:
    table = table_of(ssn(BlindIndex()))
    make(table)
    return table


EVERY_ROW = {
    "BlindIndex(unique=True)": lambda: table_of(ssn(BlindIndex(unique=True))),
    "Column(unique=True)": lambda: table_of(ssn(BlindIndex(), unique=True)),
    "Column(unique=True, index=True)": lambda: table_of(ssn(BlindIndex(), unique=True, index=True)),
    "UniqueConstraint": lambda: table_of(ssn(BlindIndex()), UniqueConstraint("ssn")),
    "a named UniqueConstraint": lambda: table_of(
        ssn(BlindIndex()), UniqueConstraint("ssn", name="u")
    ),
    "Index(unique=True)": lambda: table_of(ssn(BlindIndex()), Index("u", "ssn", unique=True)),
    "a late Index": lambda: late(lambda t: Index("u", t.c.ssn, unique=True)),
    "a late UniqueConstraint": lambda: late(
        lambda t: t.append_constraint(UniqueConstraint(t.c.ssn, name="u"))
    ),
    "a copy": lambda: table_of(ssn(BlindIndex(), unique=True)).to_metadata(MetaData()),
    "a copy of a constraint": lambda: table_of(
        ssn(BlindIndex()), UniqueConstraint("ssn", name="u")
    ).to_metadata(MetaData()),
    "beside a truncated index": lambda: table_of(
        ssn(BlindIndex(last(4), bits=8), BlindIndex(), unique=True)
    ),
}


def rows(*values: str | None) -> list[dict[str, Any]]:
    return [{"id": n, "tenant": 1, "ssn": value} for n, value in enumerate(values)]


def refused(db: Any, table: Table, row: dict[str, Any]) -> None:
    """A row is refused with the ordinary error, which shows no value."""
    before = len(db.rows(table))
    for values in (row, [row, {**row, "id": 98}]):
        with pytest.raises(IntegrityError) as caught, db.begin() as connection:
            connection.execute(insert(table), values)
        assert_absent(CANARY, caught.value)
    assert len(db.rows(table)) == before


@pytest.mark.parametrize("make", EVERY_ROW.values(), ids=EVERY_ROW.keys())
def test_a_second_row_of_the_same_value_is_refused(db, make):
    table = make()
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), rows(CANARY, "other", None, None))
    refused(db, table, {"id": 99, "tenant": 2, "ssn": CANARY})
    with db.begin() as connection:
        connection.execute(insert(table).values(id=99, ssn=CANARY.upper()))
    check_indexes(db, table, Known("ssn_bidx", "t.ssn", {"ssn": utf8}))


PER_TENANT = {
    "UniqueConstraint": lambda: table_of(ssn(BlindIndex()), UniqueConstraint("tenant", "ssn")),
    "Index": lambda: table_of(ssn(BlindIndex()), Index("u", "tenant", "ssn", unique=True)),
    "a late Index": lambda: late(lambda t: Index("u", t.c.tenant, t.c.ssn, unique=True)),
    "a key of each tenant": lambda: table_of(ssn(BlindIndex(unique=True), key="tenant/{tenant}")),
    "a key of each tenant, Column(unique=True)": lambda: table_of(
        ssn(BlindIndex(), key="tenant/{tenant}", unique=True)
    ),
}


@pytest.mark.parametrize("make", PER_TENANT.values(), ids=PER_TENANT.keys())
def test_another_tenant_may_have_the_same_value(db, make):
    table = make()
    db.create(table.metadata)
    for tenant in (1, 2):
        db.create_key(f"tenant/{tenant}")
    with db.begin() as connection:
        connection.execute(insert(table).values(id=1, tenant=1, ssn=CANARY))
        connection.execute(insert(table).values(id=2, tenant=2, ssn=CANARY))
    refused(db, table, {"id": 99, "tenant": 2, "ssn": CANARY})


def test_a_unique_index_of_a_transform_refuses_what_it_does_not_tell_apart(db):
    table = table_of(ssn(BlindIndex(casefold, unique=True)))
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), rows("Straße@X.org", "other"))
    for again in ("STRASSE@x.ORG", "straße@x.org"):
        with pytest.raises(IntegrityError), db.begin() as connection:
            connection.execute(insert(table).values(id=99, ssn=again))
    with db.begin() as connection:
        connection.execute(insert(table).values(id=99, ssn="strase@x.org"))


def test_a_unique_compound_index(db):
    table = table_of(
        Column("a", EncryptedType()),
        Column("b", EncryptedType()),
        CompoundBlindIndex("both", "a", "b", unique=True),
    )
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(
            insert(table),
            [{"id": n, "a": "x", "b": b} for n, b in enumerate(("y", "z", None))],
        )
        connection.execute(insert(table).values(id=4, a="x"))
    with pytest.raises(IntegrityError), db.begin() as connection:
        connection.execute(insert(table).values(id=5, a="x", b="y"))


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex()), unique=True)


class Client(Base):
    __tablename__ = "client"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str | None] = mapped_column(EncryptedType(index=BlindIndex()))


Index("ix_late", Client.ssn, unique=True)


@pytest.mark.parametrize("model", [Patient, Client])
def test_a_flush_is_refused_and_the_session_usable_afterwards(db, model):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all([model(ssn=CANARY), model(ssn="other")])
        session.commit()
        session.add(model(ssn=CANARY))
        with pytest.raises(IntegrityError) as caught:
            session.commit()
        assert_absent(CANARY, caught.value)
        session.rollback()
        session.query(model).filter(model.ssn == "other").one().ssn = CANARY
        with pytest.raises(IntegrityError) as caught:
            session.commit()
        assert_absent(CANARY, caught.value)
        session.rollback()
        session.add(model(ssn="third"))
        session.commit()


# -- names -------------------------------------------------------------------------------------

CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
WITHOUT_IX = {"pk": "pk_%(table_name)s"}
BY_NAME = {**CONVENTION, "uq": "uq_%(table_name)s_%(constraint_name)s"}


def names(table: Table) -> set[Any]:
    rules: list[Any] = [*table.constraints, *table.indexes]
    return {rule.name for rule in rules} - {"pk_t"}


def test_a_naming_convention_names_the_index_of_the_column():
    table = table_of(ssn(BlindIndex()), metadata=MetaData(naming_convention=CONVENTION))
    assert names(table) == {"ix_t_ssn_bidx"}


@pytest.mark.parametrize("schema", [None, "some.schema"])
def test_an_index_has_its_usual_name_under_a_naming_convention_without_indexes(schema):
    usual, other = MetaData(schema=schema), MetaData(schema=schema, naming_convention=WITHOUT_IX)
    table = table_of(ssn(BlindIndex()), metadata=other)
    assert names(table) == names(table_of(ssn(BlindIndex()), metadata=usual)) - {None}
    assert names(table.to_metadata(MetaData(naming_convention=WITHOUT_IX))) == names(table)
    other.create_all(create_mock_engine("sqlite://", lambda *_: None))


def test_a_naming_convention_names_a_moved_constraint_as_it_was_declared():
    metadata = MetaData(naming_convention=CONVENTION)
    table = table_of(ssn(BlindIndex()), UniqueConstraint("tenant", "ssn"), metadata=metadata)
    assert names(table) == {"ix_t_ssn_bidx", "uq_t_tenant"}
    assert names(table.to_metadata(MetaData(naming_convention=CONVENTION))) == names(table)


def test_a_name_goes_through_a_naming_convention_once():
    metadata = MetaData(naming_convention=BY_NAME)
    table = table_of(ssn(BlindIndex()), UniqueConstraint("ssn", name="once"), metadata=metadata)
    assert names(table) == {"ix_t_ssn_bidx", "uq_t_once"}


def test_the_rule_of_a_second_version_has_a_name_of_its_own():
    for convention, first, second in (
        (None, "once", "once_v2"),
        (BY_NAME, "uq_t_once", "uq_t_once_v2"),
    ):
        metadata = MetaData(naming_convention=convention)
        table = table_of(
            ssn(BlindIndex(versions=(1, 2))),
            UniqueConstraint("ssn", name="once"),
            metadata=metadata,
        )
        assert names(table) - {None} == {"ix_t_ssn_bidx", "ix_t_ssn_bidx_v2", first, second}


def test_a_rule_of_two_columns_of_which_one_is_rotated():
    table = table_of(
        ssn(BlindIndex(versions=(1, 2))),
        Column("mail", EncryptedType(index=BlindIndex())),
        UniqueConstraint("ssn", "mail", name="once"),
    )
    moved = {
        rule.name: [column.name for column in rule.columns]
        for rule in table.constraints
        if isinstance(rule, UniqueConstraint)
    }
    assert moved == {
        "once": ["ssn_bidx", "mail_bidx"],
        "once_v2": ["ssn_bidx_v2", "mail_bidx"],
    }


def test_nothing_of_a_rule_is_left_on_the_ciphertext():
    table = table_of(
        ssn(BlindIndex(), unique=True, index=True),
        Index("ix_name", "name", "ssn", postgresql_using="btree"),
        Index("ix_2", "ssn"),
    )
    for rule in (*table.constraints, *table.indexes):
        assert table.c.ssn not in set(rule.columns)  # type: ignore[attr-defined]
    by_name = {str(index.name): index for index in table.indexes}
    assert [c.name for c in by_name["ix_name"].columns] == ["name", "ssn_bidx"]
    assert by_name["ix_name"].dialect_kwargs["postgresql_using"] == "btree"


def test_an_expression_beside_the_column_stays():
    table = table_of(ssn(BlindIndex()))
    index = Index("ix_down", table.c.name.desc(), table.c.ssn)
    assert index not in table.indexes
    (moved,) = [one for one in table.indexes if one.name == "ix_down"]
    assert "DESC" in str(moved.expressions[0])
    assert list(moved.columns) == [table.c.name, table.c.ssn_bidx]


# -- what is refused ---------------------------------------------------------------------------

REFUSED = {
    "Column(unique=True)": lambda: table_of(ssn(unique=True)),
    "UniqueConstraint": lambda: table_of(ssn(), UniqueConstraint("tenant", "ssn")),
    "Index(unique=True)": lambda: table_of(ssn(), Index("u", "ssn", unique=True)),
    "Index": lambda: table_of(ssn(), Index("u", "ssn")),
    "Column(index=True)": lambda: table_of(ssn(index=True)),
    "over a truncated index": lambda: table_of(ssn(BlindIndex(bits=64), unique=True)),
    "over a part of the value": lambda: table_of(ssn(BlindIndex(last(4)), unique=True)),
    "a late Index": lambda: Index("u", table_of(ssn()).c.ssn, unique=True),
}


@pytest.mark.parametrize("declare", REFUSED.values(), ids=REFUSED.keys())
def test_uniqueness_that_no_index_can_keep_is_refused_and_the_fix_named(declare):
    with pytest.raises(DeclarationError) as caught:
        declare()
    assert "index=BlindIndex()" in str(caught.value)
    assert (caught.value.table, caught.value.column) == ("t", "ssn")


SEARCHES = {
    "words": lambda: Index("i", "ssn", mysql_prefix="FULLTEXT", mariadb_prefix="FULLTEXT"),
    "words, with another column": lambda: Index("i", "name", "ssn", mariadb_prefix="FULLTEXT"),
    "trigrams": lambda: Index(
        "i", "ssn", postgresql_using="gin", postgresql_ops={"ssn": "gin_trgm_ops"}
    ),
    "paths": lambda: Index("i", "ssn", postgresql_ops={"ssn": "jsonb_path_ops"}),
}


@pytest.mark.parametrize("index", SEARCHES.values(), ids=SEARCHES.keys())
def test_an_index_of_parts_of_a_value_is_refused_where_it_is_declared(index):
    for blind_indexes in ((BlindIndex(),), ()):
        with pytest.raises(DeclarationError, match="is of parts of a value") as caught:
            table_of(ssn(*blind_indexes), index())
        assert (caught.value.table, caught.value.column) == ("t", "ssn")


def test_an_index_of_parts_of_another_column_is_the_application_s():
    words = Index("i", "name", mariadb_prefix="FULLTEXT")
    letters = Index("j", "name", "ssn", postgresql_ops={"name": "gin_trgm_ops"})
    table = table_of(ssn(BlindIndex()), words, letters)
    assert [column.name for column in words.columns] == ["name"]
    moved = next(index for index in table.indexes if index.name == "j")
    assert [column.name for column in moved.columns] == ["name", "ssn_bidx"]
    assert moved.dialect_kwargs["postgresql_ops"] == {"name": "gin_trgm_ops"}


def test_a_truncated_unique_index_is_refused():
    with pytest.raises(DeclarationError, match="bits"):
        BlindIndex(bits=64, unique=True)
    with pytest.raises(DeclarationError, match="bits"):
        CompoundBlindIndex("both", "a", "b", bits=64, unique=True)
