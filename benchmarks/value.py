"""Seal and open one value: encfields against the stock AWS client, bare AES-GCM and rivals.

    python -m benchmarks.value [--bytes 11] [--rounds 200] [--json]

Each round times every contestant once, in an order of its own, so that a busy moment of the
machine meets all of them alike; the figure is the median over the rounds, of the time that the
process computes. With the compiled core a value is also taken out of a batch of a thousand, which
the rivals have no way to seal or open. A value is opened as when it is read for the first time;
"opened again" finds its data key in the cache.

What each gives for its time differs. Only encfields and the stock client give a value a data key
of its own, wrapped under a key that can be rotated, commit to it and bind it to its row. The bare
figure derives one key and makes one AES-GCM call, and the rivals use one key for everything.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from advanced_alchemy.types import EncryptedString
from aws_encryption_sdk.identifiers import AlgorithmSuite
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from rich.console import Console
from rich.table import Table
from sqlalchemy import String, TypeDecorator
from sqlalchemy.dialects.sqlite import dialect as sqlite
from sqlalchemy_utils.types.encrypted.encrypted_type import (
    AesGcmEngine,
    FernetEngine,
    StringEncryptedType,
)

from encfields.branch_key import BranchKey
from encfields.context import RowContext
from encfields.message import core, open_, seal
from encfields.message.compiled import status
from tests.message import stock

COLUMN, ROW = "patient.ssn", "42"
BATCH = 1000
TARGET_OF_FLOOR, TARGET_OF_STOCK = 1.8, 60

OURS, OURS_AGAIN, OURS_IN_BATCHES, FLOOR, STOCK = (
    "encfields",
    "encfields, opened again",
    "encfields, in batches",
    "bare HKDF + AES-GCM",
    "stock AWS client",
)
SECRET = "a passphrase of the rivals"


@dataclass
class Contestant:
    """One way to encrypt and decrypt a value, and how long its calls took in each round."""

    name: str
    seal: Callable[[], object]
    open: Callable[[], object]
    loops: int = 100
    values: int = 1
    seal_us: list[float] = field(default_factory=list)
    open_us: list[float] = field(default_factory=list)


def ours(value: bytes, key: BranchKey) -> list[Contestant]:
    """Sealing alone, and with the row's context serialised for each value as a column does."""
    row_context = RowContext(COLUMN, ["id"])
    context = row_context.serialize([ROW])
    message = seal(value, context, key)
    keys = {(key.id, key.version): key}

    def find_key(key_id: str, version: str) -> BranchKey:
        return keys[key_id, version]

    kept = BranchKey(key.id, key.version, key.material)
    kept.keeps_data_keys = True
    assert open_(message, context, find_key, (key.id,)) == value
    assert open_(message, context, lambda *_: kept, (key.id,), by_cache=True) == value
    return [
        Contestant(
            OURS,
            lambda: seal(value, context, key),
            lambda: open_(message, context, find_key, (key.id,)),
        ),
        Contestant(
            OURS_AGAIN,
            lambda: seal(value, context, kept),
            lambda: open_(message, context, lambda *_: kept, (key.id,), by_cache=True),
        ),
        Contestant(
            f"{OURS}, and context",
            lambda: seal(value, row_context.serialize([ROW]), key),
            lambda: open_(message, row_context.serialize([ROW]), find_key, (key.id,)),
        ),
    ]


def in_batches(value: bytes, key: BranchKey) -> list[Contestant]:
    """What a bulk run or a fetch of many rows pays for one, where the compiled core runs."""
    if not status().is_native:
        return []
    from encfields_native import open_many

    row_context = RowContext(COLUMN, ["id"])
    values = [value] * BATCH
    contexts = [row_context.serialize([str(row)]) for row in range(BATCH)]
    messages: list[Any] = core.seal_many(values, contexts, key)

    def find_key(key_id: str, version: str) -> BranchKey:
        return key

    assert open_many(messages, contexts, key.id, find_key) == values
    return [
        Contestant(
            OURS_IN_BATCHES,
            lambda: core.seal_many(values, contexts, key),
            lambda: open_many(messages, contexts, key.id, find_key),
            loops=1,
            values=BATCH,
        )
    ]


def floor(value: bytes, key: BranchKey) -> Contestant:
    """A derived key and one AES-GCM call: what any scheme with a key per value pays."""
    salt, info, aad, hash_ = os.urandom(32), b"column", b"row 42", SHA512()

    def encrypt() -> bytes:
        derived = HKDF(hash_, 32, salt, info).derive(key.material)
        nonce = os.urandom(12)
        return nonce + AESGCM(derived).encrypt(nonce, value, aad)

    sealed = encrypt()

    def decrypt() -> bytes:
        derived = HKDF(hash_, 32, salt, info).derive(key.material)
        return AESGCM(derived).decrypt(sealed[:12], sealed[12:], aad)

    assert decrypt() == value
    return Contestant(FLOOR, encrypt, decrypt)


