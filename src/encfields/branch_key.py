"""A branch key version, the only secret that sealing and opening use."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import NoReturn

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

    :raises ConfigurationError: the material has another length, or the version is no UUID.
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
        if len(material) != BRANCH_KEY_BYTES:
            raise ConfigurationError(
                f"a branch key has {BRANCH_KEY_BYTES} bytes, not {len(material)}",
                key_id=id,
                reason="branch-key",
            )
        self.id = id
        self.version = version
        self.material = material
        self.number = number
        self.id_bytes = id.encode("utf-8")
        self.version_bytes = _bytes_of(version, id)
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


def _bytes_of(version: str, key_id: str) -> bytes:
    try:
        return uuid.UUID(version).bytes
    except ValueError:
        raise ConfigurationError(
            "the version of a branch key is a UUID in its hyphenated form: str(uuid.uuid4())",
            key_id=key_id,
            reason="branch-key",
        ) from None


FindKey = Callable[[str, str], BranchKey]
"""Returns the branch key of an id and a version (UUID text)."""
