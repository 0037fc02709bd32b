"""An encrypted value comes back as the same value that a plain column would have given."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from encfields.codecs import codec_for
from encfields.errors import ValueEncodingError
from tests.servers.backends import Backend


class Colour(enum.Enum):
    RED = "rouge"
    GREEN = "vert"


VALUES: list[tuple[sa.types.TypeEngine[Any], list[object]]] = [
    (sa.String(20), ["", "Zoë", " padded "]),
    (sa.LargeBinary(), [b"", b"\x00\xff"]),
    (sa.Integer(), [0, -42, 2**31 - 1, True, False, 3.0, -0.0]),
    (sa.BigInteger(), [-(2**63), 2**63 - 1]),
    (sa.Double(), [0.1, -1.5e-300, 3]),
    (sa.Numeric(10, 2), [Decimal(text) for text in ("1.5", "1.50", "0", "-0.00", "99999999.994")]),
    (sa.Numeric(10, 2), [Decimal(text) for text in ("0.005", "0.015", "-0.005", "-0.004")]),
    (sa.Numeric(10, 2), [3, 0.1]),
    (sa.Numeric(10), [Decimal("2.5"), Decimal("-2.5"), 7]),
    (sa.Numeric(10, 2, asdecimal=False), [Decimal("1.5")]),
    (sa.Boolean(), [True, False, 1, 0.0, Decimal(1)]),
    (sa.Date(), [dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 13, 5)]),
    (sa.DateTime(), [dt.datetime(2024, 2, 29, 13, 5, 6), dt.date(2024, 2, 29)]),
    (sa.Interval(), [dt.timedelta(days=2, hours=3, seconds=4), -dt.timedelta(hours=1)]),
    (sa.Uuid(), [uuid.UUID(int=2**127)]),
    (sa.Uuid(as_uuid=False), [str(uuid.UUID(int=2**127))]),
    (sa.Enum(Colour), [Colour.RED, "GREEN"]),
    (sa.Enum(Colour, values_callable=lambda cls: [one.value for one in cls]), [Colour.RED]),
    (sa.JSON(), [{"b": 1, "a": [None, "é"]}, [], "text", sa.JSON.NULL]),
]

OVERFLOWS: list[tuple[sa.types.TypeEngine[Any], object]] = [
    (sa.String(3), "four"),
    (sa.Numeric(5, 2), Decimal("999.995")),
    (sa.Numeric(5, 2), 1000),
    (sa.Numeric(5), Decimal("99999.5")),
]


def plain(backend: Backend, inner: sa.types.TypeEngine[Any], value: object) -> object:
    """`value` as a plain column of type `inner` gives it back."""
    table = sa.Table("plain", sa.MetaData(), sa.Column("value", inner))
    with backend.create_engine().begin() as connection:
        table.create(connection, checkfirst=True)
        connection.execute(table.delete())
        connection.execute(table.insert(), {"value": value})
        return connection.execute(sa.select(table.c.value)).scalar_one()


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Backend:
    """SQLite enforces no scale and no length: a plain column there is no measure."""
    backend: Backend = request.getfixturevalue(request.param)
    return backend


@pytest.mark.parametrize("inner, values", VALUES, ids=lambda case: repr(case)[:40])
def test_a_value_comes_back_as_from_a_plain_column(server, inner, values):
    codec = codec_for(inner)
    dialect = server.create_engine().dialect
    for value in values:
        read = codec.decode(codec.encode(value, dialect), dialect)
        expected = plain(server, inner, value)
        assert (type(read), repr(read)) == (type(expected), repr(expected))


def test_a_bool_is_a_number_where_a_plain_column_takes_it_for_one(server):
    codec, dialect = codec_for(sa.Numeric(10, 2)), server.create_engine().dialect
    for value in (True, False):
        try:
            expected = plain(server, sa.Numeric(10, 2), value)
        except sa.exc.ProgrammingError:
            with pytest.raises(ValueEncodingError, match="not bool"):
                codec.encode(value, dialect)
        else:
            read = codec.decode(codec.encode(value, dialect), dialect)
            assert (type(read), repr(read)) == (type(expected), repr(expected))


@pytest.mark.parametrize("inner, value", OVERFLOWS)
def test_what_a_plain_column_refuses_as_too_long_is_refused(server, inner, value):
    with pytest.raises(sa.exc.DataError):
        plain(server, inner, value)
    with pytest.raises(ValueEncodingError):
        codec_for(inner).encode(value, server.create_engine().dialect)
