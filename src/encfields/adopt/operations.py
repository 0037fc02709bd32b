"""The steps of an adoption, in order; each is refused out of order.

``begin_adoption``, ``adopt``, ``ensure_adopted``, ``close_plaintext``, ``end_adoption``; and back:
``reopen_plaintext``, ``refill_plaintext`` and ``withdraw_adoption``.
"""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from encfields.adopt.a_step import a_step
from encfields.adopt.adoption import Adoption, AdoptionError
from encfields.adopt.comparison import Comparison, compare
from encfields.adopt.obstacles import (
    before_rows_without_plaintext,
    before_the_first_step,
    before_the_last_step,
)
from encfields.adopt.places import placed
from encfields.adopt.plaintext_removal import remove_plaintext
from encfields.adopt.schema import Schema
from encfields.adopt.schema_transactions import done_again_beside_another_host
from encfields.adopt.stages import alike_in, last_trigger, what_remains
from encfields.bulk.connections import Connections, sync_engine
from encfields.bulk.options import Options
from encfields.bulk.reencryption import Reencryption, Report
from encfields.orm.adoption.trigger_notes import CLOSED, OPEN, READY
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from encfields.bulk.runs.progress import Progress
    from encfields.engine import Encryption


@a_step
@done_again_beside_another_host
def begin_adoption(engine: Engine, adoption: Adoption) -> None:
    """Add the encrypted column, its indexes and the triggers. The plaintext column becomes
    nullable; a required value stays required.

    Run it before the application enters the phase ``"write-both"``. Run it again after a failure,
    to restore missing triggers at any stage, and after a blind index was declared or dropped: it
    adds the index's column and updates the triggers.

    :param engine: the application's engine.
    :param adoption: which column becomes which.
    :raises AdoptionError: the adoption is past this step, or a trigger of the table's own would run
        last.
    """
    adoption = placed(engine, adoption)
    schema = Schema(sync_engine(engine), adoption)
    state = schema.state()
    if not state.has_plain:
        alike = alike_in(adoption.plain, state.table)
        raise _error(adoption, f"the table has no such column to adopt{alike}", "column")
    if state.stage not in (None, OPEN) and state.knows_indexes_of(adoption):
        message = f"begin_adoption has already run: its triggers are in the stage {state.stage!r}"
        raise _error(adoption, message, "adoption-order")
    _refuse_later_trigger(engine, adoption, state.table)
    schema.require_nothing(before_the_first_step, "the column cannot be adopted")
    if state.stage is None and state.left_at is None:  # later, missing triggers matter more
        schema.require_lasting_keys()
    schema.begin(state.left_at or state.stage or OPEN)


