"""MySQL for the tests: one that is named, or that runs already. Distributions that have MariaDB
seldom have it, so without one its tests are skipped, where they were not asked for."""

from __future__ import annotations

import time

import pymysql
from sqlalchemy import URL

from tests.servers import mariadb
from tests.servers.process import ServerError

NAME = "MySQL"
VARIABLE = "ENCFIELDS_TEST_MYSQL_URL"
EXAMPLE_URL = mariadb.EXAMPLE_URL
HOW_TO_GET = "have one listen at the default local port or socket, and let root in;"

_CANNOT_CONVERT = 3854


def check(url: URL) -> None:
    """Connect to the server and see that it is MySQL.

    :raises ServerError: when the server cannot be reached, or is MariaDB.
    """
    try:
        version = mariadb.version(url)
    except pymysql.Error as error:
        raise ServerError(f"{url!r} is not usable: {error}") from error
    if "MariaDB" in version:
        raise ServerError(f"{url!r} is not MySQL but {version}")


def running() -> URL | None:
    """The server at the default local port or socket, if it lets us in without a password."""
    return mariadb.first_usable(check)


class ServerDatabase(mariadb.ServerDatabase):
    """The same as MariaDB's, with the collation that MySQL's databases usually have."""

    collation = "utf8mb4_0900_ai_ci"

    def _others(self) -> list[int]:
        """As MariaDB's, once no statement on the server holds bytes that are no text.

        While one does, such as an INSERT of PyMySQL's, MySQL refuses to list connections at all.
        """
        given_up = time.monotonic() + 60
        while True:
            try:
                return super()._others()
            except pymysql.OperationalError as error:
                if error.args[0] != _CANNOT_CONVERT or time.monotonic() > given_up:
                    raise
                time.sleep(0.02)
