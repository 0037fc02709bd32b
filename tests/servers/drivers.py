"""The drivers of the suite's databases: the usual ones, or others that are asked for.

``ENCFIELDS_TEST_DRIVERS=mysqldb,psycopg2`` has MariaDB and MySQL used through mysqlclient, and
PostgreSQL through psycopg2, by all tests that take a ``backend``.
"""

from __future__ import annotations

import os

from sqlalchemy import URL

from tests.servers import mariadb

VARIABLE = "ENCFIELDS_TEST_DRIVERS"
_POSTGRESQL = ("psycopg", "psycopg2", "pg8000")
_MARIADB = ("pymysql", "mysqldb", "mysqlconnector", "mariadbconnector")
"""Synchronous ones, the usual one first."""


def with_driver(url: URL, driver: str) -> URL:
    """The URL for SQLAlchemy with a driver of its server's.

    :param url: of any database. :param driver: SQLAlchemy's name of it.
    """
    url = mariadb.for_any_driver(url)
    if driver == "pymysql":
        return mariadb.through_pymysql(url)
    kind = "mysql" if url.get_backend_name() == "mariadb" else url.get_backend_name()
    return url.set(drivername=f"{kind}+{driver}")


def through_driver(url: URL) -> URL:
    """The URL for SQLAlchemy with the driver that is asked for, or the usual one.

    :param url: of PostgreSQL, MariaDB or MySQL.
    :raises ValueError: the environment asks for a driver that is none of these servers'.
    """
    asked = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    if unknown := set(asked) - {*_POSTGRESQL, *_MARIADB}:
        raise ValueError(f"{VARIABLE} names {', '.join(sorted(unknown))}, of no server here")
    is_postgresql = url.get_backend_name() == "postgresql"
    usual, *others = _POSTGRESQL if is_postgresql else _MARIADB
    driver = next((name for name in asked if name in others), usual)
    url = with_driver(url, driver)
    # SQLAlchemy hands it UUIDs as such, for MariaDB's type of that name.
    is_connector = driver == "mysqlconnector"
    return url.update_query_dict({mariadb.AS_TEXT: "true"}) if is_connector else url
