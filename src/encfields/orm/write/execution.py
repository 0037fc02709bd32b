"""An INSERT or UPDATE of a table with encrypted columns, before it is compiled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Table

from encfields.orm import internals
from encfields.orm.declare.columns import ColumnBinding, bindings_of

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection


@dataclass(slots=True, eq=False, repr=False)
class WriteExecution:
    """One execution of such a statement. Completing it replaces its statement or parameters.

    :ivar table: the target table.
    :ivar bindings: its encrypted columns, by key.
    :ivar multiparams: parameter sets of many rows, as SQLAlchemy's event has them.
    :ivar params: the parameters of one row, where those are empty.
    :ivar options: execution options.
    :ivar to_find: the parts of the key of a row that an upsert finds by another one, which are
        found out before.
    """

    connection: Connection
    statement: Any
    table: Table
    bindings: Mapping[str, ColumnBinding]
    multiparams: Any
    params: Any
    options: Mapping[str, Any]
    to_find: tuple[Column[Any], ...] = ()

    @classmethod
    def of(
        cls, connection: Connection, write: Any, multiparams: Any, params: Any, options: Any
    ) -> WriteExecution | None:
        """The execution of an INSERT or UPDATE; ``None`` if its table has no encrypted column.

        :param write: the INSERT or UPDATE.
        :param multiparams: as SQLAlchemy's event has them, like what follows.
        :raises DeclarationError: the table cannot be protected as declared.
        """
        table = internals.written_table(write)
        bindings = bindings_of(table) if isinstance(table, Table) else None
        if not bindings:
            return None
        # The plain table: queries of an ORM statement's table find only rows of its class.
        table = next(iter(bindings.values())).column.table
        return cls(connection, write, table, bindings, multiparams, params, options)

    @property
    def rows(self) -> list[Any]:
        """Its parameter sets; one empty set if it has none."""
        return list(self.multiparams) if self.multiparams else [self.params]

    def gives_all_keys(self) -> bool:
        """Whether the parameters surely give each row its key, as nearly all do that lack none.

        Asked of an INSERT that takes all from them.
        """
        columns = {c.key for binding in self.bindings.values() for c in binding.identity}
        for row in self.multiparams or [self.params]:
            for name in columns:
                if type(row) is not dict or type(row.get(name)) not in _PLAIN:
                    return False
        return True


_PLAIN = frozenset((int, str, UUID, bytes, dt.date, dt.datetime))
