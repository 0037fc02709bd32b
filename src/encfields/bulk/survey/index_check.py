"""Checks blind indexes: whether they are there, and whether they match the row's values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Select,
    Table,
    and_,
    column,
    func,
    select,
)

from encfields.bulk.rows.run_keys import SetAsideError
from encfields.bulk.rows.spec_base import TableSpecBase
from encfields.bulk.survey.scan import Sample
from encfields.errors import BlindIndexError, DeclarationError, EncFieldsError, KeyUnavailableError
from encfields.index.definition import IndexDefinition

if TYPE_CHECKING:
    from encfields.bulk.rows.run_keys import RunKeys
    from encfields.bulk.rows.spec_base import ReflectedTable

INDEX_REASONS = ("index-missing", "index-mismatch")
"""Failure reasons that concern an index and not a value."""


class OpenedColumnValue(NamedTuple):
    """One opened value of a row.

    :ivar plaintext: ``None`` for NULL.
    :ivar key_id: id of the branch key for this place.
    """

    plaintext: bytes | None
    key_id: str


class IndexCheck:
    """Compares one index of each row with the values of the row.

    :param index: the index.
    :ivar column: its column's name.
    """

    def __init__(self, index: IndexDefinition, keys: RunKeys) -> None:
        self.column = index.name
        self.columns = index.columns
        self._index = index
        self._keys = keys

    def fault(
        self, stored: object, opened: Mapping[str, OpenedColumnValue]
    ) -> EncFieldsError | None:
        """What is wrong with one row's index; ``None`` if nothing is, or if a value did not open.

        :param stored: the content of the index's column.
        :param opened: the values that opened, by column.
        :raises KeyUnavailableError: the beacon key is unreachable.
        """
        if any(name not in opened for name in self.columns):
            return None
        values = [opened[name] for name in self.columns]
        try:
            right = self._index.of_plaintexts(
                [value.plaintext for value in values], values[0].key_id, self._keys
            )
        except KeyUnavailableError:
            raise
        except SetAsideError as error:
            return error.failure
        except EncFieldsError as error:
            return error
        held = None if stored is None else bytes(stored)  # type: ignore[call-overload]
        if held == right:
            return None
        return _missing() if held is None else _mismatch()


def index_checks(reflected: ReflectedTable, keys: RunKeys) -> Iterator[IndexCheck]:
    """A check for each index of a spec.

    :raises DeclarationError: the table has no such column.
    """
    for index in reflected.spec.indexes:
        if index.name not in reflected.table.c:
            raise DeclarationError(
                f"the table has no column {index.name} for its blind index: migrate the database "
                "first",
                table=reflected.spec.table,
                column=index.name,
                reason="column",
            )
        yield IndexCheck(index, keys)


def _missing() -> BlindIndexError:
    return BlindIndexError(
        "the row has a value and no blind index, so look-ups miss it: fill the index with "
        "encfields reencrypt, or op.fill_blind_index()",
        reason="index-missing",
    )


def _mismatch() -> BlindIndexError:
    return BlindIndexError(
        "the blind index does not match the row's value: it was altered, or made with another "
        "transform, length, domain or key. Compute the table's indexes again",
        reason="index-mismatch",
    )


def count_unindexed(connection: Connection, spec: TableSpecBase) -> dict[str, int]:
    """How many rows have their values but no blind index.

    :param spec: the table; its columns must be there.
    :returns: the count for each of ``spec.indexes``, by the name of its column.
    """
    counts = {}
    for index in spec.indexes:
        counted = select(func.count()).select_from(_table(spec, index))
        counts[index.name] = connection.scalar(counted.where(is_unindexed(index))) or 0
    return counts


def any_unindexed(connection: Connection, spec: TableSpecBase, index: IndexDefinition) -> bool:
    """Whether there is such a row; no full scan if the index's column has a database index."""
    sought: Select[Any] = select(column(index.name)).select_from(_table(spec, index))
    return connection.execute(sought.where(is_unindexed(index)).limit(1)).first() is not None


def is_unindexed(index: IndexDefinition, columns: Any = None) -> ColumnElement[bool]:
    """The condition for one row.

    :param columns: gives columns by name; by default plain ones of that name.
    """
    of = column if columns is None else columns.__getitem__
    return and_(*(of(name).is_not(None) for name in index.columns), of(index.name).is_(None))


def _table(spec: TableSpecBase, index: IndexDefinition) -> Any:
    names: Iterable[str] = (index.name, *index.columns)
    return Table(spec.table, MetaData(), *map(Column, names), schema=spec.schema)


@dataclass(slots=True)
class IndexCensus:
    """The rows of one blind index, under one version of its beacon key.

    :ivar column: the database name of the index's column.
    :ivar index: the index's name.
    :ivar of: the encrypted columns that it indexes.
    :ivar version: of the beacon key.
    :ivar is_there: whether the database has the column.
    :ivar indexed: rows that are in the index.
    :ivar missing: rows with values that are not in the index, so queries by it miss them.
    :ivar orphaned: rows that are in the index but lack a value.
    """

    column: str
    index: str
    of: tuple[str, ...]
    version: int
    is_there: bool = True
    indexed: int = 0
    missing: int = 0
    orphaned: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every row that was read and has its values is in the index."""
        return self.is_there and not self.missing

    def to_json(self, sample: Sample | None = None) -> dict[str, Any]:
        """The index as plain data.

        :param sample: what was drawn; totals are then extrapolated beside the counts.
        """
        document: dict[str, Any] = {
            "column": self.column,
            "index": self.index,
            "of": list(self.of),
            "version": self.version,
            "is_there": self.is_there,
            "indexed": self.indexed,
            "missing": self.missing,
            "orphaned": self.orphaned,
        }
        if sample is not None:
            counts = ("indexed", "missing", "orphaned")
            document["estimated"] = {name: sample.extrapolate(document[name]) for name in counts}
        return document


class IndexCounter:
    """Counts the rows of one index.

    :param index: the index.
    :param lengths_at: positions in a row of the lengths of its values; NULL for no value.
    :param null_at: position of whether the index is NULL; ``None`` if there is no column.
    """

    def __init__(
        self, index: IndexDefinition, lengths_at: Sequence[int], null_at: int | None
    ) -> None:
        self.result = IndexCensus(
            index.name, index.label, index.columns, index.version, null_at is not None
        )
        self._lengths_at = tuple(lengths_at)
        self._null_at = null_at

    def add(self, rows: Sequence[Any]) -> None:
        """Count some rows."""
        result = self.result
        for row in rows:
            has_values = all(row[at] is not None for at in self._lengths_at)
            is_indexed = self._null_at is not None and not row[self._null_at]
            if has_values and is_indexed:
                result.indexed += 1
            elif has_values:
                result.missing += 1
            elif is_indexed:
                result.orphaned += 1
