"""Upserts whose SET gives a value by itself, as in ``set_={"number": "..."}`` and ``set_=data``."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Integer,
    String,
    UniqueConstraint,
    bindparam,
    func,
    literal,
    null,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, blind
from encfields.errors import (
    AmbiguousRowError,
    BindingError,
    CiphertextCopyError,
    IdentityChangeError,
    ValueEncodingError,
)
from tests.database import CANARY, Database


class Base(DeclarativeBase):
    pass


class Account(Base):
    """Its names are not its attributes' names, and want quoting."""

    __tablename__ = "the account"

    id: Mapped[int] = mapped_column("key", Integer, primary_key=True, autoincrement=False)
    name: Mapped[str | None] = mapped_column(String(20))
    email: Mapped[str | None] = mapped_column(
        "e-mail", EncryptedType(String(90), index=BlindIndex()), key="mail"
    )
    notes: Mapped[Any] = mapped_column(EncryptedType(JSON), nullable=True)


class Login(Base):
    """Identified by a tenant and a name; two of its values have an index together."""

    __tablename__ = "login"
    __table_args__ = (UniqueConstraint("tenant", "name"), CompoundBlindIndex("who", "one", "two"))

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    name: Mapped[str] = mapped_column(
        String(20).with_variant(String(20, collation="utf8mb4_bin"), "mysql", "mariadb")
    )
    one: Mapped[str | None] = mapped_column(
        EncryptedType(key="tenant/{tenant}", bind_to="name", index=BlindIndex())
    )
    two: Mapped[str | None] = mapped_column(EncryptedType(key="tenant/{tenant}", bind_to="name"))


account: Any = Account.__table__
login: Any = Login.__table__


