"""Values whose row's key the database generates: insert a placeholder, then seal and update.

Both statements run in the application's own transaction, so nobody else ever sees the
placeholder. Where the key cannot be learnt, or no transaction holds the two together, the
insert is refused.

The key is learnt from what the INSERT reports: from the keys that SQLAlchemy collects, or from
the application's own RETURNING clause. A placeholder names the value that it stands for, so a
row that comes back through RETURNING before its value is sealed still delivers that value.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.late_update import LateRow, write_late_values
from encfields.binding.row_keys import from_bound_value, kind_of
from encfields.errors import UnknownIdentityError
from encfields.identity import FROM_TEXT

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection

    from encfields.binding.columns import ColumnBinding


class Sealer(Protocol):
    """Seals a plaintext for a row; the write hook is one."""

    def seal(self, binding: ColumnBinding, texts: list[str], plaintext: bytes) -> bytes:
        """One message, for the row whose identity's canonical texts are `texts`."""
        ...

    def require_key(self, binding: ColumnBinding, texts: list[str | None]) -> None:
        """Raise now, if the branch key that the row needs cannot be had."""
        ...


PLACEHOLDER_PREFIX = b"encfields: inserted, and not yet sealed: "
"""What a row holds between its INSERT and the UPDATE that seals its value."""

_TOKEN_BYTES = 16

_in_progress: weakref.WeakValueDictionary[bytes, LateInsert] = weakref.WeakValueDictionary()


@dataclass(slots=True, repr=False)
class Parked:
    """One value that waits for its row's key.

    :ivar row: index of its parameter set.
    :ivar texts: canonical texts of the row's identity; ``None`` for those not yet known.
    """

    row: int
    binding: ColumnBinding
    texts: list[str | None]
    plaintext: bytes


class LateInsert:
    """The values of one INSERT that wait for their rows' keys.

    It lives as long as the execution, because rows of RETURNING may be read later.

    :param sealer: seals the values.
    :param connection: the one that it runs on.
    :param context: its execution.
    """

    def __init__(self, sealer: Sealer, connection: Connection, context: Any) -> None:
        self._sealer = sealer
        self._connection = connection
        self._context = weakref.proxy(context)
        self._token = os.urandom(_TOKEN_BYTES)
        self.parked: list[Parked] = []

    def park(
        self, row: int, binding: ColumnBinding, texts: list[str | None], plaintext: bytes
    ) -> bytes:
        """Keep a value of the `row`-th parameter set.

        What can fail is tried now, while nothing has been inserted.

        :returns: the placeholder to insert in its stead.
        :raises UnknownIdentityError: its row's key could not be learnt afterwards.
        :raises KeyStoreError: its branch key cannot be had.
        """
        if not self.parked:
            refuse_unlearnable(self._connection, self._context, binding)
            _in_progress[self._token] = self
        primary = set(binding.column.table.primary_key.columns)
        for column, text in zip(binding.identity, texts, strict=True):
            if text is None and column not in primary:
                raise unknown_key(
                    binding, f"{column.name} identifies the row and has no value: give it one"
                )
        self._sealer.require_key(binding, texts)
        self.parked.append(Parked(row, binding, texts, plaintext))
        index = len(self.parked) - 1
        return PLACEHOLDER_PREFIX + self._token + index.to_bytes(4, "big")

    def complete(self, result: Any) -> None:
        """Seal every parked value now that the keys are known, and update the rows.

        If that fails, the transaction is rolled back: a placeholder is never committed.

        :param result: of the INSERT.
        :raises UnknownIdentityError: the database did not report a key.
        """
        try:
            self._complete(result)
        except BaseException:
            transaction = (
                self._connection.get_nested_transaction() or self._connection.get_transaction()
            )
            if transaction is not None and transaction.is_active:
                transaction.rollback()
            raise

    def _complete(self, result: Any) -> None:
        if internals.is_explicit_returning(self._context):
            self._learn_from_rows(internals.buffered_rows(result))
        else:
            many = self._context.executemany
            keys = result.inserted_primary_key_rows if many else [result.inserted_primary_key]
            self._learn_from_keys(keys)
        for bindings, rows in self._rows_by_columns():
            write_late_values(self._connection, bindings, rows)

    def _learn_from_keys(self, keys: Any) -> None:
        """Keys in the order of the parameter sets, in the order of the primary key's columns."""
        for parked in self.parked:
            primary = parked.binding.column.table.primary_key.columns
            key = keys[parked.row] if parked.row < len(keys) else None
            for column, value in zip(primary, key or (), strict=False):
                if value is not None:
                    self._learn(parked, column, value)

    def _learn(self, parked: Parked, column: Column[Any], value: object) -> None:
        for index, known in enumerate(parked.binding.identity):
            if known is column and parked.texts[index] is None:
                to_text = from_bound_value(column.type, self._connection.dialect)
                parked.texts[index] = to_text(value)

    def _learn_from_rows(self, rows: list[Any]) -> None:
        """Rows of the application's own RETURNING, as the driver delivered them."""
        for position, open_cell in internals.sealed_cells(self._context):
            for row in rows:
                open_cell(row[position])  # a placeholder teaches its row's key when it is read
        if any(None in parked.texts for parked in self.parked):
            positions = internals.returned_positions(self._context)
            for parked in self.parked:
                for column in parked.binding.column.table.primary_key.columns:
                    if column in positions and parked.row < len(rows):
                        self._learn(parked, column, rows[parked.row][positions[column]])

    def _rows_by_columns(self) -> Iterator[tuple[tuple[ColumnBinding, ...], list[LateRow]]]:
        """The rows to update, those of the same columns together."""
        by_row: dict[int, list[Parked]] = {}
        for parked in self.parked:
            by_row.setdefault(parked.row, []).append(parked)
        groups: dict[tuple[ColumnBinding, ...], list[LateRow]] = {}
        for row in by_row.values():
            bindings = tuple(parked.binding for parked in row)
            groups.setdefault(bindings, []).append(self._sealed(row))
        yield from groups.items()

    def _sealed(self, row: list[Parked]) -> LateRow:
        keys: dict[Column[Any], object] = {}
        messages: list[bytes] = []
        for parked in row:
            texts = [text for text in parked.texts if text is not None]
            if len(texts) < len(parked.texts):
                raise unknown_key(
                    parked.binding,
                    "the database did not report the key that it generated: give the key a "
                    "value or a Python-side default, or add it to RETURNING",
                )
            for column, text in zip(parked.binding.identity, texts, strict=True):
                keys[column] = FROM_TEXT[kind_of(column.type, self._connection.dialect)](text)
            messages.append(self._sealer.seal(parked.binding, texts, parked.plaintext))
        return LateRow(keys, messages)


