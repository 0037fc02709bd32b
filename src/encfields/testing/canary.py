"""A canary: it fails a test whose plaintext leaks.

:class:`Watch` is the plugin's side: what to search for, and where it was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TypeVar

import pytest

from encfields.testing import channels
from encfields.testing.search import (
    SQLALCHEMY,
    TEST_RUNNER,
    frames_showing,
    is_of,
    pickled_forms,
    shows,
    spellings,
    texts,
    texts_of,
)


class Watch:
    """Plaintexts of one test, and the places where they showed.

    :param item: the test. Its own function may hold what it works with.
    :param sections_before: number of output sections from an earlier, failed run of it.
    """

    def __init__(self, item: pytest.Item, sections_before: int) -> None:
        self._path = str(item.path)
        self._function = getattr(item, "originalname", None) or item.name
        self._forms: list[frozenset[bytes]] = []
        self._may_hold = [*TEST_RUNNER, SQLALCHEMY]
        self._found: dict[str, None] = {}
        self._told = 0
        self._sections_before = sections_before

    def __repr__(self) -> str:
        return f"{len(self._forms)} plaintexts, {len(self._found)} places found"

    def add(self, plaintext: object) -> None:
        """Look for a plaintext from now on."""
        first, *others = map(spellings, texts_of(plaintext))
        self._forms += [first | pickled_forms(plaintext), *others]

    def leave_out(self, *modules: str) -> None:
        """Do not search frames of modules or packages."""
        self._may_hold += modules

    def see(self, channel: str, *things: object) -> None:
        """Search things that a channel carries."""
        if not self._forms:
            return
        for thing in things:
            for path, text in texts(thing, channel):
                if any(shows(forms, text) for forms in self._forms):
                    self._found.setdefault(path)

    def see_error(self, error: BaseException) -> None:
        """Search an exception, and the frames that it passed through."""
        self.see(f"an exception ({type(error).__name__})", error)
        for forms in self._forms:
            for place in frames_showing(forms, error, self._is_exempt):
                self._found.setdefault(
                    f"an exception's frame: {place} (error trackers record it; if it must hold "
                    "it, name its module in may_hold())"
                )

    def see_sections(self, sections: list[tuple[str, str, str]]) -> None:
        """Search what pytest captured, including subprocesses."""
        for when, kind, content in sections[self._sections_before :]:
            if kind in ("stdout", "stderr"):
                self.see(f"{kind} captured during {when}", content)

    @contextmanager
    def during_test(self) -> Iterator[None]:
        """Watch what can be watched from a fixture: logs, statements, pickles, and errors that are
        caught, or that nobody catches."""
        with ExitStack() as stack:
            stack.enter_context(channels.log_records(self.see, self.see_error))
            stack.enter_context(channels.statements(self.see))
            stack.enter_context(channels.pickles(self.see))
            stack.enter_context(channels.caught_errors(self.see_error))
            stack.enter_context(channels.uncaught_errors(self.see_error))
            yield

    @contextmanager
    def during_call(self) -> Iterator[None]:
        """Watch what pytest itself redirects around a test's call: output and warnings."""
        with channels.issued_warnings(self.see), channels.printed(self.see):
            yield

    def fail_if_seen(self) -> None:
        """Fail the test if a plaintext showed since the last report."""
        __tracebackhide__ = True
        report = self._report()
        if report:
            pytest.fail(report, pytrace=False)

    def note_on(self, error: BaseException) -> None:
        """Search the exception that ends the test, and add to it where plaintexts showed."""
        if not isinstance(error, AssertionError):
            self.see_error(error)
        report = self._report()
        if report:
            error.add_note(report)

    def _report(self) -> str:
        """The places found since the last report; empty if there are none."""
        places = list(self._found)[self._told :]
        self._told = len(self._found)
        if not places:
            return ""
        return "\n".join(["a plaintext shows where it must not:", *(f"  {p}" for p in places)])

    def _is_exempt(self, frame: FrameType) -> bool:
        code = frame.f_code
        own = code.co_filename == self._path and code.co_name == self._function
        return own or is_of(frame, self._may_hold)


_T = TypeVar("_T")


class Canary:
    """Plaintexts of one test, and where they showed. The fixture ``encfields_canary`` is one.

    :param watch: what the plugin searches for them.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __repr__(self) -> str:
        return f"<Canary of {self._watch!r}>"

    def __call__(self, plaintext: _T) -> _T:
        """Register a plaintext: from now on the test fails if it shows.

        :param plaintext: text, bytes, a date or number, or a container of these, such as a JSON
            value, each member of which is searched for.
        :returns: the same.
        :raises ValueError: no part of it has 6 characters or bytes, so a match could be a
            coincidence.
        """
        self._watch.add(plaintext)
        return plaintext

    def may_hold(self, *modules: str) -> None:
        """Leave frames of some modules or packages out of the search.

        An exception's frames hold the arguments and variables of every function that it passed
        through, and error trackers record them. Those of the test's own function, of pytest and
        of SQLAlchemy, which is given what is to be written, are left out already.

        :param modules: such as ``"shop.forms"``, or ``"shop"`` for all of a package.
        """
        self._watch.leave_out(*modules)

    def look_at(self, *places: object) -> None:
        """Search things that no channel shows: a response's body, a file's content, a report.

        :param places: what to search; exceptions, with the frames that they passed through.
        """
        for number, place in enumerate(places):
            if isinstance(place, BaseException):
                self._watch.see_error(place)
            else:
                self._watch.see(f"look_at() {number}", place)

    def check(self) -> None:
        """Fail the test now if a plaintext showed anywhere since the last check.

        This happens automatically at the end of the test.
        """
        __tracebackhide__ = True
        self._watch.fail_if_seen()
