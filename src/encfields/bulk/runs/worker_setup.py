"""Gives worker processes the caller's engine and keys.

What cannot be passed to another process is refused, never left out: a worker without the caller's
TLS arguments, former keyrings or schema would work on something else than the caller meant.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine

from encfields.bulk.options import Options, Setup
from encfields.engine import engine_encryption
from encfields.errors import ConfigurationError
from encfields.orm import internals

if TYPE_CHECKING:
    from encfields.engine import Encryption

_POOL_EVENTS = ("connect", "first_connect", "checkout", "checkin", "reset")
_ENGINE_EVENTS = ("engine_connect", "begin")


@dataclass(frozen=True)
class _AttachAgain:
    """Attaches to the same database with the same keys in another process."""

    url: str
    connect_args: Mapping[str, Any]
    execution_options: Mapping[str, Any]
    store: Callable[[], Any]
    cache_ttl: float
    cache_grace: float

    def __call__(self) -> tuple[Engine, Encryption]:
        from encfields.engine import attach

        engine = create_engine(self.url, connect_args=dict(self.connect_args))
        engine.update_execution_options(**self.execution_options)
        encryption = attach(
            engine, self.store(), cache_ttl=self.cache_ttl, cache_grace=self.cache_grace
        )
        return engine, encryption


def setup_for(engine: Engine, encryption: Encryption) -> Setup:
    """A setup that attaches to the same database with the same keys.

    :raises ConfigurationError: something cannot be passed on; use ``Options(setup=...)``.
    """
    from encfields.keys.sql.store import SqlKeyStore, another_like

    inner = engine_encryption(encryption)
    store, cache = inner.key_store, inner.cache
    if not isinstance(store, SqlKeyStore):
        raise _refusal("this key store")
    options = engine.get_execution_options()
    kept = {name: options[name] for name in ("schema_translate_map",) if name in options}
    setup = _AttachAgain(
        engine.url.render_as_string(hide_password=False),
        _connect_args(engine),
        kept,
        another_like(store),
        cache.ttl,
        cache.grace,
    )
    if not _can_be_sent(setup):
        raise _refusal("this keyring (a local wrapping key never leaves its process)")
    return setup


def require_sendable(options: Options) -> None:
    """Check that the application's own types can be passed to worker processes.

    :raises ConfigurationError: they cannot.
    """
    for name, declared in options.declared_types.items():
        if not _can_be_sent(declared):
            raise ConfigurationError(
                f"{declared!r} of {name} cannot be passed to worker processes: set workers=1, and "
                "start the call in as many processes or hosts as you like; they share the run",
                reason="declared-types",
            )


def _connect_args(engine: Engine) -> dict[str, Any]:
    """The ``connect_args`` that the engine was made with."""
    given = internals.connect_parameters(engine)
    if given is None:
        raise _refusal("an engine with a creator= of its own")
    if any(_is_the_applications(listener) for listener in _listeners(engine)):
        raise _refusal("an engine whose connections have event listeners")
    _, from_url = engine.dialect.create_connect_args(engine.url)
    added = {name: value for name, value in given.items() if from_url.get(name) != value}
    if not _can_be_sent(added):
        raise _refusal("an engine with these connect_args")
    return added


def _listeners(engine: Engine) -> list[Any]:
    pool: Any = engine.pool
    dialect: Any = engine.dialect
    listeners = [listener for name in _POOL_EVENTS for listener in getattr(pool.dispatch, name)]
    listeners += [
        listener for name in _ENGINE_EVENTS for listener in getattr(engine.dispatch, name)
    ]
    return listeners + list(dialect.dispatch.do_connect)


def _is_the_applications(listener: Any) -> bool:
    """Whether a listener is the application's, and not SQLAlchemy's or this library's."""
    module = str(getattr(listener, "__module__", ""))
    return not module.startswith(("sqlalchemy.", "encfields."))


def sendable_setup(setup: Setup) -> Setup:
    """A setup that the caller gave.

    :raises ConfigurationError: a worker process cannot import it.
    """
    if callable(setup) and _can_be_sent(setup):
        return setup
    raise ConfigurationError(
        "Options(setup=...) must be a function that worker processes can import: one of a module, "
        "no lambda and none within another function",
        reason="setup",
    )


def _can_be_sent(what: Any) -> bool:
    try:
        pickle.dumps(what)
    except Exception:
        return False
    return True


def _refusal(what: str) -> ConfigurationError:
    return ConfigurationError(
        "worker processes make their own engine and read their own keys, and cannot be passed "
        f"{what}: name a function of a module that returns (engine, encryption), as "
        "Options(setup=...)",
        reason="setup",
    )
