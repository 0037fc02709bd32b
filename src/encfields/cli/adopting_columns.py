"""Columns with ``adopts=``, and what ``status`` says about them.

It counts what the encrypted column holds; a row whose value is only in the plaintext column has
NULL there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from encfields.adopt import AdoptionError
from encfields.adopt.next_step import AdoptionProgress, progress_of
from encfields.cli.application import metadata_named
from encfields.cli.output import how_many
from encfields.orm.adoption.columns import adopted_columns

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from encfields.bulk.rows.spec import TableSpec
    from encfields.cli.output import Output
    from encfields.cli.settings import Settings


def adoptions(
    settings: Settings, engine: Engine, specs: Iterable[TableSpec]
) -> list[AdoptionProgress]:
    """How far the adoptions are that the models declare for columns of these tables.

    :raises AdoptionError: one has not begun, so there is no encrypted column to look at.
    """
    models = settings.models()
    if models is None:
        return []
    named = {(spec.schema, spec.table): {column.name for column in spec.columns} for spec in specs}
    found = [
        progress_of(engine, binding.column)
        for table in metadata_named(models).sorted_tables
        for binding, *_ in adopted_columns(table)
        if binding.column.name in named.get((table.schema, table.name), ())
    ]
    missing = [one for one in found if not one.is_begun]
    if missing:
        table, _, column = missing[0].column.rpartition(".")
        raise AdoptionError(
            f"its adoption has not begun, and the table has no encrypted column; {missing[0].next}",
            table=table,
            column=column,
            reason="adoption-order",
        )
    return found


def print_adoptions(found: Iterable[AdoptionProgress], output: Output) -> None:
    """Say for each what is still only plaintext, and what comes next."""
    for one in found:
        rows = f"{how_many(one.pending, 'row')} with only plaintext" if one.pending else "sealed"
        output.line(
            f"{one.column} is being adopted (phase {one.phase!r}, stage {one.stage!r}): {rows}. "
            f"Next: {one.next}.",
            style="yellow",
        )
