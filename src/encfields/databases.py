"""Supported databases by their SQLAlchemy dialects, and names and texts in them."""

from __future__ import annotations

import hashlib

MYSQL_NAMES = frozenset({"mysql", "mariadb"})
"""Dialect names of MariaDB and MySQL, depending on the engine's URL."""

SUPPORTED = MYSQL_NAMES | {"postgresql", "sqlite"}
"""The databases in which a row's key can be selected together with a value."""


def short_name(name: str, longest: int, *, digits: int, end: str = "") -> str:
    """A name shortened to a database's limit.

    :param longest: most bytes of UTF-8.
    :param digits: number of hexadecimal digits of the name's SHA-256 that replace what is cut.
    :param end: suffix to keep.
    """
    whole = name.encode()
    if len(whole) <= longest:
        return name
    tail = f"_{hashlib.sha256(whole).hexdigest()[:digits]}{end}"
    return whole[: longest - len(tail)].decode(errors="ignore") + tail


def dollar_quoted(code: str) -> str:
    """Code between dollar quotes of PostgreSQL.

    :param code: which may hold any text, as in the names of a table and its columns.
    """
    tag = "$encfields$"
    while tag in code:
        tag = f"{tag[:-1]}_$"
    return f"{tag} {code} {tag}"
