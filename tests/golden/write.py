"""Write this version's golden values: ``python -m tests.golden.write``.

Done once for each release whose format of values or of wrapped keys is new, and committed. The
file that is written is never changed afterwards.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, text
from sqlalchemy.pool import StaticPool

from encfields import SqlKeyStore, attach, keyrings
from tests.golden.model import ROWS, metadata

VERSION = "0.1.0"
FOLDER = Path(__file__).parent


def plain(value: Any) -> Any:
    """A stored value as JSON: bytes as hexadecimal digits."""
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def main() -> None:
    """Store the rows as an application does, and keep what the database then holds."""
    wrapping_key = os.urandom(32)
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    encryption = attach(engine, SqlKeyStore(keyrings.local(wrapping_key)), create=True)
    tables = [metadata.tables[name] for name in ROWS]
    with engine.begin() as connection:
        for table in tables:
            connection.execute(insert(table), ROWS[table.name][0])
    encryption.keys.rotate("default")
    with engine.begin() as connection:
        for table in tables:
            for row in ROWS[table.name][1:]:
                connection.execute(insert(table), row)
    stored: dict[str, list[dict[str, Any]]] = {}
    with engine.connect() as connection:
        for name in [*ROWS, "encfields_keys"]:
            rows = connection.execute(text(f"SELECT * FROM {name}")).mappings()
            stored[name] = [{k: plain(v) for k, v in row.items() if v is not None} for row in rows]
    golden = {"version": VERSION, "wrapping_key": wrapping_key.hex(), "tables": stored}
    path = FOLDER / f"{VERSION}.json"
    path.write_text(json.dumps(golden, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
