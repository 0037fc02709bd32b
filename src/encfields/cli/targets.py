"""Which tables and columns a command works on: from the command line, a file, or models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.cli.application import metadata_named
from encfields.errors import ConfigurationError
from encfields.orm.declare.columns import is_encrypted

Event = tuple[str, str]
"""An option of the command line and its value; their order matters."""


class KeepOrder(argparse.Action):
    """Keeps ``--table``, ``--column`` and the like in the order in which they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            str(values).encode()
        except UnicodeEncodeError:
            wrong = "its bytes are no text in the encoding of this terminal"
            raise argparse.ArgumentError(self, wrong) from None
        events = [*(getattr(namespace, self.dest) or []), (self.metavar_name, values)]
        setattr(namespace, self.dest, events)

    @property
    def metavar_name(self) -> str:
        """The option without its dashes."""
        return self.option_strings[0].lstrip("-")


def add_sample_option(parser: argparse.ArgumentParser, does: str) -> None:
    """Add ``--sample``, for commands that can use some rows of each table.

    :param does: what the command does with them, for the help.
    """
    parser.add_argument("--sample", type=int, metavar="ROWS", help=does)


def check_sample(sample: int | None) -> None:
    """Refuse an empty sample.

    :raises ConfigurationError: it is empty.
    """
    if sample is not None and sample < 1:
        raise ConfigurationError("--sample is a number of rows, 1 or more", reason="options")


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """The options that name tables and columns."""
    group = parser.add_argument_group(
        "tables", "--schema and --column refer to the --table before them, --key, "
        "--former-key and --bind-to to the --column before them",
    )  # fmt: skip
    group.add_argument(
        "--models",
        metavar="MODULE:NAME",
        help="a MetaData or declarative base; use its encrypted columns, or only those of the "
        "--table options if there are any",
    )
    options = {
        "--table": ("NAME", "a table; may be repeated"),
        "--schema": ("NAME", "its schema"),
        "--column": ("NAME[=LOGICAL]", "an encrypted column and its logical name, where that is "
                     "not table.column; may be repeated"),
        "--key": ("ID", "its branch key id or template, such as tenant/{tenant_id}"),
        "--former-key": ("ID", (
            "a former key id or template, under which older values may be; may be repeated"
        )),
        "--bind-to": ("NAME[,NAME...]", "the columns that identify its row; default the primary "
                      "key"),
    }  # fmt: skip
    for option, (metavar, help_) in options.items():
        group.add_argument(
            option, action=KeepOrder, dest="targets", metavar=metavar, help=help_, default=None
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


def specs_from_file(tables: list[dict[str, Any]]) -> list[TableSpec]:
    """The tables of a configuration file's ``[[tables]]``, already checked."""
    return [
        TableSpec.of(
            entry["name"],
            [_column_from_file(column) for column in entry["columns"]],
            schema=entry.get("schema"),
        )
        for entry in tables
    ]


def _column_from_file(given: str | dict[str, Any]) -> SealedColumn:
    if isinstance(given, str):
        return SealedColumn(given)
    known = dict(given)
    for name in ("former_keys", "bind_to"):
        if name in known:
            known[name] = tuple(known[name])
    return SealedColumn(known.pop("name"), **known)


def specs_from_models(place: str, only: Sequence[TableSpec] = ()) -> list[TableSpec]:
    """The tables with encrypted columns of an application's models.

    :param place: ``package.module:NAME`` of a ``MetaData`` or of what has a ``metadata``.
    :param only: leave out the tables that are not named here.
    :raises ConfigurationError: there is no such thing, or nothing in it is encrypted.
    """
    metadata = metadata_named(place)
    names = {(spec.schema, spec.table) for spec in only}
    specs = [
        TableSpec.from_table(table)
        for table in metadata.sorted_tables
        if any(is_encrypted(column) for column in table.columns)
        and (not names or (table.schema, table.name) in names)
    ]
    if missing := names - {(spec.schema, spec.table) for spec in specs}:
        tables = ", ".join(sorted(table for _, table in missing))
        raise ConfigurationError(f"{place} has no encrypted columns in {tables}", reason="models")
    if not specs:
        raise ConfigurationError(f"nothing in {place} is encrypted", reason="models")
    return specs
