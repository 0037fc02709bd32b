"""Text keys that the database takes for equal though they are spelt differently."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Enum,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.errors import AmbiguousRowError
from tests.database import CANARY, Database


class Base(DeclarativeBase):
    pass


class Country(Base):
    """Its key matches in any case: MariaDB by default, SQLite because of its collation."""

    __tablename__ = "country"

    code: Mapped[str] = mapped_column(
        String(20).with_variant(String(20, collation="NOCASE"), "sqlite"), primary_key=True
    )
    secret: Mapped[str | None] = mapped_column(EncryptedType())


country: Any = Country.__table__


@pytest.fixture(params=["sqlite", "mariadb"])
def insensitive(request) -> Database:
    """The rows 'abc' and 'other' where ``'ABC' = 'abc'`` is true."""
    db = Database(request.getfixturevalue(request.param))
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all([Country(code="abc", secret="old"), Country(code="other", secret="o")])
        session.commit()
    return db


def secrets(db: Database) -> list[tuple[str, str | None]]:
    with db.session() as session:
        return sorted((c.code, c.secret or "") for c in session.scalars(select(Country)))


def test_the_premise_holds(insensitive):
    with insensitive.begin() as connection:
        found = connection.scalar(select(country.c.code).where(country.c.code == "ABC"))
    assert found == "abc"


def test_a_core_update_of_another_spelling_stays_readable(insensitive):
    with insensitive.begin() as connection:
        done = connection.execute(
            update(country).where(country.c.code == "ABC").values(secret="new")
        )
        assert done.rowcount == 1
    assert secrets(insensitive) == [("abc", "new"), ("other", "o")]


def test_a_core_update_of_many_spellings_stays_readable(insensitive):
    spellings = {"aBC": "one", "OTHER": "two", "no": "x"}
    statement = update(country).where(country.c.code == bindparam("k"))
    with insensitive.begin() as connection:
        connection.execute(
            statement, [{"k": code, "secret": secret} for code, secret in spellings.items()]
        )
    assert secrets(insensitive) == [("abc", "one"), ("other", "two")]


def test_an_orm_update_of_an_object_got_by_another_spelling_stays_readable(insensitive):
    with insensitive.session() as session:
        session.get_one(Country, "ABC").secret = "new"
        session.commit()
    assert secrets(insensitive) == [("abc", "new"), ("other", "o")]


def test_an_orm_bulk_update_of_another_spelling_stays_readable(insensitive):
    with insensitive.session() as session:
        session.execute(update(Country), [{"code": "ABC", "secret": "new"}])
        session.commit()
    assert secrets(insensitive)[0] == ("abc", "new")


def test_a_merge_of_another_spelling_stays_readable(insensitive):
    with insensitive.session() as session:
        session.merge(Country(code="ABC", secret="new"))
        session.commit()
    assert [secret for _, secret in secrets(insensitive)] == ["new", "o"]


def test_an_update_that_sets_the_key_to_its_other_spelling_is_bound_to_the_new_one(insensitive):
    with insensitive.begin() as connection:
        connection.execute(
            update(country).where(country.c.code == "abc").values(code="ABC", secret="new")
        )
    assert secrets(insensitive) == [("ABC", "new"), ("other", "o")]


def test_trailing_blanks_that_the_database_ignores_stay_readable(mariadb_db):
    mariadb_db.create(Base.metadata)
    with mariadb_db.begin() as connection:
        connection.execute(insert(country).values(code="a  ", secret="old"))
        connection.execute(update(country).where(country.c.code == "a").values(secret="new"))
    assert secrets(mariadb_db) == [("a  ", "new")]


def test_accents_that_the_database_ignores_stay_readable(mariadb_db):
    mariadb_db.create(Base.metadata)
    with mariadb_db.begin() as connection:
        connection.execute(insert(country).values(code="zürich", secret="old"))
        found = connection.execute(
            update(country).where(country.c.code == "Zurich").values(secret="new")
        )
        assert found.rowcount == 1
    assert secrets(mariadb_db) == [("zürich", "new")]


def test_several_spellings_of_a_key_that_is_not_unique_are_refused(insensitive):
    code = String(20).with_variant(String(20, collation="NOCASE"), "sqlite")
    table = Table(
        "many",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("code", code),
        Column("v", EncryptedType(bind_to="code")),
    )
    insensitive.create(table.metadata)
    with insensitive.begin() as connection:
        connection.execute(
            insert(table), [{"code": c, "v": c} for c in ("abc", "ABC", "one", "one")]
        )
    change = update(table).values(v=CANARY)
    with insensitive.begin() as connection, insensitive.refused(AmbiguousRowError, table) as caught:
        connection.execute(change.where(table.c.code == "abc"))
    assert "spelt" in str(caught.value)
    with insensitive.begin() as connection:
        assert connection.execute(change.where(table.c.code == "ONE")).rowcount == 2
        assert connection.scalars(select(table.c.v)).all() == ["abc", "ABC", CANARY, CANARY]


def test_an_exact_collation_costs_no_look_up(db):
    collation = "utf8mb4_0900_bin" if db.name == "mysql" else "utf8mb4_nopad_bin"
    exact = String(20).with_variant(String(20, collation=collation), "mysql")
    table = Table(
        "exact", MetaData(), Column("code", exact, primary_key=True), Column("v", EncryptedType())
    )
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"code": c, "v": c} for c in ("abc", "ABC")])
        # The first UPDATE of a table may be read back.
        connection.execute(update(table).where(table.c.code == "abc").values(v="old"))
        with db.statements() as seen:
            connection.execute(update(table).where(table.c.code == "abc").values(v="new"))
        assert len(seen) == 1
        rows = connection.execute(select(table)).all()
    assert sorted(tuple(row) for row in rows) == [("ABC", "ABC"), ("abc", "new")]


def test_an_enum_of_texts_that_is_not_validated_stays_readable(insensitive):
    table = Table(
        "letters",
        MetaData(),
        Column("code", Enum("a", "b", name="letters_enum"), primary_key=True),
        Column("v", EncryptedType()),
    )
    insensitive.create(table.metadata)
    with insensitive.begin() as connection:
        connection.execute(insert(table).values(code="a", v="old"))
        connection.execute(update(table).where(table.c.code == "A").values(v="new"))
        value = connection.scalar(select(table.c.v).where(table.c.code == "a"))
    assert value == ("new" if insensitive.name == "mariadb" else "old")


def test_a_deterministic_collation_of_postgresql_distinguishes_cases(postgresql_db):
    postgresql_db.create(Base.metadata)
    with postgresql_db.begin() as connection:
        connection.execute(insert(country), [{"code": c, "secret": c} for c in ("abc", "ABC")])
        connection.execute(update(country).where(country.c.code == "abc").values(secret="new"))
    assert secrets(postgresql_db) == [("ABC", "ABC"), ("abc", "new")]


def test_an_insensitive_collation_of_postgresql_stays_readable(postgresql_db):
    table = Table(
        "ci",
        MetaData(),
        Column("code", String(20, collation="insensitive"), primary_key=True),
        Column("v", EncryptedType()),
    )
    with postgresql_db.begin() as connection:
        connection.execute(
            text(
                "CREATE COLLATION insensitive (provider = icu, locale = 'und-u-ks-level2',"
                " deterministic = false)"
            )
        )
    try:
        postgresql_db.create(table.metadata)
        with postgresql_db.begin() as connection:
            connection.execute(insert(table).values(code="abc", v="old"))
            connection.execute(update(table).where(table.c.code == "ABC").values(v="new"))
            assert connection.execute(select(table)).one() == ("abc", "new")
    finally:
        table.drop(postgresql_db.engine)
        with postgresql_db.begin() as connection:
            connection.execute(text("DROP COLLATION insensitive"))
