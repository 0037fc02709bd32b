"""How far a declared adoption is, and what comes next, for whoever asks without a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, func, select
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

from encfields.adopt.adoption import Adoption
from encfields.adopt.places import placed
from encfields.adopt.stages import AdoptionState, state_of
from encfields.bulk.connections import Connections, sync_engine
from encfields.bulk.failures import raises_no_drivers_errors
from encfields.orm.adoption.plaintext import WRITE_BOTH, WRITE_SEALED, adoption_of
from encfields.orm.adoption.trigger_notes import CLOSED, OPEN

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class AdoptionProgress:
    """How far an adoption is.

    :ivar column: the plaintext column, with its table.
    :ivar phase: that the models declare. :ivar stage: of the database's triggers; ``None`` if it
        has none, or not all of them.
    :ivar is_begun: whether the encrypted column is in the table.
    :ivar pending: number of rows with only plaintext.
    :ivar next: what to do next, in a sentence.
    """

    column: str
    phase: str
    stage: str | None
    is_begun: bool
    pending: int
    next: str


@raises_no_drivers_errors
def progress_of(engine: Engine, column: Column[Any]) -> AdoptionProgress:
    """How far the adoption of a declared column is; it reads which rows have a value.

    :param engine: of the database. :param column: one that declares ``adopts=Plaintext(...)``.
    :raises DeclarationError: the column adopts nothing, or the database has no such table.
    """
    adoption = placed(engine, Adoption.of(column))
    adopts = adoption_of(column)
    assert adopts is not None  # noqa: S101 - Adoption.of() sees to it
    own = Connections(sync_engine(engine))
    try:
        connection = own.reading()
        state = state_of(connection, adoption)
        pending = _pending(connection, adoption, state)
    finally:
        own.close()
    name = f"{adoption.table_name}.{adoption.plain}"
    then = _next(state, adoption, adopts.phase, pending, f"encfields adopt {{}} {name}")
    return AdoptionProgress(name, adopts.phase, state.stage, state.has_sealed, pending, then)


def _pending(connection: Connection, adoption: Adoption, state: AdoptionState) -> int:
    if not state.has_plain:
        return 0
    names = [name for name in (adoption.sealed, adoption.plain) if name in state.table.c]
    table = sql_table(adoption.spec.table, *map(sql_column, names), schema=adoption.spec.schema)
    rows = select(func.count()).select_from(table).where(table.c[adoption.plain].is_not(None))
    if state.has_sealed:
        rows = rows.where(table.c[adoption.sealed].is_(None))
    return int(connection.scalar(rows) or 0)


def _next(state: AdoptionState, adoption: Adoption, phase: str, pending: int, step: str) -> str:
    """:param step: the command, with a place for its verb."""
    if not state.has_plain:
        return "the plaintext column is gone: declare the encrypted one without adopts="
    if state.stage is None or not (state.knows_indexes_of(adoption) or state.stage == CLOSED):
        return f"run `{step.format('begin')}`"
    if state.stage == CLOSED:
        return (
            "when every process has the declaration without adopts=, run "
            f"`{step.format('end')}` with the models of now"
        )
    if pending:
        return f"run `{step.format('run')}`"
    if phase == WRITE_BOTH:
        return 'deploy the phase "read-sealed"'
    if state.stage == OPEN:
        return f"when no old process is left, run `{step.format('ensure')}`"
    if phase == WRITE_SEALED:
        return f"when no process of another phase is left, run `{step.format('close')}`"
    return 'deploy the phase "write-sealed"'
