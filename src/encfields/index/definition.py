"""The definition of a blind index: everything that determines its bytes.

Declared tables (:mod:`encfields.orm.declare`), bulk runs (as JSON in the run's row) and migrations
all compute indexes from one. It refers to columns by their database names and to values by
canonical plaintext, so it needs no models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from encfields.errors import DeclarationError
from encfields.index.hashing import check_bits, compound, index_value, stored_bytes
from encfields.index.transforms import Transform, transform_named


class IndexKeys(Protocol):
    """Provides the keys of blind indexes."""

    def index_key(
        self, key_id: str, version: int, domain: str, derivation: str, *, for_writing: bool
    ) -> bytes:
        """The key of a blind index, 32 bytes.

        :raises KeyStoreError: the beacon key cannot be fetched.
        """
        ...


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """One version of one blind index.

    :param name: name of its column in the database.
    :param label: the index's own name, which queries use.
    :param columns: names of the encrypted columns, in the order in which they are hashed.
    :param transforms: the transform of each column.
    :param domain: name under which the index key is derived.
    :param bits: its length in bits.
    :param version: of the beacon key.
    :param key: id of the branch key whose beacon key is used; ``None`` for the row's own.
    :ivar derivation: the transforms' names, which also enter the index key's derivation.
    """

    name: str
    label: str
    columns: tuple[str, ...]
    transforms: tuple[Transform, ...]
    domain: str
    bits: int
    version: int
    key: str | None = None
    derivation: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        derivation = "+".join(transform.name for transform in self.transforms)
        object.__setattr__(self, "derivation", derivation)

    @property
    def stored_bytes(self) -> int:
        """Bytes of a stored index."""
        return stored_bytes(self.bits)

    def of_plaintexts(
        self, plaintexts: Sequence[bytes | None], key_id: str, keys: IndexKeys
    ) -> bytes | None:
        """The index of one row; ``None`` if one of the values is NULL.

        :param plaintexts: canonical plaintexts, in the order of `columns`.
        :param key_id: branch key id of the row.
        :raises KeyStoreError: the beacon key cannot be fetched.
        """
        parts: list[bytes] = []
        for transform, plaintext in zip(self.transforms, plaintexts, strict=True):
            if plaintext is None:
                return None
            parts.append(transform.apply(plaintext, _itself))
        key = keys.index_key(
            self.key or key_id, self.version, self.domain, self.derivation, for_writing=True
        )
        return index_value(key, parts[0] if len(parts) == 1 else compound(parts), self.bits)

    def to_json(self) -> dict[str, Any]:
        """The definition as plain data."""
        return {
            "name": self.name,
            "label": self.label,
            "columns": list(self.columns),
            "transforms": [transform.name for transform in self.transforms],
            "domain": self.domain,
            "bits": self.bits,
            "version": self.version,
            "key": self.key,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        :raises DeclarationError: it defines no index that this version knows.
        """
        try:
            return cls(
                data["name"],
                data["label"],
                tuple(data["columns"]),
                tuple(transform_named(name) for name in data["transforms"]),
                data["domain"],
                check_bits(data["bits"]),
                int(data["version"]),
                data["key"],
            )
        except (KeyError, TypeError, ValueError):
            raise DeclarationError(
                "this is not the definition of a blind index", reason="index"
            ) from None


def _itself(plaintext: Any) -> bytes:
    """Codec for transforms that returns the given canonical plaintext."""
    data: bytes = plaintext
    return data
