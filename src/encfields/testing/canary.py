"""A canary: it fails a test whose plaintext gets out."""

from __future__ import annotations

from typing import TypeVar

from encfields.testing.watch import Watch

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
            value, of which each member is looked for.
        :returns: the same.
        :raises ValueError: nothing of it has 6 characters or bytes, so that a find could be a
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

        At the end of the test this happens by itself.
        """
        __tracebackhide__ = True
        self._watch.fail_if_seen()
