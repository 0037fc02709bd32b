"""The steps of an adoption: implementation and rendering."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from alembic.autogenerate import renderers
from alembic.operations import Operations
from sqlalchemy import Engine, MetaData, Table

from encfields.adopt import (
    Adoption,
    begin_adoption,
    close_plaintext,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    reopen_plaintext,
    withdraw_adoption,
)
from encfields.adopt.adoption import declared_types
from encfields.adopt.stages import state_of
from encfields.alembic.environment import engine_for, outside_transaction, settings_of
from encfields.alembic.implementations.running import (
    LoggedProgress,
    keys_of,
    require_finished,
    run_job,
)
from encfields.alembic.implementations.script import Guard, write_comment, write_guard
from encfields.alembic.implementing import implements
from encfields.alembic.operations.adoptions import (
    DECLARED,
    AdoptedColumn,
    AdoptionOp,
    AdoptOp,
    BeginAdoptionOp,
    ClosePlaintextOp,
    EndAdoptionOp,
    EnsureAdoptedOp,
    RefillPlaintextOp,
    ReopenPlaintextOp,
    WithdrawAdoptionOp,
)
from encfields.alembic.rendering import (
    rendered_call,
    rendered_columns,
    rendered_comment,
    rendered_indexes,
)
from encfields.bulk.connections import Connections
from encfields.bulk.rows.types_as_data import (
    OF_APPLICATION,
    DeclaredTypes,
    type_from_data,
    type_to_data,
)
from encfields.engine import Encryption
from encfields.errors import DeclarationError
from encfields.orm.adoption.columns import adopted_columns
from encfields.orm.adoption.trigger_notes import CLOSED, OPEN, READY
from encfields.orm.adoption.triggers import AdoptionInDatabase, WatchedColumn

log = logging.getLogger("encfields.alembic")


# -- what they do ------------------------------------------------------------------------------


def _adoption(operations: Operations, adopted: AdoptedColumn) -> Adoption:
    """The adoption; its type is the plaintext column's if none was given."""
    context = operations.migration_context
    if adopted.type is not None:
        declared = types_of_models(context, adopted) if adopted.is_declared else None
        return adopted.adoption(adopted.type, declared)
    own = Connections(engine_for(context, settings_of(context)))
    try:
        table = Table(adopted.table, MetaData(), schema=adopted.schema, autoload_with=own.reading())
    finally:
        own.close()
    if adopted.plain not in table.c:
        # Without the plaintext column no type is needed.
        return adopted.adoption({"type": "String", "length": None})
    try:
        return adopted.adoption(type_to_data(table.c[adopted.plain].type))
    except DeclarationError as error:
        error.table, error.column = adopted.table, adopted.plain
        error.message += ". Give the inner type with type_="
        raise


def types_of_models(context: Any, adopted: AdoptedColumn) -> DeclaredTypes | None:
    """The types in the environment's models; ``None`` if they no longer declare them."""
    given = context.opts.get("target_metadata")
    for metadata in given if isinstance(given, list | tuple) else [given] if given else []:
        for table in metadata.tables.values():
            if (table.name, table.schema) != (adopted.table, adopted.schema):
                continue
            for binding, adopts, _ in adopted_columns(table):
                if adopts.column == adopted.plain:
                    return declared_types(binding.column, adopts)
    return None


def _with_keys(
    operations: Operations,
    operation: AdoptionOp,
    step: Callable[[Engine, Encryption, Adoption], Any],
) -> Any:
    adoption = _adoption(operations, operation.adopted)
    with keys_of(operations, operation.verb) as encryption:
        context = operations.migration_context
        engine = engine_for(context, settings_of(context))
        return step(engine, encryption, adoption)


def _without_keys(
    operations: Operations, operation: AdoptionOp, step: Callable[[Engine, Adoption], Any]
) -> Any:
    adoption = _adoption(operations, operation.adopted)
    context = operations.migration_context
    with outside_transaction(context, settings_of(context), operation.verb) as engine:
        return step(engine, adoption)


@implements(BeginAdoptionOp)
def begin(operations: Operations, operation: BeginAdoptionOp) -> None:
    if not _is_script(operations, operation, (OPEN, READY, CLOSED)):
        _without_keys(operations, operation, begin_adoption)


@implements(WithdrawAdoptionOp)
def withdraw(operations: Operations, operation: WithdrawAdoptionOp) -> None:
    if not _is_script(operations, operation, None):
        _without_keys(operations, operation, withdraw_adoption)


@implements(AdoptOp)
def adopt(operations: Operations, operation: AdoptOp) -> None:
    if _is_script(operations, operation, (OPEN, READY, CLOSED)):
        message = f"{_place_of(operation)}: rows have only plaintext: run adopt first"
        write_guard(operations, Guard.not_adopted, *_names(operation.adopted), message=message)
        return
    adoption = _adoption(operations, operation.adopted)
    context = operations.migration_context
    own = Connections(engine_for(context, settings_of(context)))
    try:
        state_of(own.reading(), adoption).require("adopt", adoption, OPEN, READY)
    finally:
        own.close()
    types = adoption.declared_types
    run_job(operations, operation.verb, adoption.job(), queue=operation.queue, declared_types=types)


