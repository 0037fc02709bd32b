"""One version of a table's blind index: its column, and how its value is computed."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table

from encfields.codecs.base import BecomesNullError, Equality
from encfields.codecs.decorated import DecoratedCodec
from encfields.errors import DeclarationError, EncFieldsError
from encfields.index.definition import IndexDefinition
from encfields.index.hashing import compound, index_value
from encfields.index.transforms import Transform, exact, instant, number
from encfields.key_template import KeyTemplate
from encfields.orm import internals
from encfields.orm.declare.columns import ColumnBinding
from encfields.orm.declare.compound_index import CompoundBlindIndex, remember
from encfields.orm.declare.index_column_type import INDEX_OF_ROW, IndexColumnType
from encfields.orm.declare.table_constraints import name_index, take_over_rules
from encfields.orm.write.pending import Carried

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.index.blind_index import BlindIndex
    from encfields.index.transforms import Transform
    from encfields.orm.engine_encryption import EngineEncryption


Form = Callable[[object], bytes]
"""What is hashed of a value, or compared, made of a value of the declared type, or of what
:func:`stored_value_to_index` gives."""


class IndexBinding:
    """One version of one blind index of a table.

    :ivar index_column: the column that stores it.
    :ivar sources: its encrypted columns, in the order in which they are hashed.
    :ivar declared: the declaration.
    :ivar definition: what determines its bytes.
    :ivar unique: whether the database refuses a second row with the same index.
    :ivar key: id or template of the branch key whose beacon key is used.
    :ivar key_columns: columns that the template names.
    :ivar other: while the declaration of one of the columns is being changed, the same index as it
        is of values that are not kept as is written, if that differs.
    """

    __slots__ = (
        "_whole",
        "declared",
        "definition",
        "index_column",
        "is_full",
        "key",
        "key_columns",
        "label",
        "other",
        "sources",
        "unique",
    )

    def __init__(
        self,
        table: Table,
        declared: BlindIndex | CompoundBlindIndex,
        sources: Sequence[ColumnBinding],
        transforms: Sequence[Transform],
        name: str,
        version: int,
    ) -> None:
        self.declared = declared
        self.is_full = declared.is_full
        self.label = declared.label
        self._define(table, sources, transforms, name, version)
        self.unique = declared.unique or (self.is_full and self.is_exact and _is_unique(sources[0]))
        self.index_column = _index_column(table, self, name)
        self.other = self._other_index(table, transforms)

    def _define(
        self,
        table: Table,
        sources: Sequence[ColumnBinding],
        transforms: Sequence[Transform],
        name: str,
        version: int,
    ) -> None:
        """Determine what the index's values depend on."""
        declared = self.declared
        self.sources = tuple(sources)
        self._whole = _transform_for_type(sources[0], exact)
        self.key = _key(declared, sources)
        self.key_columns = tuple(_key_column(self, name) for name in self.key.columns)
        self.definition = IndexDefinition(
            name,
            declared.label,
            tuple(source.column_name for source in sources),
            tuple(map(_transform_for_type, sources, transforms)),
            declared.domain or _default_domain(table, declared, sources),
            declared.bits,
            version,
            None if declared.key is None else self.key.fixed_id,
        )

    def _other_index(self, table: Table, transforms: Sequence[Transform]) -> IndexBinding | None:
        """See :attr:`other`.

        :raises DeclarationError: the index is unique, and would not be meanwhile.
        """
        others = [source.other or source for source in self.sources]
        if others == list(self.sources):
            return None
        twin = copy.copy(self)
        twin._define(table, others, transforms, self.index_column.name, self.definition.version)
        twin.other = self
        if twin.comparable == self.comparable and all(
            other.codec is source.codec for other, source in zip(others, self.sources, strict=True)
        ):
            return None
        if self.unique:
            raise refusal_of(
                self.sources[0],
                f"its blind index {self.label!r} is unique, and equal values that are stored in "
                "two ways have two hashes: give it domain= and key= as they were, if that makes "
                "the hashes equal; else change the declaration without formerly=, in a maintenance "
                "window",
                "formerly",
            )
        return twin

    @property
    def of_values(self) -> IndexBinding:
        """The index of any value that is read, which is of the declared type."""
        former = any(source.writes_former_type for source in self.sources)
        return self.other if former and self.other is not None else self

    @property
    def table(self) -> str:
        """Full name of the table."""
        return self.sources[0].table

    @property
    def column_name(self) -> str:
        """Name of the encrypted column, or of the first."""
        return self.sources[0].column_name

    @property
    def is_exact(self) -> bool:
        """Whether it distinguishes any two values, and not only their transforms."""
        transforms = self.definition.transforms
        return len(transforms) == 1 and not transforms[0].lossy

    def whole_form(self, dialect: Dialect, *, as_stated: bool = False) -> Form:
        """What gives what a whole value that is looked up has in common with those that equal it.

        It raises what ``encode_asked`` of the column's codec raises.

        :param as_stated: as for :meth:`forms`.
        """
        return _form(self.sources[0], self._whole, dialect, asked=True, as_stated=as_stated)

    def forms(
        self, dialect: Dialect, *, asked: bool = False, as_stated: bool = False
    ) -> tuple[Form, ...]:
        """What gives what is hashed of a value, for each of the columns.

        It raises what ``encode`` of the column's codec, or the transform, raises.

        :param asked: of values that are looked up, and not stored.
        :param as_stated: of those that an application's type, if the column has one, does not
            convert, because they have a type of their own.
        """
        pairs = zip(self.sources, self.definition.transforms, strict=True)
        return tuple(
            _form(source, transform, dialect, asked=asked, as_stated=as_stated)
            for source, transform in pairs
        )

    @property
    def comparable(self) -> tuple[Any, ...]:
        """What two indexes must have in common for their values to be comparable."""
        definition = self.definition
        return (
            definition.domain,
            definition.derivation,
            definition.bits,
            self.key.template,
            definition.version,
        )

    def key_id(self, texts: Sequence[str]) -> str:
        """The branch key id for a row, given the canonical texts of `key_columns`."""
        if not self.key_columns:
            return self.key.template
        names = zip((c.key for c in self.key_columns), texts, strict=True)
        return self.key.key_id(dict(names))

    def normalise(self, values: Sequence[object], forms: Sequence[Form]) -> bytes | None:
        """The bytes to hash for a row's values; ``None`` if one of them is stored as NULL.

        :param forms: from :meth:`forms`.
        :raises ValueEncodingError: the column or the transform does not accept a value.
        """
        parts: list[bytes] = []
        for source, form, value in zip(self.sources, forms, values, strict=True):
            if value is None and not source.none_is_value:
                return None
            try:
                parts.append(form(value))
            except BecomesNullError:
                return None
            except EncFieldsError as error:
                error.table, error.column = source.table, source.column_name
                raise
        return parts[0] if len(parts) == 1 else compound(parts)

    def value(
        self, encryption: EngineEncryption, key_id: str, normalised: bytes, *, for_writing: bool
    ) -> bytes:
        """The index: ``ceil(bits / 8)`` bytes.

        :param for_writing: to store it, and not only to look it up.
        :raises KeyStoreError: the beacon key cannot be fetched.
        """
        definition = self.definition
        try:
            key = encryption.index_key(
                key_id,
                definition.version,
                definition.domain,
                definition.derivation,
                for_writing=for_writing,
            )
        except EncFieldsError as error:
            error.table, error.column = self.table, self.column_name
            raise
        return index_value(key, normalised, definition.bits)


