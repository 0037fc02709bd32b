"""Worker processes, each with its own engine, keys and connections.

They share only the run's rows in the database, like workers on several hosts. The coordinator
starts them, reports progress, replaces those that die, and forwards a stop.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from threading import Event
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from encfields.bulk.connections import Connections
from encfields.bulk.errors import ReencryptionError
from encfields.bulk.failures import Patience, TranslatedFailure
from encfields.bulk.options import Options, Setup
from encfields.bulk.runs.loop import RunLoop
from encfields.bulk.runs.progress import Progress, ProgressReporter
from encfields.bulk.runs.signals import children_ignoring_interrupts
from encfields.bulk.runs.store import RunStore, Totals
from encfields.bulk.runs.worker import new_owner
from encfields.bulk.runs.worker_setup import setup_for
from encfields.errors import ConfigurationError, EncFieldsError, KeyUnavailableError

if TYPE_CHECKING:
    from encfields.engine import Encryption

__all__ = ["MAX_DEATHS", "Coordinator", "setup_for"]

_LOOK_SECONDS = 0.1
_STOP_SECONDS = 30.0
"""Seconds that workers get to finish their batch before they are killed."""

MAX_DEATHS = 10
"""Workers that may die in a row with nothing written in between."""

MAX_DEATHS_BEFORE_WORK = 3
"""As many, if the last one died before it had its engine and keys: the next does the same."""

_IS_SET_UP = "is set up"
"""What a worker process reports before it begins."""


class Coordinator:
    """Runs several worker processes on one run.

    :param engine: the application's. :param setup: gives each worker its engine and encryption.
    """

    def __init__(self, engine: Engine, run_id: str, options: Options, setup: Setup) -> None:
        self._run_id = run_id
        self._options = options
        self._setup = setup
        self._connections = Connections(engine)
        self._store = RunStore()
        self._workers: list[_Process] = []
        self._deaths = 0
        self._progress_at_death = -1

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the live workers."""
        return [w.process.pid for w in self._workers if w.process.pid and w.process.is_alive()]

    def work(self, stop: Event, progress: Progress | None = None) -> str | None:
        """Work until every worker has found nothing more to do, or `stop` is set.

        :returns: why the run has not ended, if the workers know.
        :raises EncFieldsError: a worker could not continue.
        """
        reporter = ProgressReporter(progress)
        try:
            self._workers = [self._start() for _ in range(self._options.workers)]
            while any(not worker.has_ended for worker in self._workers):
                if stop.wait(_LOOK_SECONDS):
                    break
                self._workers = [self._look_after(worker) for worker in self._workers]
                if reporter.is_due:
                    self._report(reporter)
            if reporter.is_wanted:
                self._report(reporter)
        finally:
            self._end()
            self._connections.close()
        return next((worker.outcome for worker in self._workers if worker.outcome), None)

    def _report(self, reporter: ProgressReporter) -> None:
        totals = self._totals()
        if totals is not None:
            reporter.report(self._store.load(self._connections.reading(), self._run_id), totals)

    def _start(self) -> _Process:
        return _Process(self._setup, self._run_id, self._options)

    def _look_after(self, worker: _Process) -> _Process:
        """The worker, or a replacement if it has died."""
        if worker.process.is_alive():
            return worker
        worker.receive()
        if worker.error is not None:
            raise ReencryptionError(f"a worker had to stop: {worker.error}", reason="worker")
        if worker.has_ended:
            return worker
        self._count_death(worker)
        self._release(worker)
        return self._start()

    def _count_death(self, worker: _Process) -> None:
        totals = self._totals()
        done = 0 if totals is None else totals.seen + totals.written
        self._deaths = 1 if done != self._progress_at_death else self._deaths + 1
        self._progress_at_death = done
        if not worker.is_set_up and self._deaths >= MAX_DEATHS_BEFORE_WORK:
            when = (
                "before they had an engine and keys: Options(setup=...) ends its process, or "
                "Python could not start one, as in a program without "
                'if __name__ == "__main__"; what it printed says more'
            )
        elif self._deaths >= MAX_DEATHS:
            when = "without writing a row in between"
        else:
            return
        raise ReencryptionError(
            f"{self._deaths} workers died one after another, the last with exit code "
            f"{worker.process.exitcode} (negative: a signal), {when}",
            reason="workers-die",
        )

    def _release(self, worker: _Process) -> None:
        """Release a dead worker's ranges, so that others need not wait for its lease."""
        try:
            with self._connections.writing().begin() as begun:
                self._store.release_all(begun.connection, worker.owner)
        except (SQLAlchemyError, OSError):
            self._connections.reset()

    def _totals(self) -> Totals | None:
        try:
            connection = self._connections.reading()
            return self._store.totals(connection, self._store.load(connection, self._run_id))
        except (SQLAlchemyError, OSError):
            self._connections.reset()
            return None

    def _end(self) -> None:
        for worker in self._workers:
            worker.tell_to_stop()
        for worker in self._workers:
            worker.process.join(_STOP_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.receive()
            worker.process.close()


class _Process:
    """One worker process and what it has reported.

    :ivar outcome: why the run has not ended. :ivar error: why it could not continue.
    :ivar has_ended: it ended by itself, with nothing more to do.
    :ivar is_set_up: it has had its engine and keys.
    """

    def __init__(self, setup: Setup, run_id: str, options: Options) -> None:
        context = multiprocessing.get_context("spawn")
        self.owner = new_owner()
        self.outcome: str | None = None
        self.error: str | None = None
        self.has_ended = False
        self.is_set_up = False
        self._pipe, theirs = context.Pipe(duplex=False)
        lifeline, self._lifeline = context.Pipe(duplex=False)
        # The child calls the setup; it starts no workers of its own.
        given = (setup, run_id, self.owner, replace(options, setup=None), os.getpid())
        arguments = (*given, lifeline, theirs)
        self.process = context.Process(target=_work, args=arguments, name=f"encfields {run_id}")
        with children_ignoring_interrupts():
            self.process.start()
        theirs.close()
        lifeline.close()

    def tell_to_stop(self) -> None:
        """Make it end after its batch. A pipe, because Windows has no signal for that."""
        with suppress(OSError):  # it may have exited
            self._lifeline.send(None)
        self._lifeline.close()

    def receive(self) -> None:
        """Read what it reported before it ended."""
        with suppress(EOFError, OSError):
            while not self.has_ended and self._pipe.poll():
                reported = self._pipe.recv()
                if reported == _IS_SET_UP:
                    self.is_set_up = True
                    continue
                self.outcome, self.error = reported
                self.has_ended = True


def _work(
    setup: Setup,
    run_id: str,
    owner: str,
    options: Options,
    parent: int,
    lifeline: Pipe,
    pipe: Pipe,
) -> None:
    """The main function of a worker process."""
    stop = Event()
    # Ctrl-C in a terminal reaches every process; the coordinator forwards it. Where signals can be
    # blocked it already is: see `children_ignoring_interrupts`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    threading.Thread(target=_stop_when_asked, args=(parent, lifeline, stop), daemon=True).start()
    outcome: str | None = None
    error: str | None = None
    try:
        engine, encryption = _set_up(setup, options, stop)
        with suppress(OSError):  # as below
            pipe.send(_IS_SET_UP)
        own = Connections(engine)
        try:
            outcome = RunLoop(own, encryption, run_id, owner, options, stop).work()
        finally:
            own.close()
    except EncFieldsError as failure:
        error = str(failure)
    except Exception as failure:
        # Another library's error text could hold a value; its type cannot.
        error = f"{type(failure).__module__}.{type(failure).__qualname__}"
    with suppress(OSError):  # the coordinator may have died
        pipe.send((outcome, error))
    # Else Python looks for cycles among all objects of the process several times as it exits, which
    # takes a third of the processor time of starting and ending a worker.
    gc.freeze()


def _set_up(setup: Setup, options: Options, stop: Event) -> tuple[Engine, Encryption]:
    """A worker's engine and keys; waits out an outage, as the run does."""
    patience = Patience(options.outage_seconds, stop)
    while True:
        try:
            return _pair(setup())
        except (SQLAlchemyError, KeyUnavailableError, OSError) as error:
            failure = TranslatedFailure.of(error)
            if not failure.is_transient and not isinstance(error, DBAPIError | EncFieldsError):
                raise _raised(error) from None  # as for a URL or a file that is wrong
        except EncFieldsError:
            raise
        except BaseException as error:
            # Also sys.exit(), after which worker would follow on worker; Ctrl-C comes from nowhere.
            raise _raised(error) from None
        patience.wait(failure)
        if stop.is_set():
            raise failure.error


def _raised(error: BaseException) -> ConfigurationError:
    """The error for a setup that failed, without the text, which could hold a value."""
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return ConfigurationError(
        f"Options(setup=...) raised {name} in a worker process", reason="setup"
    )


def _pair(made: Any) -> tuple[Engine, Encryption]:
    """What a setup returned.

    :raises ConfigurationError: something else than an engine and its encryption.
    """
    match made:
        case (engine, encryption) if isinstance(engine, Engine) and hasattr(encryption, "keys"):
            return engine, encryption
    raise ConfigurationError(
        f"Options(setup=...) returned {type(made).__name__} in a worker process, and must return "
        "(engine, encryption): an Engine, and what attach() returned for it",
        reason="setup",
    )


def _stop_when_asked(parent: int, lifeline: Pipe, stop: Event) -> None:
    """Stop when the coordinator says so, or has died: nobody would supervise this worker.

    :param lifeline: closes when the coordinator dies, unless another of its children was forked
        with a copy of its end; then the parent process id tells, on systems with ``fork``.
    """
    while not (stop.is_set() or wait([lifeline], 0.5) or os.getppid() != parent):
        pass
    stop.set()
