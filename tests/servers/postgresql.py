"""PostgreSQL for the tests: one that runs already, or a private one."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import psycopg
from sqlalchemy import URL

from tests.servers.kept_connections import KeptConnections
from tests.servers.process import HOST, ServerError, ServerProcess, free_port, unprivileged_user
from tests.servers.shared_tables import Contents

NAME = "PostgreSQL"
VARIABLE = "ENCFIELDS_TEST_POSTGRESQL_URL"
EXAMPLE_URL = "postgresql://user:password@127.0.0.1:5432/postgres"
PACKAGE = "postgresql"
HOW_TO_GET = (
    f"install its server (Debian, Ubuntu: apt-get install {PACKAGE}); `make test`\n"
    "    starts a private one from the binaries, nothing else need be set up;"
)

_CATALOGS = (
    "pg_class",
    "pg_proc",
    "pg_type",
    "pg_trigger",
    "pg_constraint",
    "pg_attrdef",
    "pg_policy",
    "pg_rewrite",
    "pg_namespace",
    "pg_extension",
)
_OBJECTS = " UNION ALL ".join(
    [
        *(f"SELECT '{name}', oid, xmin FROM {name} WHERE oid >= 16384" for name in _CATALOGS),
        "SELECT attname::text, attrelid, xmin FROM pg_attribute WHERE attrelid >= 16384",
    ]
)
_SCHEMA = (
    "SELECT md5(string_agg(objects::text, '' ORDER BY kind, id, objects::text))"
    f" FROM ({_OBJECTS}) AS objects (kind, id, since)"
)
"""What users define has numbers from 16384 on; a row of a catalog that was changed is of a later
transaction."""

_LOCAL = URL.create("postgresql", username="postgres", host=HOST, port=5432, database="postgres")


def check(url: URL) -> None:
    """Connect to the server and see that the tests may make databases there.

    :raises ServerError: when the server cannot be reached or does not allow that.
    """
    try:
        with connect(url) as connection:
            row = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.Error as error:
        raise ServerError(f"{url!r} is not usable: {error}") from error
    if row is None or not row[0]:
        raise ServerError(f"{url!r}: the user may not make databases (it needs CREATEDB)")


def connect(url: URL) -> psycopg.Connection:
    """An autocommitting connection of the driver's own."""
    return psycopg.connect(_text(url), autocommit=True, connect_timeout=60)


