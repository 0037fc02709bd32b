"""A branch key version: the only secret that the message writer and reader see."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import NoReturn

BRANCH_KEY_BYTES = 32
"""Length of a branch key's material. Fixed by the hierarchical keyring's specification."""

BEACON_KEY_BYTES = 32
"""Length of a beacon key's material. Fixed by the same."""


class BranchKey:
    """One version of one branch key.

    :param id: the branch key id, for instance ``"default"`` or ``"tenant/42"``.
    :param version: the version's UUID in its lower-case hyphenated form.
    :param material: 32 secret bytes.
    :param number: the version's place in its key's order, 1 for the first; 0 where the key store
        knows of none.

    Its ``repr`` shows no material, and it refuses to be pickled.
    """

    __slots__ = (
        "compiled",
        "id",
        "id_bytes",
        "material",
        "number",
        "version",
        "version_bytes",
        "wrapping",
    )

    def __init__(self, id: str, version: str, material: bytes, number: int = 0) -> None:
        if len(material) != BRANCH_KEY_BYTES:
            raise ValueError(f"a branch key has {BRANCH_KEY_BYTES} bytes, not {len(material)}")
        self.id = id
        self.version = version
        self.material = material
        self.number = number
        self.id_bytes = id.encode("utf-8")
        self.version_bytes = uuid.UUID(version).bytes
        # What encfields.message.sealing derives from the material; it lives and dies with the key.
        self.wrapping: object | None = None
        self.compiled: object | None = None  # the same of a compiled implementation

    def __repr__(self) -> str:
        return f"<BranchKey id={self.id!r} version={self.version}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a branch key is never pickled")

    def __copy__(self) -> BranchKey:
        return self

    def __deepcopy__(self, memo: object) -> BranchKey:
        return self


FindKey = Callable[[str, str], BranchKey]
"""Gives the branch key of an id and a version (UUID text)."""
