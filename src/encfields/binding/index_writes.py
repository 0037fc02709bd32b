"""A blind index is written in the same statement as the value it is of, by every path.

In an INSERT the index's column has a Python-side default, which SQLAlchemy applies on every path
there is. An UPDATE and an upsert that set the encrypted column are made to set the index's column
as well, before they are compiled. In both the column is assigned a mark, and the index takes its
place where the row's value is at hand. A statement that would write the one without the other is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, null
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import Null

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.companion_type import INDEX_OF_ROW, CompanionType
from encfields.binding.index_columns import IndexBinding, indexes_of, known_indexes
from encfields.binding.sqlalchemy_internals import Assigned, BoundValue, Expression
from encfields.errors import CiphertextCopyError, EncFieldsError, UnknownIdentityError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.binding.plan import IdentityBind
    from encfields.encryption import Encryption


@dataclass(frozen=True, slots=True, repr=False)
class RowIndex:
    """What of a row is indexed.

    :ivar normalised: what is hashed; ``None`` for NULL.
    :ivar key_id: the branch key whose beacon key is used.
    """

    normalised: bytes | None
    key_id: str


@dataclass(frozen=True, slots=True)
class IndexedBind:
    """A bind that a row's blind index is written through.

    :ivar bind: its name in the compiled statement.
    :ivar sources: the binds of the values that it is of; ``None`` for NULL.
    :ivar key: for each column of the key's template, where its value comes from.
    """

    bind: str
    index: IndexBinding
    sources: tuple[str | None, ...]
    key: tuple[IdentityBind | None, ...]

    def of_row(self, values: Mapping[str, Any], dialect: Dialect) -> RowIndex:
        """What of one row is indexed, and under which key.

        :param values: the row's parameters, by bind.
        :raises UnknownIdentityError: the key depends on a column whose value is not known.
        """
        given = [None if source is None else values[source] for source in self.sources]
        normalised = self.index.normalise(given, dialect)
        if normalised is None:
            return RowIndex(None, "")
        texts: list[str] = []
        for part in self.key:
            value = None if part is None else values[part.bind]
            if part is None or value is None:
                raise _unknown_key(self.index)
            texts.append(part.to_text(value))
        return RowIndex(normalised, self.index.key_id(texts))

    def value(self, encryption: Encryption, row: RowIndex) -> bytes | None:
        """The index of one row; ``None`` for NULL.

        :raises KeyStoreError: the beacon key cannot be had.
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
    table: Table, row: Mapping[Any, Assigned], identity: Any, *, is_update: bool
) -> Iterator[IndexedBind]:
    """The index columns that one row of a statement writes.

    :param row: what each column is assigned.
    :param identity: gives the :class:`IdentityBind` of a column, or ``None``.
    :raises CiphertextCopyError: an index and its value would no longer belong together.
    """
    known = indexes_of(table)
    for index in known:
        named = [source.column.key in row for source in index.sources]
        assigned = row.get(index.companion.key)
        if assigned is None and not any(named):
            continue
        if is_update and not all(named):
            raise _apart(index, named)
        if not isinstance(assigned, BoundValue):
            if _all_null(assigned, row, index):
                continue
            raise _refused(index, "the statement does not write its blind index along with it")
        sources = tuple(_source(row.get(source.column.key)) for source in index.sources)
        key = tuple(identity(column) for column in index.key_columns)
        yield IndexedBind(assigned.bind, index, sources, key)
    _refuse_orphans(table, row, {index.companion.key for index in known})


def _source(assigned: Assigned | None) -> str | None:
    return assigned.bind if isinstance(assigned, BoundValue) else None


def _all_null(assigned: Assigned | None, row: Mapping[Any, Assigned], index: IndexBinding) -> bool:
    values = [assigned, *(row.get(source.column.key) for source in index.sources)]
    return all(isinstance(v, Expression) and isinstance(v.element, Null) for v in values)


