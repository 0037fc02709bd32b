"""MariaDB for the tests: one that runs already, or a private one."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
from sqlalchemy import URL

from tests.servers.process import HOST, ServerError, ServerProcess, free_port, unprivileged_user
from tests.servers.shared_tables import Contents

NAME = "MariaDB"
VARIABLE = "ENCFIELDS_TEST_MARIADB_URL"
EXAMPLE_URL = "mysql://user:password@127.0.0.1:3306/"
PACKAGE = "mariadb-server"
HOW_TO_GET = (
    f"install its server (Debian, Ubuntu: apt-get install {PACKAGE}); `make test`\n"
    "    starts a private one from the binaries, nothing else need be set up;"
)

WITHOUT_TLS = "ssl_disabled"
"""PyMySQL's option, which other drivers do not know."""

AS_TEXT = "converter_str_fallback"
"""MySQL Connector/Python's: send what it does not know, such as a UUID, as ``str()`` of it."""

_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")
"""In a table's definition: what its next key will be, once it had one."""

_LOCAL = URL.create("mysql", username="root", host=HOST, port=3306)
_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")


def check(url: URL) -> None:
    """Connect to the server and see that it is MariaDB.

    :raises ServerError: when the server cannot be reached, or is MySQL, which has no
        ``INSERT ... RETURNING``.
    """
    try:
        found = version(url)
    except pymysql.Error as error:
        raise ServerError(f"{url!r} is not usable: {error}") from error
    if "MariaDB" not in found:
        raise ServerError(f"{url!r} is not MariaDB but {found}")


def version(url: URL) -> str:
    """What the server says that it is, in whichever of the two."""
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        (found,) = cursor.fetchone() or ("",)
    return str(found)


def connect(url: URL) -> pymysql.Connection[Any]:
    """An autocommitting connection of the driver's own."""
    socket = url.query.get("unix_socket")
    return pymysql.connect(
        host=url.host or HOST,
        port=url.port or 3306,
        user=url.username,
        password=str(url.password or ""),
        database=url.database or None,
        unix_socket=str(socket) if socket else None,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=60,
        ssl_disabled=_is_at_home(url),
    )


def through_pymysql(url: URL) -> URL:
    """The URL for SQLAlchemy with PyMySQL; without TLS where the server is this machine's.

    PyMySQL reads all certificates of the system for each connection that may use TLS, whether
    the server speaks it or not: by far the most work of a connection.
    """
    url = url.set(drivername="mysql+pymysql")
    return url.update_query_dict({WITHOUT_TLS: "true"}) if _is_at_home(url) else url


def for_any_driver(url: URL) -> URL:
    """The URL without what one driver alone takes."""
    return url.difference_update_query([WITHOUT_TLS, AS_TEXT])


def _is_at_home(url: URL) -> bool:
    return url.host in (None, HOST, "localhost")


def running() -> URL | None:
    """The server at the default local port or socket, if it lets us in without a password."""
    return first_usable(check)


def first_usable(check: Callable[[URL], None]) -> URL | None:
    """The first server at the default local port or sockets that passes a check."""
    sockets = [path for path in _SOCKETS if os.path.exists(path)]
    candidates = [
        _LOCAL,
        *(_LOCAL.set(host="localhost", query={"unix_socket": path}) for path in sockets),
    ]
    for url in candidates:
        try:
            check(url)
        except ServerError:
            continue
        return url
    return None


def installed() -> Path | None:
    """The server's binary on this machine."""
    # Daemons live outside an ordinary user's PATH.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("mariadbd", path=path)
    return Path(found) if found and shutil.which("mariadb-install-db", path=path) else None


