"""The events that an application may listen to: the same ones, of instances of the same classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import ORMExecuteState, Session

if TYPE_CHECKING:
    from tests.differential.models import Twin

MAPPER_EVENTS = (
    "before_insert", "after_insert", "before_update", "after_update", "before_delete",
    "after_delete",
)  # fmt: skip
INSTANCE_EVENTS = ("load", "refresh", "refresh_flush", "expire")
SESSION_EVENTS = (
    "transient_to_pending", "pending_to_persistent", "pending_to_transient",
    "persistent_to_transient", "persistent_to_deleted", "deleted_to_persistent",
    "deleted_to_detached", "persistent_to_detached", "detached_to_persistent",
    "loaded_as_persistent",
)  # fmt: skip


def note_mapper_events(twin: Twin, events: list[Any], held: list[Any]) -> None:
    """Have a line for every event of the twin's instances.

    :param held: gets every instance that is loaded or made: when garbage is collected would
        otherwise decide what the identity map has.
    """
    more = (twin.accounts.account, twin.accounts.member) if twin.accounts else ()
    for made in filter(None, (twin.item, twin.child, twin.leaf, *more)):
        for name in MAPPER_EVENTS:
            event.listen(made, name, _of_mapper(name, events), propagate=True)
        event.listen(made, "load", _of_load(events, held), propagate=True)
        event.listen(made, "init", lambda target, *_: held.append(target), propagate=True)
        for name in INSTANCE_EVENTS[1:]:
            event.listen(made, name, _of_instance(name, events), propagate=True)


def note_session_events(session: Session, events: list[Any]) -> None:
    """Have a line for every event of a session."""
    for name in SESSION_EVENTS:
        event.listen(session, name, _of_state(name, events))
    for name in ("after_flush", "after_soft_rollback", "after_commit", "after_begin"):
        event.listen(session, name, _of_session(name, events))

    def statement(state: ORMExecuteState) -> None:
        if state.is_select and "_sa_orm_update_options" in state.execution_options:
            return  # which rows an UPDATE is about: the encrypted side asks the database more often
        events.append(("statement", state.is_select, state.is_column_load))

    event.listen(session, "do_orm_execute", statement)


def _of_mapper(name: str, events: list[Any]) -> Any:
    return lambda mapper, connection, target: events.append((name, type(target).__name__))


def _of_load(events: list[Any], held: list[Any]) -> Any:
    def note(target: Any, context: Any) -> None:
        held.append(target)
        events.append(("load", type(target).__name__))

    return note


def _of_instance(name: str, events: list[Any]) -> Any:
    def note(target: Any, *rest: Any) -> None:
        if target is None:  # a rollback expires what was collected meanwhile
            return
        names = set(rest[-1] or ())
        # Of relationships those not loaded yet: SQLAlchemy goes through a set of addresses.
        names -= set(inspect(target).mapper.relationships.keys())
        events.append((name, type(target).__name__, sorted(names)))

    return note


def _of_state(name: str, events: list[Any]) -> Any:
    return lambda session, instance: events.append((name, type(instance).__name__))


def _of_session(name: str, events: list[Any]) -> Any:
    return lambda session, *rest: events.append(name)
