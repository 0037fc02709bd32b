"""``Plaintext``: declares that an encrypted column takes over a plaintext one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sqlalchemy.types import TypeEngine

from encfields.errors import DeclarationError
from encfields.expected_arguments import INNER_TYPE, require
from encfields.orm import internals

if TYPE_CHECKING:
    from sqlalchemy import Column

AdoptionPhase = Literal["write-both", "read-sealed", "write-sealed"]

WRITE_BOTH: AdoptionPhase = "write-both"
READ_SEALED: AdoptionPhase = "read-sealed"
WRITE_SEALED: AdoptionPhase = "write-sealed"

PHASES = (WRITE_BOTH, READ_SEALED, WRITE_SEALED)
"""In the order in which an application goes through them."""

PENDING, REFUSE = "pending", "refuse"


class Plaintext:
    """The plaintext column that an encrypted column is to replace.

    The application has one attribute for both, which is the same in every phase:

    - ``"write-both"``: both are written, the plaintext is read. May run beside the application that
      knows only the plaintext.
    - ``"read-sealed"``: both are written; the sealed value is read if the row has one, else the
      plaintext. May run beside either neighbouring phase.
    - ``"write-sealed"``: only the sealed value is written, and the plaintext set to NULL. Only
      after ``ensure_adopted``, and only beside ``"read-sealed"``.

    :param column: name of the plaintext column in the database.
    :param type_: its type if that is not the inner type: values that another library wrote are read
        through that library's type, whose Python values must be the same as the inner type's.
    :param phase: the phase of this version of the application.
    :param unsealable: what to do, as long as the plaintext is written, with a statement whose rows
        are unknown (an UPDATE of many rows, an SQL expression, an upsert by another key):
        ``"pending"`` writes the plaintext, and the next backfill seals the rows; ``"refuse"``
        raises the error that it raises from ``"write-sealed"`` on.
    :raises DeclarationError: the phase is not one of the three, or no column is named.
    """

    is_used: ClassVar[bool] = False
    """Whether this process has created one, so that statements must be searched for it."""

    def __init__(
        self,
        column: str,
        type_: TypeEngine[Any] | type[TypeEngine[Any]] | None = None,
        *,
        phase: AdoptionPhase,
        unsealable: Literal["pending", "refuse"] = "pending",
    ) -> None:
        if not isinstance(column, str) or not column:
            raise DeclarationError(
                "adopts=Plaintext(...) takes the name of the plaintext column", reason="adopts"
            )
        require("type_", INNER_TYPE.or_none, type_, DeclarationError)
        if phase not in PHASES:
            raise DeclarationError(
                f"the phase of adopts=Plaintext({column!r}, phase=...) is one of "
                f"{', '.join(map(repr, PHASES))}",
                reason="phase",
            )
        if unsealable not in (PENDING, REFUSE):
            raise DeclarationError('unsealable= is "pending" or "refuse"', reason="unsealable")
        self.column = column
        self.type = type_() if isinstance(type_, type) else type_
        self.phase = phase
        self.unsealable = unsealable
        Plaintext.is_used = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        Plaintext.is_used = True  # it was pickled, and this process may not have created one

    @property
    def carries_unsealable(self) -> bool:
        """Whether a statement whose values cannot be sealed may write only the plaintext."""
        return self.unsealable == PENDING and self.phase != WRITE_SEALED

    @property
    def cache_key(self) -> tuple[Any, ...]:
        """What distinguishes two of these in SQLAlchemy's statement cache."""
        type_ = self.type and internals.cache_key_of(self.type)
        return self.column, self.phase, self.unsealable, type_

    def __repr__(self) -> str:
        type_ = "" if self.type is None else f", {shown(self.type)}"
        rest = "" if self.unsealable == PENDING else f", unsealable={self.unsealable!r}"
        return f"Plaintext({self.column!r}{type_}, phase={self.phase!r}{rest})"


def shown(type_: TypeEngine[Any]) -> str:
    """A type as text; only the name of another library's type, since its ``repr`` may show its
    key."""
    return repr(type_) if is_sqlalchemys(type_) else f"{type(type_).__name__}(...)"


def is_sqlalchemys(type_: TypeEngine[Any]) -> bool:
    """Whether a type is SQLAlchemy's own, not the application's or another library's."""
    return type(type_).__module__.startswith("sqlalchemy.")


def adoption_of(column: Column[Any] | Any) -> Plaintext | None:
    """The adoption of an encrypted column, if any."""
    adoption: Plaintext | None = getattr(getattr(column, "type", None), "adopts", None)
    return adoption