class PrivateServer:
    """A MariaDB of our own on a free port, gone after :meth:`stop`.

    :param durable: keep what was committed through :meth:`crash`; else it is faster.
    :param parent: where to make its directory; default the system's place for such.
    :ivar directory: the server's own, data and all. :ivar user: who it runs as, if not we.
    """

    def __init__(self, binary: Path, *, durable: bool = False, parent: Path | None = None) -> None:
        self.user = unprivileged_user("mysql")
        self._process = ServerProcess("mariadb", self.user, parent)
        self.directory = self._process.directory
        data = self.directory / "data"
        # Its own: a server that starts removes every temporary table it finds, whosever it is.
        temporary = self._process.make_directory("tmp")
        common = [
            "--no-defaults",
            f"--datadir={data}",
            f"--tmpdir={temporary}",
            "--innodb-log-file-size=8M",
        ]
        try:
            create = ["--auth-root-authentication-method=normal", "--skip-test-db"]
            self._process.run(["mariadb-install-db", *common, *create, "--skip-name-resolve"])
            self.url = _LOCAL.set(port=free_port())
            settings = [
                f"--bind-address={HOST}",
                f"--port={self.url.port}",
                f"--socket={self.directory / 'socket'}",
                f"--pid-file={self.directory / 'pid'}",
                "--skip-name-resolve",
                # 2 writes to the system's page cache, which outlives every process.
                f"--innodb-flush-log-at-trx-commit={2 if durable else 0}",
                "--character-set-server=utf8mb4",
            ]
            if not durable:
                settings.append("--innodb-flush-method=nosync")
                # A table that lives for one test needs no file and no record of its statistics:
                # to make it and to drop it takes half the work.
                settings += ["--innodb-file-per-table=0", "--innodb-stats-persistent=0"]
            self._command = [str(binary), *common, *settings]
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Start it again where it was, after :meth:`crash` or :meth:`end`; wait for an answer."""
        self._process.start(self._command, self._answers)

    def crash(self) -> None:
        """Kill it with SIGKILL and keep its data."""
        self._process.crash()

    def end(self) -> None:
        """Let it end in order, telling its clients, and keep its data."""
        self._process.end()

    def stop(self) -> None:
        self._process.stop()

    def _answers(self) -> bool:
        try:
            check(self.url)
        except ServerError:
            return False
        return True


class ServerDatabase:
    """A database of this test session, emptied between tests and dropped at its end."""

    # MariaDB's usual collation, case-insensitive and padded: the one whose traps users meet.
    collation = "utf8mb4_general_ci"

    def __init__(self, server: URL, name: str) -> None:
        self._server = server
        self._name = name
        self.url = server.set(database=name)
        self._connection = connect(server)
        self._create()

    def empty(self) -> None:
        """Remove everything in the database."""
        self._end_others()
        self._run(f"DROP DATABASE `{self._name}`")
        self._create()

    def contents(self) -> Contents:
        """What its tables are and hold."""
        schema, _ = self._schema()
        return Contents(schema, {table: self._run(f"SELECT * FROM {table}") for table in schema[0]})

    def put_back(self, contents: Contents) -> bool:
        """Let its tables hold the same rows as then, and count on from there.

        :returns: whether they do; not if anything was defined or altered.
        """
        self._end_others()
        schema, counting = self._schema()
        if schema != contents.schema:
            return False
        self._run("SET foreign_key_checks = 0")
        for table, rows in contents.rows.items():
            self._run(f"DELETE FROM {table}")
            if rows:
                places = ", ".join(["%s"] * len(rows[0]))
                with self._connection.cursor() as cursor:
                    cursor.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
        # Which goes no further back than to the key after the last that is there.
        for table in counting:
            self._run(f"ALTER TABLE {table} AUTO_INCREMENT = 1")
        self._run("SET foreign_key_checks = 1")
        return True

    def _schema(self) -> tuple[tuple[dict[str, str], object], list[str]]:
        """All that is defined in it: tables as they were made and the rest, and apart from that the
        tables whose keys have been counted."""
        tables = {}
        counting = []
        for name, kind in self._run(f"SHOW FULL TABLES FROM `{self._name}`"):
            table = f"`{self._name}`.`{name}`"
            made = str(self._run(f"SHOW CREATE TABLE {table}")[0][1])
            tables[table] = _COUNTER.sub("", made) if kind == "BASE TABLE" else made
            if tables[table] != made:
                counting.append(table)
        others = (
            self._run(f"SHOW TRIGGERS FROM `{self._name}`"),
            self._run(
                "SELECT routine_name FROM information_schema.routines WHERE routine_schema = %s",
                (self._name,),
            ),
        )
        return (tables, others), counting

    def _end_others(self) -> None:
        # A connection that a test left in a transaction would hold its locks for ever.
        for process_id in self._others():
            try:
                self._run(f"KILL CONNECTION {int(process_id)}")
            except pymysql.Error:
                continue  # It left between the two statements.

    def _run(self, statement: str, values: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def drop(self) -> None:
        with self._connection as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{self._name}`")

    def _others(self) -> list[int]:
        """The ids of the connections to the database."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist"
                " WHERE db = %s AND id <> CONNECTION_ID()",
                (self._name,),
            )
            return [process_id for (process_id,) in cursor.fetchall()]

    def _create(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"CREATE DATABASE `{self._name}` CHARACTER SET utf8mb4 COLLATE {self.collation}"
            )
