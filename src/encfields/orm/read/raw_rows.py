"""Rows of raw SQL that is executed itself: ``select(Patient).from_statement(text("SELECT .."))``,
or ``text("SELECT ..").columns(Patient.id, Patient.ssn)``.

Nothing can be added to such SQL. So its rows have a message in one column and the row's key in
others, and are put into the form of a cell as they are fetched, before anything opens them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Label, Table
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from encfields.errors import UnreadableError
from encfields.message.cell import SEPARATOR
from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.columns import SealedColumnType, binding_of, is_encrypted
from encfields.orm.query.statement_scope import unlabelled
from encfields.orm.read.driver_keys import (
    ToPart,
    gives_as_stored,
    to_part,
    unsure,
    without_padding,
)
from encfields.orm.read.provenance import row_siblings, source_column
from encfields.orm.read.raw_reader import PutTogether, RawReader, Unreadable
from encfields.orm.read.results import FetchedRows
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection


AsStored = Callable[[TypeEngine[Any]], bool]


class RawKey(NamedTuple):
    """A column of the row's key, which identifies a message's row.

    :ivar column: of the table.
    :ivar ways: what a result may have it as, first the column itself, with what converts what the
        driver gives.
    """

    column: Column[Any]
    ways: tuple[tuple[tuple[object, ...], ToPart], ...]

    def place_in(self, result: Any, as_stored: AsStored) -> KeyPlace | None:
        """Where the rows of a result have it.

        :param as_stored: whether the driver gives values of a type as they are stored.
        """
        for candidates, given in self.ways:
            place = internals.place_in_row(result, candidates)
            if place is not None:
                # PostgreSQL's drivers give a CHAR as it is padded, and say that it is one.
                is_padded = internals.driver_type(result, place) == _POSTGRESQL_CHAR
                given = without_padding(given) if is_padded else given
                if not as_stored(self.column.type):
                    given = unsure
                return KeyPlace(self.column.name, place, given)
        return None


_POSTGRESQL_CHAR = 1042


class KeyPlace(NamedTuple):
    """Where a fetched row has a column of its key, and what converts it."""

    name: str
    place: int
    to_part: ToPart


class RawColumn(NamedTuple):
    """An encrypted column of a raw statement's result.

    :ivar candidates: what the result knows it as.
    :ivar reader: opens its cells.
    :ivar key: of its rows, in the order of a cell.
    """

    candidates: tuple[object, ...]
    reader: RawReader
    key: Sequence[RawKey]


def plan_raw_columns(compiled: Any, connection: Connection) -> tuple[RawColumn, ...]:
    """What a raw statement's result has of encrypted columns, whose types are set to open cells.

    :param compiled: the statement, which has not been executed yet.
    """
    if not internals.is_raw(compiled):
        return ()
    return tuple(_planned(compiled, connection))


def _planned(compiled: Any, connection: Connection) -> Iterator[RawColumn]:
    columns = internals.result_columns(compiled)
    keys = _Keys(compiled, connection)
    for place, (objects, type_) in enumerate(columns):
        column = next(filter(_is_column, map(unlabelled, objects)), None)
        if column is None or not is_encrypted(column):
            continue
        if not isinstance(type_, SealedColumnType | RawReader):
            continue  # the application reads it as another type
        try:
            source = source_column(column)
        except UnreadableError as error:  # of a concrete hierarchy; its rows may not have it
            internals.set_result_type(
                compiled, place, Unreadable(error.message, error.table, error.column)
            )
            continue
        if adoption_of(source) is not None:
            continue
        binding = binding_of(source)
        reader = RawReader(binding, lazy=binding.lazy)
        key = [keys.of(each, row_siblings(column, each, source)) for each in binding.bound_to]
        internals.set_result_type(compiled, place, reader)
        known_as = tuple(one for one in objects if not isinstance(one, str))
        yield RawColumn(known_as, reader, key)


class _Keys:
    """What a raw statement's result may have the columns of rows' keys as."""

    def __init__(self, compiled: Any, connection: Connection) -> None:
        objects = [one for several, _ in internals.result_columns(compiled) for one in several]
        self._labels = [one for one in objects if isinstance(one, Label)]
        self._columns = {hash(one): one for one in map(unlabelled, objects) if _is_column(one)}
        self._is_by_name = internals.has_only_names(compiled)
        self._to_part = cache(lambda column: to_part(column, connection))

    def of(self, key: Column[Any], siblings: Iterable[Any]) -> RawKey:
        """
        :param siblings: the columns that are the key where the message is selected from.
        """
        found = tuple(siblings)
        own = set(map(hash, found))
        by_name = (key.name,) if self._is_by_name else ()
        ways = [((*found, *self._labelled(found), *by_name), self._to_part(key))]
        equal = {
            known: column
            for known, column in self._columns.items()
            if known not in own
            and any(base is key or _is_joined(base, key) for base in _of_tables(column))
        }
        if len(equal) == 1:
            (column,) = equal.values()
            base = next(_of_tables(column))
            ways.append(((column, *self._labelled((column,))), self._to_part(base)))
        return RawKey(key, tuple(ways))

    def _labelled(self, columns: Iterable[Any]) -> list[Any]:
        known = set(map(hash, columns))
        return [one for one in self._labels if hash(one.element) in known]


def _of_tables(column: Any) -> Iterator[Column[Any]]:
    """The columns of tables that a column of a statement is."""
    for base in column.base_columns:
        if isinstance(getattr(base, "table", None), Table):
            yield base.table.c[base.key]


def _is_joined(one: Column[Any], other: Column[Any]) -> bool:
    """Whether they are equal in the rows of a joined subclass: a primary key that refers to its
    parent's."""
    return _refers(one, other) or _refers(other, one)


