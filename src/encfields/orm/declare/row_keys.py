"""Row keys: the kind of a key column, and the canonical text of its bound values.

On reads the text comes from the database, see :mod:`encfields.orm.read.delivered_keys`. Both must
agree on every dialect and driver.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import types as sqltypes
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.codecs.base import processes_binds
from encfields.databases import MYSQL_NAMES
from encfields.errors import DeclarationError, UnknownIdentityError
from encfields.identity import CANONICAL, IdentityKind
from encfields.orm import internals

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

_EXACT_MYSQL_COLLATION = r"(_nopad_bin|_0900_bin)$|^binary$"


class IdentityBind(NamedTuple):
    """The bind of a statement for one column of the row's key.

    :ivar in_where: whether it is in WHERE, and not in SET or VALUES.
    :ivar null_matches_none: whether WHERE holds for no row if it is NULL.
    """

    bind: str
    to_text: Callable[[object], str]
    in_where: bool
    null_matches_none: bool = False


def stored_type(type_: TypeEngine[Any], dialect: Dialect | None) -> TypeEngine[Any]:
    """The type that values are stored as: a variant's, or a TypeDecorator's implementation."""
    if dialect is None:
        while isinstance(type_, TypeDecorator):
            type_ = type_.impl_instance
        return type_
    type_ = internals.variant_of(type_, dialect)
    while isinstance(type_, TypeDecorator):
        type_ = internals.variant_of(type_.load_dialect_impl(dialect), dialect)
    return type_


def kind_of(type_: TypeEngine[Any], dialect: Dialect | None = None) -> IdentityKind:
    """The kind of row key for a column of this type.

    :param dialect: optional; decides for types that dialects store differently.
    :raises DeclarationError: values of this type have no single canonical text.
    """
    stored = stored_type(type_, dialect)
    if isinstance(stored, sqltypes.Uuid):
        return IdentityKind.UUID
    if isinstance(stored, sqltypes.Integer):
        return IdentityKind.INTEGER
    if isinstance(stored, sqltypes.CHAR | sqltypes.NCHAR):
        # SQLite pads nothing: there "d" and "d " are two rows, and must not share an identity
        pads = dialect is None or dialect.name != "sqlite"
        return IdentityKind.CHAR if pads else IdentityKind.TEXT
    if isinstance(stored, sqltypes.String):
        return IdentityKind.TEXT
    if isinstance(stored, sqltypes.LargeBinary | sqltypes.BINARY | sqltypes.VARBINARY):
        return IdentityKind.BINARY
    if isinstance(stored, sqltypes.Date):
        return IdentityKind.DATE
    if isinstance(stored, sqltypes.NullType):
        raise DeclarationError(
            "a column without a type cannot identify a row: give it the type, or declare the table "
            "that its foreign key refers to",
            reason="identity-type",
        )
    raise DeclarationError(
        f"a column of type {type(stored).__name__} cannot identify a row: its values have no one "
        "canonical text on every database. Use an integer, UUID, string, binary or date key, or "
        "name such columns with bind_to=",
        reason="identity-type",
    )


def from_bound_value(
    type_: TypeEngine[Any], dialect: Dialect, bound_as: TypeEngine[Any] | None = None
) -> Callable[[object], str]:
    """The function from a value bound to a column of this type to its canonical text.

    Values of an application's type, or an Enum, first go through the bind processor: the stored
    form counts.

    :param bound_as: the type that converts the value, if :func:`is_bound_otherwise`.
    """
    canonical = _canonical_of_stored(type_, dialect)
    declared = internals.variant_of(type_ if bound_as is None else bound_as, dialect)
    if bound_as is None and not isinstance(declared, TypeDecorator | sqltypes.Enum):
        return canonical
    to_stored = declared.dialect_impl(dialect).bind_processor(dialect)
    if to_stored is None:
        return canonical

    def convert(value: object) -> str:
        try:
            stored = to_stored(value)
        except Exception as error:  # an application's type may raise anything
            raise UnknownIdentityError(
                f"the key's own type refused the value: {type(error).__name__}",
                reason="identity-type",
            ) from None
        return canonical(_out_of_wrapper(stored))

    return convert


def null_stays_null(type_: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether ``None``, given to a bind of this type, is NULL to the database.

    An application's type may make a value of it.
    """
    bound: TypeEngine[Any] = internals.variant_of(type_, dialect)
    to_stored = bound.dialect_impl(dialect).bind_processor(dialect)
    try:
        if to_stored is not None and to_stored(None) is not None:
            return False
    except Exception:  # an application's type may raise anything
        return False
    while isinstance(bound, TypeDecorator):
        if type(bound).bind_expression is not TypeDecorator.bind_expression:
            return False
        bound = internals.variant_of(bound.load_dialect_impl(dialect), dialect)
    return type(bound).bind_expression is TypeEngine.bind_expression


def is_bound_otherwise(bound_as: TypeEngine[Any], type_: TypeEngine[Any]) -> bool:
    """Whether a bind's own type, and not its column's, converts what is stored or compared.

    As of ``literal(5)`` and ``bindparam("q", 5)``, which are integers to SQLAlchemy, whatever an
    application's type makes of the column's values.
    """
    if type(bound_as) is type(type_) or isinstance(bound_as, sqltypes.NullType):
        return False
    decides = bound_as if isinstance(bound_as, TypeDecorator) else type_
    return isinstance(decides, TypeDecorator) and processes_binds(decides)


def _out_of_wrapper(value: object) -> object:
    """The bytes inside psycopg's and psycopg2's ``Binary()``."""
    if not isinstance(value, bytes | bytearray | memoryview):
        for held in (getattr(value, "obj", None), getattr(value, "adapted", None)):
            if isinstance(held, bytes | bytearray | memoryview):
                return held
    return value


