"""Which encryption serves which engine.

A dialect object belongs to one engine (and to the views of it that ``execution_options()``
makes), and types are told the dialect, never the engine: so the dialect holds it. There is no
global state, and the encryption goes when its engine goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from encfields.errors import NotAttachedError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.encryption import Encryption


class Attachment:
    """The place where a dialect's encryption is found; empty until ``attach()`` fills it."""

    __slots__ = ("encryption",)

    def __init__(self) -> None:
        self.encryption: Encryption | None = None

    def require(self, table: str | None = None, column: str | None = None) -> Encryption:
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
