"""Runs a script that ``alembic upgrade --sql`` wrote, as a client of the database does."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg
import pymysql
from pymysql.constants import CLIENT

from tests.servers.backends import Backend


class ScriptFailedError(Exception):
    """The database refused a statement; what it said is the argument."""


def run_script(backend: Backend, script: str) -> None:
    """Run a whole script, up to its first error.

    :raises ScriptFailedError: with the database's own message.
    """
    {"sqlite": _sqlite, "postgresql": _postgresql, "mariadb": _mariadb}[backend.family](
        backend, script
    )


def _sqlite(backend: Backend, script: str) -> None:
    connection = sqlite3.connect(str(backend.url.database))
    try:
        connection.executescript(script)
    except sqlite3.Error as error:
        raise ScriptFailedError(str(error)) from None
    finally:
        connection.close()


def _postgresql(backend: Backend, script: str) -> None:
    url = backend.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection: Any = psycopg.connect(url, autocommit=True)
    try:
        connection.execute(script)
    except psycopg.Error as error:
        raise ScriptFailedError(str(error)) from None
    finally:
        connection.close()


def _mariadb(backend: Backend, script: str) -> None:
    url = backend.url
    options: dict[str, Any] = dict(url.query)
    connection = pymysql.connect(
        host=url.host or "localhost",
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        client_flag=CLIENT.MULTI_STATEMENTS,
        autocommit=True,
        **options,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(script)
            while cursor.nextset():
                pass
    except pymysql.Error as error:
        raise ScriptFailedError(str(error)) from None
    finally:
        connection.close()
