"""The application's own engine: what it would print, and what a fork would share."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from sqlalchemy import Engine

from encfields.doctor.finding import Finding
from encfields.doctor.hazards import check_hazards
from encfields.engine import known_encryption
from encfields.errors import ConfigurationError


def load_engine(place: str) -> Engine:
    """The engine of an application.

    :param place: ``package.module:NAME`` of an ``Engine`` or ``AsyncEngine``.
    :raises ConfigurationError: there is none.
    """
    module_name, _, name = place.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module of the user's may raise anything
        raise ConfigurationError(
            f"{place} cannot be imported: it raised {type(error).__name__}", reason="engine"
        ) from None
    engine = getattr(found, "sync_engine", found)
    if not isinstance(engine, Engine):
        raise ConfigurationError(
            f"{place} is a {type(found).__name__}, not an engine", reason="engine"
        )
    return engine


def check_engine(engine: Engine) -> list[Finding]:
    """An engine as the application makes it, just after its module was imported."""
    return [
        _attached(engine),
        _echo(engine),
        _parameters(engine),
        *check_hazards(engine),
    ]


def _attached(engine: Engine) -> Finding:
    if known_encryption(engine.dialect) is None:
        detail = (
            "nothing is attached when its module is imported; encrypted columns are refused "
            "until something is"
        )
        return Finding("attach()", "warning", detail)
    return Finding("attach()", "ok", "an encryption is attached")


def _echo(engine: Engine) -> Finding:
    if engine.echo == "debug":
        detail = 'echo="debug" prints result rows after they were decrypted: never in production'
        return Finding("echo", "problem", detail)
    if engine.echo:
        detail = "echo=True prints statements and parameters; encrypted ones only as ciphertext"
        return Finding("echo", "warning", detail)
    return Finding("echo", "ok", "off")


def _parameters(engine: Engine) -> Finding:
    if engine.hide_parameters:
        return Finding("hide_parameters", "ok", "on")
    detail = (
        "off: errors print the parameters of columns that are not encrypted; set "
        "hide_parameters=True where those matter too"
    )
    return Finding("hide_parameters", "warning", detail)
