"""The pytest plugin that runs inside SQLAlchemy's suite: attach its engines, note its outcomes."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Unicode,
    create_engine,
    event,
)
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.types import TypeEngine

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import ConfigurationError, DeclarationError

_Sealed = Callable[[TypeEngine[Any], Sequence[str] | None], TypeEngine[Any]]
"""Makes an encrypted type of a column's type, if it does, and of what identifies the row."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("encfields")
    group.addoption("--attach-engines", action="store_true", help="put encryption on every engine")
    group.addoption("--encrypt", choices=ENCRYPTED, help="encrypt columns of these types, too")
    group.addoption("--outcomes", type=Path, help="file to write a line of JSON for each phase to")


def pytest_configure(config: pytest.Config) -> None:
    if chosen := config.getoption("--encrypt"):
        shared_store()
        _encrypt_tables(ENCRYPTED[chosen])
    if config.getoption("--attach-engines"):
        _attach_every_engine()
    outcomes: Path | None = config.getoption("--outcomes")
    # With xdist, the workers' reports all come to the one process that has no such input.
    if outcomes is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(outcomes))


def _attach_every_engine() -> None:
    """Attach each engine as soon as ``create_engine()`` has made it, whoever calls that."""
    # SQLAlchemy asks every dialect to have its say about a new engine; none of them has any.
    Dialect.engine_created = classmethod(_attach)  # type: ignore[method-assign,assignment]


@cache
def shared_store() -> SqlKeyStore:
    """A key store with the keys of every engine, beside the tests' databases, which they empty."""
    keys = create_engine(f"sqlite:///{tempfile.mkdtemp()}/keys.db")
    store = SqlKeyStore(keyrings.local(bytes(32)), name="suite", engine=keys)
    attach(create_engine("sqlite://"), store, create=True)
    return store


_bound: WeakKeyDictionary[Any, tuple[str, ...]] = WeakKeyDictionary()
"""What identifies the rows of a table that has no primary key."""


_needed: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""Words in the keys of a table, and in the SQL that the database computes of its rows."""


_NEEDED_LATER = {"lets_index_this"}
"""Names of columns that get an index with a condition once their table is made."""


def _words_of(item: object) -> list[str]:
    """The words of what a table is made with, where a column has to be as it is."""
    said: list[Any] = []
    if isinstance(item, CheckConstraint | Computed):
        said = [item.sqltext]
    elif isinstance(item, Column) and item.computed is not None:
        said = [item.computed.sqltext]
    elif isinstance(item, PrimaryKeyConstraint | ForeignKeyConstraint):
        said = [*item._pending_colargs, *getattr(item, "column_keys", ())]
    elif isinstance(item, Index):
        said = [*item.dialect_kwargs.values(), *item.expressions]
        said = [one for one in said if not isinstance(one, str | Column)]
    return re.findall(r"\w+", " ".join(map(str, said)))


def _encrypt_tables(sealed: _Sealed) -> None:
    """Encrypt columns of every table that is made."""
    init_items = Table._init_items

    def note_then_init(self: Table, *args: Any, **options: Any) -> None:
        columns = [one for one in args if isinstance(one, Column)]
        has_key = any(isinstance(one, PrimaryKeyConstraint) for one in args)
        if not has_key and not any(column.primary_key for column in columns):
            _bound[self] = tuple(c.key for c in columns if isinstance(c.type, Integer))[:1]
        _needed[self] = {word for one in args for word in _words_of(one)}
        init_items(self, *args, **options)

    Table._init_items = note_then_init  # type: ignore[method-assign,assignment]
    event.listen(Column, "before_parent_attach", partial(_encrypt, sealed))


def _encrypt(sealed: _Sealed, column: Column[Any], table: Any) -> None:
    """Encrypt a column of a table, unless something else needs it as it is."""
    needed = column.primary_key or column.foreign_keys or column.unique or column.index
    needed = needed or column.key in _bound.get(table, ()) or column.name in _needed.get(table, ())
    needed = needed or column.name in _NEEDED_LATER
    made_by_database = column.server_default is not None or column.computed is not None
    bind_to = _bound.get(table)
    # Without a key, and a number to take for one, nothing tells the rows apart.
    if not needed and not made_by_database and bind_to != ():
        column.type = sealed(column.type, bind_to)


def _sealed_text(plain: TypeEngine[Any], bind_to: Sequence[str] | None) -> TypeEngine[Any]:
    if type(plain) not in (String, Unicode):
        return plain
    inner = String(getattr(plain, "length", None))
    return EncryptedType(inner, index=BlindIndex(domain="suite"), bind_to=bind_to)


def _sealed_value(plain: TypeEngine[Any], bind_to: Sequence[str] | None) -> TypeEngine[Any]:
    """Any type that can be encrypted, with a blind index if it can have one."""
    for index in (BlindIndex(domain="suite"), None):
        with suppress(DeclarationError):
            return EncryptedType(plain, index=index, bind_to=bind_to)
    return plain


ENCRYPTED: Mapping[str, _Sealed] = {"texts": _sealed_text, "values": _sealed_value}
"""What is encrypted: columns of text, or of every type."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--attach-engines") and not _attached:
        raise pytest.UsageError("no engine was attached: SQLAlchemy does not ask dialects any more")


_attached: list[str] = []
"""A word for each engine that was attached in this process."""


def _attach(dialect: type[Dialect], engine: Engine) -> None:
    try:
        is_encrypted = shared_store.cache_info().currsize
        attach(engine, shared_store() if is_encrypted else SqlKeyStore(keyrings.local(bytes(32))))
        _attached.append(engine.dialect.name)
    except ConfigurationError as error:
        # Oracle and SQL Server, in tests that never connect; a dialect that has had its say.
        if error.reason not in ("dialect", "attached-twice"):
            raise


class Outcomes:
    """Writes what each phase of each test came to."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        line = {
            "test": report.nodeid,
            "phase": report.when,
            "outcome": report.outcome,
            "told": "" if report.passed else report.longreprtext,
        }
        self._file.write(json.dumps(line) + "\n")

    def pytest_unconfigure(self) -> None:
        self._file.close()
