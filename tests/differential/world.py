"""One side of a trial: its sessions, and what can be seen of the twin's rows."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from encfields import Encryption
from tests.differential.events import note_session_events
from tests.differential.models import TENANTS, Schema, Twin


@dataclass(frozen=True)
class Settings:
    """How the sessions of a trial work.

    :ivar rolls_back: whether a session goes on after an error, as it was before its transaction.
    :ivar overlaps: whether both sessions have transactions at the same time. One that would wait
        for the other gives up at once, for one thread cannot wait for itself.
    """

    expire_on_commit: bool = True
    autoflush: bool = True
    asynchronous: bool = False
    rolls_back: bool = False
    overlaps: bool = False


class World:
    """Sessions and rows of one side.

    :ivar phases: the classes of the side, one after the other. :ivar twin: those that are in use.
    :ivar bulk_engine: an ordinary engine of the same database.
    :ivar nested: open savepoints of each session. :ivar held: every instance that was seen, so
        that what the identity map holds does not hang on the garbage collector.
    """

    def __init__(
        self,
        phases: tuple[Twin, ...],
        engine: sa.Engine,
        encryption: Encryption | None,
        settings: Settings,
        bulk_engine: sa.Engine,
    ) -> None:
        self.phases, self.phase, twin = phases, 0, phases[0]
        self.twin, self.engine, self.encryption, self.settings = twin, engine, encryption, settings
        self.bulk_engine = bulk_engine
        self.schema: Schema = twin.schema
        self.events, self.held = twin.events, twin.held
        self.events.clear()
        twin.begin()
        self.sessions = [self._new_session(), self._new_session()]
        self.nested: list[list[Any]] = [[], []]
        self.added: dict[int, Any] = {}

    def _new_session(self) -> Session:
        session = Session(
            self.engine,
            expire_on_commit=self.settings.expire_on_commit,
            autoflush=self.settings.autoflush,
        )
        note_session_events(session, self.events)
        return session

    def close(self) -> None:
        """Give up what is open."""
        for session in self.sessions:
            session.close()
        if self.engine.dialect.name == "sqlite":
            self.engine.dispose()  # a statement that failed may still be open
        self.held.clear()

    def deploy(self) -> None:
        """Have the classes of the next phase of a rotation, if there is one, in new sessions."""
        for number in range(len(self.sessions)):
            self.reset(number, anew=True)
        if self.phase + 1 < len(self.phases):
            self.phase += 1
            step, self.twin = self.twin.step, self.phases[self.phase]
            self.twin.begin()
            self.twin.step = step

    def reset(self, number: int, *, anew: bool) -> None:
        """Give up what a session's transaction was about.

        :param anew: and the session.
        """
        self.nested[number] = []
        if self.settings.rolls_back and not anew:
            self.sessions[number].rollback()
            return
        self.sessions[number].close()
        self.sessions[number] = self._new_session()
        self.added.clear()  # some may have got a key on the side that was refused

    def take_events(self) -> list[Any]:
        """What was noticed since this was asked last, in whatever order: a flush has sets."""
        taken = sorted(self.events, key=repr)
        self.events.clear()
        return taken

    def keep(self, instance: Any) -> Any:
        """Hold an instance."""
        self.held.append(instance)
        return instance

    def key(self, slot: int) -> tuple[Any, ...]:
        """The primary key of a slot's row, generated or not."""
        if self.schema.is_generated and slot in self.added:
            identity = sa.inspect(self.added[slot]).identity
            if identity is not None:
                return tuple(identity)
        return self.schema.key_of(slot)

    def key_values(self, slot: int) -> dict[str, Any]:
        """The key of a slot by column, for a new row; nothing where the database gives it."""
        if self.schema.is_generated:
            return {}
        return dict(zip(self.schema.key_columns, self.schema.key_of(slot), strict=True))

    def get(self, number: int, slot: int) -> Any:
        """A slot's instance, or ``None``."""
        key = self.key(slot)
        found = self.sessions[number].get(self.twin.item, key[0] if len(key) == 1 else key)
        return self.keep(found) if found is not None else None

    @property
    def some_tenant(self) -> Any:
        """One that rows have."""
        return TENANTS[self.schema.tenant][0]

    def is_slot(self, slot: int) -> Any:
        """The condition that pins a slot's row."""
        pairs = zip(self.schema.key_columns, self.key(slot), strict=True)
        return sa.and_(*(getattr(self.twin.item, n) == v for n, v in pairs))

    def new_row(self, slot: int, values: dict[str, Any], tenant: Any, tag: int) -> dict[str, Any]:
        """Values of every attribute that a new instance has to have."""
        row = {**self.key_values(slot), **values, "tag": tag}
        return row | dict.fromkeys(self.schema.tenant_columns, tenant)

    def base_row(self, slot: int, values: dict[str, Any], tenant: Any, tag: int) -> dict[str, Any]:
        """The same for a statement on the base table, which no mapper completes."""
        row = self.own(self.new_row(slot, values, tenant, tag))
        row |= {"version": self.schema.first_version} if self.schema.versioned else {}
        return {**row, "kind": "item"} if self.schema.inherits else row

    def own(self, values: dict[str, Any]) -> dict[str, Any]:
        """Those values that the base table has columns for."""
        names = sa.inspect(self.twin.item).column_attrs.keys()
        columns = self.twin.item.__table__.c
        return {
            n: v for n, v in values.items() if n in names and self.schema.stored_name(n) in columns
        }

    def core(self, values: dict[str, Any]) -> dict[str, Any]:
        """The same by column instead of by attribute."""
        return {self.schema.stored_name(n): v for n, v in values.items()}

    def see(self, instance: Any) -> Any:
        """What an application sees of an instance: class and attributes."""
        if instance is None:
            return None
        self.keep(instance)
        names = [a.key for a in sa.inspect(type(instance)).column_attrs]
        return type(instance).__name__, {n: self.shown(n, getattr(instance, n)) for n in names}

    def shown(self, name: str, value: Any) -> Any:
        """A value, but a generated key only as what it is."""
        if self.schema.is_generated and name in ("id", "item_id") and value is not None:
            return "generated"
        if isinstance(value, sa.ClauseElement):
            return "an expression"
        if isinstance(value, sa.Row):
            return [self.shown(n, v) for n, v in value._asdict().items()]
        return type(value).__name__, shown(value)

    def rows(self, result: Any) -> list[tuple[Any, ...]]:
        """The rows of a result."""
        names = list(result.keys())
        return [tuple(self.shown(n, v) for n, v in zip(names, r, strict=True)) for r in result]


def shown(value: Any) -> Any:
    """A value, a moment in UTC: in which zone it comes back is not the same everywhere."""
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    return value