def _refuse_orphans(table: Table, row: Mapping[Any, Assigned], known: set[str]) -> None:
    """The column of an index that this table's columns do not declare."""
    for column in table.c:
        if isinstance(column.type, CompanionType) and column.key in row and column.key not in known:
            raise CiphertextCopyError(
                "it holds a blind index that none of the table's columns declares any more: "
                "declare the index, or drop the column",
                table=table.fullname,
                column=column.name,
                reason="companion",
            )


def _apart(index: IndexBinding, named: list[bool]) -> EncFieldsError:
    if not any(named):
        return _refused(index, "the column of its blind index is written by encfields alone")
    missing = [s.column_name for s, there in zip(index.sources, named, strict=True) if not there]
    return _refused(
        index,
        f"the blind index {index.label!r} is of several columns, and the statement does not set "
        f"{', '.join(missing)}: set them together, or through the ORM",
    )


def _refused(index: IndexBinding, message: str) -> CiphertextCopyError:
    return CiphertextCopyError(
        message, table=index.table, column=index.column_name, reason="companion"
    )


# -- before the statement is compiled ----------------------------------------------------------


def write_indexes_along(
    connection: Any, statement: Any, multiparams: Any, params: Any, execution_options: Any
) -> tuple[Any, Any, Any]:
    """SQLAlchemy's ``before_execute``: an UPDATE or upsert sets the index with the value."""
    table = getattr(statement, "table", None)
    if not isinstance(statement, Insert | Update) or not isinstance(table, Table):
        return statement, multiparams, params
    indexes = known_indexes(table)
    if not indexes:
        return statement, multiparams, params
    if isinstance(statement, Insert):
        return _upsert(statement, indexes), multiparams, params
    stated = {
        internals.column_key(statement, table, target): value
        for target, value in internals.update_values(statement)
    }
    added = {
        index.companion: null() if _sets_null(index, stated) else INDEX_OF_ROW
        for index in indexes
        if any(source.column.key in stated for source in index.sources)
        and index.companion.key not in stated
    }
    if added:
        statement = internals.with_update_values(statement, added)
    rows = [_marked(row, indexes) for row in multiparams]
    return statement, rows, _marked(params, indexes) if params else params


def _sets_null(index: IndexBinding, stated: Mapping[str, Any]) -> bool:
    return all(isinstance(stated.get(s.column.key), Null) for s in index.sources)


def _marked(row: Any, indexes: list[IndexBinding]) -> Any:
    """The parameters of one row, those of the indexes added."""
    if not isinstance(row, Mapping):
        return row
    added = {
        index.companion.key: INDEX_OF_ROW
        for index in indexes
        if any(source.column.key in row for source in index.sources)
    }
    return {**row, **added} if added else row


def _upsert(statement: Insert, indexes: list[IndexBinding]) -> Insert:
    """ON CONFLICT DO UPDATE sets the index where it sets the value."""
    clause = internals.post_values_clause(statement)
    if hasattr(clause, "update_values_to_set"):
        given = internals.pairs(clause.update_values_to_set)
        name = "update_values_to_set"
    elif hasattr(clause, "update"):
        given, name = internals.pairs(clause.update), "update"
    else:
        return statement
    keys = {str(getattr(target, "key", target)): value for target, value in given}
    added: list[tuple[Any, Any]] = []
    for index in indexes:
        values = [keys.get(s.column.key, keys.get(s.column.name)) for s in index.sources]
        if index.companion.key in keys or all(value is None for value in values):
            continue
        added.append((index.companion.key, _upserted(index, values)))
    return internals.with_upsert_values(statement, name, [*given, *added]) if added else statement


def _upserted(index: IndexBinding, values: list[Any]) -> Any:
    """The index's column of the row that was proposed for insertion."""
    if all(isinstance(value, Null) for value in values):
        return null()
    tables: list[Any] = [getattr(value, "table", None) for value in values]
    if None in tables:
        raise _refused(
            index,
            f"an upsert may set the columns of its blind index {index.label!r} to excluded.* only, "
            "all of them together",
        )
    return tables[0].c[index.companion.key]
