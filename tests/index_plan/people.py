"""People whose attributes occur as often as is said here, encrypted or in plaintext."""

from __future__ import annotations

import datetime as dt
import enum

from sqlalchemy import Boolean, Column, Date, Enum, Integer, MetaData, String, Table

from encfields import EncryptedType

COUNT = 480

SURNAMES = {"Lovelace-canary": 200, "Hopper-canary": 120, "Noether-canary": 40}
"""And 40 that three people each have."""


class Blood(enum.Enum):
    A = "a"
    B = "b"
    ZERO = "zero"


def _surnames() -> list[str]:
    common = [name for name, count in SURNAMES.items() for _ in range(count)]
    return common + [f"Rare-canary-{i % 40}" for i in range(COUNT - len(common))]


ROWS = [
    {
        "id": i,
        "ssn": f"{900 + i % 7}-{i % 90 + 10}-{i:04d}",
        "surname": name,
        "plain_surname": name,
        "smoker": i % 3 == 0,
        "plain_smoker": i % 3 == 0,
        "blood": list(Blood)[i % 3],
        "born": dt.date(1950 + i % 40, 1 + i % 12, 1 + i % 28),
        "notes": None if i % 4 == 0 else "same-canary",
    }
    for i, name in enumerate(_surnames())
]
"""SSNs are all different, and so are their last four digits."""


def people_table() -> Table:
    return Table(
        "people",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("ssn", EncryptedType(String(11))),
        Column("surname", EncryptedType(String(40))),
        Column("plain_surname", String(40)),
        Column("smoker", EncryptedType(Boolean)),
        Column("plain_smoker", Boolean),
        Column("blood", EncryptedType(Enum(Blood))),
        Column("born", Date),
        Column("notes", EncryptedType(String)),
    )
