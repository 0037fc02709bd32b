"""What a blind index would give away, computed only from how often each value occurs.

Anybody who reads the database without a key sees the stored hashes and can count the rows of each.
Knowing also how common the values are (from a census, an old dump, a competitor's list), they can
guess: the hash with most rows is the most common value, and so on. This module makes those guesses
to see for how many rows they name the right value:

* by an **outsider**, who knows how common each value is where the rows came from, but not in this
  very table. A value of ``c`` rows is known to him as ``c`` give or take its square root, which
  is by how much one sample of people differs from the next. This is what verdicts rest on.
* by an **insider**, who knows the frequencies in this very table, say from a copy. He is wrong
  only among values of equal frequency, of which a guess in any order gets one right on average.

Neither uses anything else. Someone who knows other columns of the rows, who may add rows of his
own and look for their hashes, or who is content with nearly the right value, learns more.

A truncated index puts several values behind each hash, so counts are of mixtures, and a guess is
right for at most a part of the rows. The cost is extra rows that look-ups read.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from encfields.index.hashing import FULL_BITS, MIN_BITS

MOST_SIMULATED = 10_000
"""Most values, the most common first, for which guesses are simulated. The rest only hide them:
each is too rare to stand out among thousands of similar ones."""

_VALUES_TO_DRAW = 60_000
_MOST_ROUNDS = 200


class Frequencies:
    """How often each value of a column occurs.

    :param counts: the number of rows of each different value, in any order.
    :param total_rows: rows of the whole table that have a value, if `counts` are of a sample.
    :raises ValueError: a count is not positive.
    """

    def __init__(self, counts: Iterable[int], total_rows: int | None = None) -> None:
        self.counts = sorted(counts, reverse=True)
        if self.counts and self.counts[-1] < 1:
            raise ValueError("a value that occurs has at least one row")
        self.counted_rows = sum(self.counts)
        self.is_sample = total_rows is not None and total_rows > self.counted_rows
        self.rows = max(total_rows or 0, self.counted_rows)

    @property
    def scale(self) -> float:
        """Rows of the table per row counted."""
        return self.rows / self.counted_rows if self.counted_rows else 1.0

    @property
    def distinct(self) -> int:
        """Number of different values seen."""
        return len(self.counts)

    @cached_property
    def distinct_estimate(self) -> int:
        """Different values of the whole table, by Chao's estimator (1984), from the values that
        a sample holds once and twice; at least those seen, at most one for each row."""
        if not self.is_sample:
            return self.distinct
        occurring = Counter(self.counts)
        once, twice = occurring[1], occurring[2]
        unseen = once * once / (2 * twice) if twice else once * (once - 1) / 2
        return min(self.rows, self.distinct + round(unseen))

    @property
    def most_common_share(self) -> float:
        """Share of rows with the most common value: guessing it everywhere is right that often,
        without any index."""
        return self.counts[0] / self.counted_rows if self.counts else 0.0

    @cached_property
    def collision(self) -> float:
        """Probability that two rows drawn at random, the same one twice included, are equal."""
        return sum(c * c for c in self.counts) / self.counted_rows**2 if self.counts else 0.0

    @cached_property
    def entropy_bits(self) -> float:
        """Shannon's entropy of the value of a row drawn at random, in bits."""
        n = self.counted_rows
        return sum(c / n * math.log2(n / c) for c in self.counts)

    @property
    def min_entropy_bits(self) -> float:
        """Bits that the best single guess at a row's value lacks: -log2 of its probability."""
        return -math.log2(self.most_common_share) if self.counts else 0.0

    @cached_property
    def repeated_share(self) -> float:
        """Share of rows whose value occurs more than once: a full-length index shows which of them
        are equal."""
        alone = Counter(self.counts)[1]
        return 1 - alone / self.counted_rows if self.counts else 0.0

    @cached_property
    def unique_counts(self) -> int:
        """Number of values whose row count no other value has."""
        return sum(1 for times in Counter(self.counts).values() if times == 1)

    @cached_property
    def insider_share(self) -> float:
        """Share of rows whose value the insider names correctly on average, with a full-length
        index. Among k values of equal frequency, any order gets one right."""
        return sum(set(self.counts)) / self.counted_rows if self.counts else 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an index of some length costs and gives away; all are expectations.

    :param bits: its length in bits.
    :param extra_rows: extra rows that a look-up reads, averaged over look-ups of rows' values.
    :param extra_rows_most: the same for a look-up of the rarest value.
    :param values_per_hash: different values behind a stored hash.
    :param alone: share of values that share their hash with no other, and are not hidden.
    :param outsider_share: share of rows whose value the outsider names correctly.
    """

    bits: int
    extra_rows: float
    extra_rows_most: float
    values_per_hash: float
    alone: float
    outsider_share: float


def forecast_of(frequencies: Frequencies, bits: int) -> Forecast:
    """What an index of `bits` bits would cost and give away.

    :raises ValueError: there are no values.
    """
    if not frequencies.counts:
        raise ValueError("there are no values to estimate anything from")
    hashes = 2.0**bits
    rarest = frequencies.counts[-1] * (1.0 if frequencies.is_sample else frequencies.scale)
    values = frequencies.distinct_estimate
    # log1p and expm1, because 1 - 2**-128 is 1 to a double.
    missed_by_all = values * math.log1p(-1 / hashes)
    used = -hashes * math.expm1(missed_by_all)
    return Forecast(
        bits=bits,
        extra_rows=frequencies.rows * (1 - frequencies.collision) / hashes,
        extra_rows_most=(frequencies.rows - rarest) / hashes,
        values_per_hash=values / used,
        alone=math.exp((values - 1) * math.log1p(-1 / hashes)),
        outsider_share=outsider_share(frequencies, bits),
    )


def outsider_share(frequencies: Frequencies, bits: int, *, seed: int = 0) -> float:
    """Share of rows whose value the outsider names correctly, by the best of three ways to guess.

    Simulated, with another index key and other knowledge in each round.

    :param seed: of the simulation, for repeatable results.
    """
    counts = [c * frequencies.scale for c in frequencies.counts[:MOST_SIMULATED]]
    others = max(0.0, frequencies.rows - sum(counts))
    rounds = max(3, min(_MOST_ROUNDS, _VALUES_TO_DRAW // len(counts)))
    chance = random.Random(seed)  # noqa: S311 - a simulation, in which nothing is secret
    named = [0.0, 0.0, 0.0]
    for _ in range(rounds):
        attack = _Attack(counts, others, bits, chance)
        ways = (attack.by_rank(), attack.by_count(0), attack.by_count(frequencies.rows / 2**bits))
        named = [sum(pair) for pair in zip(named, ways, strict=True)]
    return min(1.0, max(named) / rounds / frequencies.rows)


class _Attack:
    """What the outsider sees and knows in one round; the guesses return the rows named correctly.

    :param counts: rows of each value.
    :param others: rows of values that are not guessed, spread over all hashes.
    """

    def __init__(
        self, counts: list[float], others: float, bits: int, chance: random.Random
    ) -> None:
        draw, gauss = chance.getrandbits, chance.gauss
        self._counts = counts
        self._hashes = [draw(bits) for _ in counts]
        self._seen: dict[int, float] = {}
        for hash_, count in zip(self._hashes, counts, strict=True):
            self._seen[hash_] = self._seen.get(hash_, others / 2**bits) + count
        known = [count + math.sqrt(count) * gauss(0, 1) for count in counts]
        self._values = sorted(range(len(counts)), key=known.__getitem__)
        self._known = [known[value] for value in self._values]

    def by_rank(self) -> float:
        """Guess that the hash with most rows is the most common value, and so on."""
        # Hashes with equal counts are in the order of the hashes, which is random.
        hashes = sorted(sorted(self._seen), key=self._seen.__getitem__, reverse=True)
        return sum(map(self._rows_if_right, reversed(self._values), hashes))

    def by_count(self, allowance: float) -> float:
        """Guess for each hash the value with as many known rows, less an allowance for others."""
        return sum(
            self._rows_if_right(self._nearest(rows - allowance), hash_)
            for hash_, rows in self._seen.items()
        )

    def _nearest(self, rows: float) -> int:
        """The value whose known number of rows is nearest."""
        at = bisect(self._known, rows)
        if at == len(self._known) or (at and rows - self._known[at - 1] < self._known[at] - rows):
            at -= 1
        return self._values[at]

    def _rows_if_right(self, value: int, hash_: int) -> float:
        return self._counts[value] if self._hashes[value] == hash_ else 0.0


def lengths_to_consider(frequencies: Frequencies) -> list[int]:
    """The lengths in bits to choose from: from the shortest to one at which hardly any two values
    share a hash, and full length."""
    longest = min(FULL_BITS - 1, math.ceil(math.log2(frequencies.distinct_estimate or 1)) + 2)
    return [*range(MIN_BITS, longest + 1, 2), FULL_BITS]
