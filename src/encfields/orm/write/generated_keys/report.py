"""What the result of an INSERT reports of its keys: the same as a plain table's result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encfields.databases import MYSQL_NAMES
from encfields.orm import internals
from encfields.orm.write.generated_keys.keyed_insert import is_expected

if TYPE_CHECKING:
    from encfields.orm.write.generated_keys.keyless import KeylessInsert
    from encfields.orm.write.generated_keys.rehearsal import Keys


def report(context: Any, result: Any, insert: KeylessInsert, keys: Keys) -> None:
    """Make the result of an INSERT report its keys as a plain table's does.

    :param context: of the INSERT, after it was executed.
    :param insert: the keys that it lacked.
    :param keys: those it was given, row by row.
    """
    internals.end_defaults(context, result)
    returns_rows = bool(result.returns_rows)
    if not returns_rows and context.dialect.name in MYSQL_NAMES:
        _report_number(context, insert, keys)
    if insert.is_multi:
        return
    primary = {n: column for n, column in enumerate(insert.missing) if column.primary_key}
    expected = {n: column for n, column in primary.items() if is_expected(column, insert)}
    if insert.are_reported and expected and not returns_rows:
        told = {column: [key[n] for key in keys] for n, column in expected.items()}
        internals.report_keys(context, result, told)
    is_one = len(keys) == 1 and not context.compiled.inline
    may_skip = insert.may_skip and context.dialect.postfetch_lastrowid and not returns_rows
    if may_skip and is_one and expected and result.rowcount == 0:
        # Nothing was stored. SQLite then tells the row that the connection stored last.
        skipped = {column: [True] for column in expected.values()}
        internals.report_no_keys(context, skipped, told=result.lastrowid)
        return
    are_told = returns_rows or insert.are_reported or is_one
    supplied = internals.supplied_columns(context.invoked_statement) if returns_rows else set()
    known = {c for n, c in primary.items() if (are_told and n in expected) or c in supplied}
    untold = [column for column in primary.values() if column not in known]
    if untold:
        hidden = {c: [row.get(c.key) is None for row in insert.rows] for c in untold}
        internals.report_no_keys(context, hidden)


def _report_number(context: Any, insert: KeylessInsert, keys: Keys) -> None:
    """Set ``lastrowid`` to the number of a statement's first row, as MySQL reports generated
    numbers. Of numbers that it is given, as from a Sequence, it reports the last if it might have
    generated them; if rows are returned, none."""
    if insert.are_reported:
        none = 0 if context.dialect.driver == "mysqldb" else None
        context.get_lastrowid = lambda: none
        return
    if len(keys) == 1 and not insert.is_multi:
        return
    counted = internals.autoincrement_column(insert.table)
    default = None if counted is None else counted.default
    numbers = [n for n, column in enumerate(insert.missing) if column is counted]
    told = [key[numbers[0]] for key in keys] if numbers else []
    if default is not None and context.dialect.supports_sequences:
        told = told[-1:] if getattr(default, "optional", False) else []
    number = next((number for number in told if number is not None), 0)
    context.get_lastrowid = lambda: number
