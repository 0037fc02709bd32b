"""A run's progress in a log file: lines with their time, at news and now and then."""

from __future__ import annotations

import io
import re
from dataclasses import replace

from encfields.bulk.reencryption import ProgressLog, ProgressState
from encfields.bulk.runs.progress_display import TimedLog, line_of, short

STATE = ProgressState("patient", 0, 12_000, 20_000, 11_000, 0, 3_000.4, 2.7, None)


class Clock:
    """A clock that stands still between the calls of a test."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_line_tells_all_of_a_state():
    assert (
        line_of(STATE)
        == "patient: 12,000 of 20,000 rows (60%), 11,000 written, 3,000 rows/s, 0:03 left"
    )
    paused = replace(STATE, sweep=1, quarantined=2, paused="the run is set to pause")
    assert line_of(paused).startswith("patient, sweep 1: 12,000 of 20,000 rows (60%)")
    assert line_of(paused).endswith("2 values do not open, paused: the run is set to pause")
    assert line_of(replace(STATE, rows_done=0, rows_total=0)).startswith(
        "patient: 0 of 0 rows (100%)"
    )


def test_lines_begin_with_the_time_in_utc_and_keep_their_distance():
    stream, clock = io.StringIO(), Clock()
    log = TimedLog(stream, every=30, now=clock)
    for clock.seconds in range(100):
        log.write(f"at {clock.seconds}")
    lines = stream.getvalue().splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["at 0", "at 30", "at 60", "at 90"]
    assert all(re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)


def test_what_is_soon_done_writes_nothing():
    stream, clock = io.StringIO(), Clock()
    log = TimedLog(stream, every=30, begins_at_once=False, now=clock)
    clock.seconds = 29
    log.write("half way")
    assert stream.getvalue() == ""


def test_news_are_told_at_once():
    stream = io.StringIO()
    log = ProgressLog(stream, every=3600)
    for state in (
        STATE,
        replace(STATE, rows_done=13_000),
        replace(STATE, rows_done=14_000, quarantined=1),
        replace(STATE, rows_done=15_000, quarantined=2),
        replace(STATE, rows_done=15_000, quarantined=2, paused="a replica is 3.1 s behind"),
        replace(STATE, rows_done=15_000, quarantined=2, paused="a replica is 3.2 s behind"),
        replace(STATE, rows_done=20_000, quarantined=2),
        replace(STATE, rows_done=0, sweep=1, quarantined=2),
    ):
        log(state)
    told = [line.partition("patient")[2].split(", ")[0] for line in stream.getvalue().splitlines()]
    assert told == [
        ": 12,000 of 20,000 rows (60%)",
        ": 14,000 of 20,000 rows (70%)",  # values that do not open
        ": 15,000 of 20,000 rows (75%)",  # paused
        ": 20,000 of 20,000 rows (100%)",  # goes on, and is done
        "",  # another pass
    ]


def test_a_bar_has_short_numbers():
    numbers = (0, 300, 9_999, 12_345, 123_456, 12_345_678, 2e8, 3e10)
    assert [short(one) for one in numbers] == [
        "0", "300", "9999", "12.3k", "123k", "12.3M", "200M", "30.0G",
    ]  # fmt: skip
