"""``Plaintext``: declares that an encrypted column takes over a plaintext one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sqlalchemy.types import TypeEngine

from encfields.errors import DeclarationError
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
    """The column in plaintext that an encrypted column is to take the place of.

    Both are one attribute of the application, which is the same in every phase:

    - ``"write-both"``: both are written, the plaintext is read. May run beside the application
      that knows the plaintext alone.
    - ``"read-sealed"``: both are written; the sealed value is read where the row has one, else
      the plaintext. May run beside either neighbour.
    - ``"write-sealed"``: the sealed value alone is written, and the plaintext made NULL. Only
      after ``ensure_adopted``, and beside ``"read-sealed"`` only.

    :param column: name of the plaintext column in the database.
    :param type_: its type where that is not the inner type: what another library wrote is read
        through its own, which has to give and take what the inner type does.
    :param phase: the phase that this version of the application is in.
    :param unsealable: what becomes of a statement whose rows encryption cannot tell (an UPDATE of
        many rows, an SQL expression, an upsert by another key), as long as the plaintext is
        written: ``"pending"``, it writes the plaintext, and the rows are sealed by the next
        backfill; or ``"refuse"``, as it is refused from ``"write-sealed"`` on.
    :raises DeclarationError: the phase is none of the three, or no column is named.
    """

    is_used: ClassVar[bool] = False
    """Whether this process has made one, so that statements have to be looked through for it."""

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
        Plaintext.is_used = True  # it was pickled, and this process may have made no other

    @property
    def carries_unsealable(self) -> bool:
        """Whether a statement that encryption cannot carry may write the plaintext alone."""
        return self.unsealable == PENDING and self.phase != WRITE_SEALED

    @property
    def cache_key(self) -> tuple[Any, ...]:
        """What tells two of these apart in SQLAlchemy's statement cache."""
        type_ = self.type and internals.cache_key_of(self.type)
        return self.column, self.phase, self.unsealable, type_

    def __repr__(self) -> str:
        type_ = "" if self.type is None else f", {shown(self.type)}"
        rest = "" if self.unsealable == PENDING else f", unsealable={self.unsealable!r}"
        return f"Plaintext({self.column!r}{type_}, phase={self.phase!r}{rest})"


def shown(type_: TypeEngine[Any]) -> str:
    """A type as text: of one of another library the name alone, for it may show its key."""
    return repr(type_) if is_sqlalchemys(type_) else f"{type(type_).__name__}(...)"


def is_sqlalchemys(type_: TypeEngine[Any]) -> bool:
    """Whether a type is one of SQLAlchemy's own, and not of the application or another library."""
    return type(type_).__module__.startswith("sqlalchemy.")


def adoption_of(column: Column[Any] | Any) -> Plaintext | None:
    """The adoption that an encrypted column is in, if it is in one."""
    adoption: Plaintext | None = getattr(getattr(column, "type", None), "adopts", None)
    return adoption
