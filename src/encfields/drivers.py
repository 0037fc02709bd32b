"""Drivers that cannot be used, refused by name when an engine is attached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from encfields.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


def refuse_driver(dialect: Dialect) -> None:
    """Refuse a driver that cannot send what is to be stored.

    :raises ConfigurationError: names it, and says what to use instead.
    """
    if dialect.driver == "aiomysql" and not _aiomysql_sends_bytes():
        raise ConfigurationError(
            "aiomysql cannot send bytes with the PyMySQL that is installed, so no encrypted value "
            "could be stored: use asyncmy (mysql+asyncmy://), or install PyMySQL<1.2",
            reason="driver",
        )


def _aiomysql_sends_bytes() -> bool:
    """Whether aiomysql found the function of PyMySQL's that it writes bytes with."""
    from importlib import import_module

    return callable(getattr(import_module("aiomysql.connection"), "escape_bytes_prefixed", None))