@implements(EnsureAdoptedOp)
def ensure(operations: Operations, operation: EnsureAdoptedOp) -> None:
    if not _is_script(operations, operation, (READY, CLOSED)):
        log.info("%s: %s", _place_of(operation), _with_keys(operations, operation, ensure_adopted))


@implements(ClosePlaintextOp)
def close(operations: Operations, operation: ClosePlaintextOp) -> None:
    if not _is_script(operations, operation, (CLOSED,)):
        log.info("%s: %s", _place_of(operation), _with_keys(operations, operation, close_plaintext))


@implements(ReopenPlaintextOp)
def reopen(operations: Operations, operation: ReopenPlaintextOp) -> None:
    if not _is_script(operations, operation, (OPEN, READY)):
        _without_keys(operations, operation, reopen_plaintext)


@implements(RefillPlaintextOp)
def refill(operations: Operations, operation: RefillPlaintextOp) -> None:
    if _is_script(operations, operation, (OPEN,)):
        return
    settings = settings_of(operations.migration_context)

    def step(engine: Engine, encryption: Encryption, adoption: Adoption) -> None:
        progress = settings.progress or LoggedProgress(log)
        report = refill_plaintext(
            engine, encryption, adoption, options=settings.options, progress=progress
        )
        require_finished(adoption.job(refill=True), report)

    _with_keys(operations, operation, step)


@implements(EndAdoptionOp)
def end(operations: Operations, operation: EndAdoptionOp) -> None:
    if _is_script(operations, operation, None):
        return
    remains = _without_keys(operations, operation, end_adoption)
    log.warning(
        "%s: the column is gone; plaintext remains in %s",
        _place_of(operation),
        "; in ".join(remains),
    )


# -- in a script -------------------------------------------------------------------------------


def _is_script(
    operations: Operations, operation: AdoptionOp, stages: tuple[str, ...] | None
) -> bool:
    """In ``--sql`` mode, write a guard in place of the operation; return whether in that mode.

    :param stages: the triggers' expected stages afterwards; ``None`` for no triggers.
    """
    if not operations.migration_context.as_sql:
        return False
    adopted, place = operation.adopted, _place_of(operation)
    write_comment(
        operations,
        f"op.{operation.verb}() of {place} depends on the rows, or on the stage of the adoption: "
        "do it before the script continues, by running the migration or `encfields adopt`.",
    )
    named = AdoptionInDatabase(
        adopted.table,
        adopted.schema,
        WatchedColumn(adopted.plain),
        adopted.into.name,
        (),
        (),
        (),
        False,
    )
    message = f"{place}: op.{operation.verb}() was not done: run the migration, or encfields adopt"
    write_guard(operations, Guard.not_in_stage, named, stages, message=message)
    return True


def _names(adopted: AdoptedColumn) -> tuple[Any, ...]:
    spec = adopted.adoption(adopted.type or {"type": "String", "length": None}).spec
    return spec, adopted.plain, adopted.into.name


def _place_of(operation: AdoptionOp) -> str:
    return f"{operation.adopted.table}.{operation.adopted.plain}"


# -- in a migration ----------------------------------------------------------------------------


@renderers.dispatch_for(BeginAdoptionOp)
@renderers.dispatch_for(WithdrawAdoptionOp)
@renderers.dispatch_for(AdoptOp)
@renderers.dispatch_for(EnsureAdoptedOp)
@renderers.dispatch_for(ClosePlaintextOp)
@renderers.dispatch_for(ReopenPlaintextOp)
@renderers.dispatch_for(RefillPlaintextOp)
@renderers.dispatch_for(EndAdoptionOp)
def _render(autogen_context: Any, op: AdoptionOp) -> str | list[str]:
    call = rendered_step(autogen_context, op)
    if isinstance(op, BeginAdoptionOp) and op.advice:
        first, *others = op.advice
        return [*rendered_comment(f"encfields - {first}", *others), call]
    return call


def rendered_step(autogen_context: Any, op: AdoptionOp) -> str:
    """One step, as a migration calls it."""
    adopted = op.adopted
    into = rendered_columns(autogen_context, [adopted.into])[1:-1]
    arguments = [repr(adopted.table), repr(adopted.plain), f"into={into}"]
    for name, type_ in (("type_", adopted.type), ("plain_type", adopted.plain_type)):
        if type_ is not None:
            arguments.append(f"{name}={_rendered_type(autogen_context, type_)}")
    arguments += rendered_indexes(autogen_context, adopted.indexes)
    if adopted.unique:
        arguments.append(f"unique={list(adopted.unique)!r}")
    flags = {"queue": op.queue} if op.takes_queue else {}
    if isinstance(op, BeginAdoptionOp):
        flags["guard"] = adopted.guard
    return rendered_call(autogen_context, op.verb, arguments, adopted.schema, flags)


def _rendered_type(autogen_context: Any, data: Mapping[str, Any]) -> str:
    if data["type"] == OF_APPLICATION:
        return repr(DECLARED)
    prefix = autogen_context.opts.get("sqlalchemy_module_prefix") or ""
    return f"{prefix}{type_from_data(dict(data))!r}"
