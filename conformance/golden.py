"""Values that the other SDKs wrote, kept to be opened by every later version."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from conformance.fixture import Place
from encfields import Encryption
from encfields.engine import engine_encryption
from encfields.message import read_header

FOLDER = Path(__file__).parent.parent / "tests" / "golden" / "others"
LONGEST = 8192
"""Bytes of the longest message that is kept."""


def write(
    language: str, sdk: str, places: Sequence[Place], engine: Engine, encryption: Encryption
) -> None:
    """Keep what a driver sealed, with the throw-away branch keys that it is under."""
    values, keys = [], {}
    for place in places:
        message = place.stored(engine)
        if len(message) > LONGEST:
            continue
        header = read_header(message)
        key = engine_encryption(encryption).find_key(header.key_id, header.version)
        keys[f"{key.id} {key.version}"] = key.material.hex()
        values.append(
            {
                "context": place.context,
                "key_id": place.key_id,
                "plaintext": base64.b64encode(place.plaintext(place.other)).decode(),
                "message": base64.b64encode(message).decode(),
            }
        )
    FOLDER.mkdir(exist_ok=True)
    told = {"sdk": sdk, "keys": keys, "values": values}
    (FOLDER / f"{language}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
