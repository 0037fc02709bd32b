"""``ValueCounter``: how many of an engine's values are sealed under a key."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from typing import TypeVar

from sqlalchemy.engine import Engine

from encfields.errors import ConfigurationError
from encfields.keys.removal import CountableTables, Counted, CountedForEach, ValuesUnder
from encfields.keys.sql.connection import OwnConnection, hand_on_listeners

T = TypeVar("T")


class ValueCounter:
    """Counts an engine's values under a key. It keeps only a weak reference to the engine.

    :param engine: for an ``AsyncEngine``, its ``sync_engine``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)

    def __call__(self, tables: CountableTables, key_id: str, version: str | None = None) -> Counted:
        counted = self._on_own(lambda own: [t.count_under(own, key_id, version) for t in tables])
        return [name for name, _ in counted], [column for _, values in counted for column in values]

    def under_each(self, tables: CountableTables, key_ids: Collection[str]) -> CountedForEach:
        """The same for many keys, reading every table once."""
        counted = self._on_own(lambda own: [t.count_under_each(own, key_ids) for t in tables])
        by_key_id: dict[str, list[ValuesUnder]] = {}
        for _, by_key in counted:
            for key_id, columns in by_key.items():
                by_key_id.setdefault(key_id, []).extend(columns)
        return [name for name, _ in counted], by_key_id

    def _on_own(self, count: Callable[[Engine], list[T]]) -> list[T]:
        engine = self._engine()
        if engine is None:
            raise ConfigurationError("the engine is gone", reason="no-database")
        own = OwnConnection(engine)

        def counted(on: Engine) -> list[T]:
            # The application's tables, whatever chooses their schema.
            for name in ("engine_connect", "begin") if own.is_ours_alone else ():
                hand_on_listeners(engine, on, name)
            return count(on)

        return own.run(counted)
