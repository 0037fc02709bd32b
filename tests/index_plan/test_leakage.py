"""What frequencies tell: held to what is counted by hand, and to indexes that are really made."""

from __future__ import annotations

import hashlib
import itertools
import math
import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfields.index.hashing import index_value
from encfields.index.leakage import (
    Frequencies,
    forecast_of,
    lengths_to_consider,
    outsider_share,
)


def key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


# --- one look at the frequencies ---


def test_of_known_frequencies():
    seen = Frequencies([1, 5, 1, 3])

    assert (seen.rows, seen.distinct, seen.distinct_estimate) == (10, 4, 4)
    assert seen.most_common_share == 0.5
    assert seen.min_entropy_bits == 1.0
    assert seen.entropy_bits == pytest.approx(
        0.5 * 1 + 0.3 * math.log2(10 / 3) + 2 * 0.1 * math.log2(10)
    )
    assert seen.repeated_share == pytest.approx(0.8)
    assert seen.unique_counts == 2
    assert seen.collision == pytest.approx((25 + 9 + 1 + 1) / 100)


def test_of_no_values():
    seen = Frequencies([])

    assert (seen.rows, seen.distinct, seen.entropy_bits, seen.min_entropy_bits) == (0, 0, 0, 0)
    assert (seen.most_common_share, seen.repeated_share, seen.insider_share) == (0, 0, 0)
    with pytest.raises(ValueError, match="no values"):
        forecast_of(seen, 16)


def test_a_value_that_occurs_has_a_row():
    with pytest.raises(ValueError, match="at least one row"):
        Frequencies([3, 0])


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_the_insider_is_right_as_often_as_the_average_order_of_equals(counts):
    """Every way to match values and hashes of equal frequency, tried out."""
    right = []
    for order in itertools.permutations(range(len(counts))):
        if all(counts[value] == counts[hash_] for hash_, value in enumerate(order)):
            right.append(sum(counts[v] for hash_, v in enumerate(order) if v == hash_))

    share = statistics.mean(right) / sum(counts)

    assert Frequencies(counts).insider_share == pytest.approx(share)


def test_the_values_that_a_sample_missed_are_estimated():
    """Chao: seen, and the square of those seen once over twice those seen twice."""
    seen = Frequencies([1] * 30 + [2] * 10 + [5], total_rows=1_000)

    assert seen.distinct == 41
    assert seen.distinct_estimate == 41 + 900 // 20
    assert seen.scale == pytest.approx(1_000 / 55)


def test_no_more_values_are_estimated_than_there_are_rows():
    assert Frequencies([1] * 100, total_rows=1_000).distinct_estimate == 1_000
    assert Frequencies([1] * 100, total_rows=100).distinct_estimate == 100


# --- truncation, against indexes that are made with many keys ---

COUNTS = [40, 25, 10, 10, 5, 3, 3, 2, 1, 1, 1, 1]
VALUES = [b"value %d" % i for i in range(len(COUNTS))]
KEYS = 3_000


@pytest.fixture(scope="module", params=[4, 6])
def made(request):
    """For each of many keys, the stored index of each value."""
    bits = request.param
    return bits, [[index_value(key(k), value, bits) for value in VALUES] for k in range(KEYS)]


def test_rows_read_in_vain(made):
    bits, indexes = made
    read: list[list[int]] = []
    for stored in indexes:
        rows: Counter[bytes] = Counter()
        for index, count in zip(stored, COUNTS, strict=True):
            rows[index] += count
        read.append([rows[i] - count for i, count in zip(stored, COUNTS, strict=True)])
    by_value = [statistics.mean(column) for column in zip(*read, strict=True)]
    of_a_row = sum(c * extra for c, extra in zip(COUNTS, by_value, strict=True)) / sum(COUNTS)

    expected = forecast_of(Frequencies(COUNTS), bits)

    assert expected.extra_rows == pytest.approx(of_a_row, rel=0.05)
    assert expected.extra_rows_most == pytest.approx(by_value[-1], rel=0.15)
    assert expected.extra_rows_most == (sum(COUNTS) - 1) / 2**bits


