"""The databases that can be used, by SQLAlchemy's names of their dialects, and names in them."""

from __future__ import annotations

import hashlib

MYSQL_NAMES = frozenset({"mysql", "mariadb"})
"""What MariaDB and MySQL are called, depending on an engine's URL."""

SUPPORTED = MYSQL_NAMES | {"postgresql", "sqlite"}
"""The databases in which a row's key can be delivered beside a value."""


def short_name(name: str, longest: int, *, digits: int, end: str = "") -> str:
    """A name that is not too long for a database.

    :param longest: so many bytes of UTF-8.
    :param digits: hexadecimal ones of the name's SHA-256, which take the place of what is cut off.
    :param end: what a name that was cut ends with all the same.
    """
    whole = name.encode()
    if len(whole) <= longest:
        return name
    tail = f"_{hashlib.sha256(whole).hexdigest()[:digits]}{end}"
    return whole[: longest - len(tail)].decode(errors="ignore") + tail
