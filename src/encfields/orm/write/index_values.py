"""Writes a blind index in the same statement as its value, on every path.

In an INSERT the index's column has a Python-side default, which SQLAlchemy applies on every path.
An UPDATE or upsert that sets the encrypted column is made to set the index's column as well
(:mod:`encfields.orm.write.indexes_along`). Both assign a mark, which the index replaces when the
row's value is known. A statement that would write one without the other is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table
from sqlalchemy.sql.elements import Null

from encfields.errors import CiphertextCopyError, EncFieldsError, UnknownIdentityError
from encfields.orm.declare.index_binding import Form, IndexBinding, stored_value_to_index
from encfields.orm.declare.index_column_type import IndexColumnType, IndexWithRest
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.internals import Assigned, BoundValue, Expression
from encfields.orm.sealed import Sealed, to_be_written
from encfields.orm.write.pending import Carried, is_null

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.row_keys import IdentityBind
    from encfields.orm.engine_encryption import EngineEncryption


UNSTATED = ""
"""Stands for the bind of a value that the statement does not set."""


class RowIndex:
    """What to index of a row.

    :ivar normalised: the bytes to hash; ``None`` for NULL.
    :ivar key_id: the branch key whose beacon key is used.
    """

    __slots__ = ("key_id", "normalised")

    def __init__(self, normalised: bytes | None, key_id: str) -> None:
        self.normalised = normalised
        self.key_id = key_id

    def under(self, key_id: str) -> RowIndex:
        """The same under another branch key, of the row as the database spells it."""
        return RowIndex(self.normalised, key_id)


@dataclass(slots=True, eq=False, repr=False)
class IndexedBind:
    """The bind of a row's blind index.

    :ivar bind: its name in the compiled statement.
    :ivar sources: the binds of its values; ``None`` for NULL, and ``UNSTATED`` for one that the
        statement does not set.
    :ivar key: for each column of the key's template, where its value comes from.
    :ivar forms: give the bytes to hash of the values.
    :ivar refusal: raised if a value that is not set is not known from the row either.
    """

    bind: str
    index: IndexBinding
    sources: tuple[str | None, ...]
    key: tuple[IdentityBind | None, ...]
    forms: tuple[Form, ...]
    refusal: Callable[[], EncFieldsError] | None = None

    def of_row(self, values: Mapping[str, Any], mark: object, dialect: Dialect) -> RowIndex:
        """What to index of one row, and under which key.

        :param values: the row's parameters, by bind.
        :param mark: the value assigned to the index's column in this row.
        :raises CiphertextCopyError: a value is neither set nor known.
        :raises UnknownIdentityError: the key depends on a column whose value is not known.
        """
        given = self._values_of_row(values, mark, dialect)
        normalised = None if given is None else self.index.normalise(given, self.forms)
        if normalised is None:
            return RowIndex(None, "")
        texts: list[str] = []
        for part in self.key:
            value = None if part is None else values[part.bind]
            if part is None or value is None:
                raise _unknown_key(self.index)
            texts.append(part.to_text(value))
        return RowIndex(normalised, self.index.key_id(texts))

    def is_null(self, values: Mapping[str, Any]) -> bool:
        """Whether a value that is set is NULL, and so the index."""
        for source, part in zip(self.sources, self.index.sources, strict=True):
            if source is None:
                return True
            if source == UNSTATED or type(values[source]) is str:
                continue
            if is_null(values[source], none_is_value=part.none_is_value):
                return True
        return False

    def _values_of_row(
        self, values: Mapping[str, Any], mark: object, dialect: Dialect
    ) -> list[object] | None:
        """The values that the index is of; ``None`` if one of them is NULL."""
        if self.is_null(values):
            return None
        if UNSTATED in self.sources and not isinstance(mark, IndexWithRest):
            raise self.refusal() if self.refusal else self.not_ours()
        rest = mark.rest if isinstance(mark, IndexWithRest) else {}
        given: list[object] = []
        for source, part in zip(self.sources, self.index.sources, strict=True):
            value = values[source] if source else rest[part.column.key]
            if type(value) is Sealed:
                value = to_be_written(value)
            if isinstance(value, Carried):
                if value.data is None:  # NULL, also where None is a value
                    return None
                value = stored_value_to_index(part, value.data, dialect)
            given.append(value)
        return given

    def not_ours(self) -> EncFieldsError:
        """The error for an index that the application sets to NULL."""
        return refused(self.index, WRITTEN_BY_US)

    def value(self, encryption: EngineEncryption, row: RowIndex) -> bytes | None:
        """The index of one row; ``None`` for NULL.

        :param encryption: where beacon keys come from.
        :param row: what is indexed, as :meth:`of_row` gives it.
        :raises KeyStoreError: the beacon key cannot be fetched.
        """
        if row.normalised is None:
            return None
        return self.index.value(encryption, row.key_id, row.normalised, for_writing=True)


def _unknown_key(index: IndexBinding) -> EncFieldsError:
    names = ", ".join(column.name for column in index.key_columns)
    return UnknownIdentityError(
        f"the key of its blind index {index.label!r} depends on {names}, which is not known when "
        "the row is written: give it a value, or the index a key= of its own",
        table=index.table,
        column=index.column_name,
        reason="identity-unknown",
    )


def indexed_binds(
    table: Table,
    row: Mapping[Any, Assigned],
    identity: Callable[[Column[Any]], IdentityBind | None],
    types: Mapping[str, list[Any]],
    dialect: Dialect,
    *,
    is_update: bool,
) -> Iterator[IndexedBind]:
    """The index columns that one row of a statement writes.

    :param row: what each column is assigned.
    :param identity: gives the bind of a column of the row's key.
    :param types: of each bind.
    :param table: that is written to.
    :raises CiphertextCopyError: an index and its value would no longer belong together.
    """
    known = indexes_of(table)
    for index in known:
        values = [row.get(source.column.key) for source in index.sources]
        assigned = row.get(index.index_column.key)
        if assigned is None and not any(values):
            continue
        if any(is_null_expression(value) for value in values) and is_null_expression(assigned):
            continue
        if is_update and not any(values):
            raise refused(index, WRITTEN_BY_US)
        if not isinstance(assigned, BoundValue):
            if is_update and None in values:
                raise _refusal_without_rest(index, values)()
            if _is_expression(assigned) and all(_is_expression(value) for value in values):
                continue  # of whole rows, or refused because of the value
            raise refused(index, "the statement does not write its blind index along with it")
        of_bind = types.get(assigned.bind, [None])
        if not all(isinstance(type_, IndexColumnType) for type_ in of_bind):
            raise refused(index, WRITTEN_BY_US)
        sources = tuple(source_of(value) for value in values)
        if is_update:
            sources = tuple(
                UNSTATED if value is None else source
                for source, value in zip(sources, values, strict=True)
            )
        key = tuple(identity(column) for column in index.key_columns)
        forms = index.forms(dialect)
        yield IndexedBind(
            assigned.bind, index, sources, key, forms, _refusal_without_rest(index, values)
        )
    _refuse_undeclared_index_columns(table, row, {index.index_column.key for index in known})


WRITTEN_BY_US = (
    "the column of its blind index is written by encfields alone, together with the value: leave "
    "it out of the statement"
)


def source_of(assigned: Assigned | None) -> str | None:
    """The bind of a value; ``None`` for NULL."""
    return assigned.bind if isinstance(assigned, BoundValue) else None


def is_null_expression(assigned: Assigned | None) -> bool:
    """Whether a column is assigned ``null()``."""
    return isinstance(assigned, Expression) and isinstance(assigned.element, Null)


def _is_expression(assigned: Assigned | None) -> bool:
    return isinstance(assigned, Expression) and not isinstance(assigned.element, Null)


def _refuse_undeclared_index_columns(
    table: Table, row: Mapping[Any, Assigned], known: set[str]
) -> None:
    """Refuse an index column that none of the table's columns declares."""
    for column in table.c:
        is_written = column.key in row and column.key not in known
        if is_written and isinstance(column.type, IndexColumnType):
            raise CiphertextCopyError(
                "it holds a blind index that none of the table's columns declares any more: "
                "declare the index, or drop the column",
                table=table.fullname,
                column=column.name,
                reason="companion",
            )