class Upserting:
    """A database, and its upsert in one form."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.is_mysql = database.backend.family == "mariadb"

    def insert(self, table: Any) -> Any:
        family = self.database.backend.family
        return {"sqlite": sqlite, "postgresql": postgresql, "mariadb": mysql}[family].insert(table)

    def upsert(self, statement: Any, set_: Any, *target: str) -> Any:
        if self.is_mysql:
            return statement.on_duplicate_key_update(set_)
        return statement.on_conflict_do_update(index_elements=list(target), set_=set_)


def with_rows(database: Database) -> Upserting:
    for tenant in (1, 2):
        database.create_key(f"tenant/{tenant}")
    database.create(Base.metadata)
    with database.session() as session:
        session.add(Account(id=1, name="old", email="old", notes=["old"]))
        session.add(Login(tenant=1, name="ada", one="old", two="old"))
        session.commit()
    return Upserting(database)


@pytest.fixture
def there(db: Database) -> Upserting:
    return with_rows(db)


@pytest.fixture(params=["sqlite_db", "postgresql_db"])
def with_many(request: pytest.FixtureRequest) -> Upserting:
    """Not MariaDB: PyMySQL itself cannot execute such a statement for many rows."""
    return with_rows(request.getfixturevalue(request.param))


def held(session: Session, n: int = 1) -> tuple[Any, ...]:
    session.expire_all()
    one = session.get_one(Account, n)
    return one.name, one.email, one.notes


def found(session: Session, email: str) -> list[int]:
    return list(session.scalars(select(Account.id).where(Account.email == email)))


def test_set_takes_the_dictionary_that_values_was_given(there):
    data = {"key": 1, "name": "new", "mail": CANARY, "notes": {"a": 1}}
    with there.database.session() as session:
        for n in (1, 2):
            statement = there.insert(account).values(**{**data, "key": n})
            session.execute(there.upsert(statement, {**data, "key": n}, "key"))
            assert held(session, n) == ("new", CANARY, {"a": 1})
        assert found(session, CANARY) == [1, 2]
        assert found(session, "old") == []
        session.commit()
    there.database.assert_no_plaintext()


def test_a_value_may_be_given_later_by_name(there):
    set_ = {"key": 1, "mail": bindparam("new"), "notes": None}
    statement = there.upsert(there.insert(account).values(key=1, mail="x"), set_, "key")
    with there.database.session() as session:
        session.execute(statement, {"new": "given"})
        assert held(session) == ("old", "given", None)
        assert found(session, "given") == [1]


@pytest.mark.parametrize("given, kept", [(None, "old"), ("new", "new")])
def test_the_old_value_stays_where_none_is_inserted(there, given, kept):
    statement = there.insert(account).values(key=1, mail=given)
    inserted = statement.inserted if there.is_mysql else statement.excluded
    set_ = {"mail": func.coalesce(inserted.mail, account.c.mail)}
    with there.database.session() as session:
        session.execute(there.upsert(statement, set_, "key"))
        assert held(session) == ("old", kept, ["old"])
        assert found(session, kept) == [1]


def test_a_mapped_class_is_upserted_alike(there):
    statement = there.insert(Account).values(id=1, email="x")
    set_ = {account.c.key: 1, account.c.mail: "given", account.c.notes: None}
    with there.database.session() as session:
        session.execute(there.upsert(statement, set_, "key"))
        assert held(session) == ("old", "given", None)
        assert found(session, "given") == [1]


def test_each_execution_has_its_own_value(there):
    with there.database.session() as session:
        for email, notes in (("first", 1), ("second", [2]), (None, None), ("fourth", "4")):
            statement = there.insert(account).values(key=1, mail="x")
            set_ = {account.c.key: 1, account.c.mail: email, account.c.notes: notes}
            session.execute(there.upsert(statement, set_, "key"))
            assert held(session) == ("old", email, notes)
        assert found(session, "fourth") == [1]


def test_nothing_keeps_the_value_of_a_compiled_statement(there):
    with there.database.begin() as connection:
        statement = there.insert(account).values(key=1, mail="x", notes=None)
        set_ = {"key": 1, "mail": CANARY, "notes": [CANARY]}
        connection.execute(there.upsert(statement, set_, "key"))
        cached = list(there.database.engine._compiled_cache.values())
    assert not any(CANARY in str(vars(bind)) for one in cached for bind in one.binds.values())


def test_many_rows_have_a_value_each(with_many):
    statement = with_many.upsert(with_many.insert(account), {"mail": bindparam("new")}, "key")
    rows = [{"key": n, "mail": "first", "new": f"new-{n}"} for n in (1, 2, 3)]
    with with_many.database.session() as session:
        session.connection().execute(statement, rows)
        assert [held(session, n)[1] for n in (1, 2, 3)] == ["new-1", "first", "first"]
        assert found(session, "new-1") == [1]


def test_one_value_for_rows_that_share_a_statement_is_refused(with_many):
    rows = [{"key": n, "mail": "new"} for n in (1, 2)]
    returning = with_many.upsert(with_many.insert(account), {"mail": CANARY}, "key")
    with (
        pytest.raises(AmbiguousRowError, match="for several rows"),
        with_many.database.begin() as connection,
    ):
        connection.execute(returning.returning(account.c.key), rows)
    several = with_many.upsert(with_many.insert(account).values(rows), {"mail": CANARY}, "key")
    with (
        pytest.raises(CiphertextCopyError, match="a single row"),
        with_many.database.begin() as connection,
    ):
        connection.execute(several)


def test_none_is_for_all_rows(with_many):
    rows = [{"key": n, "mail": "new"} for n in (1, 2)]
    several = with_many.upsert(with_many.insert(account).values(rows), {"mail": None}, "key")
    with with_many.database.session() as session:
        session.execute(several)
        assert [held(session, n)[1] for n in (1, 2)] == [None, "new"]


def test_set_may_not_give_the_row_another_key(there):
    for other in (2, None):
        statement = there.insert(account).values(key=1, mail=CANARY, notes=None)
        set_ = {"key": other, "mail": CANARY, "notes": None}
        with (
            pytest.raises(IdentityChangeError, match="another value than the inserted row"),
            there.database.begin() as connection,
        ):
            connection.execute(there.upsert(statement, set_, "key"))


@pytest.mark.parametrize(
    "value",
    [literal(CANARY, String), bindparam("x", CANARY, String), func.lower(CANARY), account.c.name],
    ids=["literal()", "typed", "function", "another column"],
)
def test_what_has_a_type_of_its_own_is_refused(there, value):
    statement = there.insert(account).values(key=1, mail="x", notes=None)
    set_ = {"key": 1, "mail": value, "notes": None}
    with pytest.raises(BindingError), there.database.begin() as connection:
        connection.execute(there.upsert(statement, set_, "key"))


def test_a_value_that_the_type_does_not_take_names_the_row(there):
    statement = there.insert(account).values(key=1, mail="x", notes=None)
    set_ = {"key": 1, "mail": object(), "notes": null()}
    with pytest.raises(ValueEncodingError) as caught, there.database.begin() as connection:
        connection.execute(there.upsert(statement, set_, "key"))
    assert caught.value.row == {"key": "1"}
    assert caught.value.column == "e-mail"


@pytest.mark.parametrize("other", ["value", "inserted", "inserted NULL", "None"])
def test_an_index_of_several_columns_follows_both(there, other):
    two = None if other == "inserted NULL" else "inserted"
    given = {"tenant": 1, "name": "ada", "one": "first", "two": two}
    statement = there.insert(login).values(**given)
    inserted = statement.inserted if there.is_mysql else statement.excluded
    own = {"value": "own", "None": None}
    set_ = {"tenant": 1, "name": "ada", "one": "new", "two": own.get(other, inserted.two)}
    with there.database.session() as session:
        session.execute(there.upsert(statement, set_, "tenant", "name"))
        one = session.scalars(select(Login)).one()
        expected = {"value": "own", "inserted": "inserted"}.get(other)
        assert (one.one, one.two) == ("new", expected)
        of_tenant = select(Login.name).where(Login.tenant == 1)
        assert session.scalars(of_tenant.where(Login.one == "new")).all() == ["ada"]
        both = blind(Login, "who").matches(one="new", two=expected or "inserted")
        assert session.scalars(of_tenant.where(both)).all() == (["ada"] if expected else [])


def test_half_of_an_index_of_several_columns_is_refused(with_many):
    statement = with_many.insert(login).values(tenant=1, name="ada", one="x", two="y")
    upsert = with_many.upsert(statement, {"one": CANARY}, "tenant", "name")
    with (
        pytest.raises(CiphertextCopyError, match="row that is hit would keep"),
        with_many.database.begin() as connection,
    ):
        connection.execute(upsert)
