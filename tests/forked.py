"""Programs in processes of their own, which need not import what all of them do.

Each is forked from a process that has imported it and has done nothing else. To start an
interpreter and import it takes a second, most of what a short program takes.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from tests.waiting import PATIENCE

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


def processes(imported: Sequence[str] = _IMPORTED) -> ForkServerContext:
    """To start such processes by, and to talk with them.

    :param imported: modules to have imported; the first call's, for all of a test process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(imported))
    return context


class Program:
    """A function at work in a process of its own.

    :param function: of a module, with what it takes; its result has to be one that is pickled.
    :param imported: see :func:`processes`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        imported: Sequence[str] = _IMPORTED,
    ) -> None:
        context = processes(imported)
        self._result, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(theirs, function, arguments))
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has, by itself or by being killed."""
        return not self._process.is_alive()

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self._end()

    def _end(self) -> None:
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
            self._end()
        assert self._process.exitcode == 0
        return found


def _run(result: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with result:
        result.send(function(*arguments))


def run(
    *arguments: str, folder: Path, environment: Mapping[str, str], imported: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """As ``python ARGUMENTS`` in a folder, for a program to which it is all the same when the
    interpreter began.

    :param arguments: ``-m`` and a module's name, ``-c`` and code, or a file's name; then what the
        program takes.
    :param environment: all of its environment variables.
    :param imported: see :func:`processes`.
    :returns: its exit status, and what it printed.
    """
    started = Command(*arguments, folder=folder, environment=environment, imported=imported)
    told = started.communicate(PATIENCE)
    assert started.status is not None
    return subprocess.CompletedProcess(arguments, started.status, *told)


FORGET = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0].startswith("encfields")]:
    del sys.modules[name]
"""
"""Begins code that is to import this package anew, and of others only what it can do without."""


class Command(Program):
    """The same while it is at work.

    :param into: the files, or terminals, for its standard output and error, if not of its own.
    :ivar status: its exit status, once it has ended.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        imported: Sequence[str],
        into: tuple[str, str] | None = None,
    ) -> None:
        self.status: int | None = None
        self._own = TemporaryDirectory(prefix="encfields-program-")
        self._told = [Path(self._own.name, "out"), Path(self._own.name, "err")]
        files = self._told if into is None else [Path(name) for name in into]
        command = list(arguments), folder, dict(environment)
        super().__init__(_as_main, *command, *files, imported=imported)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        super().kill()
        self._own.cleanup()

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it has written to its own files by its end.

        :raises AssertionError: as :meth:`Program.result`.
        """
        try:
            self.status = self.result(timeout)
            out, err = (file.read_text() if file.exists() else "" for file in self._told)
            return out, err
        finally:
            self._own.cleanup()


def _as_main(
    arguments: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path
) -> int:
    """Do what the interpreter would do with these arguments; its exit status."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    try:
        _run_as_main(arguments)
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return (ending.code or 0) & 0xFF  # all that a process has for it
        print(ending.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _run_as_main(arguments: list[str]) -> None:
    sys.path.insert(0, str(Path.cwd()))
    kind, *rest = arguments
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(rest[0], vars(main))
    else:
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")
