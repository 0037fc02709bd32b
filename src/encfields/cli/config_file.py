"""Reads and checks ``encfields.toml``.

::

    database = "postgresql+psycopg://app@db/clinic"
    keyring = "kms:arn:aws:kms:eu-west-1:111122223333:key/..."
    key_table = "encfields_keys"
    key_store = "production"
    models = "clinic.models:Base"

or, in place of ``models``::

    [[tables]]
    name = "patient"
    columns = ["ssn", { name = "notes", key = "clinical", logical_name = "patient.remarks" }]

No value is ever repeated in a message: a URL may hold a password.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from encfields.errors import ConfigurationError

FILE_NAME = "encfields.toml"

TEXT = "a string in quotes"
TEXTS = "a list of strings"

SETTINGS: Mapping[str, str] = {
    "database": TEXT,
    "engine": TEXT,
    "keyring": TEXT,
    "key_table": TEXT,
    "key_store": TEXT,
    "models": TEXT,
    "tables": "[[tables]]",
}
"""The settings at the top level, with their meaning."""

TABLE: Mapping[str, str] = {"name": TEXT, "schema": TEXT, "columns": "a list of columns"}
"""The settings in ``[[tables]]``."""

COLUMN: Mapping[str, str] = {
    "name": TEXT,
    "logical_name": TEXT,
    "key": TEXT,
    "former_keys": TEXTS,
    "bind_to": TEXTS,
}
"""The settings of a column that is more than a name."""

_ONE_OF = (("models", "tables"), ("database", "engine"))
"""Settings that exclude each other."""

_KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a table",
    str: "a text",
}


def read_file(given: str | None) -> dict[str, Any]:
    """The settings of a file.

    :param given: its name, from ``--config``; ``None`` for the one in the working directory, if
        any.
    :raises ConfigurationError: it cannot be read, or does not have the documented form.
    """
    path = Path(given or FILE_NAME)
    if given is None and not path.is_file():
        return {}
    try:
        content = path.read_text("utf-8")
        settings = tomllib.loads(content)
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"is not TOML: {error}") from None
    except UnicodeDecodeError:
        raise _wrong(path, "is not TOML: it is not UTF-8") from None
    _Checker(path, content).check(settings)
    return settings


def _wrong(path: Path, what: str, advice: str = "see `encfields --help`") -> ConfigurationError:
    return ConfigurationError(f"{path} {what}; {advice}", reason="config")


class _Checker:
    """Checks a file's settings.

    :param path: its name. :param content: its text, to find line numbers.
    """

    def __init__(self, path: Path, content: str) -> None:
        self._path = path
        self._lines = content.splitlines()

    def check(self, settings: Mapping[str, Any]) -> None:
        """:raises ConfigurationError: something does not have the documented form."""
        self._check_names(settings, SETTINGS, "")
        for one, other in _ONE_OF:
            if one in settings and other in settings:
                raise _wrong(self._path, f"has {one} and {other}", "leave one of them out")
        self._check_values(settings, SETTINGS, "")
        for number, table in enumerate(settings.get("tables", ()), 1):
            self._check_table(table, f"[[tables]] number {number}")

    def _check_table(self, table: Any, where: str) -> None:
        self._check_entry(table, TABLE, where)
        where = f"table {table['name']!r}"
        columns = table.get("columns")
        if not isinstance(columns, list) or not columns:
            raise _wrong(
                self._path,
                f"names no columns of {where}",
                "columns is a list of names, or of tables with a name, such as "
                '["ssn", { name = "notes", key = "clinical" }]',
            )
        for number, column in enumerate(columns, 1):
            if not isinstance(column, str):
                self._check_entry(column, COLUMN, f"column number {number} of {where}")

    def _check_entry(self, entry: Any, known: Mapping[str, str], where: str) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _wrong(self._path, f"gives no name to {where}", f"{where} needs a name")
        where = f"{where} ({entry['name']!r})"
        self._check_names(entry, known, where)
        self._check_values(entry, known, where)

    def _check_names(self, entry: Mapping[str, Any], known: Iterable[str], where: str) -> None:
        for name in entry:
            if name in known:
                continue
            near = get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}? " if near else ""
            raise _wrong(
                self._path,
                f"has no setting {name!a}{self._place(name, where)}",
                f"{advice}{where or 'the file'} takes {', '.join(known)}",
            )

    def _check_values(self, entry: Mapping[str, Any], known: Mapping[str, str], where: str) -> None:
        for name, value in entry.items():
            if not _is_of_kind(value, known[name]):
                found = _KINDS.get(type(value), "a date or time")
                raise _wrong(
                    self._path,
                    f"has {found} as {name}{self._place(name, where)}",
                    f"{name} is given as {known[name]}",
                )

    def _place(self, name: str, where: str) -> str:
        """The line of a setting, if no other line has one with that name."""
        given = re.compile(rf"""(?:^|[{{,])\s*\[*\s*["']?{re.escape(name)}["']?\s*[=\]]""")
        lines = [number for number, line in enumerate(self._lines, 1) if given.search(line)]
        line = f"line {lines[0]}" if len(lines) == 1 else ""
        place = ", ".join(part for part in (line, where) if part)
        return f" ({place})" if place else ""


def _is_of_kind(value: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == TEXTS:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return isinstance(value, list)