@leaves_no_trace
@a_step
def adopt(
    engine: Engine,
    encryption: Encryption,
    adoption: Adoption,
    *,
    options: Options | None = None,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> Report:
    """Seal the plaintext of every row without a sealed value, while the application works.

    It may be killed at any moment, and the next call continues; any number of hosts may share the
    run.

    :param engine: the application's engine.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param adoption: which column becomes which.
    :param options: how the run works; default :class:`~encfields.bulk.options.Options`.
    :param progress: called about twice a second with a :class:`~encfields.bulk.ProgressState`.
    :param stop: set it to end the run after the current batch; the next call continues.
    :returns: the run's report.
    :raises AdoptionError: ``begin_adoption`` comes first.
    """
    run = adopting_run(engine, encryption, adoption, options=options)
    return run.run(progress=progress, stop=stop)


@a_step
def adopting_run(
    engine: Engine, encryption: Encryption, adoption: Adoption, *, options: Options | None = None
) -> Reencryption:
    """The run of :func:`adopt`, to be recorded for workers.

    :param engine: the application's engine, whose database is worked on.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param adoption: which column becomes which.
    :param options: how the run works; by default as :class:`~encfields.bulk.options.Options` says.
    :raises AdoptionError: ``begin_adoption`` comes first.
    """
    adoption = placed(engine, adoption)
    engine = sync_engine(engine)
    Schema(engine, adoption).state().require("adopt", adoption, OPEN, READY)
    return _run(engine, encryption, adoption, options, refill=False)


@leaves_no_trace
@a_step
def compare_adopted(engine: Engine, encryption: Encryption, adoption: Adoption) -> Comparison:
    """Open every value and compare it with its plaintext, changing nothing.

    :param engine: the application's engine, whose database is worked on.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param adoption: which column becomes which.
    :raises AdoptionError: rows are hidden from the database user.
    """
    adoption = placed(engine, adoption)
    Schema(sync_engine(engine), adoption).state()
    own = Connections(sync_engine(engine))
    try:
        return compare(own, encryption, adoption)
    finally:
        own.close()


@a_step
def ensure_adopted(engine: Engine, encryption: Encryption, adoption: Adoption) -> Comparison:
    """Check that every value is sealed, equal to its plaintext, and indexed. After that rows may
    have only sealed values: the application may enter the phase ``"write-sealed"``.

    :param engine: the application's engine, whose database is worked on.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param adoption: which column becomes which.
    :raises AdoptionError: they are not, with rows named by their keys; a trigger of the table's own
        assigns the plaintext, or a CHECK demands it; or ``begin_adoption`` comes first.
    """
    adoption = placed(engine, adoption)
    schema = Schema(sync_engine(engine), adoption)
    state = schema.state()
    state.require("ensure_adopted", adoption, OPEN, READY, CLOSED)
    _refuse_later_trigger(engine, adoption, state.table)
    if state.stage == OPEN:
        schema.require_nothing(
            lambda plain: before_rows_without_plaintext(plain, adoption.sealed),
            "rows cannot do without plaintext yet",
        )
    comparison = compare_adopted(engine, encryption, adoption)
    _require_clean("ensure_adopted", adoption, comparison)
    if state.stage == OPEN:
        schema.set_stage(READY)
    return comparison


@leaves_no_trace
@a_step
def close_plaintext(engine: Engine, encryption: Encryption, adoption: Adoption) -> Comparison:
    """Make the database refuse plaintext, and set existing plaintext to NULL, each value only if
    the sealed one opens and equals it at that moment.

    Every process of the application must be in the phase ``"write-sealed"``. After this the sealed
    values and the keys are the only copy: back up the key table.

    :param engine: the application's engine, whose database is worked on.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param adoption: which column becomes which.
    :returns: the comparison; ``both`` is the number of values set to NULL.
    :raises AdoptionError: values differ or do not open, or ``ensure_adopted`` comes first.
    """
    adoption = placed(engine, adoption)
    engine = sync_engine(engine)
    schema = Schema(engine, adoption)
    state = schema.state()
    state.require("close_plaintext", adoption, READY, CLOSED)
    if state.stage == READY:
        _require_clean("close_plaintext", adoption, compare_adopted(engine, encryption, adoption))
    schema.set_stage(CLOSED)
    own = Connections(engine)
    try:
        comparison = remove_plaintext(own, encryption, adoption)
    finally:
        own.close()
    _require_clean("close_plaintext", adoption, comparison)
    return comparison


@a_step
@done_again_beside_another_host
def end_adoption(engine: Engine, adoption: Adoption) -> tuple[str, ...]:
    """Drop the plaintext column and the triggers.

    :param engine: the application's engine, whose database is worked on.
    :param adoption: which column becomes which.
    :returns: where plaintext remains on disk, each with the command that removes it.
    :raises AdoptionError: ``close_plaintext`` comes first, or a row still has plaintext.
    """
    adoption = placed(engine, adoption)
    engine = sync_engine(engine)
    schema = Schema(engine, adoption)
    state = schema.state()
    state.require_a_column(adoption)
    if not state.has_plain:
        schema.end()
        return what_remains(adoption, engine.dialect.name)
    state.require("end_adoption", adoption, CLOSED)
    if _any_row(engine, state.table.c[adoption.plain].is_not(None)):
        message = "rows still have plaintext: run close_plaintext first"
        raise _error(adoption, message, "adoption-order")
    schema.require_nothing(before_the_last_step, "the plaintext column is still needed")
    schema.end()
    return what_remains(adoption, engine.dialect.name)


@leaves_no_trace
@a_step
@done_again_beside_another_host
def reopen_plaintext(engine: Engine, adoption: Adoption) -> None:
    """Make the database accept plaintext again after ``close_plaintext``, while processes still
    write only sealed values: the first step back, before you deploy the phase ``"read-sealed"``.

    :param engine: the application's engine, whose database is worked on.
    :param adoption: which column becomes which.
    :raises AdoptionError: ``begin_adoption`` comes first.
    """
    adoption = placed(engine, adoption)
    schema = Schema(sync_engine(engine), adoption)
    state = schema.state()
    state.require("reopen_plaintext", adoption, OPEN, READY, CLOSED)
    if state.latest == CLOSED:
        schema.set_stage(READY)


@leaves_no_trace
@a_step
def refill_plaintext(
    engine: Engine,
    encryption: Encryption,
    adoption: Adoption,
    *,
    options: Options | None = None,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> Report:
    """Go back: write the plaintext of rows that have only a sealed value.

    Every process of the application must be in the phase ``"read-sealed"`` again; after
    ``close_plaintext`` that needs ``reopen_plaintext`` first. Afterwards any earlier version may
    run.

    :param engine: the application's engine, whose database is worked on.
    :param encryption: what :func:`~encfields.attach` returned for it.
    :param adoption: which column becomes which.
    :param options: how the run works; by default as :class:`~encfields.bulk.options.Options` says.
    :param progress: called about twice a second with how far the run is.
    :param stop: set it to end the run after the current batch; the next call continues.
    :raises AdoptionError: there is nothing to go back from, or a process in a later phase wrote a
        row meanwhile.
    """
    adoption = placed(engine, adoption)
    engine = sync_engine(engine)
    schema = Schema(engine, adoption)
    state = schema.state()
    state.require("refill_plaintext", adoption, OPEN, READY, CLOSED)
    if state.latest == CLOSED:
        schema.set_stage(READY)
    run = _run(engine, encryption, adoption, options, refill=True)
    report = run.run(progress=progress, stop=stop)
    if report.finished and state.latest != OPEN:
        schema.set_stage(OPEN)
        if _any_row(engine, *_sealed_only(adoption, state.table)):
            schema.set_stage(READY)
            raise _error(
                adoption,
                "rows were written without plaintext while it was restored: a process is "
                'still in the phase "write-sealed". Deploy "read-sealed" everywhere first, '
                "and run refill_plaintext again",
                "sealed-only",
            )
    return report


@a_step
@done_again_beside_another_host
def withdraw_adoption(engine: Engine, adoption: Adoption) -> None:
    """Undo ``begin_adoption``: drop the encrypted column, its indexes and the triggers.

    :param engine: the application's engine, whose database is worked on.
    :param adoption: which column becomes which.
    :raises AdoptionError: rows may have no plaintext, or an outdated one, so ``refill_plaintext``
        comes first; or something still needs the encrypted column.
    """
    adoption = placed(engine, adoption)
    engine = sync_engine(engine)
    schema = Schema(engine, adoption)
    state = schema.state()
    state.require_a_column(adoption)
    if state.stage is None and not state.has_sealed:
        return
    if not state.has_plain:
        message = "the plaintext column is gone: the values to be dropped are the only copy"
        raise _error(adoption, message, "adoption-order")
    if state.latest in (READY, CLOSED) or (
        state.has_sealed and _any_row(engine, *_sealed_only(adoption, state.table))
    ):
        message = "rows may no longer have their plaintext: run refill_plaintext first"
        raise _error(adoption, message, "adoption-order")
    schema.require_nothing_of_sealed(schema.added(state))
    schema.withdraw()


# -- parts -----------------------------------------------------------------------------------


def _run(
    engine: Engine,
    encryption: Encryption,
    adoption: Adoption,
    options: Options | None,
    *,
    refill: bool,
) -> Reencryption:
    job = adoption.job(refill=refill)
    chosen = options or Options()
    types = {**chosen.declared_types, **adoption.declared_types}
    chosen = replace(chosen, declared_types=types)
    return Reencryption(engine, encryption, job.spec, adopted=job.adopted, options=chosen)


def _sealed_only(adoption: Adoption, table: Any) -> tuple[Any, ...]:
    return table.c[adoption.sealed].is_not(None), table.c[adoption.plain].is_(None)


def _any_row(engine: Engine, *conditions: Any) -> bool:
    own = Connections(engine)
    try:
        (table,) = {c.left.table for c in conditions}
        result = own.reading().execute(select(1).select_from(table).where(*conditions).limit(1))
        return result.first() is not None
    finally:
        own.close()


def _refuse_later_trigger(engine: Engine, adoption: Adoption, table: Any) -> None:
    own = Connections(sync_engine(engine))
    try:
        name = last_trigger(own.reading(), table)
    finally:
        own.close()
    if name is not None:
        by_name = engine.dialect.name == "postgresql"
        runs = "in the order of their names" if by_name else "in the order of their creation"
        instead = "give it another name" if by_name else "create it again, with PRECEDES"
        raise _error(
            adoption,
            f"the trigger {name!r} changes rows after the adoption's own triggers have seen them, "
            f"because the database runs triggers {runs}: {instead}",
            "trigger-order",
        )


def _require_clean(verb: str, adoption: Adoption, comparison: Comparison) -> None:
    if comparison.is_clean:
        return
    examples = ", ".join(map(str, comparison.faults[:5]))
    raise _error(
        adoption,
        f"{verb} refuses: {comparison}. The first of them: {examples}; run adopt first, and "
        "correct by hand the rows that it cannot read. Where a trigger has changed the plaintext "
        f"that was sealed, set {adoption.sealed} to NULL in the rows that differ, and adopt will "
        "seal them again",
        "not-adopted",
    )


def _error(adoption: Adoption, message: str, reason: str) -> AdoptionError:
    return AdoptionError(message, table=adoption.table_name, column=adoption.plain, reason=reason)