def _form(
    source: ColumnBinding, transform: Transform, dialect: Dialect, *, asked: bool, as_stated: bool
) -> Form:
    """See :meth:`IndexBinding.forms`."""
    codec = source.written_codec
    asks = codec.impl(dialect) if as_stated and isinstance(codec, DecoratedCodec) else codec
    encode = asks.encode_asked if asked else codec.encode
    form = transform.form(functools.partial(encode, dialect=dialect))
    if codec is not source.codec:
        return lambda value: form(source.as_written(value, dialect))
    if not is_indexed_as_stored(source):
        return form
    of_plaintext = transform.form(attrgetter("data"))
    return lambda value: of_plaintext(value) if type(value) is Carried else form(value)


def is_indexed_as_stored(source: ColumnBinding) -> bool:
    """Whether a stored value is indexed, and compared, as the plaintext that it is.

    What a user's own type makes of a value that is read, a mask or an object, it need not take for
    one that is written, or makes something else of it once more.
    """
    return source.other is None and isinstance(source.codec, DecoratedCodec)


def stored_value_to_index(source: ColumnBinding, data: bytes, dialect: Dialect) -> object:
    """A stored value as the forms of an index take it.

    :param data: its plaintext.
    """
    return Carried(data) if is_indexed_as_stored(source) else source.codec.decode(data, dialect)


