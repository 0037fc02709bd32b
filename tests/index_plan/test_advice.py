"""What is recommended, and what is refused."""

from __future__ import annotations

import pytest

from encfields.index.leakage import Frequencies
from encfields.planner.plan import Verdict, advise, judge

UNIQUE = Frequencies([1] * 5_000)
SURNAMES = Frequencies([round(100_000 / (i + 5)) for i in range(5_000)])
"""Some are common, most are rare: 100,000 divided by 5, 6, 7, ..."""

STATES = Frequencies([round(100_000 / (i + 3)) for i in range(50)])
"""Few enough that each can be told by its number of rows."""


def test_values_that_all_differ_are_indexed_in_full():
    advice = advise(UNIQUE)

    assert (advice.verdict, advice.bits, advice.reason) == (Verdict.GOOD, 128, "even")
    assert advice.chosen is advice.full
    assert advice.full is not None
    assert advice.full.outsider_share < 0.001


@pytest.mark.parametrize(
    "extra_rows, verdict, bits, reason",
    [
        (50_000, Verdict.GOOD, 4, "truncated"),
        (20_000, Verdict.CAUTION, 6, "uneven"),
        (1_000, Verdict.CAUTION, 10, "uneven"),
        (50, Verdict.REFUSED, None, "too-costly"),
    ],
)
def test_uneven_values_are_hidden_as_far_as_lookups_may_cost(extra_rows, verdict, bits, reason):
    advice = advise(SURNAMES, extra_rows=extra_rows)

    assert (advice.verdict, advice.bits, advice.reason) == (verdict, bits, reason)
    assert advice.full is not None
    assert judge(advice.full.outsider_share) is Verdict.REFUSED
    if advice.chosen is not None:
        assert advice.chosen.extra_rows_most <= extra_rows


def test_of_lengths_that_hide_enough_the_longest_is_recommended():
    advice = advise(Frequencies([round(30_000 / (i + 25)) for i in range(3_000)]), extra_rows=10**6)

    good = [one.bits for one in advice.forecasts if judge(one.outsider_share) is Verdict.GOOD]
    assert 1 < len(good) < len(advice.forecasts)
    assert (advice.verdict, advice.bits, advice.reason) == (Verdict.GOOD, max(good), "truncated")


def test_what_only_a_costly_length_would_hide_is_refused_as_too_costly():
    advice = advise(STATES)

    assert (advice.verdict, advice.bits, advice.reason) == (Verdict.REFUSED, None, "too-costly")
    assert any(judge(one.outsider_share) is not Verdict.REFUSED for one in advice.forecasts)


@pytest.mark.parametrize("distinct", [1, 2, 15])
def test_few_values_are_refused_at_any_length(distinct):
    advice = advise(Frequencies([100] * distinct))

    assert (advice.verdict, advice.bits, advice.reason) == (Verdict.REFUSED, None, "few-values")


@pytest.mark.parametrize("kind", ["boolean", "enum"])
def test_types_of_few_values_are_refused_even_without_rows(kind):
    for seen in (Frequencies([]), UNIQUE):
        advice = advise(seen, few_values_of=kind)
        assert (advice.verdict, advice.bits, advice.reason) == (Verdict.REFUSED, None, kind)


@pytest.mark.parametrize("counts", [[], [1] * 99, [99]], ids=["none", "different", "equal"])
def test_of_too_few_rows_nothing_is_said(counts):
    advice = advise(Frequencies(counts))

    assert (advice.verdict, advice.bits, advice.reason) == (Verdict.UNKNOWN, None, "few-rows")


def test_a_length_that_was_asked_about_is_looked_at():
    assert 13 not in [one.bits for one in advise(UNIQUE).forecasts]
    assert 13 in [one.bits for one in advise(UNIQUE, also=[13]).forecasts]
