"""What cannot be protected as declared is refused when the model is defined."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    BINARY,
    VARBINARY,
    Column,
    Computed,
    DateTime,
    FetchedValue,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PickleType,
    Sequence,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.errors import DeclarationError
from encfields.testing import attach_locally


def _table(*columns: Column[Any], name: str = "patient") -> Table:
    return Table(name, MetaData(), Column("id", Integer, primary_key=True), *columns)


def _refused(*columns: Column[Any]) -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        _table(*columns)
    return caught.value


@pytest.mark.parametrize(
    "column, reason",
    [
        (Column("ssn", EncryptedType(), server_default="none"), "server-default"),
        (Column("ssn", EncryptedType(), server_default=text("'none'")), "server-default"),
        (Column("ssn", EncryptedType(), server_default=FetchedValue()), "server-default"),
        (Column("ssn", EncryptedType(), server_onupdate=FetchedValue()), "onupdate"),
        (Column("ssn", EncryptedType(), Computed("id + 1")), "computed"),
        (Column("ssn", EncryptedType(Integer), Identity()), "computed"),
        (Column("ssn", EncryptedType(), default=func.now()), "sql-default"),
        (Column("ssn", EncryptedType(), default=text("'x'")), "sql-default"),
        (Column("ssn", EncryptedType(), onupdate=func.now()), "sql-default"),
        (Column("ssn", EncryptedType(Integer), Sequence("numbers")), "sql-default"),
        (Column("ssn", EncryptedType(), primary_key=True), "primary-key"),
        (Column("ssn", EncryptedType(), ForeignKey("other.id")), "foreign-key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_column_whose_value_python_does_not_give_is_refused(
    column: Column[Any], reason: str
) -> None:
    error = _refused(column)
    assert (error.table, error.column) == ("patient", "ssn")
    assert error.reason == reason
    assert str(error).startswith("patient.ssn: ")


def test_a_foreign_key_constraint_of_the_table_is_refused() -> None:
    with pytest.raises(DeclarationError, match="foreign key") as caught:
        Table(
            "patient",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("ssn", EncryptedType()),
            ForeignKeyConstraint(["ssn"], ["other.ssn"]),
        )
    assert caught.value.column == "ssn"


@pytest.mark.parametrize(
    "rule",
    [
        UniqueConstraint("ssn"),
        UniqueConstraint("id", "ssn"),
        Index("ix", "ssn", unique=True),
        ExcludeConstraint(("id", "="), ("ssn", "="), using="btree"),
        None,
    ],
    ids=["constraint", "composite", "index", "exclusion", "column"],
)
def test_uniqueness_that_ciphertext_cannot_keep_is_refused(rule: Any) -> None:
    column: Column[Any] = Column("ssn", EncryptedType(), unique=rule is None)
    with pytest.raises(DeclarationError, match="no two ciphertexts") as caught:
        Table(
            "patient",
            MetaData(),
            Column("id", Integer, primary_key=True),
            column,
            *([] if rule is None else [rule]),
        )
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")
    assert caught.value.reason == "unique"


def test_a_refused_table_does_not_stay_in_its_metadata() -> None:
    metadata = MetaData()
    with pytest.raises(DeclarationError):
        Table("patient", metadata, Column("ssn", EncryptedType(), server_default="x"))
    assert "patient" not in metadata.tables


# -- the row's identity ------------------------------------------------------------------------


KEYLESS_USES = {
    "create": lambda table, connection: table.create(connection),
    "insert": lambda table, connection: connection.execute(table.insert(), {"ssn": "x"}),
    "select": lambda table, connection: connection.execute(table.select()),
    "update": lambda table, connection: connection.execute(table.update().values(ssn="x")),
}


@pytest.mark.parametrize("use", KEYLESS_USES.values(), ids=KEYLESS_USES)
def test_a_table_without_primary_key_is_refused_before_it_is_created_or_used(use: Any) -> None:
    """Not when it is defined: a reflected table gets its primary key later."""
    table = Table("log", MetaData(), Column("ssn", EncryptedType()))
    engine = create_engine("sqlite://")
    attach_locally(engine)
    refused = pytest.raises(DeclarationError, match=r"no primary key.*bind_to")
    with engine.connect() as connection, refused as caught:
        use(table, connection)
    assert (caught.value.table, caught.value.column) == ("log", "ssn")
    assert caught.value.reason == "no-identity"


def test_bind_to_serves_where_there_is_no_primary_key() -> None:
    table = Table(
        "log",
        MetaData(),
        Column("number", Integer),
        Column("ssn", EncryptedType(bind_to="number")),
    )
    assert "ssn" in table.c


def test_bind_to_an_unknown_column_is_refused() -> None:
    error = _refused(Column("ssn", EncryptedType(bind_to=("id", "tenant"))))
    assert "'tenant'" in str(error)
    assert (error.column, error.reason) == ("ssn", "bind_to")


def test_a_key_template_over_an_unknown_column_is_refused() -> None:
    error = _refused(Column("ssn", EncryptedType(key="tenant/{tenant_id}")))
    assert "'tenant_id'" in str(error)
    assert (error.column, error.reason) == ("ssn", "key")


@pytest.mark.parametrize(
    "template", ["", "{", "tenant/{}", "{0}", "{tenant.id}", "{tenant!r}", "{tenant:>8}", "a}}b"]
)
def test_a_malformed_key_template_is_refused_where_the_type_is_made(template: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        EncryptedType(key=template)
    assert caught.value.reason == "key"


def test_an_encrypted_column_that_identifies_the_row_is_refused() -> None:
    error = _refused(
        Column("code", EncryptedType()), Column("ssn", EncryptedType(bind_to=("code",)))
    )
    assert "itself encrypted" in str(error)
    assert (error.column, error.reason) == ("ssn", "identity")


class Money(TypeDecorator[Decimal]):
    impl = Numeric(10, 2)
    cache_ok = True


@pytest.mark.parametrize(
    "key_type",
    [Float(), Numeric(10, 0), DateTime(), Money(), ARRAY(Integer)],
    ids=lambda key_type: type(key_type).__name__,
)
def test_a_row_key_without_one_canonical_text_is_refused(key_type: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        Table(
            "reading",
            MetaData(),
            Column("at", key_type, primary_key=True),
            Column("ssn", EncryptedType()),
        )
    assert (caught.value.table, caught.value.column) == ("reading", "ssn")
    assert caught.value.reason == "identity-type"


_ACTIONS = [
    {"onupdate": "CASCADE"},
    {"onupdate": "set null"},
    {"onupdate": "SET DEFAULT"},
    {"ondelete": "SET DEFAULT"},
]


@pytest.mark.parametrize("action", _ACTIONS, ids=lambda action: " ".join(*action.items()))
@pytest.mark.parametrize("place", ["column", "constraint", "later", "later on the column"])
def test_a_foreign_key_that_changes_a_row_s_identity_is_refused(action: Any, place: str) -> None:
    key: Column[Any] = Column("tenant_id", Integer)
    rules: list[Any] = []
    if place == "column":
        key = Column("tenant_id", Integer, ForeignKey("tenant.id", **action))
    elif place == "constraint":
        rules = [ForeignKeyConstraint(["tenant_id"], ["tenant.id"], **action)]

    def define() -> None:
        body: Column[Any] = Column("body", EncryptedType(key="tenant/{tenant_id}"))
        table = Table("doc", MetaData(), Column("id", Integer, primary_key=True), key, body, *rules)
        if place == "later":
            late = ForeignKeyConstraint(["tenant_id"], ["tenant.id"], **action)
            table.append_constraint(late)
        else:
            table.c.tenant_id.append_foreign_key(ForeignKey("tenant.id", **action))

    with pytest.raises(DeclarationError, match="of a foreign key") as caught:
        define()
    assert (caught.value.table, caught.value.column) == ("doc", "body")
    assert caught.value.reason == "foreign-key-action"
    assert "tenant_id" in caught.value.message


@pytest.mark.parametrize("way", [{"bind_to": "c"}, {"key": "c/{c}"}, {}], ids=str)
def test_a_computed_column_that_identifies_the_row_is_refused(way: Any) -> None:
    with pytest.raises(
        DeclarationError, match=r"bound to c, which the database computes"
    ) as caught:
        Table(
            "doc",
            MetaData(),
            Column("id", Integer, primary_key=bool(way)),
            Column("c", Integer, Computed("id * 2"), primary_key=not way),
            Column("v", EncryptedType(**way)),
        )
    assert (caught.value.table, caught.value.column) == ("doc", "v")
    assert caught.value.reason == "computed"


@pytest.mark.parametrize("action", [{"ondelete": "CASCADE"}, {"ondelete": "SET NULL"}, {}])
def test_a_foreign_key_that_deletes_or_bereaves_a_row_is_accepted(action: Any) -> None:
    _table(
        Column("owner", Integer, ForeignKey("o.id", **action)),
        Column("v", EncryptedType(key="o/{owner}")),
    )


def test_a_foreign_key_that_no_value_is_bound_to_may_do_anything() -> None:
    _table(
        Column("owner", Integer, ForeignKey("o.id", onupdate="CASCADE")),
        Column("v", EncryptedType()),
    )


# -- the type itself ---------------------------------------------------------------------------


def test_pickle_is_refused_because_reading_one_runs_code() -> None:
    with pytest.raises(DeclarationError, match=r"PickleType.*runs code"):
        EncryptedType(PickleType)


class Wrapped(TypeDecorator[Any]):
    impl = EncryptedType
    cache_ok = True


@pytest.mark.parametrize(
    "inner",
    [EncryptedType(), EncryptedType, ARRAY(EncryptedType()), Wrapped()],
    ids=["instance", "class", "array", "decorated"],
)
def test_an_encrypted_type_in_another_is_refused(inner: Any) -> None:
    with pytest.raises(DeclarationError):
        EncryptedType(inner)


def test_a_variant_of_an_encrypted_type_is_refused() -> None:
    with pytest.raises(DeclarationError, match="variant"):
        EncryptedType().with_variant(String(), "sqlite")


def test_an_encrypted_type_as_variant_of_another_is_refused() -> None:
    with pytest.raises(DeclarationError, match="variant") as caught:
        Column("ssn", String().with_variant(EncryptedType(), "postgresql"))
    assert caught.value.column == "ssn"


def test_a_type_decorator_over_an_encrypted_type_is_refused() -> None:
    # The column's type is then the decorator, whose values nothing would seal.
    with pytest.raises(DeclarationError, match=r"EncryptedType\(YourTypeDecorator") as caught:
        Column("ssn", Wrapped())
    assert caught.value.column == "ssn"


# -- storage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [String(500), BINARY(500), VARBINARY(500)])
def test_storage_that_is_no_large_binary_is_refused(storage: Any) -> None:
    with pytest.raises(DeclarationError, match="LargeBinary"):
        EncryptedType(String(50), storage=storage)


def test_storage_that_is_too_small_is_refused_with_the_size_that_is_needed() -> None:
    error = _refused(Column("ssn", EncryptedType(String(50), storage=LargeBinary(400))))
    assert "400 bytes; its longest value takes 506" in str(error)
    assert (error.table, error.column, error.reason) == ("patient", "ssn", "storage")


@pytest.mark.parametrize("inner", [String(), LargeBinary()])
def test_bounded_storage_for_a_value_without_bound_is_refused(inner: Any) -> None:
    error = _refused(Column("ssn", EncryptedType(inner, storage=LargeBinary(4000))))
    assert "there is no longest stored value" in str(error)
    assert error.reason == "storage"


def test_bounded_storage_under_a_row_key_without_bound_is_refused() -> None:
    with pytest.raises(DeclarationError, match="there is no longest stored value"):
        Table(
            "patient",
            MetaData(),
            Column("id", String, primary_key=True),
            Column("ssn", EncryptedType(String(9), storage=LargeBinary(4000))),
        )


# -- declarative models ------------------------------------------------------------------------


def test_a_declarative_model_is_refused_when_its_class_is_made() -> None:
    class Base(DeclarativeBase):
        pass

    with pytest.raises(DeclarationError) as caught:

        class Patient(Base):
            __tablename__ = "patient"
            id: Mapped[int] = mapped_column(primary_key=True)
            ssn: Mapped[str] = mapped_column(EncryptedType(), server_default="none")

    assert (caught.value.table, caught.value.column) == ("patient", "ssn")


def test_a_column_added_to_a_finished_class_is_checked_at_once() -> None:
    class Base(DeclarativeBase):
        pass

    class Patient(Base):
        __tablename__ = "patient"
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(DeclarationError) as caught:
        Patient.ssn = mapped_column("ssn", EncryptedType(), server_default="none")
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")


def test_a_column_appended_to_a_finished_table_is_checked_at_once() -> None:
    log = Table("log", MetaData(), Column("at", Float, primary_key=True))
    with pytest.raises(DeclarationError) as caught:
        log.append_column(Column("ssn", EncryptedType()))
    assert caught.value.reason == "identity-type"


def test_a_python_default_is_no_reason_to_refuse() -> None:
    table = _table(
        Column("ssn", EncryptedType(), default="unknown", onupdate=lambda: "changed"),
        Column("born", EncryptedType(DateTime), default=dt.datetime.now),
    )
    assert table.c.ssn.default is not None
