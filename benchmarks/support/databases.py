"""The databases that benchmarks run in: the tests' servers, each with a database of its own."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path


def databases(
    urls: Iterable[str] | None, *, sqlite: bool = False, mysql: bool = False
) -> Iterator[str]:
    """URLs of the databases to measure, one after the other.

    :param urls: those that the user named, taken as they are; none: an empty database is made at
        each of the tests' servers, and dropped when the next URL is asked for.
    :param sqlite: whether SQLite, in a file, belongs to them.
    :param mysql: whether MySQL does, where there is one.
    """
    if urls:
        yield from urls
        return
    # Not above: a benchmark's worker processes import this file, and need none of it.
    from tests.servers import mariadb, postgresql
    from tests.servers import mysql as mysql_server
    from tests.servers.provision import existing, missing

    name = f"encfields_bench_{uuid.uuid4().hex[:12]}"
    if sqlite:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / name}.db"
    kinds = [(postgresql, "postgresql+psycopg"), (mariadb, "mysql+pymysql")]
    for kind, driver in [*kinds, (mysql_server, "mysql+pymysql")] if mysql else kinds:
        server = existing(kind)
        if server is None and kind is mysql_server:
            continue
        if server is None:
            raise missing(kind)
        database = kind.ServerDatabase(server, name)
        try:
            yield database.url.set(drivername=driver).render_as_string(hide_password=False)
        finally:
            database.drop()
