"""The pytest plugin that runs inside SQLAlchemy's suite: attach its engines, note its outcomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy.engine import Dialect, Engine

from encfields import SqlKeyStore, attach, keyrings
from encfields.errors import ConfigurationError


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("encfields")
    group.addoption("--attach-engines", action="store_true", help="put encryption on every engine")
    group.addoption("--outcomes", type=Path, help="file to write a line of JSON for each phase to")


def pytest_configure(config: pytest.Config) -> None:
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


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--attach-engines") and not _attached:
        raise pytest.UsageError("no engine was attached: SQLAlchemy does not ask dialects any more")


_attached: list[str] = []
"""A word for each engine that was attached in this process."""


def _attach(dialect: type[Dialect], engine: Engine) -> None:
    try:
        attach(engine, SqlKeyStore(keyrings.local(bytes(32))))
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
