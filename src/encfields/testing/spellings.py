"""The forms in which a plaintext may be met: as it is, and as what prints or packs it spells it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Set
from urllib.parse import quote

MINIMUM = 6
"""Characters or bytes of a plaintext that is looked for, so that a find is no coincidence."""


def texts_of(plaintext: object) -> list[str | bytes]:
    """What is looked for of a plaintext: of a container its members, of a date or a number its
    text; parts that are too short are left out.

    :raises ValueError: nothing of it is long enough.
    """
    found = [text for text in _leaves(plaintext) if len(text) >= MINIMUM]
    if not found:
        raise ValueError(
            f"a canary this short could occur by chance: it needs {MINIMUM} characters or bytes"
        )
    return found


def _leaves(plaintext: object) -> Iterator[str | bytes]:
    if isinstance(plaintext, str):
        yield plaintext
    elif isinstance(plaintext, bytes | bytearray | memoryview):
        yield bytes(plaintext)
    elif isinstance(plaintext, Mapping):
        for member in plaintext.values():
            yield from _leaves(member)
    elif isinstance(plaintext, list | tuple | Set):
        for member in plaintext:
            yield from _leaves(member)
    elif plaintext is not None:
        yield from dict.fromkeys((str(plaintext), repr(plaintext)))


def spellings(text: str | bytes) -> frozenset[bytes]:
    """Every form that is searched for: raw, escaped as ``repr()``, JSON and URLs escape it, in
    hexadecimal, and in Base64 at whatever place of a longer text."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    forms = {raw, repr(raw)[2:-1].encode(), raw.hex().encode(), raw.hex().upper().encode()}
    forms.update(_base64(raw))
    forms.add(quote(raw).encode())
    if isinstance(text, str):
        forms.add(json.dumps(text)[1:-1].encode())
        forms.add(text.encode("unicode_escape"))
    return frozenset(forms)


def _base64(raw: bytes) -> Iterator[bytes]:
    """The characters that stand for these bytes alone, at each of the three alignments."""
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        padded = bytes(before) + raw
        yield base64.b64encode(padded)[first:last]
        yield base64.urlsafe_b64encode(padded)[first:last]
