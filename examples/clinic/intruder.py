"""Whoever may write to the tables, and has no key: plain SQL on an engine that is not attached."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

_READ = text("SELECT ssn FROM patient WHERE id = :id")
_WRITE = text("UPDATE patient SET ssn = :ssn WHERE id = :id")


class Intruder:
    """Spoils numbers of patients, and can put back what was there.

    :param engine: an engine that is not attached.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._before: dict[int, bytes] = {}

    def swap(self, first: int, second: int) -> None:
        """Exchange the ciphertexts of two rows."""
        with self._engine.begin() as connection:
            one, other = self._stored(connection, first), self._stored(connection, second)
            connection.execute(_WRITE, {"id": first, "ssn": other})
            connection.execute(_WRITE, {"id": second, "ssn": one})

    def copy(self, source: int, target: int) -> None:
        """Put one row's ciphertext into another row."""
        with self._engine.begin() as connection:
            self._stored(connection, target)
            value = self._stored(connection, source)
            connection.execute(_WRITE, {"id": target, "ssn": value})

    def flip(self, row: int) -> None:
        """Change one bit of a ciphertext's last byte."""
        with self._engine.begin() as connection:
            value = bytearray(self._stored(connection, row))
            value[-1] ^= 1
            connection.execute(_WRITE, {"id": row, "ssn": bytes(value)})

    def undo(self) -> int:
        """Restore what was there before the first intrusion, as from a backup.

        :returns: how many rows.
        """
        with self._engine.begin() as connection:
            for row, value in self._before.items():
                connection.execute(_WRITE, {"id": row, "ssn": value})
        count = len(self._before)
        self._before.clear()
        return count

    def _stored(self, connection: Connection, row: int) -> bytes:
        value = connection.scalar(_READ, {"id": row})
        if value is None:
            raise LookupError(f"there is no patient {row}")
        self._before.setdefault(row, bytes(value))
        return bytes(value)
