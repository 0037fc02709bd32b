"""Values that earlier versions wrote: every later version opens them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from encfields import SqlKeyStore, attach, keyrings
from tests.golden.model import ROWS, metadata
from tests.servers.backends import Backend

BEFORE_KEY_STORES = {"0.1.0"}
"""Versions whose key table is brought over first; the values stay as they are."""

FILES = sorted(Path(__file__).parent.glob("*.json"))


def _value(stored: Any) -> Any:
    return bytes.fromhex(stored["hex"]) if isinstance(stored, dict) else stored


def _restore(engine: Engine, golden: dict[str, Any], store: SqlKeyStore) -> None:
    """Put a version's rows into an empty database, byte for byte."""
    metadata.create_all(engine)
    store.bind(engine)
    store.table.create(engine)
    with engine.begin() as connection:
        for name, rows in golden["tables"].items():
            for row in rows:
                names = ", ".join(row)
                marks = ", ".join(f":{column}" for column in row)
                parameters = {column: _value(stored) for column, stored in row.items()}
                connection.execute(
                    text(f"INSERT INTO {name} ({names}) VALUES ({marks})"), parameters
                )
    if golden["version"] in BEFORE_KEY_STORES:
        store.bring_over()


def test_there_are_golden_values() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_value_opens_and_means_what_it_meant(file: Path, sqlite: Backend) -> None:
    golden = json.loads(file.read_text())
    store = SqlKeyStore(keyrings.local(bytes.fromhex(golden["wrapping_key"])))
    engine = sqlite.create_engine()
    _restore(engine, golden, store)
    attach(engine, store)
    for name in golden["tables"].keys() & ROWS.keys():
        table = metadata.tables[name]
        with engine.connect() as connection:
            read = [dict(row) for row in connection.execute(select(table)).mappings()]
        written = [{**dict.fromkeys(table.c.keys()), **row} for row in ROWS[name]]
        order = [column.key for column in table.primary_key]
        assert sorted(read, key=lambda row: [str(row[k]) for k in order]) == sorted(
            written, key=lambda row: [str(row[k]) for k in order]
        )
        assert {type(v) for row in read for v in row.values()} == {
            type(v) for row in written for v in row.values()
        }
