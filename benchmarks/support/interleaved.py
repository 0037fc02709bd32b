"""Measurements that take turns, so that what disturbs the machine disturbs them all."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """What is measured.

    :ivar name: in the results.
    :ivar run: is timed. :ivar prepare: runs before it, untimed.
    """

    name: str
    run: Callable[[], None]
    prepare: Callable[[], None] | None = None

    def seconds(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """How long one run takes by `clock`, without the garbage collector's pauses."""
        if self.prepare is not None:
            self.prepare()
        gc.collect()
        gc.disable()
        try:
            began = clock()
            self.run()
            return clock() - began
        finally:
            gc.enable()


def medians(
    work: Collection[Measurement], rounds: int, *, processor_time: bool = False
) -> dict[str, float]:
    """Median seconds by name.

    :param rounds: how often; each round runs every measurement once, in an order of its own.
    :param processor_time: of this process and its threads, which others on a busy machine hardly
        change; otherwise what a clock on the wall shows.
    """
    clock = time.process_time if processor_time else time.perf_counter
    seconds: dict[str, list[float]] = {one.name: [] for one in work}
    for _ in range(rounds):
        for one in random.sample(list(work), len(work)):
            seconds[one.name].append(one.seconds(clock))
    return {name: statistics.median(values) for name, values in seconds.items()}
