"""The binding of an encrypted column: its name, its row's identity and its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import Boolean, Column, Table

from encfields.codecs.conversion import ChangedCodec
from encfields.context import RowContext
from encfields.errors import DeclarationError, UnknownIdentityError
from encfields.kept_state import BINDINGS
from encfields.key_template import KeyTemplate
from encfields.message.header import CONTEXT_OFFSET
from encfields.orm.declare.column_rules import check_column, refusal
from encfields.orm.declare.formerly import Way, look_alike, ways_of
from encfields.orm.declare.row_keys import kind_of
from encfields.orm.declare.stored_size import max_stored_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import LargeBinary, TypeEngine

    from encfields.codecs import Codec
    from encfields.index.blind_index import BlindIndex
    from encfields.orm.adoption.plaintext import Plaintext
    from encfields.orm.declare.formerly import Formerly

T = TypeVar("T")


class SealedColumnType:
    """What the binding needs from a column's type; ``EncryptedType`` is one.

    It breaks the cycle between the type, which names the binding's hooks, and the binding, which
    must recognise the type.
    """

    inner: TypeEngine[Any]
    key: str
    former_keys: tuple[str, ...]
    name: str | None
    bind_to: tuple[str, ...] | None
    storage: LargeBinary | None
    codec: Codec
    none_is_value: bool
    coerce_to_is_types: Sequence[type[Any]]
    lazy: bool
    indexes: tuple[BlindIndex, ...]
    adopts: Plaintext | None
    formerly: Formerly | None
    guard: bool

    @property
    def is_condition(self) -> bool:
        """Whether a blind index tells if a boolean is true, so that it may be a condition."""
        return bool(self.indexes) and isinstance(self.inner, Boolean) and self.adopts is None


class ColumnBinding:
    """How the values of one encrypted column are bound.

    :ivar table: the table's full name, with its schema if it has one.
    :ivar logical_name: the column's name in the encryption context.
    :ivar identity: `own_identity`, then `key_columns`.
    :ivar own_identity: the columns that identify a row.
    :ivar key_columns: the other columns that the key template names.
    :ivar key_id: gives the branch key id for the row whose identity has these canonical texts.
    :ivar fixed_key_ids: the branch key ids under which the values of all rows open; ``None`` if
        they depend on the row.
    :ivar none_is_value: whether ``None`` is sealed like any value, as JSON's null is.
    :ivar lazy: whether values are returned unopened.
    :ivar former_keys: keys used before `key`, under which a value may also be.
    :ivar other: during a change of the declaration, the binding that is not written: see
        :class:`~encfields.orm.declare.formerly.Formerly`.
    :ivar bound_to: all columns that a stored value may be bound to, in either binding.
    :param way: during a change of the declaration, which of the two bindings this is.
    """

    __slots__ = (
        "_former_key_ids",
        "bind_to",
        "bound_to",
        "codec",
        "column",
        "column_name",
        "context",
        "fixed_key_ids",
        "former_keys",
        "identity",
        "key",
        "key_columns",
        "key_id",
        "lazy",
        "logical_name",
        "none_is_value",
        "other",
        "own_identity",
        "table",
    )

    def __init__(self, column: Column[Any], way: Way | None = None) -> None:
        type_ = cast("SealedColumnType", column.type)
        check_column(column)
        table = column.table
        self.column = column
        self.column_name: str = column.name
        self.table: str = table.fullname
        written, *others = ways_of(type_) if way is None else (way,)
        self.logical_name = written.name or f"{table.fullname}.{column.name}"
        self.key = KeyTemplate(written.key)
        self.bind_to = written.bind_to
        self.codec = written.codec
        self.none_is_value = type_.none_is_value
        self.lazy = type_.lazy
        self.own_identity = _identity_columns(column, written.bind_to)
        self.key_columns = tuple(_named_column(column, name, "key") for name in self.key.columns)
        self.identity = tuple(dict.fromkeys(self.own_identity + self.key_columns))
        self.context = RowContext(self.logical_name, [c.name for c in self.identity])
        self.former_keys = tuple(KeyTemplate(former) for former in written.former_keys)
        keys = (self.key, *self.former_keys)
        _check_former_keys(self)
        names = [column.key for column in self.identity]
        self.key_id, *self._former_key_ids = (key.by_position(names) for key in keys)
        self.fixed_key_ids: tuple[str, ...] | None = (
            None if any(key.columns for key in keys) else tuple(key.template for key in keys)
        )
        self.other = ColumnBinding(column, others[0]) if others else None
        self.bound_to = self.identity
        if self.other is not None:
            self.bound_to = tuple(dict.fromkeys(self.identity + self.other.identity))
            _check_change(self, self.other, cast("Formerly", type_.formerly))
            differ = self.context.differs_from(self.other.context)
            self.codec, self.other.codec = (
                written.codec_beside_other(differ),
                others[0].codec_beside_other(differ),
            )
        _check(self)

    def ways(self) -> tuple[ColumnBinding, ...]:
        """The bindings that a stored value may have, the written one first."""
        return (self,) if self.other is None else (self, self.other)

    def way_of(
        self, message: bytes, texts: Sequence[str | None]
    ) -> tuple[ColumnBinding, list[str]] | None:
        """A message's binding by its header, and its row's key.

        :param texts: canonical texts of :attr:`bound_to`; ``None`` for unknown ones.
        :returns: the written binding if the message has none of them; ``None`` if the row's
            identity is not known.
        """
        if self.other is None:
            return None if None in texts else (self, cast("list[str]", list(texts)))
        known = dict(zip(self.bound_to, texts, strict=True))
        possible: list[tuple[ColumnBinding, list[str]]] = []
        for way in self.ways():
            own = [text for c in way.identity if (text := known[c]) is not None]
            if len(own) == len(way.identity):
                possible.append((way, own))
        for way, own in possible:
            if message.startswith(way.context.serialize(own), CONTEXT_OFFSET):
                return way, own
        return possible[0] if possible else None

    @property
    def writes_former_type(self) -> bool:
        """Whether values are written by another inner type than the declared one."""
        return isinstance(self.codec, ChangedCodec) and self.codec.writes_former

    @property
    def written_codec(self) -> Codec:
        """The codec of the inner type that is written."""
        return self.codec.written if isinstance(self.codec, ChangedCodec) else self.codec

    def as_written(self, value: object, dialect: Dialect) -> object:
        """Convert a Python value of the declared type to the written type.

        :raises ValueEncodingError: it has no equivalent there.
        """
        codec = self.codec
        return codec.as_written(value, dialect) if isinstance(codec, ChangedCodec) else value

    @property
    def key_pieces(self) -> tuple[str | int, ...]:
        """The branch key id in pieces: literal texts, and positions in the row's key whose texts
        are inserted percent-encoded."""
        at = {column.key: place for place, column in enumerate(self.identity)}
        pieces: list[str | int] = []
        for text, name in self.key.pieces:
            pieces += [text] if name is None else [text, at[name]]
        return tuple(pieces)

    def key_ids(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The branch key ids under which that row's value opens, the present one first."""
        if self.fixed_key_ids is not None:
            return self.fixed_key_ids
        if not self._former_key_ids:
            return (self.key_id(texts),)
        return (self.key_id(texts), *[key_id(texts) for key_id in self._former_key_ids])

    def knows_key(self, texts: Sequence[str | None]) -> bool:
        """Whether the known texts (not ``None``) determine the branch key."""
        known = {c for c, text in zip(self.identity, texts, strict=True) if text is not None}
        return known.issuperset(self.key_columns)

    def identity_in(self, row: Mapping[str, T]) -> list[T]:
        """The identity of a row described by a user, in the columns' order.

        :raises UnknownIdentityError: it lacks one of them.
        """
        missing = [column.name for column in self.identity if column.name not in row]
        if missing:
            raise UnknownIdentityError(
                f"row= lacks {', '.join(missing)}",
                table=self.table,
                column=self.column_name,
                reason="identity-unknown",
            )
        return [row[column.name] for column in self.identity]

    def row(self, texts: Sequence[str]) -> Mapping[str, str]:
        """A row's identity by column name, for messages."""
        return self.context.row(texts)


