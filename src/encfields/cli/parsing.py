"""How the parsers of commands are made: help within the terminal, its examples and lists as they
are written; and options whose names of files a shell completes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from encfields.cli.exits import EXIT_STATUSES
from encfields.cli.layout import fold

_ITEM = re.compile(r"\s+\S+\s{2,}")
"""Where the second column of a list begins."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Folds paragraphs to the terminal, and leaves alone what is indented, as far as it fits."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in filled(text, width - len(indent)))


def add_command(
    subparsers: Any, name: str, *, summary: str, description: str | None = None
) -> argparse.ArgumentParser:
    """A parser for a command or its verb, whose help ends with the exit statuses.

    :param subparsers: of the command above it, as ``add_subparsers()`` returned them.
    :param summary: one line, for the list of commands.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=EXIT_STATUSES,
        formatter_class=HelpFormatter,
    )
    return parser


def filled(text: str, width: int) -> Iterator[str]:
    """The lines of a description."""
    for is_paragraph, lines in groupby(text.splitlines(), lambda line: line[:1].strip() != ""):
        if is_paragraph:
            yield from fold(" ".join(lines), width)
            continue
        for line in lines:
            item = _ITEM.match(line)
            hanging = len(item[0]) if item else len(line) - len(line.lstrip()) + 2
            yield from fold(line, width, " " * min(hanging, width // 2))


BY_SHELL = {
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "fish": "(__fish_complete_path (commandline -ct))",
}
"""As ``shtab.FILE`` has it, which is not there in every environment."""


def names_a_file(action: argparse.Action) -> None:
    """Have shells complete names of files for an option."""
    labelled: Any = action
    labelled.complete = BY_SHELL  # where shtab looks