def _canonical_of_stored(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[object], str]:
    """The function from a key as given to the driver to its canonical text."""
    kind = kind_of(type_, dialect)
    if kind is IdentityKind.INTEGER:
        return _integer_or_digits
    if kind is IdentityKind.DATE:
        return _date_of(type_, dialect)
    if kind is IdentityKind.UUID and not is_native_uuid(type_, dialect):
        return _uuid_in_digits
    if kind is IdentityKind.BINARY:
        return _padded_binary(padded_length(type_, dialect))
    return CANONICAL[kind]


def is_native_uuid(type_: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether the database has a type for these UUIDs; otherwise they are stored as 32 digits."""
    stored = stored_type(type_, dialect)
    native = isinstance(stored, sqltypes.Uuid) and stored.native_uuid
    return native and bool(dialect.supports_native_uuid)


def is_zero_filled(type_: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether MySQL and MariaDB give its integers as a text of leading zeros (``ZEROFILL``)."""
    if dialect.name not in MYSQL_NAMES:
        return False
    return bool(getattr(stored_type(type_, dialect), "zerofill", False))


def padded_length(type_: TypeEngine[Any], dialect: Dialect) -> int:
    """Bytes to which the database pads a binary key; 0 if it does not."""
    stored = stored_type(type_, dialect)
    pads = isinstance(stored, sqltypes.BINARY) and dialect.name in MYSQL_NAMES
    return (stored.length or 1) if pads else 0  # type: ignore[attr-defined]


_canonical_uuid = CANONICAL[IdentityKind.UUID]


def _uuid_in_digits(value: object) -> str:
    """The text of a UUID stored as 32 digits, as given."""
    if type(value) is uuid.UUID:
        return str(value)
    text = _canonical_uuid(value)
    if isinstance(value, str) and value.replace("-", "") != text.replace("-", ""):
        raise UnknownIdentityError(
            "the database keeps this UUID as it is spelt, but a row is identified by one spelling "
            "only: give it in lower case, as str(uuid.UUID(...)) does",
            reason="identity-form",
        )
    return text


_DIGITS = re.compile(r"-?[1-9][0-9]{0,17}")
_canonical_integer = CANONICAL[IdentityKind.INTEGER]


def _integer_or_digits(value: object) -> str:
    """The text of an integer, which databases also accept as digits, such as those of a URL.

    Not zero, by which MySQL and MariaDB generate a key.
    """
    if type(value) is int:
        return int.__repr__(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return str.__str__(value)
    return _canonical_integer(value)


def texts_of_each(convert: Callable[[object], str], values: Sequence[object]) -> list[str]:
    """The canonical texts of many values of one column.

    :param convert: from :func:`from_bound_value`.
    :raises UnknownIdentityError: a value identifies no row.
    """
    if convert is _integer_or_digits and set(map(type, values)) <= {int}:
        return list(map(int.__repr__, values))
    return list(map(convert, values))


def _padded_binary(length: int) -> Callable[[object], str]:
    canonical = CANONICAL[IdentityKind.BINARY]
    return lambda value: canonical(value).ljust(2 * length, "0")


def _date_of(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[object], str]:
    """The date in the text that SQLite's type makes of it before the driver sees it."""
    canonical, read = CANONICAL[IdentityKind.DATE], date_reader(type_, dialect)
    # A column takes the date of a datetime, except where sqlite3 formats the value itself.
    processor = stored_type(type_, dialect).dialect_impl(dialect).bind_processor(dialect)
    keeps_times = dialect.name == "sqlite" and processor is None

    def convert(value: object) -> str:
        if isinstance(value, dt.datetime) and not keeps_times:
            value = dt.datetime.date(value)
        if not isinstance(value, str):
            return canonical(value)
        try:
            return canonical(read(value))
        except ValueError:
            raise UnknownIdentityError(
                "the key's own type turns the value into a text that is not a date",
                reason="identity-form",
            ) from None

    return convert


def date_reader(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[str], object]:
    """The function that reads a date from the text that the dialect's type stores.

    It raises ``ValueError`` for a text that the type reads but would not write.
    """
    stored = stored_type(type_, dialect).dialect_impl(dialect)
    to_date = stored.result_processor(dialect, None)
    to_text = stored.bind_processor(dialect)

    if dialect.name == "sqlite" and to_date is None:
        return _date_of_the_driver

    def read(text: str) -> object:
        if to_date is None or to_text is None:
            raise ValueError("dates are not stored as text")
        date: object = to_date(text)
        if to_text(date) != text:
            raise ValueError("not spelt as its type spells dates")
        return date

    return read


def _date_of_the_driver(text: str) -> dt.date:
    """A date formatted by sqlite3, under ``create_engine(native_datetime=True)``."""
    date = dt.date.fromisoformat(text)
    if date.isoformat() != text:
        raise ValueError("not spelt as the driver spells dates")
    return date


def may_match_another_spelling(type_: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether the database may treat two differently spelt values of this type as equal.

    True for a text key under a case-insensitive, accent-insensitive or padding collation, or if
    that cannot be ruled out.
    """
    if kind_of(type_, dialect) not in (IdentityKind.TEXT, IdentityKind.CHAR):
        return False
    stored = stored_type(type_, dialect)
    collation = getattr(stored, "collation", None)
    if dialect.name in MYSQL_NAMES:
        return not (collation and re.search(_EXACT_MYSQL_COLLATION, collation))
    if dialect.name == "sqlite":
        return collation is not None and collation.upper() != "BINARY"
    return collation is not None or type(stored).__name__.upper() == "CITEXT"
