"""The command line, and one clear message for any error."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from sqlalchemy.exc import SQLAlchemyError

from encfields.cli import exits
from encfields.cli.commands import (
    adopt,
    completion,
    doctor,
    index_plan,
    inspect,
    keys,
    rebind_and_convert,
    reencrypt,
    status,
    verify,
)
from encfields.cli.error_report import report_error
from encfields.cli.interrupts import interrupts
from encfields.cli.output import Output
from encfields.cli.parsing import HelpFormatter
from encfields.errors import EncFieldsError
from encfields.version import VERSION

COMMANDS = (
    status,
    verify,
    reencrypt,
    adopt,
    rebind_and_convert,
    inspect,
    keys,
    index_plan,
    doctor,
    completion,
)
"""The subcommands: modules with ``register(subparsers)``, which sets ``run`` to a function of
the parsed arguments and the :class:`~encfields.cli.output.Output` that returns an exit status."""


_DESCRIPTION = """\
Administer the encrypted columns of a database: count values by key version, verify them all, move
them to the active version, inspect one, administer keys, and check for what would fail.

What is not given as an option is taken from $ENCFIELDS_DATABASE_URL and $ENCFIELDS_KEYRING,
then from encfields.toml in the working directory:

  database = "postgresql+psycopg://app@db/clinic"
  keyring = "kms:arn:aws:kms:eu-west-1:111122223333:key/..."
  models = "clinic.models:Base"

or, in place of models, without importing the application:

  [[tables]]
  name = "patient"
  columns = ["ssn", { name = "notes", key = "clinical" }]
"""


_PASSWORD = re.compile(r"(://[^:/@\s]*:)\S*@")


class _Parser(argparse.ArgumentParser):
    """Exits with a status that no subcommand returns."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        # argparse's message may repeat a URL in the wrong place.
        shown = _PASSWORD.sub(r"\1***@", message)
        self.exit(exits.USAGE, f"{self.prog}: {shown}\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="encfields",
        description=_DESCRIPTION,
        epilog=exits.EXIT_STATUSES,
        formatter_class=HelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"encfields {VERSION}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(subparsers)
    top.set_defaults(parser=top)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: arguments without the program's name; default ``sys.argv[1:]``.
    :returns: the exit status, see :mod:`encfields.cli.exits`.
    """
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as end:  # after --help, or a usage error
        return end.code if isinstance(end.code, int) else exits.USAGE
    as_json: bool = arguments.json
    try:
        status_: int = arguments.run(arguments, Output(as_json=as_json))
        sys.stdout.flush()
    except (EncFieldsError, SQLAlchemyError) as error:
        if interrupts.ended:
            return exits.INTERRUPTED
        report_error(error, as_json=as_json)
        return exits.FAILED
    except BrokenPipeError:
        # The reader went away (`| head`); keep Python from flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except Exception as error:  # Python's own status 1 would mean "work left"
        if interrupts.ended:
            return exits.INTERRUPTED
        _report_fault(error)
        return exits.FAILED
    return status_


def _report_fault(error: Exception) -> None:
    """Report an unexpected error: its type and code locations, but not its text, which may hold a
    value."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    sys.stderr.write(
        f"{lines}encfields: an internal error, {type(error).__name__}; please report it with "
        "the lines above\n"
    )
