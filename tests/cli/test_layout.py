"""How tables look: aligned, within the terminal, nothing cut off, and a line a row in a log."""

from __future__ import annotations

import uuid

import pytest

from encfields.cli.layout import LEAST_WIDTH, StyledText, fold, lay_out, width_of

HEADINGS = ["column", "state", "key", "version", "values", "share"]
VERSIONS = ["e1aadd91-9fef-490e-a608-38450957b7d6", "f18f2861-c4c3-4c0b-968b-a5b1a047786f"]
ROWS = [
    ["ssn", "current", "default", VERSIONS[0], "17,000", "85.0%"],
    ["notes", "older version", "default", VERSIONS[1], "2,998", "15.0%"],
    ["notes", "NULL", "", "", "1", "<0.1%"],
]
LONG = "a_very_long_name_that_somebody_chose_and_nobody_dared_to_change"
LONG_ROWS = [*ROWS, [LONG, "key version missing", f"tenant/{'x' * 90}", VERSIONS[0], "1", "0.0%"]]
UNICODE_ROWS = [*ROWS, ["Größe_大学_é", "current", "кириллица/😀", VERSIONS[0], "7", "0.0%"]]


def lines_of(rows, width, headings=HEADINGS, right=2):
    cells = [[StyledText(text) for text in row] for row in rows]
    drawn = lay_out(headings, cells, right=right, width=width)
    return ["".join(piece.text for piece in line) for line in drawn]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("rows", [ROWS, LONG_ROWS, UNICODE_ROWS], ids=["usual", "long", "unicode"])
def test_no_line_is_wider_than_the_terminal_or_ends_in_blanks(rows, width):
    lines = lines_of(rows, width)
    assert all(width_of(line) <= width for line in lines)
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200, None])
def test_no_name_is_cut_off(width):
    letters = "".join(lines_of(LONG_ROWS, width))
    assert letters.count("x") == 90
    rest = "".join(lines_of(ROWS, width))
    assert letters.count("_") - rest.count("_") == LONG.count("_")


def test_at_80_columns_identifiers_are_shortened_and_stay_different():
    assert lines_of([[*row[:1], "key version missing", *row[2:]] for row in ROWS], 80) == [
        "  column  state                key      version    values  share",
        "  ------  -------------------  -------  ---------  ------  -----",
        "  ssn     key version missing  default  e1aadd91…  17,000  85.0%",
        "  notes   key version missing  default  f18f2861…   2,998  15.0%",
        "  notes   key version missing                           1  <0.1%",
    ]
    alike = [VERSIONS[0], VERSIONS[0][:9] + VERSIONS[1][9:]]
    rows = [["a", "s" * 30, "k", version, "1", "1%"] for version in alike]
    shown = [line.split()[3] for line in lines_of(rows, 80)[2:]]
    assert shown == ["e1aadd91-9fef…", "e1aadd91-c4c3…"]


def test_a_narrow_terminal_gets_a_line_for_each_cell():
    assert lines_of(ROWS[:2], 40) == [
        "  column   ssn",
        "  state    current",
        "  key      default",
        "  version  e1aadd91-9fef-490e-a608-",
        "           38450957b7d6",
        "  values   17,000",
        "  share    85.0%",
        "",
        "  column   notes",
        "  state    older version",
        "  key      default",
        "  version  f18f2861-c4c3-4c0b-968b-",
        "           a5b1a047786f",
        "  values   2,998",
        "  share    15.0%",
    ]


def test_a_log_gets_a_line_for_each_row_whole():
    head, rule, *lines = lines_of(LONG_ROWS, None)
    assert len(lines) == len(LONG_ROWS)
    assert set(rule) == {" ", "-"}
    for row, line in zip(LONG_ROWS, lines, strict=True):
        assert all(text in line for text in row)
    assert {line.index(row[1]) for row, line in zip(LONG_ROWS, lines, strict=True)} == {
        head.index("state")
    }


def test_headings_are_folded_before_a_table_is_given_up():
    headings = ["table", "rows", "rows to rewrite", "bytes", "seconds, about", "KMS calls"]
    row = ["patient", "19,999", "2,999", "1,840,224,000,000,000,000", "1", "3"]
    head = lines_of([row], 76, headings, right=5)
    assert head[0].split() == ["rows", "to", "seconds,", "KMS"]
    assert head[1].split() == ["table", "rows", "rewrite", "bytes", "about", "calls"]


def test_a_table_without_rows_has_no_head():
    assert lines_of([], 80) == []


def version_of(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))


def test_a_hundred_columns_and_ten_thousand_versions_stay_aligned():
    rows = [
        [f"column_{n}", "older version", f"tenant/{n}", version_of(n), f"{n:,}", "0.0%"]
        for n in range(10_000)
    ]
    lines = lines_of(rows, 80)
    assert len(lines) == len(rows) + 2
    assert {width_of(line) for line in lines[2:]} == {width_of(lines[1])}


def test_places_of_a_terminal_are_counted_not_characters():
    assert width_of("大学") == 4
    assert width_of("e\u0301") == 1
    assert width_of("\u200b") == 0
    lines = lines_of([["大学", "1"], ["e\u0301", "22"]], None, ["key", "n"], right=1)
    assert lines == ["  key    n", "  ----  --", "  大学   1", "  e\u0301     22"]


@pytest.mark.parametrize(
    "text, width, lines",
    [
        ("", 10, [""]),
        ("one two", 10, ["one two"]),
        ("one two three", 8, ["one two", "three"]),
        ("arn:aws:kms:eu:1111:key/1", 12, ["arn:aws:kms:", "eu:1111:key/", "1"]),
        ("x" * 25, 10, ["x" * 10, "x" * 10, "x" * 5]),
        ("大学大学", 5, ["大学", "大学"]),
        ("  two blanks stay", 12, ["  two blanks", "stay"]),
    ],
)  # fmt: skip
def test_folding_is_between_words_then_after_separators_then_anywhere(text, width, lines):
    assert fold(text, width) == lines


def test_further_lines_hang():
    assert fold("  a row that is long", 12, "    ") == ["  a row that", "    is long"]
    assert LEAST_WIDTH > 4
