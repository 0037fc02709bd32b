"""Options that name a file, which a shell completes as such."""

from __future__ import annotations

import argparse
from typing import Any

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
