"""The interface of writers, and what they share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy.exc import StatementError

from encfields.bulk.errors import RowAlteredError
from encfields.bulk.row_refusals import Refusal, refusal_of, refuses_row
from encfields.bulk.rows.row_work import ABSENT, BatchOutcome, RefusedValue, RowChange
from encfields.databases import MYSQL_NAMES
from encfields.message.header import CONTEXT_OFFSET
from encfields.orm.adoption.text_form import TextForm

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.bulk.rows.prepared_job import PreparedJob

IDENTIFYING_BYTES = CONTEXT_OFFSET - 2
"""Bytes up to the end of a message's 32 random bytes of message id. They are unique, so comparing
them shows whether a value is unchanged, at a sixteenth of the bytes."""


class Writer(Protocol):
    """Stores a batch in the caller's transaction.

    It never waits for a row lock: locked rows are left out. It replaces a value only if the old one
    is still stored, so no update by the application is lost.
    """

    def made_ready(self, changes: Sequence[RowChange]) -> Any:
        """The statements of a batch, which another thread may make while this one writes the batch
        before; ``None`` to leave them to :meth:`write`.

        :param changes: those that will be written.
        """
        ...

    def write(self, connection: Connection, changes: Sequence[RowChange], ready: Any = None) -> int:
        """Store some rows, given in key order.

        :param ready: what :meth:`made_ready` returned for exactly these.
        :returns: how many were stored; the others were locked, changed or deleted.
        """
        ...


class Statement(NamedTuple):
    """A statement for the driver, and its parameters."""

    text: str
    parameters: Sequence[Any]


class ChangeShape(NamedTuple):
    """The columns of a change, by number.

    :param compared: those whose old value must still be stored.
    :param absent: those that must still be NULL.
    :param written: those with a new value.
    :param writes_indexes: whether it writes the columns of blind indexes.
    """

    compared: tuple[int, ...]
    absent: tuple[int, ...]
    written: tuple[int, ...]
    writes_indexes: bool


_WHOLE = ChangeShape((0,), (), (0,), writes_indexes=False)
"""The shape of most changes: one column."""


def shape_of(change: RowChange) -> ChangeShape:
    """The shape of one change."""
    old, new = change.old, change.new
    if len(old) == 1 and old[0] and new[0] is not None and change.indexes is None:
        return _WHOLE
    return ChangeShape(
        tuple(i for i, value in enumerate(old) if value is not None and value != ABSENT),
        tuple(i for i, value in enumerate(old) if value == ABSENT),
        tuple(i for i, value in enumerate(new) if value is not None),
        change.indexes is not None,
    )


def shapes_of(changes: Sequence[RowChange]) -> list[ChangeShape]:
    """The shapes of many changes."""
    _, old, new, indexes, _ = zip(*changes, strict=True)
    # Found out for all at once if every change has the same shape, as most batches' have.
    replaces_one = len(old[0]) == 1 and indexes.count(None) == len(changes)
    if replaces_one and (None,) not in new and (None,) not in old and (ABSENT,) not in old:
        return [_WHOLE] * len(changes)
    return list(map(shape_of, changes))


def by_shape(changes: Sequence[RowChange]) -> Iterator[tuple[ChangeShape, list[RowChange]]]:
    """Consecutive changes of the same shape."""
    for shape, group in groupby(changes, key=shape_of):
        yield shape, list(group)


class UnchangedPlaintext:
    """Compares the plaintext columns of a run that adopts; other runs have none.

    :param prepared: the job. :param alias: the table's alias, to qualify columns.
    :ivar forms: SQL of what is compared, for each column.
    """

    def __init__(self, prepared: PreparedJob, alias: str = "") -> None:
        dialect = prepared.dialect
        quote = dialect.identifier_preparer.quote
        self._hashes = dialect.name != "sqlite"
        self.forms: Sequence[str] = ()
        if prepared.job.adopted is not None:
            self.forms = [
                self._compared(TextForm(c.type, dialect).sql(alias + quote(c.name)), dialect.name)
                for c in prepared.plain
            ]

    def _compared(self, form: str, dialect_name: str) -> str:
        if dialect_name == "postgresql":
            return f"sha256({form})"
        return f"UNHEX(SHA2({form}, 256))" if dialect_name in MYSQL_NAMES else form

    def expected(self, plain: Sequence[bytes | None] | None) -> list[bytes | None]:
        """What each of a row's plaintexts is compared with; ``None`` for no comparison."""
        if plain is None:
            return [None] * len(self.forms)
        return [
            hashlib.sha256(value).digest() if self._hashes and value is not None else value
            for value in plain
        ]


class WrittenNames:
    """The names of the columns that a change writes, for messages.

    :param prepared: the run's job.
    :ivar unique: the columns that may be in a unique index.
    """

    def __init__(self, prepared: PreparedJob) -> None:
        stored = (prepared.job.to_plaintext and prepared.plain) or prepared.columns
        self._stored = [column.name for column in stored]
        self._indexes = [column.name for column in prepared.index_columns]
        self.unique = ", ".join(self._indexes or self._stored)

    def written(self, change: RowChange) -> str:
        """The columns written in one row, or its blind indexes if nothing else is."""
        values = zip(self._stored, change.new, strict=True)
        return ", ".join([name for name, value in values if value is not None] or self._indexes)


def write_one_by_one(
    writer: Writer,
    connection: Connection,
    changes: Sequence[RowChange],
    names: WrittenNames,
    outcome: BatchOutcome,
) -> int:
    """Store rows one by one, and quarantine those that the database refuses.

    :param names: of the columns that may be at fault, for messages.
    :param outcome: receives the refused rows.
    :returns: how many rows were stored.
    """
    try:
        with connection.begin_nested():
            return writer.write(connection, changes)
    except RowAlteredError:
        refusal, kind = Refusal.ALTERED, ""
    except StatementError as error:
        if not refuses_row(error):
            raise
        # The driver's own text could hold the value.
        refusal, kind = refusal_of(error), f"{type(error.orig).__name__}: "
    if len(changes) > 1:
        half = len(changes) // 2
        parts = (changes[:half], changes[half:])
        return sum(write_one_by_one(writer, connection, part, names, outcome) for part in parts)
    column = names.unique if refusal is Refusal.UNIQUE else names.written(changes[0])
    words = f"{kind}{refusal.words}"
    outcome.refused.append(RefusedValue(changes[0].key, column[:128], refusal.reason, words))
    return 0
