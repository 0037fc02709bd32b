"""Values whose row's key the database generates: insert a placeholder, then seal and update.

Both statements run in the application's own transaction, so nobody else ever sees the
placeholder. Where the key cannot be learnt, or no transaction holds the two together, the
insert is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, LargeBinary, Table, bindparam, update
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.row_keys import from_bound_value
from encfields.errors import UnknownIdentityError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from encfields.binding.columns import ColumnBinding
    from encfields.binding.plan import StatementPlan

Seal = Callable[["ColumnBinding", list[str], object, "Connection"], bytes]


@dataclass(frozen=True, slots=True, repr=False)
class Parked:
    """One value that waits for its row's key."""

    binding: ColumnBinding
    texts: list[str | None]
    value: object


class LateInsert:
    """The values of one INSERT that wait for their rows' keys.

    :param plan: of the INSERT.
    :param connection: the one that it runs on.
    :param context: its execution.
    """

    def __init__(self, plan: StatementPlan, connection: Connection, context: Any) -> None:
        self._plan = plan
        self._connection = connection
        self._context = context
        self.parked: dict[int, list[Parked]] = {}

    def park(
        self, row: int, binding: ColumnBinding, texts: list[str | None], value: object
    ) -> None:
        """Keep a value of the `row`-th parameter set.

        :raises UnknownIdentityError: its row's key could not be learnt afterwards.
        """
        if not self.parked:
            self._check(binding)
        primary = set(binding.column.table.primary_key.columns)
        for column, text in zip(binding.identity, texts, strict=True):
            if text is None and column not in primary:
                raise _unknown(
                    binding, f"{column.name} identifies the row and has no value: give it one"
                )
        self.parked.setdefault(row, []).append(Parked(binding, texts, value))

    def _check(self, binding: ColumnBinding) -> None:
        statement = internals.dml_statement(self._context.compiled)
        if internals.is_autocommit(self._connection):
            raise _unknown(
                binding,
                "the database generates the row's key, and under AUTOCOMMIT no transaction holds "
                "the INSERT and the UPDATE that seals the value together: use a transaction, or "
                "give the key a Python-side default such as uuid.uuid4",
            )
        if internals.post_values_clause(statement) is not None or internals.has_prefixes(statement):
            raise _unknown(
                binding,
                "an INSERT that may skip or replace a row does not tell the key the database "
                "generated: give the key a value or a Python-side default",
            )
        if internals.is_explicit_returning(self._context):
            raise _unknown(
                binding,
                "the database generates the row's key, and RETURNING would deliver the row "
                "before its value is sealed: leave RETURNING out and read the row afterwards, or "
                "give the key a Python-side default",
            )
        if self._context.executemany and not self._context.compiled.effective_returning:
            raise _unknown(
                binding,
                "the driver does not report the keys that the database generates for many rows: "
                "give the key a Python-side default, or insert through the ORM",
            )
        if internals.is_multi_values(self._context.compiled):
            raise _unknown(
                binding,
                "values([...]) does not report the keys that the database generates: pass the "
                "list to execute() instead",
            )

    def complete(self, result: Any, seal: Seal) -> None:
        """Seal every parked value now that the keys are known, and update the rows.

        :param result: of the INSERT.
        :raises UnknownIdentityError: the database did not report a key.
        """
        many = self._context.executemany
        keys = result.inserted_primary_key_rows if many else [result.inserted_primary_key]
        updates: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row, parked in self.parked.items():
            key = keys[row] if row < len(keys) else ()
            updates.setdefault(tuple(p.binding.column.key for p in parked), []).append(
                self._sealed_row(parked, key, seal)
            )
        self.parked.clear()
        for columns, rows in updates.items():
            self._connection.execute(_update(self._table, columns), rows)

    @property
    def _table(self) -> Table:
        assert self._plan.table is not None
        return self._plan.table

    def _sealed_row(self, parked: list[Parked], key: Any, seal: Seal) -> dict[str, Any]:
        primary = list(self._table.primary_key.columns)
        by_column = dict(zip(primary, key or (), strict=False))
        row: dict[str, Any] = {_key_bind(c): value for c, value in by_column.items()}
        for item in parked:
            texts = [
                text if text is not None else self._learnt(item.binding, column, by_column)
                for column, text in zip(item.binding.identity, item.texts, strict=True)
            ]
            row[_value_bind(item.binding.column.key)] = seal(
                item.binding, texts, item.value, self._connection
            )
        return row

    def _learnt(
        self, binding: ColumnBinding, column: Column[Any], by_column: dict[Column[Any], Any]
    ) -> str:
        value = by_column.get(column)
        if value is None:
            raise _unknown(
                binding, f"the database did not report the key it generated for {column.name}"
            )
        return from_bound_value(column.type, self._connection.dialect)(value)


def _key_bind(column: Column[Any]) -> str:
    return f"encfields_key_{column.key}"


def _value_bind(key: str) -> str:
    return f"encfields_value_{key}"


def _update(table: Table, columns: tuple[str, ...]) -> Any:
    """UPDATE by primary key, on a bare table: no onupdate default fires a second time."""
    names = {key: table.c[key].name for key in columns}
    bare = sql_table(
        table.name,
        *(sql_column(c.name, c.type) for c in table.primary_key.columns),
        *(sql_column(name, LargeBinary) for name in names.values()),
        schema=table.schema,
    )
    statement = update(bare).values(
        {name: bindparam(_value_bind(key), type_=LargeBinary) for key, name in names.items()}
    )
    for column in table.primary_key.columns:
        statement = statement.where(
            bare.c[column.name] == bindparam(_key_bind(column), type_=column.type)
        )
    return statement


def _unknown(binding: ColumnBinding, message: str) -> UnknownIdentityError:
    return UnknownIdentityError(
        message, table=binding.table, column=binding.column_name, reason="identity-unknown"
    )
