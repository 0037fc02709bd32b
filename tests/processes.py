"""A pytest plugin: tests in several processes, which are forked once all tests are collected.

usage: python -m pytest -p tests.processes --processes 4 [pytest's arguments]

Each worker of pytest-xdist is an interpreter of its own that imports and collects every test, and
reports each step of a test by itself: 1.3 ms of processor time a test, and 4 s a worker. Here the
tests are collected once, and what is forked has them already. A process is given whole files, in
the order in which they were collected, the next one when it has done the last; its reports come
in one message for each test.

What has to be a process's own (servers, connections, threads) is therefore for fixtures to make,
never for a module that is imported.

A process that dies fails the test it was at and those that its file still had, and another takes
its place. What fails after a process's last test, such as the end of a session's fixture, fails
the run. On macOS, whose own libraries do not like to be forked, say ``--processes 0``.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Iterable
from itertools import groupby
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import Any, cast

import pytest

DIED: Any = "died"
"""When a test failed whose process has died; pytest's own times are "setup" and so on."""

_Reports = list[dict[str, Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("processes").addoption(
        "--processes", type=int, default=0, help="fork so many to run the tests; 0: run them here"
    )


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Take pytest's place at running what was collected."""
    options = session.config.option
    is_broken = session.testsfailed and not options.continue_on_collection_errors
    if is_broken or not options.processes or options.collectonly or options.usepdb:
        return None
    _Processes(session).run(options.processes)
    return True


class _Process:
    """One of the processes, as the first one sees it.

    :ivar left: tests of its file that it has not reported yet; it is at the first of them.
    :ivar has_all: there is no other file for it.
    """

    def __init__(self, pid: int, pipe: Connection) -> None:
        self._pid = pid
        self.pipe = pipe
        self.left: deque[pytest.Item] = deque()
        self.has_all = False

    def end(self) -> int:
        """Wait for its end, after the test that it is at; its exit status, or minus a signal."""
        self.pipe.close()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


class _Processes:
    """Hands out the files, and has pytest's plugins see the reports that come back."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._config = session.config
        self._files = [list(items) for _, items in groupby(session.items, lambda item: item.path)]
        self._next = 0
        self._running: dict[Connection, _Process] = {}
        self._fault = ""
        self._folder: Path = _temporary_folders(session.config).getbasetemp()
        if terminal := session.config.pluginmanager.get_plugin("terminalreporter"):
            terminal.showfspath = False  # it would tell a file's name at each change of file

    def run(self, count: int) -> None:
        try:
            for _ in range(min(count, len(self._files))):
                self._start()
            while self._running:
                for pipe in wait(list(self._running)):
                    self._listen(self._running[cast(Connection, pipe)])
                if self._session.shouldfail:
                    raise self._session.Failed(self._session.shouldfail)
                if self._session.shouldstop:
                    raise self._session.Interrupted(self._session.shouldstop)
            if self._fault:
                self._session.shouldfail = self._fault
                raise self._session.Failed(self._fault)
        finally:
            for pipe in self._running:
                pipe.close()
            for process in self._running.values():
                process.end()

    def _start(self) -> None:
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            for pipe in (ours, *self._running):
                pipe.close()
            _Worker(self._session, self._files, theirs).run_and_exit(self._folder)
        theirs.close()
        self._running[ours] = _Process(pid, ours)

    def _listen(self, process: _Process) -> None:
        has_ended = False
        try:
            message = process.pipe.recv()
            if message is None:
                self._hand_out(process)
        except (EOFError, OSError):
            has_ended = True
        # Outside the handler: what is forked in one has its exception as the context of its own.
        if has_ended:
            self._clear_up(process)
        elif isinstance(message, dict):
            self._config.hook.pytest_warning_recorded.call_historic(kwargs=message)
        elif message is not None:
            self._tell(process.left.popleft(), map(self._report, message))

    def _hand_out(self, process: _Process) -> None:
        process.has_all = self._next == len(self._files)
        process.pipe.send(None if process.has_all else self._next)
        if not process.has_all:
            process.left.extend(self._files[self._next])
            self._next += 1

    def _report(self, data: dict[str, Any]) -> pytest.TestReport:
        """The report that a process has sent."""
        make = self._config.hook.pytest_report_from_serializable
        return cast(pytest.TestReport, make(config=self._config, data=data))

    def _tell(self, item: pytest.Item, reports: Iterable[pytest.TestReport]) -> None:
        hook = self._config.hook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _clear_up(self, process: _Process) -> None:
        """Of a process that has ended: tell what it has left undone."""
        del self._running[process.pipe]
        status = process.end()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        for item in process.left:
            place = "in this test" if item is process.left[0] else f"in {process.left[0].nodeid}"
            told = f"the process of this test ended with {how} {place}"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", told, DIED)
            self._tell(item, [report])
        if process.left:
            self._start()
        elif status or not process.has_all:
            self._fault = f"a process ended with {how} after its tests: see above"


class _Worker:
    """What one of the processes does; to its pytest it is what reports to the terminal."""

    def __init__(
        self, session: pytest.Session, files: list[list[pytest.Item]], pipe: Connection
    ) -> None:
        self._session = session
        self._config = session.config
        self._files = files
        self._pipe = pipe
        self._reports: _Reports = []
        self._has_begun = False
        self._tw = session.config.get_terminal_writer()
        """Where pytest-timeout tells what all threads are at."""

    def run_and_exit(self, folder: Path) -> None:
        status: int = pytest.ExitCode.INTERNAL_ERROR
        try:
            self._begin(folder / f"process-{os.getpid()}")
            try:
                self._run()
                status = pytest.ExitCode.OK
            except (EOFError, ConnectionError, KeyboardInterrupt):
                status = pytest.ExitCode.INTERRUPTED  # the first process has stopped as well
            finally:
                self._config.hook.pytest_sessionfinish(session=self._session, exitstatus=status)
        except BaseException:
            traceback.print_exc()
            status = pytest.ExitCode.INTERNAL_ERROR
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _begin(self, folder: Path) -> None:
        # What multiprocessing starts would begin with importing what this was started as.
        sys.modules["__main__"] = ModuleType("__main__")
        # By this, plugins know a worker of pytest-xdist: they leave files to the first process.
        vars(self._config)["workerinput"] = {"workerid": folder.name}
        self._config.pluginmanager.unregister(name="terminalreporter")
        self._config.pluginmanager.register(self, "terminalreporter")
        if self._config.option.capture == "fd":
            self._capture_apart()
        folder.mkdir(mode=0o700)
        _temporary_folders(self._config)._basetemp = folder
        self._has_begun = True

    def _capture_apart(self) -> None:
        """Have output go to files of this process: it has the same ones open as all others.

        In the place of those, for modules that have kept ``sys.stdout`` since they were imported.
        """
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        for one in (capture._global_capturing.out, capture._global_capturing.err):
            with TemporaryFile() as own:
                os.dup2(own.fileno(), one.tmpfile.fileno(), inheritable=False)

    def _run(self) -> None:
        session = self._session
        while (number := self._next_file()) is not None:
            file = self._files[number]
            # The session outlives the file, whichever the next one is.
            for item, following in zip(file, [*file[1:], session], strict=True):
                self._config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                self._pipe.send(self._reports)
                self._reports = []
                if session.shouldfail or session.shouldstop:
                    return

    def _next_file(self) -> int | None:
        self._pipe.send(None)
        number: int | None = self._pipe.recv()
        return number

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        make = self._config.hook.pytest_report_to_serializable
        self._reports.append(make(config=self._config, report=report))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        if not self._has_begun:
            return  # pytest tells every plugin, also of what was before it
        of = warning_message
        # Its kind may be a class that only this process has.
        told = f"{of.category.__name__}: {of.message}"
        same = warnings.WarningMessage(told, UserWarning, of.filename, of.lineno)
        self._pipe.send(
            {"warning_message": same, "when": when, "nodeid": nodeid, "location": location}
        )


def _temporary_folders(config: pytest.Config) -> Any:
    """What makes the folders of ``tmp_path``."""
    return config._tmp_path_factory  # type: ignore[attr-defined]
