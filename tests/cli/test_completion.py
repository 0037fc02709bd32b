"""``encfields completion``: the shells themselves complete commands, options and files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import shtab

from encfields.cli import exits
from encfields.cli.commands.completion import SHELLS
from encfields.cli.parsing import BY_SHELL

BASH = """
source ./encfields.sh
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
function=$(complete -p encfields | sed -E 's/.*-F ([^ ]+) .*/\\1/')
"$function"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(autouse=True)
def _a_file() -> None:
    Path("production.toml").write_text("")


def said(*command: str) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return {line.split("\t")[0].strip() for line in done.stdout.splitlines()}


def in_bash(command, *words: str) -> set[str]:
    Path("encfields.sh").write_text(command("completion", "bash").out)
    return said("bash", "--norc", "-c", BASH, "bash", *words)


@pytest.mark.parametrize(
    "words, expected",
    [
        (("encfields", "re"), {"reencrypt", "rebind"}),
        (("encfields", "keys", "rotate"), {"rotate", "rotate-beacon"}),
        (("encfields", "keys", "rotate", "--made"), {"--made-before"}),
        (("encfields", "status", "--eng"), {"--engine"}),
        (("encfields", "status", "--config", "prod"), {"production.toml"}),
        (("encfields", "completion", ""), {*SHELLS}),
    ],
)
def test_bash_completes(command, words, expected):
    found = in_bash(command, *words)
    assert expected <= found
    assert all(one.startswith(words[-1]) for one in found if one)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(command):
    Path("encfields.fish").write_text(command("completion", "fish").out)

    def complete(line: str) -> set[str]:
        return said(
            "fish", "--no-config", "-c", f"source encfields.fish; complete -C {line!r}"
        )  # fmt: skip

    assert {"reencrypt", "rebind"} <= complete("encfields re")
    assert "rotate-beacon" in complete("encfields keys rotate-")
    assert "--made-before" in complete("encfields keys rotate --made")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script(command):
    script = command("completion", "zsh").out
    assert script.startswith("#compdef encfields\n")
    Path("_encfields").write_text(script)
    told = said(
        "zsh", "-f", "-c",
        "fpath=($PWD $fpath); autoload -Uz compinit; compinit -D -u; "
        "autoload +X _encfields; print -r -- $_comps[encfields]",
    )  # fmt: skip
    assert "_encfields" in told


def test_files_are_completed_as_shtab_does():
    assert {shell: shtab.FILE[shell] for shell in SHELLS} == BY_SHELL


def test_every_shell_named_has_a_script_and_no_other(command):
    for shell in SHELLS:
        told = command("completion", shell)
        assert told.code == exits.OK
        assert "reencrypt" in told.out
    assert command("completion", "cmd.exe").code == exits.USAGE
