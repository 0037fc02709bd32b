"""The patients of docs/blind-indexes.md: the same ones whenever they are made."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

PATIENTS = 20_000
SURNAMES = 3_000
"""Of which the first is some ten times as common as the hundredth."""


def patients() -> Iterator[dict[str, Any]]:
    """Rows for the table ``patient``."""
    chance = random.Random("docs/blind-indexes.md")
    weights = list(accumulate(1 / (i + 10) for i in range(SURNAMES)))
    for number, ssn in enumerate(chance.sample(range(10**8, 10**9), PATIENTS), 1):
        (name,) = chance.choices(range(SURNAMES), cum_weights=weights)
        yield {
            "id": number,
            "ssn": f"{ssn // 10**6}-{ssn // 10**4 % 100:02}-{ssn % 10**4:04}",
            "last_name": f"Surname {name}",
            "born": dt.date(1930, 1, 1) + dt.timedelta(days=chance.randrange(30_000)),
            "smoker": chance.random() < 0.2,
        }