TRANSFORM_OF_WHOLE = {
    Equality.PLAINTEXT: exact,
    Equality.NUMBER: number,
    Equality.INSTANT: instant,
}
"""What is taken of whole values, by when two of them are equal."""


def _transform_for_type(source: ColumnBinding, transform: Transform) -> Transform:
    """The transform for the column's type, so that equal values have the same index."""
    return TRANSFORM_OF_WHOLE[source.codec.equality] if transform == exact else transform


def _is_unique(source: ColumnBinding) -> bool:
    """Whether the encrypted column was declared with ``unique=True``."""
    return bool(source.column.unique)


def _default_domain(table: Table, declared: Any, sources: Sequence[ColumnBinding]) -> str:
    return sources[0].logical_name if len(sources) == 1 else f"{table.fullname}.{declared.label}"


def _key(declared: Any, sources: Sequence[ColumnBinding]) -> KeyTemplate:
    if declared.key is not None:
        key = KeyTemplate(declared.key)
        if key.columns and any(source.key.template != key.template for source in sources):
            raise refusal_of(
                sources[0],
                f"the key of its blind index {declared.label!r} is a template other than the "
                "column's: give it a plain id, or leave key= out",
                "key",
            )
        return key
    templates = {source.key.template for source in sources}
    if len(templates) > 1:
        raise refusal_of(
            sources[0],
            f"the columns of the blind index {declared.label!r} have different keys: give it a "
            "key of its own with key=",
            "key",
        )
    return sources[0].key


def _key_column(index: IndexBinding, name: str) -> Column[Any]:
    column: Column[Any] = index.sources[0].column.table.c[name]
    return column


def _index_column(table: Table, index: IndexBinding, name: str) -> Column[Any]:
    """The index's column; appended to the table unless it was copied or reflected with it."""
    length = index.definition.stored_bytes
    present = next((column for column in table.c if column.name == name), None)
    if present is not None and isinstance(present.type, IndexColumnType):
        if present.type.length == length:
            name_index(present)
            return present
    elif present is not None and not (is_reflected(present) and internals.holds_bytes(present)):
        raise refusal_of(
            index.sources[0],
            f"its blind index would be held in a column {name!r}, and the table has one of that "
            "name already: give the index a name=",
            "companion",
        )
    index_column = internals.UnmappedColumn(
        name,
        IndexColumnType(length),
        key=name if present is None else present.key,
        default=INDEX_OF_ROW,
        index=True,
        unique=index.unique,
    )
    remember(index_column, index.declared)
    table.append_column(index_column, replace_existing=True)
    name_index(index_column)
    if present is not None:
        take_over_rules(table, present, index_column)
    return index_column


_reflected: weakref.WeakKeyDictionary[Table, set[str]] = weakref.WeakKeyDictionary()


def note_reflected(table: Table, name: str) -> None:
    """Note that a column was reflected, and not declared by the application."""
    _reflected.setdefault(table, set()).add(name)


def is_reflected(column: Column[Any]) -> bool:
    """Whether a column was reflected."""
    return column.name in _reflected.get(column.table, ())


def refusal_of(source: ColumnBinding, message: str, reason: str) -> DeclarationError:
    return DeclarationError(message, table=source.table, column=source.column_name, reason=reason)