def value_of_placeholder(message: bytes, texts: list[str], dialect: Any) -> object:
    """The value that a placeholder stands for, while its INSERT is under way in this process.

    :param texts: the row's identity, which came with the placeholder and is learnt from it.
    :raises LookupError: no INSERT under way knows the placeholder, or it is another row's.
    """
    token = message[len(PLACEHOLDER_PREFIX) : len(PLACEHOLDER_PREFIX) + _TOKEN_BYTES]
    late = _in_progress[token]
    parked = late.parked[int.from_bytes(message[len(PLACEHOLDER_PREFIX) + _TOKEN_BYTES :], "big")]
    if any(known not in (None, text) for known, text in zip(parked.texts, texts, strict=True)):
        raise LookupError("the placeholder was copied to another row")
    parked.texts[:] = texts
    return parked.binding.codec.decode(parked.plaintext, dialect)


def refuse_unlearnable(connection: Connection, context: Any, binding: ColumnBinding) -> None:
    """Refuse an INSERT after which the generated key could not be learnt, or not in time.

    :raises UnknownIdentityError: with what to do instead.
    """
    statement = internals.dml_statement(context.compiled)
    if internals.is_autocommit(connection):
        raise unknown_key(
            binding,
            "the database generates the row's key, and under AUTOCOMMIT no transaction holds the "
            "INSERT and the UPDATE that seals the value together: use a transaction, or give the "
            "key a Python-side default such as uuid.uuid4",
        )
    if internals.post_values_clause(statement) is not None or internals.has_prefixes(statement):
        raise unknown_key(
            binding,
            "an INSERT that may skip or replace a row does not tell the key that the database "
            "generated: give the key a value or a Python-side default",
        )
    if internals.is_multi_values(context.compiled):
        raise unknown_key(
            binding,
            "values([...]) does not tell the keys that the database generates: pass the list to "
            "execute() instead",
        )
    if internals.is_explicit_returning(context) and not _tells_key(context, binding):
        raise unknown_key(
            binding,
            "the database generates the row's key: add it, or the encrypted column, to RETURNING",
        )
    if context.executemany and not context.compiled.effective_returning:
        raise unknown_key(
            binding,
            "the database does not tell the keys that it generates for many rows: give the key a "
            "Python-side default, or insert through the ORM",
        )


def _tells_key(context: Any, binding: ColumnBinding) -> bool:
    """Whether a RETURNING clause delivers the row's key, by itself or beside a value."""
    if any(known is binding for known in internals.sealed_bindings(context)):
        return True
    positions = internals.returned_positions(context)
    return all(column in positions for column in binding.column.table.primary_key.columns)


def unknown_key(binding: ColumnBinding, message: str) -> UnknownIdentityError:
    """The row's key is not known when, or after, its value has to be sealed."""
    return UnknownIdentityError(
        message, table=binding.table, column=binding.column_name, reason="identity-unknown"
    )