def _refusal_without_rest(
    index: IndexBinding, values: list[Assigned | None]
) -> Callable[[], EncFieldsError]:
    missing = [s.column_name for s, value in zip(index.sources, values, strict=True) if not value]
    written = ", ".join(f"{source.column.key}=..." for source in index.sources)
    return lambda: refused(
        index,
        f"the blind index {index.label!r} covers several columns, and the statement does not set "
        f"{', '.join(missing)}: set all of them, as in values({written}), or set the attributes of "
        "an object of the ORM, which reads the others",
    )


def refused(index: IndexBinding, message: str) -> CiphertextCopyError:
    """The error for a statement that would write a value without its index, or the reverse."""
    return CiphertextCopyError(
        message, table=index.table, column=index.column_name, reason="companion"
    )


def refuse_half_copy(table: Table, names: Collection[str]) -> None:
    """Refuse an INSERT .. SELECT that fills an indexed column, or its index, without the other.

    :param names: keys of the columns that are filled.
    :raises CiphertextCopyError: says what to copy along.
    """
    for index in indexes_of(table):
        given = [source.column.key in names for source in index.sources]
        if (index.index_column.key in names) == all(given):
            continue
        copied, missing = index.index_column.name, index.column_name
        if all(given):
            copied, missing = missing, copied
        raise refused(
            index,
            f"INSERT .. SELECT would copy {copied} without {missing}, which belong together as a "
            "value and its blind index: copy whole rows, or read and insert the values",
        )


def refuse_alias(table: Any, rows: Iterable[Mapping[Any, Assigned]]) -> None:
    """Refuse to write an indexed column, or its index, through an alias of its table.

    :param table: the statement's target, which is not a ``Table``.
    :raises CiphertextCopyError: says to name the table.
    """
    base = getattr(table, "element", None)
    if not isinstance(base, Table):
        return
    for index in indexes_of(base):
        written = {index.index_column.key, *(source.column.key for source in index.sources)}
        if any(written & {str(getattr(target, "key", target)) for target in row} for row in rows):
            raise refused(
                index,
                "an UPDATE of an alias does not write its blind index along: update the table "
                "itself",
            )