def _refers(one: Column[Any], other: Column[Any], seen: frozenset[int] = frozenset()) -> bool:
    if not (one.primary_key and other.primary_key) or hash(one) in seen:
        return False
    for foreign_key in one.foreign_keys:
        try:
            target = foreign_key.column
        except NoReferenceError:
            continue
        if target is other or _refers(target, other, seen | {hash(one)}):
            return True
    return False


def _is_column(one: Any) -> bool:
    """Whether it is a column of a table, or of an alias of one."""
    return isinstance(one, ColumnElement) and getattr(one, "table", None) is not None


def put_together(result: Any, columns: Sequence[RawColumn], connection: Connection) -> None:
    """Have a raw statement's result deliver cells.

    :param columns: the encrypted ones.
    :param connection: on which it was executed.
    """
    as_stored = gives_as_stored(connection)
    places = [place for one in columns for place in _places_of(one, result, as_stored)]
    if places:
        result.cursor_strategy = RawRows(result.cursor_strategy, places)


class _Place(NamedTuple):
    """Where a fetched row has a message, and its row's key.

    :ivar begin: what each cell of the column begins with.
    :ivar parts: the row's key.
    :ivar missing: columns of the key that the statement does not select.
    """

    place: int
    reader: RawReader
    begin: bytes
    parts: tuple[KeyPlace, ...]
    missing: tuple[str, ...]


def _places_of(column: RawColumn, result: Any, as_stored: AsStored) -> Iterator[_Place]:
    place = internals.place_in_row(result, column.candidates)
    if place is None:
        return
    found = [(key.column.name, key.place_in(result, as_stored)) for key in column.key]
    parts = tuple(part for _, part in found if part is not None)
    missing = tuple(name for name, part in found if part is None)
    begin = column.reader.tag.encode("ascii") + SEPARATOR
    yield _Place(place, column.reader, begin, parts, missing)


class RawRows(FetchedRows):
    """A fetch strategy that puts each message together with its row's key.

    :param inner: the strategy that fetches.
    :param places: of the messages.
    """

    __slots__ = ("_places",)

    def __init__(self, inner: Any, places: Sequence[_Place]) -> None:
        super().__init__(inner)
        self._places = places

    @leaves_no_trace
    def changed(self, rows: Sequence[Any]) -> list[Any]:
        """The rows, with cells in the place of messages.

        :raises UnreadableError: a message's row is not known.
        """
        return [self._with_cells(row) for row in rows]

    def _with_cells(self, row: Any) -> tuple[Any, ...]:
        given = tuple(row)
        changed = list(given)
        for each in self._places:
            message = given[each.place]
            if isinstance(message, bytes | bytearray | memoryview):
                if each.missing:
                    raise _without_key(each)
                parts = [_part(key, given, each) for key in each.parts]
                cell = each.begin + SEPARATOR.join((*parts, bytes(message)))
                changed[each.place] = PutTogether(cell)
        return tuple(changed)


def _part(key: KeyPlace, row: tuple[Any, ...], of: _Place) -> bytes:
    part = key.to_part(row[key.place])
    if part is not None:
        return part
    binding, given = of.reader.binding, type(row[key.place]).__name__
    raise UnreadableError(
        f"what the driver gives for the row's key {key.name!r}, a {given}, is not what its type "
        "writes, or another key might give the same, so nothing proves whose value it is: read it "
        "by a statement of the model's, such as select(Model), which asks the database",
        table=binding.table,
        column=binding.column_name,
        reason="identity-form",
    )


def _without_key(place: _Place) -> UnreadableError:
    binding = place.reader.binding
    names = ", ".join(map(repr, place.missing))
    return UnreadableError(
        f"the raw SQL does not select the row's key {names} beside it, once and under that name, "
        "so nothing tells whose value it is: select it too, and name it in columns() if that is "
        "used",
        table=binding.table,
        column=binding.column_name,
        reason="key-not-selected",
    )


def cells_at_hand(result: Any, rows: Sequence[Any]) -> Sequence[Any]:
    """Rows that a driver has delivered, as the result's own strategy would give them."""
    strategy = result.cursor_strategy
    while isinstance(strategy, FetchedRows):
        if isinstance(strategy, RawRows):
            return strategy.changed(rows)
        strategy = strategy.inner
    return rows
