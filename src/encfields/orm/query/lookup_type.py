"""The type of a value that is looked up in a blind index, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from sqlalchemy import Date, DateTime, LargeBinary, cast, func, literal_column
from sqlalchemy.types import TupleType, TypeDecorator, TypeEngine

from encfields.codecs.decorated import DecoratedCodec
from encfields.codecs.temporal import DateCodec, DateTimeCodec, conversion
from encfields.errors import UnboundValueError
from encfields.index.hashing import index_value
from encfields.kept_state import RENAMED
from encfields.orm.declare.index_column_type import bytes_type
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.internals import CacheKeyedType, retyped_bind
from encfields.orm.query.comparison import has_type_of_its_own
from encfields.orm.write.pending import PendingLookup

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.elements import BindParameter, ColumnElement

    from encfields.codecs import Codec
    from encfields.orm.declare.index_binding import Form, IndexBinding
    from encfields.orm.query.comparison import IndexComparison
    from encfields.orm.query.index_operand import IndexOperand
    from encfields.orm.query.statement_scope import OuterStatement


class CompoundValue:
    """One value for each column of a compound index, in order. Its repr hides them."""

    __slots__ = ("values",)

    def __init__(self, values: tuple[object, ...]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return "<values of a compound blind index>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("values that are looked up are never pickled")


@dataclass(slots=True, eq=False, repr=False)
class Compared:
    """A comparison at one place in a statement.

    :ivar element: the comparison.
    :ivar scope: the encrypted column, or an alias of it.
    :ivar needs_filter: whether rows may be found that do not match.
    :ivar enclosing: the statements around it, innermost first.
    """

    element: IndexComparison
    scope: IndexOperand
    needs_filter: bool
    enclosing: tuple[OuterStatement, ...]

    @property
    def is_nested(self) -> bool:
        """Whether the comparison is in a subquery, or with one."""
        return len(self.enclosing) > 1 or self.scope.subquery is not None


_CODECS: tuple[tuple[type[TypeEngine[Any]], type[DateCodec | DateTimeCodec]], ...] = (
    (Date, DateCodec),
    (DateTime, DateTimeCodec),
)


class _BindOfMoments(NamedTuple):
    """What type an application's bind has where it is compared with a plain column of dates.

    SQLAlchemy gives a named bind without a value the column's type, and other binds the type that
    is stated, or else the value's own, which in ``column == value`` it does each time.

    :ivar kind: of the stated type: a day or a moment.
    :ivar is_given: it has the column's type.
    :ivar is_stated: it has a type that is not the application's.
    :ivar is_rows: it holds a list of rows.
    """

    kind: type[DateCodec | DateTimeCodec] | None
    is_given: bool
    is_stated: bool
    is_rows: bool

    @classmethod
    def of(cls, bind: BindParameter[Any] | None) -> _BindOfMoments:
        if bind is None:
            return cls(None, False, False, False)
        kind = next((codec for of, codec in _CODECS if isinstance(bind.type, of)), None)
        is_rows = isinstance(bind.type, TupleType)
        is_stated = has_type_of_its_own(bind) and not isinstance(bind.type, TypeDecorator)
        is_given = not bind.unique and (is_rows or not is_stated)
        return cls(kind, is_given, is_stated, is_rows)

    def sends(self, codec: Codec, dialect: Dialect) -> Callable[[Any], Any] | None:
        """What converts a value before a plain column of such a type is compared with it."""
        if self.is_as_stated(codec, dialect):
            return conversion(self.kind, dialect, in_rows=self.is_rows)
        if not isinstance(codec, DateCodec | DateTimeCodec):
            return None
        kind = type(codec) if self.is_given else self.kind
        return conversion(kind, dialect, in_rows=self.is_rows)

    def is_as_stated(self, codec: Codec, dialect: Dialect) -> bool:
        """Whether the application's type, which converts what a column of dates is compared with,
        is not asked to."""
        return (
            self.is_stated
            and isinstance(codec, DecoratedCodec)
            and isinstance(codec.impl(dialect), DateCodec | DateTimeCodec)
        )


class LookupType(CacheKeyedType, TypeDecorator[Any]):
    """The type of one bind in a comparison, made during compilation: it tells the bind's use.

    :param index: the blind index that answers.
    :param compared: the comparison that the bind is part of.
    :param bind: the application's, which this type is for.
    :ivar hashed_for: the versions of the index that the bind's value holds hashes for.
    """

    impl = LargeBinary
    cache_ok = True

    def __init__(
        self, index: IndexBinding, compared: Compared, bind: BindParameter[Any] | None = None
    ) -> None:
        super().__init__()
        self.index = index
        self.hashed_for: tuple[IndexBinding, ...] = (index,)
        self.compared = compared
        self._bind = _BindOfMoments.of(bind)
        # SQLAlchemy copies a type for each dialect; the copies share this.
        self.token = object()

    def statement_cache_key(self) -> tuple[Any, ...]:
        """Distinguishes look-ups in SQLAlchemy's statement cache."""
        return LookupType, id(self.token)

    def sends(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """What converts a value as it is sent to the database for a plain column, if anything."""
        return self._bind.sends(self.index.sources[0].written_codec, dialect)

    def forms(self, index: IndexBinding, dialect: Dialect) -> tuple[Form, ...]:
        """What gives what is hashed of a value asked for, for each of the columns of an index."""
        return index.forms(dialect, asked=True, as_stated=self._is_as_stated(index, dialect))

    def whole_form(self, index: IndexBinding, dialect: Dialect) -> Form:
        """What gives what a whole value asked for has in common with those that equal it."""
        return index.whole_form(dialect, as_stated=self._is_as_stated(index, dialect))

    def _is_as_stated(self, index: IndexBinding, dialect: Dialect) -> bool:
        return self._bind.is_as_stated(index.sources[0].written_codec, dialect)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return bytes_type(dialect, self.index.definition.stored_bytes)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Hashes a value now if its key is cached; otherwise parks it, to be hashed where the key
        may be fetched and where an error shows no value."""
        attachment, token = attachment_of(dialect), self.token
        takes_none = any(source.none_is_value for source in self.index.sources)
        definition, at_hand = self.index.definition, self._hashable_now(dialect)
        named = definition.version, definition.domain, definition.derivation

        def hash_or_park(value: Any) -> bytes | PendingLookup | None:
            if value is None and not takes_none:
                return None
            encryption = attachment.encryption
            if encryption is None:
                del value
                attachment.require(self.index.table, self.index.column_name)
            elif at_hand is not None:
                key_id, form = at_hand
                key = encryption.index_key_at_hand(key_id, *named)
                if key is not None:
                    try:
                        return index_value(key, form(value), definition.bits)
                    except (
                        Exception
                    ):  # refused, or stored as NULL: reported where no value is shown
                        return PendingLookup(value, token)
            return PendingLookup(value, token)

        return hash_or_park

    def _hashable_now(self, dialect: Dialect) -> tuple[str, Form] | None:
        """The key id to hash a value under, and the bytes to hash; ``None`` if that needs more than
        the value."""
        index = self.index
        if index.key_columns or len(index.sources) > 1 or self.hashed_for != (index,):
            return None
        (form,) = self.forms(index, dialect)
        sends = self.sends(dialect)
        return index.key_id(()), form if sends is None else lambda value: form(sends(value))

    def literal_processor(self, dialect: Dialect) -> NoReturn:
        raise UnboundValueError(
            "a look-up value cannot be rendered into the text of a statement: leave "
            "literal_execute and literal_binds out",
            table=self.index.table,
            column=self.index.column_name,
            reason="literal",
        )


class SharedLookupType(LookupType):
    """The type of a bind that is compared with two versions of an index.

    A bind that the application named can have only one value: the hashes of both versions,
    concatenated.

    :param versions: all versions, of which `index` is one.
    """

    cache_ok = True

    def __init__(
        self,
        index: IndexBinding,
        compared: Compared,
        bind: BindParameter[Any],
        versions: tuple[IndexBinding, ...],
    ) -> None:
        super().__init__(index, compared, bind)
        self.hashed_for = versions

    def bind_expression(self, bindparam: BindParameter[Any]) -> ColumnElement[Any]:
        """The part of the value for this version."""
        length = self.index.definition.stored_bytes
        first = self.hashed_for.index(self.index) * length + 1
        # Cast to bytes, for drivers that ask the server for parameter types. Twice, because
        # mysqlclient sends text, of which MariaDB counts characters under a single CAST.
        return func.substr(
            cast(cast(bindparam, LargeBinary), LargeBinary),
            literal_column(str(first)),
            literal_column(str(length)),
            type_=LargeBinary,
        )


def renamed_bind(bind: BindParameter[Any], compiler: Any, use: object) -> BindParameter[Any]:
    """The same bind under another name, unless the application chose its name.

    :param compiler: the current one. A statement may contain one expression twice, and PostgreSQL
        matches a selected expression with GROUP BY only if their binds have the same names.
    :param use: distinguishes the names that one bind needs.
    """
    renamed: dict[tuple[str, object], BindParameter[Any]] = vars(compiler).setdefault(RENAMED, {})
    known = renamed.get((bind.key, use))
    if known is None:
        known = renamed[bind.key, use] = retyped_bind(bind, bind.type, rename=True)
    return known
