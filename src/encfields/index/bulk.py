"""Blind indexes in bulk: what the re-encryption engine computes for rows that it has opened.

The engine knows a column by its name in the database and a value by its canonical plaintext, from
which every transform starts. So an index is described here in JSON, without a declared column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from encfields.errors import DeclarationError
from encfields.index.hashing import check_bits, compound, index_value
from encfields.index.transforms import transform_named


def _itself(plaintext: Any) -> bytes:
    data: bytes = plaintext
    return data


class IndexKeys(Protocol):
    """Where the keys of blind indexes come from."""

    def index_key(
        self, key_id: str, version: int, domain: str, derivation: str, *, for_writing: bool
    ) -> bytes:
        """The key of a blind index, 32 bytes.

        :raises KeyStoreError: the beacon key cannot be fetched.
        """
        ...


class Deriver(Protocol):
    """Computes one index of one row."""

    def __call__(self, plaintexts: Sequence[bytes | None], key_id: str) -> bytes | None:
        """The index; ``None`` if one of the values is NULL.

        :param plaintexts: canonical plaintexts, in the order of the index's columns.
        :param key_id: branch key id of the row.
        :raises KeyStoreError: the beacon key cannot be fetched.
        """
        ...


def description(
    index: str,
    transforms: Sequence[str],
    *,
    bits: int,
    domain: str,
    key: str | None,
    version: int,
) -> dict[str, Any]:
    """How an index is computed, as plain data, which :func:`deriver` takes.

    :param index: its name, for people.
    :param transforms: names of the transforms, one for each of its columns.
    :param domain: name under which the index key is derived.
    :param key: branch key id, where that is not the row's own.
    :param version: of the beacon key.
    """
    return {
        "index": index,
        "transforms": list(transforms),
        "bits": bits,
        "domain": domain,
        "derivation": "+".join(transforms),
        "key": key,
        "version": version,
    }


def deriver(how: Mapping[str, Any], keys: IndexKeys) -> Deriver:
    """What computes the index that `how` describes.

    :param how: plain data, as a bulk run keeps it.
    :param keys: where the index's key comes from.
    :raises DeclarationError: it describes no index that this version knows.
    """
    try:
        transforms = [transform_named(name) for name in how["transforms"]]
        bits, version = check_bits(how["bits"]), int(how["version"])
        domain, derivation, fixed_key = how["domain"], how["derivation"], how["key"]
    except (KeyError, TypeError, ValueError):
        raise DeclarationError(
            "this is not the description of a blind index", reason="index"
        ) from None

    # The canonical plaintext, which transforms ask the column's codec for, is what is given.
    def derive(plaintexts: Sequence[bytes | None], key_id: str) -> bytes | None:
        parts: list[bytes] = []
        for transform, plaintext in zip(transforms, plaintexts, strict=True):
            if plaintext is None:
                return None
            parts.append(transform.apply(plaintext, _itself))
        key = keys.index_key(fixed_key or key_id, version, domain, derivation, for_writing=True)
        return index_value(key, parts[0] if len(parts) == 1 else compound(parts), bits)

    return derive
