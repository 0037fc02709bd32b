"""Which tables and columns a command works on: from the command line, a file, or models."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import MetaData

from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.errors import ConfigurationError, EncFieldsError
from encfields.orm.declare.columns import is_encrypted

Event = tuple[str, str]
"""An option of the command line and its value; their order matters."""


class InOrder(argparse.Action):
    """Keeps ``--table``, ``--column`` and the like in the order in which they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        events = [*(getattr(namespace, self.dest) or []), (self.metavar_name, values)]
        setattr(namespace, self.dest, events)

    @property
    def metavar_name(self) -> str:
        """The option without its dashes."""
        return self.option_strings[0].lstrip("-")


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """The options that name tables and columns."""
    group = parser.add_argument_group(
        "tables", "--schema and --column refer to the --table before them, --key, "
        "--former-key and --bind-to to the --column before them",
    )  # fmt: skip
    group.add_argument(
        "--models",
        metavar="MODULE:NAME",
        help="a MetaData or declarative base; its encrypted columns are taken, those of the "
        "--table options alone where there are any",
    )
    options = {
        "--table": ("NAME", "a table; may be repeated"),
        "--schema": ("NAME", "its schema"),
        "--column": ("NAME[=LOGICAL]", "an encrypted column and its logical name, where that is "
                     "not table.column; may be repeated"),
        "--key": ("ID", "its branch key id or template, such as tenant/{tenant_id}"),
        "--former-key": ("ID", "an id or template under which its values may be from before; may "
                         "be repeated"),
        "--bind-to": ("NAME[,NAME...]", "the columns that identify its row; default the primary "
                      "key"),
    }  # fmt: skip
    for option, (metavar, help_) in options.items():
        group.add_argument(
            option, action=InOrder, dest="targets", metavar=metavar, help=help_, default=None
        )


def specs_from_options(events: Sequence[Event]) -> list[TableSpec]:
    """The tables that options name, in their order.

    :raises ConfigurationError: an option has nothing before it to refer to.
    """
    specs: list[TableSpec] = []
    for option, value in events:
        if option == "table":
            specs.append(TableSpec(value, ()))
            continue
        if not specs:
            raise ConfigurationError(f"--{option} has no --table before it", reason="options")
        specs[-1] = _with_option(specs[-1], option, value)
    return specs


def _with_option(spec: TableSpec, option: str, value: str) -> TableSpec:
    if option == "schema":
        return replace(spec, schema=value)
    if option == "column":
        name, _, logical = value.partition("=")
        return replace(spec, columns=(*spec.columns, SealedColumn(name, logical or None)))
    if not spec.columns:
        raise ConfigurationError(f"--{option} has no --column before it", reason="options")
    *before, column = spec.columns
    if option == "key":
        column = replace(column, key=value)
    elif option == "former-key":
        column = replace(column, former_keys=(*column.former_keys, value))
    else:
        column = replace(column, bind_to=tuple(value.split(",")))
    return replace(spec, columns=(*before, column))


def specs_from_file(tables: Any) -> list[TableSpec]:
    """The tables of a configuration file's ``[[tables]]``.

    :raises ConfigurationError: an entry is not of the documented form.
    """
    if not isinstance(tables, list):
        raise ConfigurationError("tables are given as [[tables]]", reason="config")
    return [_spec_from_entry(entry) for entry in tables]


def _spec_from_entry(entry: Any) -> TableSpec:
    _check_entry(entry, {"name", "schema", "columns"}, "[[tables]]")
    columns = entry.get("columns", [])
    if not isinstance(columns, list) or not columns:
        raise ConfigurationError(
            "columns is a list of names, or of tables with a name", reason="config"
        )
    sealed = [SealedColumn(c) if isinstance(c, str) else _column_from_entry(c) for c in columns]
    return TableSpec.of(entry["name"], sealed, schema=entry.get("schema"))


def _column_from_entry(entry: Any) -> SealedColumn:
    _check_entry(entry, {"name", "logical_name", "key", "former_keys", "bind_to"}, "a column")
    bind_to = entry.get("bind_to")
    column = SealedColumn(
        entry["name"],
        entry.get("logical_name"),
        bind_to=None if bind_to is None else (*bind_to,),
        former_keys=tuple(entry.get("former_keys", ())),
    )
    return replace(column, key=entry["key"]) if "key" in entry else column


def _check_entry(entry: Any, allowed: set[str], what: str) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ConfigurationError(f"{what} needs a name", reason="config")
    if unknown := sorted(set(entry) - allowed):
        raise ConfigurationError(
            f"{what} has no {', '.join(unknown)}; it has {', '.join(sorted(allowed))}",
            reason="config",
        )


def specs_from_models(place: str, only: Sequence[TableSpec] = ()) -> list[TableSpec]:
    """The tables with encrypted columns of an application's models.

    :param place: ``package.module:NAME`` of a ``MetaData`` or of what has a ``metadata``.
    :param only: leave out the tables that are not named here.
    :raises ConfigurationError: there is no such thing, or nothing in it is encrypted.
    """
    metadata = metadata_named(place)
    names = {(spec.schema, spec.table) for spec in only}
    found = [
        TableSpec.from_table(table)
        for table in metadata.sorted_tables
        if any(is_encrypted(column) for column in table.columns)
        and (not names or (table.schema, table.name) in names)
    ]
    if missing := names - {(spec.schema, spec.table) for spec in found}:
        tables = ", ".join(sorted(table for _, table in missing))
        raise ConfigurationError(f"{place} has no encrypted columns in {tables}", reason="models")
    if not found:
        raise ConfigurationError(f"nothing in {place} is encrypted", reason="models")
    return found


def metadata_named(place: str) -> MetaData:
    """An application's ``MetaData``.

    :param place: as for :func:`specs_from_models`.
    :raises ConfigurationError: there is no such thing.
    """
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise ConfigurationError("models are given as package.module:NAME", reason="models")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{place} cannot be imported: {error}", reason="models") from None
    except EncFieldsError:
        raise
    except Exception as error:  # a module of the user's may raise anything
        raise ConfigurationError(
            f"importing {module_name} raised {type(error).__name__}; import it in Python to see "
            "why",
            reason="models",
        ) from None
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise ConfigurationError(
            f"{place} is a {type(found).__name__}, not a MetaData or declarative base",
            reason="models",
        )
    return metadata
