"""Which encryption serves which engine, and what the statements of an engine ask of it.

A dialect object belongs to one engine (and to the views of it that ``execution_options()``
makes), and types are told the dialect, never the engine: so the dialect holds it. There is no
global state, and the encryption goes when its engine goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Protocol

from encfields.errors import NotAttachedError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.branch_key import BranchKey
    from encfields.legacy import LegacyReader
    from encfields.stats import Stats


class EngineEncryption(Protocol):
    """What the statements of one engine are sealed, opened and looked up with.

    :class:`~encfields.engine.Encryption` is the one there is; that it is made of the hooks
    which know it by this name alone keeps imports in one direction.

    :ivar destroyed: what a value under a destroyed key reads as; ``"raise"`` for an error.
    :ivar legacy: readers of messages of other programs, by the column's logical name.
    """

    destroyed: object
    legacy: Mapping[str, LegacyReader]
    stats: Stats

    def active_key(self, key_id: str) -> BranchKey:
        """The branch key version that seals new values of `key_id`."""

    def find_key(self, key_id: str, version: str) -> BranchKey:
        """The branch key version that a message names."""

    def index_key(
        self, key_id: str, version: int, domain: str, derivation: str, *, for_writing: bool
    ) -> bytes:
        """The key of a blind index, 32 bytes."""

    def require_keys(self, key_ids: Set[str]) -> None:
        """Fetch the active versions of several keys at once."""

    def require_beacons(self, key_ids: Set[str]) -> None:
        """The same of their beacon keys."""


class Attachment:
    """The place where a dialect's encryption is found; empty until ``attach()`` fills it."""

    __slots__ = ("encryption",)

    def __init__(self) -> None:
        self.encryption: EngineEncryption | None = None

    def require(self, table: str | None = None, column: str | None = None) -> EngineEncryption:
        """The encryption.

        :raises NotAttachedError: there is none.
        """
        if self.encryption is None:
            raise NotAttachedError(
                "this engine has no encryption: call encfields.attach(engine, key_store) once, "
                "where the engine is made",
                table=table,
                column=column,
                reason="not-attached",
            )
        return self.encryption


_NAME = "_encfields_attachment"


def attachment_of(dialect: Dialect) -> Attachment:
    """The attachment of `dialect`, made on first sight."""
    found: Attachment = vars(dialect).setdefault(_NAME, Attachment())
    return found
