"""``encfields adopt``: the steps by which a live plaintext column becomes an encrypted one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Column, Engine

from encfields.adopt import (
    Adoption,
    Comparison,
    adopt,
    begin_adoption,
    close_plaintext,
    compare_adopted,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    reopen_plaintext,
    withdraw_adoption,
)
from encfields.adopt.advice import advice_before
from encfields.adopt.next_step import progress_of
from encfields.bulk.reencryption import Report
from encfields.bulk.runs.signals import SignalledStop
from encfields.cli import exits
from encfields.cli.adopting_columns import print_adoptions
from encfields.cli.application import metadata_named
from encfields.cli.commands.reencrypt import (
    print_reports,
    stopped_by,
    work_options,
    working_progress,
)
from encfields.cli.output import Output
from encfields.cli.parsing import HelpFormatter, add_command
from encfields.cli.settings import Settings, add_common_options
from encfields.errors import ConfigurationError, EncFieldsError
from encfields.orm.adoption.columns import adopted_columns

_DESCRIPTION = """\
Take a plaintext column of a live table through its adoption by an encrypted one, which the
application's models declare with adopts=Plaintext(...). In this order, the application's versions
deployed in between:

  begin     add the encrypted column, its indexes and the triggers     then "write-both"
  run       seal what is there, while the application works            then "read-sealed"
  ensure    open every value and compare it with its plaintext         then "write-sealed"
  close     refuse plaintext from now on, and make NULL what is there
  end       drop the plaintext column; lists what remains on disk      then without adopts=

  status    compare, and change nothing
  reopen    undo close: accept plaintext again                         then "read-sealed"
  refill    write plaintext again, from "read-sealed"
  withdraw  undo begin

No value is ever shown. Steps other than begin, end, reopen and withdraw need a
--keyring.
"""


@dataclass(frozen=True)
class _Step:
    """One step of the command.

    :param about: one line of help. :param run: does it. :param needs_keys: whether it opens or
        seals values.
    """

    about: str
    run: Callable[..., Any]
    needs_keys: bool = True


STEPS = {
    "begin": _Step("add the encrypted column and the triggers", begin_adoption, False),
    "run": _Step("seal the plaintext that is there", adopt),
    "status": _Step("compare all values", compare_adopted),
    "ensure": _Step("compare all values, and allow rows without plaintext", ensure_adopted),
    "close": _Step("refuse plaintext, and set what is there to NULL", close_plaintext),
    "end": _Step("drop the plaintext column", end_adoption, False),
    "reopen": _Step("accept plaintext again", reopen_plaintext, False),
    "refill": _Step("write plaintext again", refill_plaintext),
    "withdraw": _Step("undo begin", withdraw_adoption, False),
}


def register(subparsers: Any) -> None:
    """Add the subcommand with its own verbs."""
    top = subparsers.add_parser(
        "adopt",
        help="take a live plaintext column to an encrypted one, and back",
        description=_DESCRIPTION,
        formatter_class=HelpFormatter,
    )
    verbs = top.add_subparsers(metavar="STEP", required=True)
    for name, step in STEPS.items():
        parser = add_command(verbs, name, summary=step.about)
        add_common_options(parser)
        parser.add_argument(
            "column", metavar="TABLE.COLUMN", help="the plaintext column, as the database has it"
        )
        parser.add_argument(
            "--models", metavar="MODULE:NAME", help="a MetaData or declarative base"
        )
        parser.set_defaults(run=run, step=name, targets=None)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Do the step."""
    try:
        return _step(arguments, output)
    except EncFieldsError as error:
        error.message = _in_commands(error.message)
        raise


_OPERATIONS = {step.run.__name__: name for name, step in STEPS.items()}
_NAMED = re.compile(
    rf"\b(?:{'|'.join(name for name in _OPERATIONS if '_' in name)})\b"
    r"|\Aadopt(?= cannot)|(?<=\brun )adopt\b|\badopt(?= will\b)"
)


def _in_commands(message: str) -> str:
    """A message that names Python's functions, with the commands that do the same."""
    return _NAMED.sub(lambda found: f"`encfields adopt {_OPERATIONS[found[0]]}`", message)


def _step(arguments: argparse.Namespace, output: Output) -> int:
    settings = Settings(arguments)
    column = _column(settings.models(), arguments.column)
    adoption = Adoption.of(column)
    step = STEPS[arguments.step]
    with settings.open_engine() as engine:
        if not step.needs_keys:
            advice = _advice(engine, column, adoption) if arguments.step == "begin" else ()
            return _print_result(step.run(engine, adoption), output, advice)
        encryption = settings.encryption(engine)
        if arguments.step in ("run", "refill"):
            return _work(step, settings, engine, encryption, adoption, output)
        code = _print_result(step.run(engine, encryption, adoption), output)
        if arguments.step == "status" and not output.as_json:
            print_adoptions([progress_of(engine, column)], output)
        return code


def _work(
    step: _Step,
    settings: Settings,
    engine: Engine,
    encryption: Any,
    adoption: Adoption,
    output: Output,
) -> int:
    options, stop = work_options(settings, {}), SignalledStop()
    with working_progress(output) as progress:
        report = step.run(
            engine, encryption, adoption, options=options, progress=progress, stop=stop
        )
    return stopped_by(stop, [report], _print_result(report, output))


def _advice(engine: Engine, column: Column[Any], adoption: Adoption) -> tuple[str, ...]:
    """What to change in the declaration before the step, in words."""
    with engine.connect() as connection:
        return advice_before(connection, column, adoption.plain)


def _column(models: str | None, name: str) -> Column[Any]:
    """The column by which the models adopt a plaintext column.

    :raises ConfigurationError: they declare none.
    """
    if models is None:
        raise ConfigurationError(
            "the adoption is declared in the application's models: give --models", reason="models"
        )
    table_name, _, column_name = name.rpartition(".")
    metadata = metadata_named(models)
    table = metadata.tables.get(table_name)
    for binding, adopts, _ in adopted_columns(table) if table is not None else ():
        if adopts.column == column_name:
            return binding.column
    raise ConfigurationError(
        f"{models} declares no column that adopts {name}: EncryptedType(..., "
        f"adopts=Plaintext({column_name!r}, phase=...))",
        reason="adopts",
    )


def _print_result(result: object, output: Output, advice: Sequence[str] = ()) -> int:
    if isinstance(result, Report):
        return print_reports([result], output)
    if isinstance(result, Comparison):
        return _print_comparison(result, output)
    remains = list(result) if isinstance(result, tuple) else []
    if output.as_json:
        noted = {"advice": list(advice)} if advice else {}
        output.json({"done": True, "remains": remains, **noted})
        return exits.OK
    output.line("Done.", style="green")
    for line in advice:
        output.line(line, style="yellow")
    for line in remains:
        output.line(f"plaintext remains in {line}", style="yellow")
    return exits.OK


def _print_comparison(comparison: Comparison, output: Output) -> int:
    code = exits.OK
    if comparison.pending or comparison.unindexed:
        code = exits.WORK_LEFT
    if comparison.different or comparison.unreadable or comparison.unreadable_plaintext:
        code = exits.FAULTS
    if output.as_json:
        faults = [fault._asdict() for fault in comparison.faults]
        output.json({**asdict(comparison), "faults": faults})
        return code
    output.line(str(comparison), style="green" if code == exits.OK else "yellow")
    for fault in comparison.faults:
        output.line(_in_commands(str(fault)))
    return code
