"""Looks up the stored spelling of a text key that an UPDATE's WHERE may match otherwise.

Under MariaDB's default collation ``WHERE code = 'ABC'`` matches the row ``'abc'``. The value must
be bound to the stored key, so that is read and locked in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from encfields.errors import AmbiguousRowError
from encfields.orm import internals

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.orm.write.statement_plan import SealedBind, StatementPlan


MAX_KEYS_IN_QUERY = 500
"""Most keys to look up in one statement."""


class StoredSpelling:
    """Looks up keys for one execution, each row once.

    Keys that are spelt as they are stored, which is nearly all of them, are found in one
    statement for many rows.

    :param plan: of an UPDATE for which spelling matters.
    :param connection: the one that the UPDATE runs on.
    :param context: the execution.
    """

    def __init__(self, plan: StatementPlan, connection: Connection, context: Any) -> None:
        self._plan = plan
        self._connection = connection
        self._context = context
        self._asked: set[Any] = set()
        self._known: dict[tuple[Any, ...], list[Any]] = {}

    def of(self, bind: SealedBind, values: Mapping[str, Any], texts: list[str]) -> list[str]:
        """The canonical texts as stored; `texts` themselves where no row matches.

        :param bind: of an encrypted value of the row.
        :param values: the row's parameters, by bind.
        :param texts: canonical texts of the row's identity, as they are given.
        :raises AmbiguousRowError: rows match whose keys are spelt differently.
        """
        pinned = [
            (index, column, part)
            for index, (column, part) in enumerate(
                zip(bind.binding.identity, bind.identity, strict=True)
            )
            if part is not None and part.in_where
        ]
        if not pinned:
            return list(
                texts
            )  # all of the identity is being written, in the spelling that is given
        wanted = tuple((column.key, values[part.bind]) for _, column, part in pinned)
        if wanted not in self._known and _is_whole_key(pinned):
            self._look_up_all(*pinned[0])
        if wanted not in self._known:
            self._known[wanted] = self._look_up(pinned, values)
        spellings = {
            tuple(part.to_text(value) for (_, _, part), value in zip(pinned, row, strict=True))
            for row in self._known[wanted]
        }
        if len(spellings) > 1:
            raise _several_spellings_error(bind)
        stored = list(texts)
        for spelling in spellings:
            for (index, _, _), text in zip(pinned, spelling, strict=True):
                stored[index] = text
        return stored

    def _look_up_all(self, _: int, column: Any, part: Any) -> None:
        """Look the keys of every row of the execution up, in the spelling that is given.

        As the column is the whole primary key, a key matches one row at most: what is found in
        its own spelling needs no other look.
        """
        if part.bind in self._asked:
            return
        self._asked.add(part.bind)
        rows = internals.parameter_rows(self._context)
        keys = list(dict.fromkeys(values[part.bind] for values, _ in rows))
        if len(keys) < 2:
            return
        for start in range(0, len(keys), MAX_KEYS_IN_QUERY):
            some = keys[start : start + MAX_KEYS_IN_QUERY]
            statement = select(column).where(column.in_(some)).with_for_update()
            for row in self._connection.execute(statement):
                self._known[((column.key, row[0]),)] = [row]

    def _look_up(self, pinned: list[Any], values: Mapping[str, Any]) -> list[Any]:
        statement = select(*(column for _, column, _ in pinned)).with_for_update()
        for _, column, part in pinned:
            statement = statement.where(column == values[part.bind])
        return list(self._connection.execute(statement))


def _is_whole_key(pinned: list[Any]) -> bool:
    if len(pinned) != 1:
        return False
    column = pinned[0][1]
    return list(column.table.primary_key.columns) == [column]


def _several_spellings_error(bind: SealedBind) -> AmbiguousRowError:
    names = ", ".join(column.name for column in bind.binding.identity)
    return AmbiguousRowError(
        f"the WHERE matches rows whose key ({names}) is spelt differently, and one value cannot "
        "be bound to them all: update each by its own spelling under a binary collation, or by "
        "a key that is unique",
        table=bind.binding.table,
        column=bind.binding.column_name,
        reason="spelling",
    )
