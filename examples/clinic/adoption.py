"""A plaintext column becomes an encrypted one, step by step, and the way back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from encfields import Encryption
from encfields.adopt import (
    Adoption,
    adopt,
    begin_adoption,
    close_plaintext,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    withdraw_adoption,
)

from .explain import NotNow
from .models import contact_in


@dataclass(frozen=True)
class Step:
    """One step: what the button says, and what is deployed when it is done.

    :ivar means: what a team does in this step.
    """

    label: str
    means: str
    phase: str


STEPS = (
    Step(
        "Begin",
        "Add the encrypted column, its blind index and a trigger; deploy “write-both”.",
        "write-both",
    ),
    Step("Seal what is there", "Backfill in batches, beside the application.", "write-both"),
    Step(
        "Read what is sealed",
        "Deploy “read-sealed”, seal what old processes wrote last, compare every value.",
        "read-sealed",
    ),
    Step(
        "Close the plaintext",
        "Deploy “write-sealed”; the plaintext is compared once more, and wiped.",
        "write-sealed",
    ),
    Step("End", "Drop the plaintext column.", "sealed"),
)


class PhoneAdoption:
    """The column ``contact.phone`` on its way.

    :ivar done: how many of :data:`STEPS` are done.
    """

    def __init__(self, engine: Engine, outsider: Engine, encryption: Encryption) -> None:
        self._engine = engine
        self._outsider = outsider
        self._encryption = encryption
        self._one_at_a_time = threading.Lock()
        self.done = 0
        self.remains: tuple[str, ...] = ()

    @property
    def phase(self) -> str:
        """Of the version of the application that is deployed now."""
        return "plaintext" if self.done == 0 else STEPS[self.done - 1].phase

    @property
    def model(self) -> Any:
        return contact_in(self.phase)

    @property
    def next(self) -> Step | None:
        return STEPS[self.done] if self.done < len(STEPS) else None

    @property
    def can_go_back(self) -> bool:
        return 0 < self.done < len(STEPS)

    def step(self, number: int) -> None:
        """Do a step, if it is the next one.

        :raises NotNow: it is not. :raises EncFieldsError: it cannot be done, and nothing of it
            was.
        """
        with self._one_at_a_time:
            if number != self.done:
                raise NotNow("That step is done already, or is not the next one.")
            self._do(number)

    def _do(self, number: int) -> None:
        work: tuple[Callable[[], object], ...] = (
            self._begin,
            self._backfill,
            self._read,
            self._close,
            self._end,
        )
        if number < len(work):
            work[number]()
            self.done += 1

    def back(self) -> None:
        """Bring the plaintext back, and drop the encrypted column.

        :raises NotNow: there is nothing to go back from.
        """
        with self._one_at_a_time:
            if not self.can_go_back:
                raise NotNow("The plaintext is there already, or the way back has ended.")
            adoption = self._adoption("read-sealed")
            if self.done >= 4:
                refill_plaintext(self._engine, self._encryption, adoption)
            withdraw_adoption(self._engine, adoption)
            self.done = 0

    def write_as_before(self) -> None:
        """An old version of the application, or a script, writes the plaintext alone."""
        with self._outsider.begin() as connection:
            connection.execute(
                text("UPDATE contact SET phone = :phone WHERE id = 1"),
                {"phone": "+1 555 0199"},
            )

    def stored(self) -> list[dict[str, Any]]:
        """The table as it lies in the database."""
        columns = "id, name"
        columns += ", phone" if self.done < len(STEPS) else ""
        columns += ", phone_enc" if self.done else ""
        with self._outsider.connect() as connection:
            rows = connection.execute(text(f"SELECT {columns} FROM contact ORDER BY id"))
            return [dict(row) for row in rows.mappings()]

    def _adoption(self, phase: str) -> Adoption:
        return Adoption.of(contact_in(phase).__table__.c.phone_enc)

    def _begin(self) -> None:
        begin_adoption(self._engine, self._adoption("write-both"))

    def _backfill(self) -> None:
        adopt(self._engine, self._encryption, self._adoption("write-both"))

    def _read(self) -> None:
        adoption = self._adoption("read-sealed")
        adopt(self._engine, self._encryption, adoption)
        ensure_adopted(self._engine, self._encryption, adoption)

    def _close(self) -> None:
        close_plaintext(self._engine, self._encryption, self._adoption("write-sealed"))

    def _end(self) -> None:
        self.remains = end_adoption(self._engine, self._adoption("write-sealed"))


def change_phone(engine: Engine, model: Any, row: int, phone: str) -> None:
    """Change a number through the version of the application that is deployed."""
    with Session(engine) as session:
        contact = session.get(model, row)
        if contact is None:
            raise LookupError(f"there is no contact {row}")
        contact.phone = phone
        session.commit()
