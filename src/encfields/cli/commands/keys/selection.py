"""``ID...``, ``--file``, ``--like`` and ``--all``: a command's keys, and its report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from encfields.cli import exits
from encfields.cli.output import Output, plain
from encfields.cli.parsing import names_a_file
from encfields.errors import ConfigurationError, printable
from encfields.keys.admin import KeyAdmin
from encfields.keys.many.many_keys import ManyKeys
from encfields.keys.many.report import KeyFailure, KeysProgress, KeysReport

MAX_FAILURES_SHOWN = 20

AGAIN = "run the same command again"

GOES_ON = (
    "A key that fails stops no other, and is listed with its reason. If it is stopped, the same "
    "command continues where it was"
)


def add_options(
    parser: argparse.ArgumentParser, *, like: bool = True, all_: bool = False, help_: str = ""
) -> None:
    """Add the options that name keys.

    :param like: add ``--like``, which finds existing keys. :param all_: add ``--all``.
    """
    parser.add_argument("key_ids", metavar="ID", nargs="*", help=help_ or None)
    names_a_file(
        parser.add_argument(
            "--file", metavar="FILE", help="more ids, one on each line; - for standard input"
        )
    )
    if like:
        parser.add_argument(
            "--like",
            metavar="PATTERN",
            help=(
                "the keys whose ids match: * is any text, ? any one character, everything else "
                "matches itself; quote it, so that the shell leaves it alone"
            ),
        )
    if all_:
        parser.add_argument("--all", action="store_true", help="all keys in force")


def names_one(arguments: argparse.Namespace) -> bool:
    """Whether exactly one key is named, by its id."""
    like = getattr(arguments, "like", None)
    several = arguments.file is not None or like is not None or getattr(arguments, "all", False)
    return len(arguments.key_ids) == 1 and not several


def selected(
    arguments: argparse.Namespace, keys: KeyAdmin, *, all_by_default: bool = False
) -> ManyKeys:
    """The selected keys.

    :param all_by_default: select all if nothing is named.
    :raises ConfigurationError: none is named, or in several ways; or the file cannot be read.
    """
    like = getattr(arguments, "like", None)
    named = bool(arguments.key_ids) or arguments.file is not None
    every = getattr(arguments, "all", False)
    if named + (like is not None) + every > 1:
        raise ConfigurationError(
            "name keys by their ids, or by --like, or by --all: use one of them", reason="options"
        )
    if named:
        return keys.each([*arguments.key_ids, *_ids_in(arguments.file)])
    if like is None and not every and not all_by_default:
        raise ConfigurationError(
            "no key is named: give ids, --file FILE, or, for existing keys, --like PATTERN",
            reason="options",
        )
    return keys.each(like=like)


def says_nothing_found(arguments: argparse.Namespace) -> str:
    """The sentence for keys of which there is none."""
    like = getattr(arguments, "like", None)
    if like is not None:
        return f"No key is like {like!r}; quote a pattern, so that the shell leaves it alone."
    if arguments.key_ids or arguments.file is not None:
        return "None of these keys is in the key store."
    return "The key store has no key yet; `encfields keys create ID` makes one."


def says_none_selected(arguments: argparse.Namespace) -> str:
    """The sentence for a verb that had no key to work on."""
    if arguments.file is not None:  # every id, known or not, would be in the report
        return f"{printable(arguments.file)} names no key."
    return says_nothing_found(arguments)


def _ids_in(file: str | None) -> list[str]:
    if file is None:
        return []
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}", reason="options"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8", reason="options") from None
    return [line.removesuffix("\r") for line in lines if line.strip()]


@contextmanager
def progress(
    output: Output, what: str, again: str = AGAIN
) -> Iterator[Callable[[KeysProgress], None]]:
    """Show the progress, and once more if Ctrl-C ends it.

    :param again: how to continue then.
    """
    last = KeysProgress(0)
    with output.progress(what, "keys") as show:

        def shown(now: KeysProgress) -> None:
            nonlocal last
            last = now
            show(now.tried)

        try:
            yield shown
        except KeyboardInterrupt:
            if last.total:
                where = f"interrupted after {last.tried:,} of {last.total:,} keys"
                sys.stderr.write(f"encfields: {where}; {again}\n")
            raise


def print_report(
    report: KeysReport, done: str, arguments: argparse.Namespace, output: Output
) -> int:
    """Print the result for the keys.

    :param done: what was done to them, such as ``"rotated"``.
    :returns: the exit status.
    """
    if output.as_json:
        output.json(report.to_json())
    elif not report.progress.total:
        output.line(says_none_selected(arguments))
    else:
        counts = report.progress
        parts = [f"{counts.done:,} keys were {done}", f"{counts.already:,} were before"]
        if counts.failed:
            parts.append(f"{counts.failed:,} failed")
        if report.left:
            parts.append(f"{len(report.left):,} were not tried, because too many failed in a row")
        output.line("; ".join(parts) + ".", style="green" if report.is_complete else "bold")
    print_failures(report.failed)
    return exit_status(report)


def print_failures(failed: tuple[KeyFailure, ...]) -> None:
    """Name on standard error the keys that failed, each with its reason."""
    for failure in failed[:MAX_FAILURES_SHOWN]:
        sys.stderr.write(
            f"encfields: key '{printable(failure.key_id)}' ({failure.reason or failure.error}): "
            f"{plain(failure.message)}\n"
        )
    if len(failed) > MAX_FAILURES_SHOWN:
        more = len(failed) - MAX_FAILURES_SHOWN
        sys.stderr.write(f"encfields: and {more:,} more, which --json lists\n")


def exit_status(report: KeysReport) -> int:
    """:data:`~encfields.cli.exits.WORK_LEFT` if some keys failed, and
    :data:`~encfields.cli.exits.FAILED` if all did."""
    if report.is_complete:
        return exits.OK
    return exits.WORK_LEFT if report.done or report.already else exits.FAILED
