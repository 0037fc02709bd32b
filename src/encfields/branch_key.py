"""A branch key version, the only secret that sealing and opening use."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from encfields.arguments import is_unicode, kind
from encfields.errors import ConfigurationError
from encfields.traces import leaves_no_trace

BRANCH_KEY_BYTES = 32
"""Bytes of a branch key's material, fixed by the hierarchical keyring's specification."""

BEACON_KEY_BYTES = 32
"""Bytes of a beacon key's material, fixed by the same specification."""


class BranchKey:
    """One version of one branch key.

    :param id: the branch key id, for instance ``"default"`` or ``"tenant/42"``.
    :param version: the version's UUID in its lower-case hyphenated form.
    :param material: 32 secret bytes.
    :param number: the version's position among its key's versions, 1 for the first; 0 if the key
        store does not number them.

    Its ``repr`` does not show the material, and it cannot be pickled.

    :raises ConfigurationError: one of these is something else.
    """

    __slots__ = (
        "compiled",
        "id",
        "id_bytes",
        "keeps_data_keys",
        "material",
        "number",
        "version",
        "version_bytes",
        "wrapping",
    )

    @leaves_no_trace  # of a store's key that is none
    def __init__(self, id: str, version: str, material: bytes, number: int = 0) -> None:
        if not isinstance(id, str) or not is_unicode(id):
            raise ConfigurationError("the id of a branch key is a string", reason="branch-key")
        self.id = id
        self.version_bytes = _version_bytes(version, id)
        self.version = version.lower()
        self.material = key_material("a branch key", id, material, BRANCH_KEY_BYTES)
        self.number = number
        self.id_bytes = id.encode("utf-8")
        # Whether messages that were opened are opened again with what is kept of them, see
        # encfields.message.data_key_cache. It is read when the next two are derived.
        self.keeps_data_keys = False
        # Derived from the material by encfields.message.sealing; has the key's lifetime.
        self.wrapping: object | None = None
        self.compiled: object | None = None  # the same for the compiled core

    def __repr__(self) -> str:
        return f"<BranchKey id={self.id!r} version={self.version}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a branch key is never pickled")

    def __copy__(self) -> BranchKey:
        return self

    def __deepcopy__(self, memo: object) -> BranchKey:
        return self


def key_material(what: str, key_id: str, material: object, size: int) -> bytes:
    """Secret bytes that a key store gave.

    :raises ConfigurationError: they are no bytes, or have another length.
    """
    if not isinstance(material, bytes | bytearray | memoryview):
        raise ConfigurationError(
            f"the material of {what} is {size} bytes, not {kind(material)}",
            key_id=key_id,
            reason="key-material",
        )
    if len(material) != size:
        raise ConfigurationError(
            f"{what} has {size} bytes, not {len(material)}", key_id=key_id, reason="key-material"
        )
    return bytes(material)


def _version_bytes(version: object, key_id: str) -> bytes:
    if isinstance(version, str):
        with suppress(ValueError):
            return uuid.UUID(version).bytes
    raise ConfigurationError(
        "the version of a branch key is a UUID in its hyphenated form: str(uuid.uuid4())",
        key_id=key_id,
        reason="branch-key",
    )


FindKey = Callable[[str, str], BranchKey]
"""Returns the branch key of an id and a version (UUID text)."""
