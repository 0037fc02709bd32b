"""``--help`` in a terminal of 80 columns: folded between words, lists with their second column."""

from __future__ import annotations

import pytest

from encfields.cli import exits
from encfields.cli.parsing import filled


@pytest.mark.parametrize(
    "arguments",
    [(), ("status",), ("doctor",), ("adopt",), ("keys", "destroy"), ("index", "plan")],
    ids=" ".join,
)
def test_it_keeps_within_the_terminal(command, monkeypatch, arguments):
    monkeypatch.setenv("COLUMNS", "80")
    told = command(*arguments, "--help")
    assert told.code == exits.OK
    assert [line for line in told.out.splitlines() if len(line) > 80] == []


def test_paragraphs_are_filled_and_lists_keep_their_columns():
    text = "One long line of a\nparagraph.\n\n  1    work is left behind\n  130  interrupted"
    assert list(filled(text, 20)) == [
        "One long line of a",
        "paragraph.",
        "",
        "  1    work is left",
        "       behind",
        "  130  interrupted",
    ]
