"""Imports the application's models and engine for a command."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from sqlalchemy import Engine, MetaData

from encfields.arguments import kind
from encfields.errors import ConfigurationError, EncFieldsError


def imported(place: str, what: str) -> Any:
    """An object of the application, searched from the working directory.

    :param place: ``package.module:NAME``. :param what: what it should be: ``"models"``.
    :raises ConfigurationError: there is no such thing.
    """
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise ConfigurationError(f"{what} is given as package.module:NAME", reason=what)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{place} cannot be imported: {error}; name what is there, as MODULE:NAME, and "
            "run the command in the module's directory, or have that in $PYTHONPATH",
            reason=what,
        ) from None
    except EncFieldsError:
        raise
    # The user's module may raise anything, and even exit with a status of its own.
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"{place} cannot be imported: {module_name} raised {type(error).__name__}; import it "
            "in Python to see why",
            reason=what,
        ) from None
    return found


def engine_named(place: str) -> Engine:
    """The engine of an application, or the one inside its ``AsyncEngine``.

    :param place: ``package.module:NAME``.
    :raises ConfigurationError: there is none.
    """
    found = imported(place, "engine")
    engine = getattr(found, "sync_engine", found)
    if not isinstance(engine, Engine):
        raise ConfigurationError(
            f"{place} is {kind(found)}, not an engine; name what create_engine() or "
            "create_async_engine() returned",
            reason="engine",
        )
    return engine


def metadata_named(place: str) -> MetaData:
    """An application's ``MetaData``.

    :param place: ``package.module:NAME`` of a ``MetaData`` or of something with a ``metadata``.
    :raises ConfigurationError: there is no such thing.
    """
    found = imported(place, "models")
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise ConfigurationError(
            f"{place} is {kind(found)}, not a MetaData or declarative base",
            reason="models",
        )
    return metadata