def stock_client(value: bytes, key: BranchKey) -> Contestant:
    """AWS's client over the same bytes, its keyring made once and its branch key in its cache."""
    client = stock.client()
    pairs = RowContext(COLUMN, ["id"]).as_dict([ROW])
    # A materials manager made once: with keyring= the client would make one for each call.
    manager = stock.materials_manager(stock.hierarchical_keyring(key))
    suite = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY

    def encrypt() -> bytes:
        return client.encrypt(
            source=value, materials_manager=manager, encryption_context=pairs, algorithm=suite
        )[0]

    sealed = encrypt()

    def decrypt() -> bytes:
        return client.decrypt(source=sealed, materials_manager=manager, encryption_context=pairs)[0]

    assert decrypt() == value
    return Contestant(STOCK, encrypt, decrypt, loops=2)


def column_type(name: str, type_: TypeDecorator[str], value: bytes) -> Contestant:
    """A rival's column type, called as SQLAlchemy calls it for each value."""
    dialect, text = sqlite(), value.decode()
    sealed = type_.process_bind_param(text, dialect)
    assert type_.process_result_value(sealed, dialect) == text
    return Contestant(
        name,
        lambda: type_.process_bind_param(text, dialect),
        lambda: type_.process_result_value(sealed, dialect),
    )


def contestants(value: bytes) -> list[Contestant]:
    key = BranchKey("default", str(uuid.uuid4()), os.urandom(32))
    rivals = {
        "sqlalchemy-utils, AES-GCM": StringEncryptedType(String, SECRET, AesGcmEngine),
        "sqlalchemy-utils, Fernet": StringEncryptedType(String, SECRET, FernetEngine),
        "advanced-alchemy, Fernet": EncryptedString(key=SECRET),
    }
    return [
        *ours(value, key),
        *in_batches(value, key),
        floor(value, key),
        stock_client(value, key),
        *(column_type(name, type_, value) for name, type_ in rivals.items()),
    ]


def time_call(call: Callable[[], object], loops: int) -> float:
    """Microseconds of one call, over `loops` calls."""
    started = time.process_time_ns()
    for _ in range(loops):
        call()
    return (time.process_time_ns() - started) / loops / 1000


def measure(field_: list[Contestant], rounds: int) -> None:
    turns = [
        (times, call, one)
        for one in field_
        for times, call in ((one.seal_us, one.seal), (one.open_us, one.open))
    ]
    for _, call, one in turns:
        time_call(call, one.loops)  # warm: caches and lazy imports
    for _ in range(rounds):
        random.shuffle(turns)
        for times, call, one in turns:
            times.append(time_call(call, one.loops) / one.values)


def figures(field_: list[Contestant]) -> list[dict[str, object]]:
    """Medians in microseconds and ratios to the floor and to the stock client."""
    by_name = {one.name: one for one in field_}
    rows: list[dict[str, object]] = []
    for one in field_:
        row: dict[str, object] = {"name": one.name}
        for verb in ("seal_us", "open_us"):
            mine, base, stock_us = (
                statistics.median(getattr(each, verb))
                for each in (one, by_name[FLOOR], by_name[STOCK])
            )
            row[verb] = round(mine, 2)
            row[verb.replace("us", "of_floor")] = round(mine / base, 2)
            row[verb.replace("us", "faster_than_stock")] = round(stock_us / mine, 1)
        rows.append(row)
    return rows


def machine() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: version(name) for name in ("cryptography", "aws-encryption-sdk")},
    }


def brief(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2f}"


def show(rows: list[dict[str, object]], size: int) -> None:
    console = Console()
    table = Table(title=f"one value of {size} bytes: median µs, and ratios of the same run")
    table.add_column("", no_wrap=True)
    for verb in ("seal", "open"):
        table.add_column(f"{verb} µs", justify="right")
        table.add_column("x bare", justify="right")
        table.add_column("stock ÷", justify="right")
    for row in rows:
        name, *numbers = row.values()
        table.add_row(str(name), *(brief(float(str(number))) for number in numbers))
    console.print(table)
    console.print(
        f"To reach: at most {TARGET_OF_FLOOR}x of bare HKDF + AES-GCM, and {TARGET_OF_STOCK} times "
        "as fast as the stock AWS client with its hierarchical keyring and a warm cache."
    )
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bytes", type=int, default=11, help="length of the value")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    field_ = contestants(b"x" * options.bytes)
    measure(field_, options.rounds)
    rows = figures(field_)
    if options.json:
        settings = {"bytes": options.bytes, "rounds": options.rounds}
        print(json.dumps({**settings, "machine": machine(), "results": rows}, indent=1))
    else:
        show(rows, options.bytes)


if __name__ == "__main__":
    main()
