"""Programs in processes of their own, which need not import what all of them do.

Each is forked from a process that has imported it and has done nothing else. To start an
interpreter and import it takes a second, most of what a short program takes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

_IMPORTED = [
    "aws_cryptographic_material_providers.mpl",
    "aws_encryption_sdk",
    "encfields.adopt",
    "encfields.testing",
    "psycopg",
    "pymysql",
    "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.orm",
]


def processes() -> ForkServerContext:
    """To start such processes by, and to talk with them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


class Program:
    """A function at work in a process of its own.

    :param function: of a module, with what it takes; its result has to be one that is pickled.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        context = processes()
        self._result, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(theirs, function, arguments))
        self._process.start()
        theirs.close()

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self._process.kill()
        self._process.join()
        self._result.close()

    def result(self, timeout: float) -> Any:
        """What the function returned.

        :raises AssertionError: it takes longer than `timeout` seconds, or has failed, which it
            told on its standard error.
        """
        try:
            assert self._result.poll(timeout), "it does not end"
            found = self._result.recv()
            self._process.join(timeout)
        except EOFError:
            raise AssertionError("it failed") from None
        finally:
            self.kill()
        assert self._process.exitcode == 0
        return found


def _run(result: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with result:
        result.send(function(*arguments))
