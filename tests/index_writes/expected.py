"""What the column of a blind index must hold, worked out without the library under test.

Only the key store is asked, for the beacon key; HKDF and HMAC are the standard's, as
docs/format.md and ``encfields.index.hashing`` describe the derivation.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Engine, Table, select
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

from encfields import SqlKeyStore, keyrings

Normalise = Callable[[Any], bytes]


def utf8(value: str) -> bytes:
    return value.encode()


def folded(value: str) -> bytes:
    return value.casefold().encode()


def last4(value: str) -> bytes:
    return value[-4:].encode()


def of_date(value: Any) -> bytes:
    return value.isoformat().encode()


def year_of(value: Any) -> bytes:
    return f"{value.year:04}".encode()


@dataclass(frozen=True)
class Index:
    """One column that holds a blind index, as the test expects it.

    :ivar index_column: name of the column.
    :ivar domain: what the key is derived for.
    :ivar parts: keys of the encrypted columns, each with what is taken of its value.
    :ivar transform: names of the transforms.
    :ivar key: branch key id, or a template over the row's columns.
    """

    index_column: str
    domain: str
    parts: Mapping[str, Normalise]
    transform: str = "exact"
    bits: int = 128
    key: str = "default"

    def of(self, db: Any, row: Mapping[str, Any]) -> bytes | None:
        """What the database must hold for a row's values."""
        given = [(row[key], normalise) for key, normalise in self.parts.items()]
        if any(value is None for value, _ in given):
            return None
        parts = [normalise(value) for value, normalise in given]
        whole = parts[0] if len(parts) == 1 else b"".join(_long(part) for part in parts)
        return blind_index(db, whole, self, self.key.format(**row))


def blind_index(db: Any, normalised: bytes, index: Index, key_id: str = "default") -> bytes:
    """HMAC-SHA256 under HKDF-SHA256 of the beacon key, its leftmost bits."""
    info = b"encfields blind index 1" + _short(index.domain) + _short(index.transform)
    secret = _derived(beacon_key(db, key_id), info)
    number = int.from_bytes(hmac.digest(secret, normalised, "sha256"), "big") >> (256 - index.bits)
    length = (index.bits + 7) // 8
    return (number << (length * 8 - index.bits)).to_bytes(length, "big")


@functools.lru_cache(maxsize=100)
def _derived(beacon: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, info).derive(beacon)


@functools.lru_cache(maxsize=100)
def beacon_key(db: Any, key_id: str = "default") -> bytes:
    """The 32 bytes in the key table, opened by a key store of the test's own."""
    plain: Engine = db.plain
    with plain.connect() as connection:
        rows = connection.execute(select(_KEYS).where(_KEYS.c.key_id == key_id)).all()
    # Most tests' databases hold the same rows, and rows that are the same hold the same key.
    there = tuple(map(tuple, rows))
    if there not in _opened:
        _opened[there] = SqlKeyStore(keyrings.local(bytes(32)), engine=plain).beacon(key_id)
    return _opened[there]


_KEYS = SqlKeyStore(keyrings.local(bytes(32))).table
_opened: dict[tuple[tuple[Any, ...], ...], bytes] = {}
"""Beacon keys, by the rows of the key table that hold them."""


def _short(name: str) -> bytes:
    return len(name.encode()).to_bytes(2, "big") + name.encode()


def _long(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def stored(db: Any, table: Any, name: str) -> dict[tuple[Any, ...], bytes | None]:
    """What one column holds, by primary key, whatever the table says of its type."""
    keys = list(table.primary_key.columns)
    bare = sql_table(
        table.name,
        *(sql_column(key.name, key.type) for key in keys),
        sql_column(name),
        schema=table.schema,
    )
    with db.plain.connect() as connection:
        rows = connection.execute(select(*(bare.c[key.name] for key in keys), bare.c[name]))
        return {
            tuple(row)[:-1]: None if row[-1] is None else bytes(row[-1]) for row in map(tuple, rows)
        }


def check_indexes(
    db: Any, model: Any, *indexes: Index, look_up: bool = True
) -> list[dict[str, Any]]:
    """Every row's indexes are those of its values, and every row is found by each of its values.

    :param look_up: leave the finding out, where a query is refused.
    :returns: the rows as the application sees them, by column key.
    """
    table: Table = getattr(model, "__table__", model)
    keys = list(table.primary_key.columns)
    rows = _rows(db, table)
    for index in indexes:
        held = stored(db, table, index.index_column)
        expected = {tuple(row[key.key] for key in keys): index.of(db, row) for row in rows}
        assert held == expected, index.index_column
    for column in {key for index in indexes if len(index.parts) == 1 for key in index.parts}:
        if not look_up:
            break
        _check_found(db, table, column, rows, indexes)
    return rows


def _rows(db: Any, table: Table, *criteria: Any) -> list[dict[str, Any]]:
    """Rows with the values that the application sees, by column key."""
    columns = [column for column in table.c if not column.name.endswith("_bidx")]
    with db.begin() as connection:
        rows = connection.execute(select(*columns).where(*criteria))
        return [{c.key: v for c, v in zip(columns, row, strict=True)} for row in rows]


def _check_found(db: Any, table: Table, column: str, rows: Any, indexes: Any) -> None:
    templates = {i.key for i in indexes if list(i.parts) == [column]}
    pins = [c for c in table.c if any(f"{{{c.key}}}" in template for template in templates)]
    keys = [key.key for key in table.primary_key.columns]
    for row in rows[:20]:
        if row[column] is None:
            continue
        pinned = [pin == row[pin.key] for pin in pins]
        found = _rows(db, table, *pinned, table.c[column] == row[column])
        alike = [
            [one[key] for key in keys]
            for one in rows
            if one[column] == row[column] and all(one[p.key] == row[p.key] for p in pins)
        ]
        assert sorted(([one[key] for key in keys] for one in found), key=str) == sorted(
            alike, key=str
        )


PATIENT = (
    Index("ssn_bidx", "patient.ssn", {"ssn": utf8}),
    Index("ssn_last4_bidx", "patient.ssn", {"ssn": last4}, "last4", 12),
    Index("mail_casefold_bidx", "patient.mail", {"mail": folded}, "casefold"),
)
GUEST = (Index("ssn_bidx", "guest.ssn", {"ssn": utf8}),)
VISIT = (Index("ssn_bidx", "visit.ssn", {"ssn": utf8}),)
SEAT = (Index("guest_bidx", "seat.guest", {"guest": utf8}),)
MEMBER = (Index("iban_bidx", "member.iban", {"iban": utf8}, key="tenant/{tenant_id}"),)
PERSON = (
    Index("who_bidx", "person.who", {"last_name": folded, "born": year_of}, "casefold+year"),
    Index("born_bidx", "person.born", {"born": of_date}),
)
