"""The channels by which a plaintext could leak, which are watched while a test runs.

Each watch is a context manager that takes a function, and calls it with the channel's name and the
things that passed. Nothing is held back.
"""

from __future__ import annotations

import io
import logging
import multiprocessing.reduction
import pickle
import sys
import threading
import unittest
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from encfields.orm.write import hidden_values

See = Callable[..., None]
"""Called with the channel's name and the things to search."""

SeeError = Callable[[BaseException], None]
"""Called with an exception, of which the frames are searched, too."""


@contextmanager
def log_records(see: See, see_error: SeeError) -> Iterator[None]:
    """Every record of every logger, whatever its handlers and propagation, and the frames of the
    exception that is logged: error trackers listen to loggers."""
    handed_on = logging.Logger.callHandlers

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        place = f"a log record of {record.name!r} ({record.levelname}, {record.filename})"
        see(place, record)
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            see_error(record.exc_info[1])
        handed_on(self, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.Logger, "callHandlers", call_handlers)
        yield


@contextmanager
def statements(see: See) -> Iterator[None]:
    """Statements and parameters sent to a database driver through SQLAlchemy, on any engine; after
    encryption, so that a sealed value is seen as its message."""

    def sent(_cursor: Any, statement: str, parameters: Any, _context: Any) -> None:
        see("a statement sent to the database driver", statement)
        see("the parameters sent to the database driver", parameters)

    def sent_alone(cursor: Any, statement: str, context: Any) -> None:
        sent(cursor, statement, (), context)

    listeners: dict[str, Callable[..., None]] = {
        "do_execute": sent,
        "do_executemany": sent,
        "do_execute_no_params": sent_alone,
    }
    with ExitStack() as stack:
        for name, listener in listeners.items():
            event.listen(Engine, name, listener)
            stack.callback(event.remove, Engine, name, listener)
        yield


class _Tapped:
    """A binary file, or the like, that also keeps everything written to it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.written = io.BytesIO()

    def write(self, data: Any) -> Any:
        self.written.write(bytes(data))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def pickles(see: See) -> Iterator[None]:
    """What :mod:`pickle` and :mod:`multiprocessing` write."""
    reduction = multiprocessing.reduction
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pickle, "Pickler", _watched_pickler(see))
        patch.setattr(pickle, "dump", _watched_dump(see, pickle.dump))
        patch.setattr(pickle, "dumps", _watched_dumps(see, pickle.dumps))
        patch.setattr(reduction, "dump", _watched_dump(see, reduction.dump))
        dumps = _watched_dumps(see, reduction.ForkingPickler.dumps)
        patch.setattr(reduction.ForkingPickler, "dumps", staticmethod(dumps))
        yield


def _watched_pickler(see: See) -> type[pickle.Pickler]:
    class Pickler(pickle.Pickler):
        def __init__(self, file: Any, *args: Any, **options: Any) -> None:
            self._tapped = _Tapped(file)
            super().__init__(self._tapped, *args, **options)

        def dump(self, obj: Any) -> None:
            super().dump(obj)
            see("a pickle", self._tapped.written.getvalue())

    return Pickler


def _watched_dump(see: See, dump: Callable[..., None]) -> Callable[..., None]:
    def watched(obj: Any, file: Any, *args: Any, **options: Any) -> None:
        tapped = _Tapped(file)
        dump(obj, tapped, *args, **options)
        see("a pickle", tapped.written.getvalue())

    return watched


def _watched_dumps(see: See, dumps: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*args: Any, **options: Any) -> Any:
        data = dumps(*args, **options)
        # It encrypts the pickle at once, in memory.
        if sys._getframe(1).f_globals.get("__name__") != hidden_values.__name__:
            see("a pickle", bytes(data))
        return data

    return watched


@contextmanager
def caught_errors(see_error: SeeError) -> Iterator[None]:
    """Exceptions that :func:`pytest.raises` caught, or unittest's ``assertRaises``."""
    fill = pytest.ExceptionInfo.fill_unfilled
    context: Any = type(unittest.TestCase().assertRaises(Exception))  # noqa: PT027
    leave = context.__exit__

    def fill_unfilled(self: Any, exc_info: Any) -> None:
        fill(self, exc_info)
        see_error(exc_info[1])

    def exit_context(self: Any, kind: Any, error: BaseException | None, trace: Any) -> Any:
        if error is not None:
            see_error(error)  # before its frames are cleared
        return leave(self, kind, error, trace)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.ExceptionInfo, "fill_unfilled", fill_unfilled)
        patch.setattr(context, "__exit__", exit_context)
        yield


@contextmanager
def uncaught_errors(see_error: SeeError) -> Iterator[None]:
    """Exceptions that end a thread, or that nobody can catch, such as one of ``__del__``: Python
    has hooks for them, which error trackers use."""
    of_thread, of_nobody = threading.excepthook, sys.unraisablehook

    def end_of_thread(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None:
            see_error(told.exc_value)
        of_thread(told)

    def unraisable(told: sys.UnraisableHookArgs) -> None:
        if told.exc_value is not None:
            see_error(told.exc_value)
        of_nobody(told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", end_of_thread)
        patch.setattr(sys, "unraisablehook", unraisable)
        yield


class _Echo:
    """A text stream that keeps what is written to it, and writes it to another."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.kept = io.StringIO()

    def write(self, text: str) -> Any:
        self.kept.write(text)
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def printed(see: See) -> Iterator[None]:
    """What is written to ``sys.stdout`` and ``sys.stderr``, captured or not, and what the test
    itself reads of other processes' output."""
    read = pytest.CaptureFixture.readouterr

    def readouterr(self: Any) -> Any:
        captured = read(self)
        see("stdout that the test read", captured.out)
        see("stderr that the test read", captured.err)
        return captured

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.CaptureFixture, "readouterr", readouterr)
        streams = {name: _Echo(getattr(sys, name)) for name in ("stdout", "stderr")}
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        try:
            yield
        finally:
            for name, stream in streams.items():
                see(name, stream.kept.getvalue())


@contextmanager
def issued_warnings(see: See) -> Iterator[None]:
    """Warnings that were neither filtered out nor expected; they are passed on afterwards."""
    with warnings.catch_warnings(record=True) as issued:
        try:
            yield
        finally:
            for one in issued:
                see(f"a {one.category.__name__}", one.message)
    for one in issued:
        warnings.showwarning(
            one.message, one.category, one.filename, one.lineno, one.file, one.line
        )
