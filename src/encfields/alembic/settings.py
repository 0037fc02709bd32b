"""What ``env.py`` gives to migrations: where the keys are, and how runs work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Table

from encfields.bulk.options import Options
from encfields.engine import Encryption, attach, engine_encryption, known_encryption
from encfields.errors import ConfigurationError
from encfields.keys.sql.schema import key_table
from encfields.keys.sql.store import SqlKeyStore
from encfields.keys.store import KeyStore

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

    from encfields.bulk.runs.progress import Progress

_NEEDED = (
    "this operation needs the keys: give them in env.py, as in context.configure(..., "
    'encfields={"key_store": SqlKeyStore(keyrings.aws_kms("arn:..."))})'
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The value of ``context.configure(encfields=...)``: these fields as a dictionary.

    How fast a run works is a matter of the place where it runs, and changes from one to the
    next: so it is stated here and not in the migration.

    :param key_store: where branch keys are kept. This, or `encryption`, is needed.
    :param encryption: what :func:`encfields.attach` gave for this database, in place of it.
    :param engine: a plain ``Engine`` on the same database for runs; needed if ``env.py`` works
        with an asyncio driver. Default: the migration connection's.
    :param options: how runs work: batch size, workers, throttle.
    :param progress: called with a run's progress; by default it goes to the log.
    """

    key_store: KeyStore | None = None
    encryption: Encryption | None = None
    engine: Engine | None = None
    options: Options = field(default_factory=Options)
    progress: Progress | None = None

    @contextmanager
    def attached(self, engine: Engine) -> Iterator[Encryption]:
        """The encryption of `engine`, put on it for the time being if there is none.

        :raises ConfigurationError: neither a key store nor an encryption was given.
        """
        known = self.encryption or known_encryption(engine.dialect)
        if known is not None:
            yield known
            return
        if self.key_store is None:
            raise ConfigurationError(_NEEDED, reason="no-key-store")
        encryption = attach(engine, self.key_store)
        try:
            yield encryption
        finally:
            encryption.detach()

    def key_table(self) -> Table | None:
        """The key table; ``None`` if keys are kept elsewhere than in a table."""
        store = self.key_store
        if store is None and self.encryption is not None:
            store = engine_encryption(self.encryption).key_store
        if store is None:
            return key_table()
        return store.table if isinstance(store, SqlKeyStore) else None


def settings_of(context: MigrationContext) -> Settings:
    """What ``env.py`` gave; without it, settings that name no keys.

    :raises ConfigurationError: it is not what is asked for.
    """
    given: Any = context.opts.get("encfields")
    if given is None:
        return Settings()
    if isinstance(given, Settings):
        return given
    if isinstance(given, Encryption):
        return Settings(encryption=given)
    if isinstance(given, Mapping):
        known = {f.name for f in fields(Settings)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ConfigurationError(
                f"context.configure(encfields=...) has no {', '.join(unknown)}; "
                f"it takes {', '.join(sorted(known))}",
                reason="settings",
            )
        return Settings(**given)
    if hasattr(given, "active") and hasattr(given, "version"):
        return Settings(key_store=given)
    raise ConfigurationError(
        f"context.configure(encfields=...) takes a dictionary, a key store or an Encryption, not "
        f"a {type(given).__name__}",
        reason="settings",
    )
