"""A value that is looked up in a blind index: what it is compared with, and its type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import LargeBinary, cast, func, literal_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.errors import UnboundValueError
from encfields.index.hashing import index_value
from encfields.orm.declare.index_column_type import bytes_type
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.internals import CacheKeyedType, retyped_bind
from encfields.orm.kept_state import RENAMED
from encfields.orm.write.pending import PendingLookup

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.elements import BindParameter, ColumnElement

    from encfields.orm.declare.index_binding import Form, IndexBinding
    from encfields.orm.query.comparison import IndexComparison
    from encfields.orm.query.index_operand import IndexOperand
    from encfields.orm.query.statement_scope import OuterStatement


class CompoundValue:
    """One value for each column of a compound index, in the index's order. It shows nothing."""

    __slots__ = ("values",)

    def __init__(self, values: tuple[object, ...]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return "<values of a compound blind index>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("values that are looked up are never pickled")


@dataclass(slots=True, eq=False, repr=False)
class Compared:
    """A comparison at one of the places where a statement has it.

    :ivar element: the comparison.
    :ivar scope: the encrypted column, or alias of it, that it is about.
    :ivar needs_filter: whether rows may be found that were not asked for.
    :ivar enclosing: the statements that it stands in, the innermost first.
    """

    element: IndexComparison
    scope: IndexOperand
    needs_filter: bool
    enclosing: tuple[OuterStatement, ...]


class LookupType(CacheKeyedType, TypeDecorator[Any]):
    """Made when a comparison is compiled, one for each bind: it tells what the bind is for.

    :param index: the blind index that is asked.
    :param compared: the comparison that the bind is part of.
    :ivar hashed_for: the versions of the index that the bind's value holds hashes for.
    """

    impl = LargeBinary
    cache_ok = True

    def __init__(self, index: IndexBinding, compared: Compared) -> None:
        super().__init__()
        self.index = index
        self.hashed_for: tuple[IndexBinding, ...] = (index,)
        self.compared = compared
        # SQLAlchemy copies a type for each dialect; the copies have this in common.
        self.token = object()

    def statement_cache_key(self) -> tuple[Any, ...]:
        """Tells look-ups apart in SQLAlchemy's statement cache."""
        return LookupType, id(self.token)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return bytes_type(dialect, self.index.definition.stored_bytes)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Gives a value's hash if all is at hand for it; else parks the value, to be hashed where
        the key is known and may be fetched, and where an error shows no value."""
        attachment, token = attachment_of(dialect), self.token
        takes_none = any(source.none_is_value for source in self.index.sources)
        definition, at_hand = self.index.definition, self._at_hand(dialect)
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
                    except Exception:  # refused, or stored as NULL: told where no value is shown
                        return PendingLookup(value, token)
            return PendingLookup(value, token)

        return hash_or_park

    def _at_hand(self, dialect: Dialect) -> tuple[str, Form] | None:
        """The key id that a value is hashed under, and what is hashed of it; ``None`` where more
        than the value has to be known."""
        index = self.index
        if index.key_columns or len(index.sources) > 1 or self.hashed_for != (index,):
            return None
        (form,) = index.forms(dialect, asked=True)
        return index.key_id(()), form

    def literal_processor(self, dialect: Dialect) -> NoReturn:
        raise UnboundValueError(
            "a value that is looked up cannot be rendered into the text of a statement: leave "
            "literal_execute and literal_binds out",
            table=self.index.table,
            column=self.index.column_name,
            reason="literal",
        )


class SharedLookupType(LookupType):
    """The type of a bind that two versions of an index are asked with.

    A bind that the application named has one name, and so one value in the database: the hashes
    of both versions, one after the other.

    :param versions: of which `index` is one.
    """

    cache_ok = True

    def __init__(
        self, index: IndexBinding, compared: Compared, versions: tuple[IndexBinding, ...]
    ) -> None:
        super().__init__(index, compared)
        self.hashed_for = versions

    def bind_expression(self, bindparam: BindParameter[Any]) -> ColumnElement[Any]:
        """The part of the value that is of this version."""
        length = self.index.definition.stored_bytes
        first = self.hashed_for.index(self.index) * length + 1
        # Declared as bytes, for drivers that ask the server for the types of parameters. Twice, for
        # of what mysqlclient sends as a text, MariaDB counts characters under a single CAST.
        return func.substr(
            cast(cast(bindparam, LargeBinary), LargeBinary),
            literal_column(str(first)),
            literal_column(str(length)),
            type_=LargeBinary,
        )


def renamed_bind(bind: BindParameter[Any], compiler: Any, use: object) -> BindParameter[Any]:
    """The same bind under a name of its own, where its name was not chosen by the application.

    :param compiler: that which is at it. A statement may say one expression twice, and PostgreSQL
        takes what is selected for what is in GROUP BY only if both have the same names.
    :param use: what the name is for, of all that one bind needs names for.
    """
    renamed: dict[tuple[str, object], BindParameter[Any]] = vars(compiler).setdefault(RENAMED, {})
    known = renamed.get((bind.key, use))
    if known is None:
        known = renamed[bind.key, use] = retyped_bind(bind, bind.type, rename=True)
    return known
