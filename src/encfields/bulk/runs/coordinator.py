"""Worker processes: started anew, each with its own engine, keys and connections.

They share nothing but the run's rows in the database, as workers on several hosts do. The
coordinator starts them, tells progress, replaces those that die, and passes a stop on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from encfields.bulk.connections import Connections
from encfields.bulk.errors import ReencryptionError
from encfields.bulk.failures import Patience, TranslatedFailure
from encfields.bulk.options import Options, Setup
from encfields.bulk.runs.loop import RunLoop
from encfields.bulk.runs.progress import Progress, Teller
from encfields.bulk.runs.signals import deaf_children
from encfields.bulk.runs.store import RunStore, Totals
from encfields.bulk.runs.worker import new_owner
from encfields.bulk.runs.worker_setup import setup_for
from encfields.errors import EncFieldsError, KeyUnavailableError

if TYPE_CHECKING:
    from encfields.engine import Encryption

__all__ = ["MAX_DEATHS", "Coordinator", "setup_for"]

_LOOK_SECONDS = 0.1
_STOP_SECONDS = 30.0
"""How long workers have to end the batch under way before they are killed."""

MAX_DEATHS = 10
"""Workers that may die one after the other without a row written in between."""


class Coordinator:
    """Runs several worker processes over one run.

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
        """The workers that are alive."""
        return [w.process.pid for w in self._workers if w.process.pid and w.process.is_alive()]

    def work(self, stop: Event, progress: Progress | None = None) -> str | None:
        """Work until every worker has found nothing more to do, or `stop` is set.

        :returns: why the run is not at its end, where the workers know.
        :raises EncFieldsError: a worker could not go on.
        """
        teller = Teller(progress)
        try:
            self._workers = [self._start() for _ in range(self._options.workers)]
            while any(not worker.has_ended for worker in self._workers):
                if stop.wait(_LOOK_SECONDS):
                    break
                self._workers = [self._look_after(worker) for worker in self._workers]
                if teller.is_due:
                    self._tell(teller)
            if teller.is_wanted:
                self._tell(teller)
        finally:
            self._end()
            self._connections.close()
        return next((worker.outcome for worker in self._workers if worker.outcome), None)

    def _tell(self, teller: Teller) -> None:
        totals = self._totals()
        if totals is not None:
            teller.tell(self._store.load(self._connections.reading(), self._run_id), totals)

    def _start(self) -> _Process:
        return _Process(self._setup, self._run_id, self._options)

    def _look_after(self, worker: _Process) -> _Process:
        """The worker, or another one in its place if it has died."""
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
        if self._deaths >= MAX_DEATHS:
            raise ReencryptionError(
                f"{self._deaths} workers died one after another, the last with exit code "
                f"{worker.process.exitcode} (negative: a signal), without finishing a row between",
                reason="workers-die",
            )

    def _release(self, worker: _Process) -> None:
        """Spare the others waiting for a dead worker's lease; without, it would just lapse."""
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

    :ivar outcome: why the run is not at its end. :ivar error: why it could not go on.
    :ivar has_ended: it ended by itself, with nothing more to do.
    """

    def __init__(self, setup: Setup, run_id: str, options: Options) -> None:
        context = multiprocessing.get_context("spawn")
        self.owner = new_owner()
        self.outcome: str | None = None
        self.error: str | None = None
        self.has_ended = False
        self._pipe, theirs = context.Pipe(duplex=False)
        lifeline, self._lifeline = context.Pipe(duplex=False)
        # The setup is called in the child; a child has no children of its own to set up.
        given = (setup, run_id, self.owner, replace(options, setup=None), os.getpid())
        arguments = (*given, lifeline, theirs)
        self.process = context.Process(target=_work, args=arguments, name=f"encfields {run_id}")
        with deaf_children():
            self.process.start()
        theirs.close()
        lifeline.close()

    def tell_to_stop(self) -> None:
        """Have it end after the batch under way; no signal does that on Windows."""
        with suppress(OSError):  # it may have ended
            self._lifeline.send(None)
        self._lifeline.close()

    def receive(self) -> None:
        """Take what it reported before it ended."""
        with suppress(EOFError, OSError):
            if not self.has_ended and self._pipe.poll():
                self.outcome, self.error = self._pipe.recv()
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
    """A worker process, from its start to its end."""
    stop = Event()
    # Ctrl-C in a terminal reaches every process; the coordinator passes it on in its own way.
    # Where signals can be blocked, it was since the start: see `deaf_children`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    threading.Thread(target=_stop_when_asked, args=(parent, lifeline, stop), daemon=True).start()
    outcome: str | None = None
    error: str | None = None
    try:
        engine, encryption = _set_up(setup, options, stop)
        outcome = RunLoop(engine, encryption, run_id, owner, options, stop).work()
    except EncFieldsError as failure:
        error = str(failure)
    except Exception as failure:
        # A foreign error's text could hold a value; its type cannot.
        error = f"{type(failure).__module__}.{type(failure).__qualname__}"
    with suppress(OSError):  # the coordinator may be gone
        pipe.send((outcome, error))


def _set_up(setup: Setup, options: Options, stop: Event) -> tuple[Engine, Encryption]:
    """A worker's engine and keys; an outage is waited for here as it is later on."""
    patience = Patience(options.outage_seconds, stop)
    while True:
        try:
            return setup()
        except (SQLAlchemyError, KeyUnavailableError, OSError) as error:
            failure = TranslatedFailure.of(error)
        patience.wait(failure)
        if stop.is_set():
            raise failure.error


def _stop_when_asked(parent: int, lifeline: Pipe, stop: Event) -> None:
    """Stop when the coordinator says so, or is gone: nobody would look after this worker then.

    :param lifeline: ends with the coordinator, unless another child of it was forked with a copy
        of its end; the process id tells then, where there is ``fork``.
    """
    while not (stop.is_set() or wait([lifeline], 0.5) or os.getppid() != parent):
        pass
    stop.set()
