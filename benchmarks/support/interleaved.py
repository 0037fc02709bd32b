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

    def seconds(self) -> float:
        """How long one run takes, without the garbage collector's pauses."""
        if self.prepare is not None:
            self.prepare()
        gc.collect()
        gc.disable()
        try:
            began = time.perf_counter()
            self.run()
            return time.perf_counter() - began
        finally:
            gc.enable()


def medians(work: Collection[Measurement], rounds: int) -> dict[str, float]:
    """Median seconds by name.

    :param rounds: how often; each round runs every measurement once, in an order of its own.
    """
    seconds: dict[str, list[float]] = {one.name: [] for one in work}
    for _ in range(rounds):
        for one in random.sample(list(work), len(work)):
            seconds[one.name].append(one.seconds())
    return {name: statistics.median(values) for name, values in seconds.items()}
