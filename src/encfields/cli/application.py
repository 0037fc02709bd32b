"""What a command imports of the application: its models and its engine."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from encfields.errors import ConfigurationError, EncFieldsError


def imported(place: str, what: str) -> Any:
    """An object of the application's, which is looked for from the working directory on.

    :param place: ``package.module:NAME``. :param what: what it is to be: ``"models"``.
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
    # A module of the user's may raise anything, and even end the program, with a status of its own.
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"{place} cannot be imported: {module_name} raised {type(error).__name__}; import it "
            "in Python to see why",
            reason=what,
        ) from None
    return found