WITH_ITS_KEY = (
    "use the model, or a Table that has the columns that identify the row, as in "
    'Table("patient", MetaData(), Column("id", Integer, primary_key=True), '
    'Column("ssn", EncryptedType()))'
)
"""What to write instead of ``table()``, which declares no key."""


def is_encrypted(element: object) -> bool:
    """Whether a column or expression has an encrypted type."""
    return isinstance(getattr(element, "type", None), SealedColumnType)


class _Bindings(dict[str, ColumnBinding]):
    """The bindings of one table, stored on it.

    :ivar columns: the columns that they are of.
    """

    def __init__(self, columns: Sequence[Column[Any]] = ()) -> None:
        super().__init__((column.key, ColumnBinding(column)) for column in columns)
        self.columns = list(columns)

    def __reduce__(self) -> tuple[type[_Bindings], tuple[()]]:
        """Not pickled with the table; they are computed again from its columns."""
        return _Bindings, ()


_NO_BINDINGS = _Bindings()


def bindings_of(table: Table) -> dict[str, ColumnBinding]:
    """The encrypted columns of `table`, by column key.

    :raises DeclarationError: one of them cannot be protected as declared.
    """
    known: _Bindings = vars(table).get(BINDINGS, _NO_BINDINGS)
    encrypted = [column for column in table.c if isinstance(column.type, SealedColumnType)]
    if known.columns != encrypted:
        known = _Bindings(encrypted)
        _refuse_shared_names(known.values())
        vars(table)[BINDINGS] = known
    return known


