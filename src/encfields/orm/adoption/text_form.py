"""A plaintext column's values as bytes, the same on every driver, and back.

As bytes, a value of any type can be selected in the same cell as ciphertext, and compared byte by
byte: under a column's collation, a changed value could be equal and be overlooked.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal_column
from sqlalchemy import types as sa
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.codecs import codec_for
from encfields.databases import MYSQL_NAMES
from encfields.errors import DeclarationError, EncFieldsError, ValueDecodingError
from encfields.orm import internals

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

_MOMENTS = (sa.Date, sa.DateTime, sa.Time)


class TextForm:
    """How the values of one plaintext column are selected and read.

    :param type_: of the column. :param dialect: of its database.
    :raises DeclarationError: its values have no unique text form.
    """

    def __init__(self, type_: TypeEngine[Any], dialect: Dialect) -> None:
        self._dialect = dialect
        self._decorators: list[TypeDecorator[Any]] = []
        stored: Any = internals.variant_of(type_, dialect)
        while isinstance(stored, TypeDecorator) and not _is_interval(stored):
            if type(stored).process_result_value is not TypeDecorator.process_result_value:
                self._decorators.insert(0, stored)
            stored = internals.variant_of(stored.load_dialect_impl(dialect), dialect)
        if isinstance(stored, DOMAIN):  # of PostgreSQL, as reflected
            stored = internals.variant_of(stored.data_type, dialect)
        if isinstance(stored, sa.PickleType) or not _is_readable_array(stored, dialect):
            raise DeclarationError(
                f"a plaintext column of type {type(stored).__name__} cannot be adopted while it is "
                "in use: encrypt it in a maintenance window",
                reason="adopts-type",
            )
        self._stored = stored
        self._read = self._reader()

    @property
    def is_binary(self) -> bool:
        """Whether values are bytes."""
        return isinstance(self._stored, internals.ANY_BINARY)

    # -- in SQL --------------------------------------------------------------------------------

    def sql(self, column: str) -> str:
        """SQL that yields the bytes of `column`, NULL for NULL.

        :param column: an expression, as SQL.
        """
        if self._dialect.name == "postgresql":
            return self._postgresql(column)
        if self._dialect.name in MYSQL_NAMES:
            return self._mysql(column)
        if isinstance(self._stored, sa.Numeric | sa.Float | sa.JSON):
            # CAST would keep only fifteen of a double's seventeen digits, and of the digits that
            # SQLite prints, the seventeenth can be wrong.
            exact = f"CASE typeof({column}) WHEN 'real' THEN printf('%!.20g', {column})"
            column = f"{exact} ELSE {column} END"
        return f"CAST({column} AS BLOB)"

    def _postgresql(self, column: str) -> str:
        if isinstance(self._stored, internals.ANY_BINARY):
            return column
        if isinstance(self._stored, sa.ARRAY):
            text = f"CAST(to_json({column}) AS TEXT)"
        elif isinstance(self._stored, internals.ANY_INTERVAL):
            text = f"CAST(EXTRACT(EPOCH FROM {column}) AS TEXT)"
        elif isinstance(self._stored, _MOMENTS):
            text = f"(to_json({column}) #>> '{{}}')"  # whatever DateStyle is set to
        else:
            text = f"CAST({column} AS TEXT)"
        return f"convert_to({text}, 'UTF8')"

    def _mysql(self, column: str) -> str:
        if isinstance(self._stored, internals.ANY_BINARY):
            return f"CAST({column} AS BINARY)"
        if isinstance(self._stored, sa.String | sa.JSON):
            return f"CAST(CONVERT({column} USING utf8mb4) AS BINARY)"
        return f"CAST(CAST({column} AS CHAR) AS BINARY)"

    # -- in Python -----------------------------------------------------------------------------

    def value(self, data: bytes) -> object:
        """The column's value, as the application would have read it.

        :param data: the bytes that :meth:`sql` yielded.
        :raises ValueDecodingError: the column's type cannot read it; does not show the value.
        """
        try:
            value = self._read(data)
            for decorator in self._decorators:
                value = decorator.process_result_value(value, self._dialect)
            return value
        except EncFieldsError as error:
            failure = error.message.removeprefix("the message is authentic, but ")
        except Exception as error:  # a type of the application's own may raise anything
            failure = type(error).__name__
        raise ValueDecodingError(
            f"the plaintext cannot be read as {type(self._stored).__name__} ({failure})",
            reason="plaintext",
        )

    def _reader(self) -> Callable[[bytes], object]:
        stored, dialect = self._stored, self._dialect
        if isinstance(stored, internals.ANY_BINARY):
            return bytes
        if isinstance(stored, sa.ARRAY):
            return self._array()
        if isinstance(stored, internals.ANY_INTERVAL):
            return self._interval
        if isinstance(stored, sa.Boolean):
            return _boolean
        if isinstance(stored, sa.Uuid):
            return _uuid_text if not stored.as_uuid else _uuid
        if isinstance(stored, sa.String) and not isinstance(stored, sa.Enum):
            return lambda data: data.decode("utf-8")
        if isinstance(stored, _MOMENTS):
            return self._moment()
        if dialect.name == "sqlite" and isinstance(stored, sa.Numeric | sa.Float):
            return self._sqlite_number()
        codec = codec_for(stored)
        if isinstance(stored, sa.Float):
            # The codec's own text: PostgreSQL writes 1 for 1.0, and has NaN and the infinities.
            return lambda data: codec.decode(codec.encode(float(data), dialect), dialect)
        if isinstance(stored, sa.Numeric):
            # Only PostgreSQL has them; they can be read, but not sealed.
            number: Any = decimal.Decimal if stored.asdecimal else float
            special = {name.encode(): number(name) for name in ("NaN", "Infinity", "-Infinity")}
            return lambda data: special[data] if data in special else codec.decode(data, dialect)
        return lambda data: codec.decode(data, dialect)

    def _moment(self) -> Callable[[bytes], object]:
        stored, dialect = self._stored, self._dialect
        processor = stored.dialect_impl(dialect).result_processor(dialect, None)
        if dialect.name == "sqlite" and processor is not None:
            return lambda data: processor(data.decode("utf-8"))
        kind: Any = dt.time if isinstance(stored, sa.Time) else dt.datetime
        if isinstance(stored, sa.Date):
            kind = dt.date
        # asyncpg stores the earliest and the latest moment as infinite ones, and reads those back,
        # never with a time zone; the other drivers do neither.
        infinite = {b"-infinity": kind.min, b"infinity": kind.max}
        known: dict[bytes, object] = infinite if dialect.driver == "asyncpg" else {}
        return lambda data: known[data] if data in known else kind.fromisoformat(data.decode())

    def _array(self) -> Callable[[bytes], object]:
        """Reads a JSON array of the items' forms, nested for more dimensions."""
        item, as_tuple = TextForm(self._stored.item_type, self._dialect), self._stored.as_tuple
        is_binary = item.is_binary

        def value(part: Any) -> object:
            if isinstance(part, list):
                values = map(value, part)
                return tuple(values) if as_tuple else list(values)
            if part is None:
                return None
            text = str(part).lower() if isinstance(part, bool) else part
            return item.value(
                bytes.fromhex(text.removeprefix("\\x")) if is_binary else text.encode()
            )

        # Numbers remain texts: a float would round a Numeric.
        return lambda data: value(json.loads(data, parse_int=str, parse_float=str))

    def _sqlite_number(self) -> Callable[[bytes], object]:
        """Reads a double as SQLAlchemy's own type does."""
        processor = self._stored.dialect_impl(self._dialect).result_processor(self._dialect, None)
        return lambda data: float(data) if processor is None else processor(float(data))

    def _interval(self, data: bytes) -> dt.timedelta:
        text = data.decode("ascii")
        if self._dialect.name == "postgresql":
            return dt.timedelta(microseconds=int(decimal.Decimal(text) * 1_000_000))
        return dt.datetime.fromisoformat(text) - dt.datetime(1970, 1, 1)


