"""marshmallow-sqlalchemy: automatic schemas have the fields of the inner types."""

from __future__ import annotations

import enum
import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from marshmallow import ValidationError, fields, validate
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema
from sqlalchemy import (
    JSON,
    Boolean,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Time,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.testing import attach_locally
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend


class Kind(enum.Enum):
    FIRST = 1
    LATER = 2


class Notes(TypeDecorator[dict[str, Any]]):
    impl = JSON
    cache_ok = True


INNER: dict[str, Any] = {
    "boolean": Boolean(),
    "date": Date(),
    "datetime": DateTime(),
    "decorated": Notes(),
    "enum": Enum(Kind),
    "float": Float(),
    "integer": Integer(),
    "interval": Interval(),
    "json": JSON(),
    "numeric": Numeric(10, 2),
    "string": String(9),
    "time": Time(),
    "uuid": Uuid(),
}


class Base(DeclarativeBase):
    pass


class Sealed(Base):
    __tablename__ = "sealed"
    id: Mapped[int] = mapped_column(primary_key=True)
    locals().update({name: mapped_column(EncryptedType(one)) for name, one in INNER.items()})


class Plain(Base):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    locals().update({name: mapped_column(one) for name, one in INNER.items()})


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex()))
    colour: Mapped[str | None] = mapped_column(EncryptedType(Enum("red", "blue", name="colour")))
    photo: Mapped[bytes | None] = mapped_column(EncryptedType(LargeBinary))
    born: Mapped[date | None] = mapped_column(EncryptedType(Date))
    at: Mapped[datetime | None] = mapped_column(EncryptedType(DateTime))
    fee: Mapped[Decimal | None] = mapped_column(EncryptedType(Numeric(10, 2)))
    token: Mapped[uuid.UUID | None] = mapped_column(EncryptedType(Uuid))


def _schema(of: type[Any], *, instances: bool = False) -> SQLAlchemyAutoSchema:
    meta = type("Meta", (), {"model": of, "load_instance": instances})
    return type("Schema", (SQLAlchemyAutoSchema,), {"Meta": meta})()


@pytest.mark.parametrize("name", INNER)
def test_the_field_is_that_of_the_plain_column(name: str) -> None:
    sealed, plain = _schema(Sealed).fields[name], _schema(Plain).fields[name]
    assert type(sealed) is type(plain)
    for told in ("required", "allow_none", "places", "enum"):
        assert getattr(sealed, told, None) == getattr(plain, told, None)
    assert list(map(repr, sealed.validators)) == list(map(repr, plain.validators))


def test_a_length_is_validated_before_it_is_written() -> None:
    field = _schema(Patient).fields["ssn"]
    assert isinstance(field, fields.String)
    assert [one.max for one in field.validators if isinstance(one, validate.Length)] == [11]
    with pytest.raises(ValidationError, match="Longer than maximum length"):
        _schema(Patient).load({"ssn": "x" * 12})


def test_an_enum_of_texts_is_a_text_that_is_one_of_them() -> None:
    assert isinstance(_schema(Patient).fields["colour"], fields.String)
    with pytest.raises(ValidationError, match="Must be one of: red, blue"):
        _schema(Patient).load({"ssn": "1", "colour": "green"})


def test_the_column_of_a_blind_index_is_no_field() -> None:
    assert "ssn_bidx" not in _schema(Patient).fields


def test_an_instance_is_loaded_stored_and_dumped(backend: Backend) -> None:
    engine = backend.create_engine()
    Patient.__table__.create(engine)  # type: ignore[attr-defined]
    attach_locally(engine)
    schema = _schema(Patient, instances=True)
    sent = {
        "ssn": "123-45-6789",
        "born": "1815-12-10",
        "at": "2026-11-28T10:30:00",
        "fee": "12.50",
        "token": "8d0f9d2c-2f4e-4d0c-9b43-8c4d3b6f5a10",
    }
    with Session(engine) as session:
        session.add(schema.load(sent, session=session))
        session.commit()
        session.expunge_all()
        dumped = schema.dump(session.query(Patient).filter_by(ssn="123-45-6789").one())
        again = schema.load({"id": 1, "ssn": "999-99-9999"}, session=session, partial=True)
        session.commit()
        assert again.born == date(1815, 12, 10)
    assert {key: str(dumped[key]) for key in sent} == sent
    assert_sealed(engine, "patient", "ssn", "999-99-9999")
