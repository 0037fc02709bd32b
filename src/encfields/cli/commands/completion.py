"""``encfields completion``: what a shell needs to complete commands, options and file names."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from encfields.cli import exits
from encfields.cli.output import Output
from encfields.cli.parsing import add_command
from encfields.errors import ConfigurationError

SHELLS = ("bash", "zsh", "fish")

_DESCRIPTION = """\
Print a script by which a shell completes the commands and options of encfields:

  bash   encfields completion bash > ~/.local/share/bash-completion/completions/encfields
  zsh    encfields completion zsh > ~/.zfunc/_encfields     with ~/.zfunc in $fpath
  fish   encfields completion fish > ~/.config/fish/completions/encfields.fish

Print it again after an upgrade. It needs the shtab library, which encfields[cli] brings.
"""


def register(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "completion",
        summary="print a script for completion in bash, zsh or fish",
        description=_DESCRIPTION,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(run=run, json=False)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the script."""
    sys.stdout.write(script(arguments.parser, arguments.shell))
    return exits.OK


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell.

    :raises ConfigurationError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise ConfigurationError(
            "completion needs the shtab library; pip install 'encfields[cli]'", reason="no-shtab"
        ) from None
    return shtab.complete(parser, shell=shell).rstrip("\n") + "\n"