def test_values_behind_a_hash_and_values_alone(made):
    bits, indexes = made
    used = statistics.mean(len(set(stored)) for stored in indexes)
    alone = statistics.mean(
        sum(1 for times in Counter(stored).values() if times == 1) for stored in indexes
    )

    expected = forecast_of(Frequencies(COUNTS), bits)

    assert expected.values_per_hash == pytest.approx(len(VALUES) / used, rel=0.02)
    assert expected.alone == pytest.approx(alone / len(VALUES), rel=0.02)


@pytest.mark.parametrize("bits", [128, 256])
def test_at_full_length_nothing_is_shared(bits):
    expected = forecast_of(Frequencies([1] * 1_000_000), bits)

    assert expected.extra_rows < 1e-30
    assert expected.values_per_hash == pytest.approx(1)
    assert expected.alone == pytest.approx(1)


# --- guesses ---


def test_values_of_very_different_frequencies_are_all_named():
    assert outsider_share(Frequencies([100_000, 30_000, 10_000, 3_000, 1_000]), 128) > 0.999


def test_of_values_equally_frequent_hardly_any_is_named():
    assert outsider_share(Frequencies([100] * 1_000), 128) < 0.005
    assert outsider_share(Frequencies([1] * 5_000), 128) < 0.001


def test_a_single_value_is_named_at_any_length():
    assert outsider_share(Frequencies([500]), 4) == 1


def test_who_knows_the_table_itself_names_more_than_who_knows_where_it_is_from():
    seen = Frequencies([100 + i for i in range(50)])

    assert seen.insider_share == 1
    assert outsider_share(seen, 128) < 0.2


@pytest.mark.parametrize("bits", [4, 6])
def test_values_of_real_indexes_are_named_as_often_as_the_planner_says(bits):
    """The guesses made by one who knows the very frequencies, which lie so far apart that what
    the outsider does not know changes nothing."""
    counts = [4**i for i in range(4, 10)]
    named: Counter[str] = Counter()
    for k in range(2_000):
        stored = [index_value(key(k), b"%d" % i, bits) for i in range(len(counts))]
        rows: Counter[bytes] = Counter()
        for index, count in zip(stored, counts, strict=True):
            rows[index] += count
        by_rank = dict(zip([i for i, _ in rows.most_common()], range(5, -1, -1), strict=False))
        for index, seen in rows.items():
            guesses = {"rank": by_rank[index]}
            for allowance in (0, sum(counts) / 2**bits):
                distances = [abs(seen - allowance - count) for count in counts]
                guesses[f"count {allowance}"] = distances.index(min(distances))
            for way, guess in guesses.items():
                named[way] += counts[guess] * (stored[guess] == index)
    best = max(named.values()) / 2_000 / sum(counts)

    assert outsider_share(Frequencies(counts), bits) == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize("bits", [4, 8, 12, 128])
def test_never_less_is_told_than_a_guess_at_the_most_common(bits):
    """The hash with most rows is nearly always that of a value that most rows have."""
    seen = Frequencies([4_000] + [10] * 600)

    assert outsider_share(seen, bits) > 0.95 * 0.4


def test_shorter_indexes_tell_less():
    seen = Frequencies([round(20_000 / (i + 3)) for i in range(400)])

    shares = [outsider_share(seen, bits) for bits in (4, 6, 8, 10, 12, 128)]

    assert shares == sorted(shares)
    assert shares[0] < shares[-1] / 2


def test_the_same_frequencies_are_told_the_same_again():
    seen = Frequencies([round(5_000 / (i + 1)) for i in range(100)])

    assert outsider_share(seen, 10) == outsider_share(seen, 10)
    assert outsider_share(seen, 10) == pytest.approx(outsider_share(seen, 10, seed=1), abs=0.05)


def test_a_larger_table_tells_more_than_the_sample_of_it():
    shares = [100 - i for i in range(50)]

    small, large = Frequencies(shares), Frequencies(shares, total_rows=100 * sum(shares))

    assert outsider_share(large, 128) > 1.5 * outsider_share(small, 128)
    assert forecast_of(large, 8).extra_rows == pytest.approx(100 * forecast_of(small, 8).extra_rows)


@pytest.mark.parametrize(
    "distinct, lengths",
    [(1, [128]), (16, [4, 6, 128]), (1_000, [4, 6, 8, 10, 12, 128])],
    ids=["one", "16", "1000"],
)
def test_lengths_to_consider_end_where_values_are_alone(distinct, lengths):
    assert lengths_to_consider(Frequencies([1] * distinct)) == lengths
