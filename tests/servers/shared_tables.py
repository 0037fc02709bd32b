"""Tables that a test leaves to the next one: made once, and put back to how they were.

To make a key table, keys and tables and to drop them is most of what a small test takes of a
server. A test that asks for the fixture ``shared_tables`` may find those of the test before, with
the rows and keys that they were made with. It may do to them what it likes: where the schema was
changed, the database is emptied as it is after every other test.
"""

from __future__ import annotations

import shutil
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Contents:
    """What a database is to hold when a test begins.

    :ivar schema: stands for all that was defined there.
    :ivar rows: of each table, in an order in which they can be deleted, as its class copies them.
    :ivar counters: the statement that lets keys be counted on from there, where it takes one.
    """

    schema: object
    rows: dict[str, Any]
    counters: str = ""


class Resettable(Protocol):
    """A server's database that can go back to what it held."""

    def empty(self) -> None:
        """Remove everything."""

    def contents(self) -> Contents:
        """What it holds."""

    def put_back(self, contents: Contents) -> bool:
        """Let it hold that again.

        :returns: whether it does; not if the schema was changed.
        """


class SharedTables:
    """The tables that tests share in a server's database.

    :ivar holds: what tells them from others, if there are any. The key table is among them.
    """

    def __init__(self, database: Resettable) -> None:
        self._database = database
        self.holds: Hashable = None
        self._contents: Contents | None = None

    def has(self, what: Hashable) -> bool:
        """Whether these are there; others are not, from now on."""
        if self.holds != what:
            self.remove()
        return self.holds is not None

    def keep(self, what: Hashable) -> None:
        """Leave what is there now to the tests after this one."""
        self.holds = what
        self._contents = self._database.contents()

    def remove(self) -> None:
        """Remove them."""
        if self.holds is not None:
            self.holds = None
            self._database.empty()

    def end_test(self) -> None:
        """Put back what a test has found, or else remove everything."""
        if self.holds is None:
            self._database.empty()
        elif self._contents is None or not self._database.put_back(self._contents):
            self.remove()


class SharedFiles:
    """The same of SQLite: each test has a copy of the file in which its tables were made.

    :param folder: where those files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Hashable, Path] = {}
        self._last: Hashable = None
        self._path = Path()
        self.holds: Hashable = None

    def begin_test(self, path: Path, *, may_hold: bool) -> None:
        """Have a new file for a test.

        :param may_hold: whether the tables that were asked for last may be there.
        """
        self._path, self.holds = path, None
        if may_hold and self._last is not None:
            self._take(self._last)

    def has(self, what: Hashable) -> bool:
        if self.holds != what:
            self.remove()
            if what in self._files:
                self._take(what)
        return self.holds is not None

    def keep(self, what: Hashable) -> None:
        file = self._folder / f"shared-{len(self._files)}.sqlite"
        shutil.copyfile(self._path, file)
        self._files[what] = file
        self.holds = self._last = what

    def remove(self) -> None:
        if self.holds is not None:
            self.holds = None
            self._path.unlink()

    def _take(self, what: Hashable) -> None:
        shutil.copyfile(self._files[what], self._path)
        self.holds = self._last = what