def _text(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def running() -> URL | None:
    """The server at the default local port, if it lets us in without a password."""
    try:
        check(_LOCAL)
    except ServerError:
        return None
    return _LOCAL


def installed() -> Path | None:
    """The directory of the newest server binaries on this machine."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(re.sub(r"\D.*", "", path.parts[-3]) or 0),
    )
    if debian:
        return debian[-1].parent
    # Elsewhere the link in PATH leads to the directory that holds the other binaries.
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PrivateServer:
    """A PostgreSQL of our own on a free port, gone after :meth:`stop`.

    :param durable: keep what was committed through :meth:`crash`; else it is faster.
    :param parent: where to make its directory; default the system's place for such.
    :param settings: more of its settings, such as ``"wal_level=logical"``.
    :ivar directory: the server's own, data and all. :ivar user: who it runs as, if not we.
    """

    def __init__(
        self,
        binaries: Path,
        *,
        durable: bool = False,
        parent: Path | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        self.user = unprivileged_user("postgres")
        self._process = ServerProcess("postgresql", self.user, parent)
        self.directory = self._process.directory
        data = self.directory / "data"
        try:
            create = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
            # Of small segments, so that a full disk is soon one under the log as well.
            create += ["--wal-segsize=1"]
            self._process.run([str(binaries / "initdb"), "-D", str(data), *create])
            self.url = _LOCAL.set(port=free_port())
            # No Unix socket: the default directory may belong to another user.
            place = ["-D", str(data), "-h", HOST, "-k", "", "-p", str(self.url.port)]
            # The system's page cache outlives every process.
            all_settings = ["fsync=off", *settings]
            if not durable:
                all_settings += ["synchronous_commit=off", "full_page_writes=off"]
                # A table that is dropped is looked for in all of its memory, page by page.
                all_settings += ["shared_buffers=16MB"]
                # With segments so small, it would write everything out time and again.
                all_settings += ["max_wal_size=256MB", "checkpoint_timeout=1h"]
            options = [text for one in all_settings for text in ("-c", one)]
            self._command = [str(binaries / "postgres"), *place, *options]
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def has_ended(self) -> bool:
        """Whether it is not running, which may be its own doing."""
        return self._process.has_ended

    def start(self) -> None:
        """Start it again where it was, after :meth:`crash` or :meth:`end`; wait for an answer."""
        self._process.start(self._command, self._answers)

    def crash(self) -> None:
        """Kill it with SIGKILL and keep its data."""
        self._process.crash()

    def end(self) -> None:
        """Let it end at once, telling its clients, and keep its data."""
        # SIGQUIT is PostgreSQL's immediate shutdown: the next start recovers from the log.
        self._process.end(signal.SIGQUIT)

    def stop(self) -> None:
        # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for clients to leave.
        self._process.stop(signal.SIGINT)

    def _answers(self) -> bool:
        try:
            check(self.url)
        except ServerError:
            return False
        return True


class ServerDatabase:
    """A database of this test session, emptied between tests and dropped at its end.

    :param durable: wait for the disk at every commit.
    :ivar kept: connections to it that tests leave to one another.
    """

    def __init__(self, server: URL, name: str, *, durable: bool = True) -> None:
        self._server = server
        self.url = server.set(database=name)
        with connect(server) as connection:
            connection.execute(f'CREATE DATABASE "{name}" ENCODING UTF8 TEMPLATE template0')
            if not durable:
                connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        self._connection = connect(self.url)
        self.kept = KeptConnections(_text(self.url))

    def empty(self) -> None:
        """Remove every schema, hence every table, type and sequence."""
        run = self._connection.execute
        self._end_others()
        schemas = run(
            "SELECT nspname FROM pg_namespace"
            " WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'"
        ).fetchall()
        for (schema,) in schemas:
            run(f'DROP SCHEMA "{schema}" CASCADE')
        run("CREATE SCHEMA public")

    def contents(self) -> Contents:
        """What its tables are and hold."""
        run = self._connection.execute
        found = run("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND oid >= 16384")
        order = TopologicalSorter[str]({name: () for (name,) in found})
        for name, other in run(
            "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint"
            " WHERE contype = 'f' AND conrelid <> confrelid"
        ):
            order.add(other, name)
        rows = {name: self._copy(name) for name in order.static_order()}
        counters = [
            f"setval('{name}', {last or start}, {last is not None})"
            for name, start, last in run(
                "SELECT format('%I.%I', schemaname, sequencename), start_value, last_value"
                " FROM pg_sequences"
            )
        ]
        return Contents(self._schema(), rows, f"SELECT {', '.join(counters)}")

    def put_back(self, contents: Contents) -> bool:
        """Let its tables hold the same rows as then, and sequences go on from there.

        :returns: whether they do; not if anything was defined or altered.
        """
        self._end_others()
        if self._schema() != contents.schema:
            return False
        deletions = [f"DELETE FROM {table}" for table in contents.rows]
        self._connection.execute("; ".join([*deletions, contents.counters]))
        for table, rows in reversed(contents.rows.items()):
            if rows:
                with self._connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                    copy.write(rows)
        return True

    def _copy(self, table: str) -> bytes:
        """A table's rows."""
        with self._connection.cursor().copy(f"COPY {table} TO STDOUT") as copy:
            return b"".join(copy)

    def _schema(self) -> object:
        """Another after whatever was defined or altered: rows of the catalogs are then others."""
        return self._connection.execute(_SCHEMA).fetchone()

    def _end_others(self) -> None:
        # A connection that a test left in a transaction would hold its locks for ever.
        self._connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL (%s)",
            [self.kept.process_ids],
        )

    def drop(self) -> None:
        self.kept.end()
        self._connection.close()
        with connect(self._server) as connection:
            connection.execute(f'DROP DATABASE "{self.url.database}" WITH (FORCE)')
