"""``encfields rebind`` and ``encfields convert``: a column's values follow its declaration."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sa

from encfields.bulk.column_runs import conversion, rebinding, spec_of_column
from encfields.bulk.rows.spec import SealedColumn
from encfields.bulk.runs.signals import SignalledStop
from encfields.cli.application import metadata_named
from encfields.cli.changing_columns import says_formerly
from encfields.cli.commands.reencrypt import (
    print_reports,
    stopped_by,
    work_options,
    working_progress,
)
from encfields.cli.output import Output
from encfields.cli.parsing import add_command
from encfields.cli.settings import Settings, add_common_options
from encfields.codecs.inner_types import INNER_TYPES
from encfields.errors import ConfigurationError
from encfields.orm.declare.columns import is_encrypted

if TYPE_CHECKING:
    from sqlalchemy import Column


_REBIND = """\
Bind a column's values anew, as the models now declare, after its bind_to=, name=, key= or the
primary key was changed. The options, or formerly= in the models, say what they have been bound to.
If it is killed, the next call continues, and any number of hosts may share the run. It needs a
--keyring.
"""

_CONVERT = """\
Convert a column's values from the inner type that wrote them (--was, or formerly= in the models)
to the one that the models declare. A value without an equivalent is left as it is and named. If it
is killed, the next call continues, and any number of hosts may share the run. It needs a --keyring.
"""

_TYPE = re.compile(r"(\w+)(?:\((\d+(?: *, *\d+)*)\))?")

_TYPES = tuple(name for known in INNER_TYPES for name in known.names)


def register(subparsers: Any) -> None:
    """Add the two subcommands."""
    rebind = _parser(subparsers, "rebind", "bind values anew, as the models declare", _REBIND)
    rebind.add_argument("--was-key", metavar="KEY", help="the branch key id or template so far")
    rebind.add_argument(
        "--was-bind-to", metavar="A[,B]", help="the columns that identified the row so far"
    )
    rebind.add_argument(
        "--was-called",
        metavar="A[,B]",
        help="what those columns were called when the values were sealed, if they were renamed",
    )
    rebind.set_defaults(run=run_rebinding)
    convert = _parser(subparsers, "convert", "convert values to the declared inner type", _CONVERT)
    convert.add_argument(
        "--was",
        metavar="TYPE",
        help=f"one of {', '.join(_TYPES)}; Numeric(12,2). Default: what formerly= says",
    )
    convert.set_defaults(run=run_conversion)


def _parser(subparsers: Any, name: str, help_: str, about: str) -> argparse.ArgumentParser:
    parser = add_command(subparsers, name, summary=help_, description=about)
    add_common_options(parser)
    parser.add_argument("column", metavar="TABLE.COLUMN", help="the encrypted column")
    parser.add_argument("--models", metavar="MODULE:NAME", help="a MetaData or declarative base")
    parser.add_argument("--was-name", metavar="NAME", help="the column's logical name so far")
    parser.set_defaults(targets=None)
    return parser


def run_rebinding(arguments: argparse.Namespace, output: Output) -> int:
    """Rebind the column's values."""
    settings = Settings(arguments)
    column = _column(settings.models(), arguments.column)
    was = _former_declaration(column, arguments)
    if says_formerly(column) and was == spec_of_column(column).columns[0]:
        return _work(settings, output, column, rebinding)
    if was == spec_of_column(column).columns[0]:
        raise ConfigurationError(
            "the models declare exactly that: say what was different with --was-bind-to, "
            "--was-name, --was-key or --was-called",
            reason="options",
        )
    return _work(settings, output, column, lambda *given, **how: rebinding(*given, was=was, **how))


def run_conversion(arguments: argparse.Namespace, output: Output) -> int:
    """Convert the column's values."""
    settings = Settings(arguments)
    column = _column(settings.models(), arguments.column)
    if arguments.was is None:
        if arguments.was_name is not None:
            raise ConfigurationError(
                "--was-name goes together with --was TYPE; without --was, everything is taken "
                "from formerly= in the models",
                reason="options",
            )
        return _work(settings, output, column, conversion)
    was, named = _type(arguments.was), arguments.was_name
    bound = None
    if named is not None:
        bound = replace(spec_of_column(column).columns[0], logical_name=named)
    return _work(
        settings,
        output,
        column,
        lambda *given, **how: conversion(*given, was=was, was_bound=bound, **how),
    )


def _work(settings: Settings, output: Output, column: Column[Any], of: Any) -> int:
    with settings.open_engine() as engine:
        encryption = settings.encryption(engine)
        run = of(engine, encryption, column, options=work_options(settings, {}))
        stop = SignalledStop()
        with working_progress(output) as progress:
            report = run.run(progress=progress, stop=stop)
        return stopped_by(stop, [report], print_reports([report], output))


def _former_declaration(column: Column[Any], arguments: argparse.Namespace) -> SealedColumn:
    """How the column's values are bound so far: by the options, else by the models."""
    was = spec_of_column(column).columns[0]
    if arguments.was_name is not None:
        was = replace(was, logical_name=arguments.was_name)
    if arguments.was_key is not None:
        was = replace(was, key=arguments.was_key)
    if arguments.was_bind_to is not None:
        was = replace(was, bind_to=tuple(arguments.was_bind_to.split(",")))
    if arguments.was_called is not None:
        was = replace(was, context_names=tuple(arguments.was_called.split(",")))
    return was


def _column(models: str | None, name: str) -> Column[Any]:
    """The encrypted column that the models declare.

    :raises ConfigurationError: they declare none.
    """
    if models is None:
        raise ConfigurationError(
            "how values are to be stored is declared in the application's models: give --models",
            reason="models",
        )
    table_name, _, column_name = name.rpartition(".")
    table = metadata_named(models).tables.get(table_name)
    for column in table.columns if table is not None else ():
        if column.name == column_name and is_encrypted(column):
            return column
    raise ConfigurationError(f"{models} declares no encrypted column {name}", reason="models")


def _type(text: str) -> sa.TypeEngine[Any]:
    """A type of SQLAlchemy's by its name, and what numbers it takes.

    :raises ConfigurationError: it is none that is known.
    """
    match = _TYPE.fullmatch(text)
    if match is None or match[1] not in _TYPES:
        raise ConfigurationError(f"--was takes one of {', '.join(_TYPES)}", reason="options")
    kind: Any = getattr(sa, match[1])
    try:
        made: sa.TypeEngine[Any] = kind(*map(int, match[2].split(",") if match[2] else ()))
    except TypeError:
        raise ConfigurationError(
            f"--was: {match[1]} takes fewer numbers, or none", reason="options"
        ) from None
    return made