def _refuse_shared_names(bindings: Iterable[ColumnBinding]) -> None:
    """Refuse two columns with one name, whose values in a row could be exchanged unnoticed.

    Values also open under a name in ``formerly=``.
    """
    seen: dict[str, ColumnBinding] = {}
    for binding, name in ((bound, way.logical_name) for bound in bindings for way in bound.ways()):
        other = seen.setdefault(name, binding)
        if other is not binding:
            raise refusal(
                binding.column,
                f"its logical name {name!r} is that of {other.column_name!r} too, "
                "so their values could be exchanged: give each a name= of its own",
                "logical-name",
            )


def binding_of(column: Column[Any]) -> ColumnBinding:
    """The binding of one encrypted column of a table."""
    return bindings_of(column.table)[column.key]


def _named_column(column: Column[Any], name: str, option: str) -> Column[Any]:
    named: Column[Any] | None = column.table.c.get(name)
    if named is None:
        raise DeclarationError(
            f"{option}= names a column {name!r} that the table does not have",
            table=column.table.fullname,
            column=column.name,
            reason=option,
        )
    return named


def _identity_columns(
    column: Column[Any], bind_to: Sequence[str] | None
) -> tuple[Column[Any], ...]:
    if bind_to is not None:
        return tuple(_named_column(column, name, "bind_to") for name in bind_to)
    columns = tuple(column.table.primary_key.columns)
    if not columns:
        raise DeclarationError(
            "the table has no primary key, so nothing tells which row a value belongs to: add "
            "one, or name the columns that identify a row with bind_to=",
            table=column.table.fullname,
            column=column.name,
            reason="no-identity",
        )
    return columns


def _check(binding: ColumnBinding) -> None:
    """Refuse a column with an unsuitable row key or size."""
    for other in binding.identity:
        if is_encrypted(other):
            raise refusal(
                binding.column, f"its row's key {other.name!r} is itself encrypted", "identity"
            )
        try:
            kind_of(other.type)
        except DeclarationError as error:
            raise refusal(binding.column, error.message, error.reason or "identity") from None
    _check_size(binding)


def _check_change(binding: ColumnBinding, other: ColumnBinding, formerly: Formerly) -> None:
    """Refuse a ``formerly=`` that equals the declaration, or cannot be distinguished from it."""
    differ = binding.context.differs_from(other.context)
    if not differ and formerly.inner is None:
        raise refusal(
            binding.column,
            "formerly= says the same as the declaration: leave it out. (If only the key was "
            "different, use former_keys=[...])",
            "formerly",
        )
    if not differ and binding.key.template != other.key.template:
        raise refusal(
            binding.column,
            "if only the key was different, name the former one in former_keys=[...] instead",
            "formerly",
        )
    type_ = cast("SealedColumnType", binding.column.type)
    if not differ and formerly.inner is not None and look_alike(formerly.inner, type_.inner):
        raise refusal(
            binding.column,
            "stored JSON and stored text, or bytes, look alike: give the new declaration a name= "
            "of its own, and the former one in formerly=",
            "formerly",
        )


def _check_former_keys(binding: ColumnBinding) -> None:
    """Refuse a former key over columns that no value is bound to: it would never match."""
    bound = {column.key for column in binding.identity}
    for former in binding.former_keys:
        for name in former.columns:
            if name not in bound:
                raise refusal(
                    binding.column,
                    f"former_keys= names a column {name!r} that its values are not bound to, so "
                    "those under such a key have another context: rebind them instead",
                    "former_keys",
                )


def _check_size(binding: ColumnBinding) -> None:
    """Refuse a limited column that its longest value would not fit into."""
    storage = cast("SealedColumnType", binding.column.type).storage
    length = storage.length if storage is not None else None
    if length is None:
        return
    needed = max_stored_size(binding)
    if needed is None:
        raise refusal(
            binding.column,
            f"storage= holds {length} bytes, but there is no longest stored value: give lengths to "
            "the inner type and to the row's key, or leave storage= out",
            "storage",
        )
    if needed > length:
        raise refusal(
            binding.column,
            f"storage= holds {length} bytes; its longest value takes {needed}",
            "storage",
        )