def read_in_sql(
    declared: TypeEngine[Any], stored: ColumnElement[Any], dialect: Dialect
) -> ColumnElement[Any] | None:
    """What a type makes the database compute to read a stored value, as those for pgcrypto do;
    ``None`` if it is read as it is stored."""
    read = internals.variant_of(declared, dialect).column_expression(stored)
    return None if read is None or read is stored else read


class ReadForm:
    """How the values of one plaintext column are selected as the application reads them.

    :param declared: the column's type.
    :param value: the encrypted column's type for the values.
    """

    def __init__(self, declared: TypeEngine[Any], value: TypeEngine[Any], dialect: Dialect) -> None:
        self._declared, self._dialect = declared, dialect
        self.form = TextForm(read_type(declared, value, dialect), dialect)

    def sql(self, plain: ColumnElement[Any], compiler: Any, **kw: Any) -> str:
        """SQL that yields the bytes of the column `plain`."""
        read = read_in_sql(self._declared, plain, self._dialect)
        return self.form.sql(compiler.process(plain if read is None else read, **kw))


def read_type(
    declared: TypeEngine[Any], value: TypeEngine[Any], dialect: Dialect
) -> TypeEngine[Any]:
    """The type of what is selected for a plaintext column.

    What the database computes may have no type that SQLAlchemy knows; then it is the encrypted
    column's.
    """
    read = read_in_sql(declared, literal_column("stored", declared), dialect)
    if read is None:
        return declared
    return value if isinstance(read.type, sa.NullType) else read.type


class ExactForm(internals.WrappedColumn):
    """SQL: a plaintext column as its bytes, without any collation.

    :param plain: the column. :param declared: its type.
    """

    inherit_cache = False
    type = sa.LargeBinary()

    def __init__(self, plain: ColumnElement[Any], declared: TypeEngine[Any]) -> None:
        self.plain = plain
        self.declared = declared

    def wrapped(self) -> ColumnElement[Any]:
        """The stored column."""
        return self.plain


@compiles(ExactForm)
def _compile_exact(element: ExactForm, compiler: Any, **kw: Any) -> str:
    inner = {name: value for name, value in kw.items() if name not in _OF_THE_WHOLE}
    sql = compiler.process(element.plain, **inner)
    return TextForm(element.declared, compiler.dialect).sql(sql)


_OF_THE_WHOLE = ("add_to_result_map", "within_columns_clause", "result_map_targets")
"""Compiler options of result columns, which do not apply to parts of one."""


def _is_readable_array(stored: object, dialect: Dialect) -> bool:
    """Whether it is not an array, or one whose items PostgreSQL writes in the form read here."""
    if not isinstance(stored, sa.ARRAY):
        return True
    item = internals.variant_of(stored.item_type, dialect)
    unreadable = isinstance(item, sa.JSON | internals.ANY_INTERVAL | sa.PickleType)
    return dialect.name == "postgresql" and not unreadable


def _is_interval(type_: object) -> bool:
    """Whether it is a type of time spans; SQLAlchemy's own may be stored as a date and time."""
    return isinstance(type_, internals.ANY_INTERVAL)


def _boolean(data: bytes) -> bool:
    known = {b"1": True, b"true": True, b"t": True, b"0": False, b"false": False, b"f": False}
    return known[data]


def _uuid(data: bytes) -> uuid.UUID:
    return uuid.UUID(data.decode("ascii"))


def _uuid_text(data: bytes) -> str:
    return str(_uuid(data))
