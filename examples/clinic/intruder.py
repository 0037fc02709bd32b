"""Whoever may write to the tables, and has no key: plain SQL on an engine that is not attached."""

from __future__ import annotations

import threading

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
        self._one_at_a_time = threading.Lock()

    def swap(self, first: int, second: int) -> None:
        """Exchange the ciphertexts of two rows."""
        with self._one_at_a_time, self._engine.begin() as connection:
            one, other = self._stored(connection, first), self._stored(connection, second)
            self._write(connection, first, one, other)
            self._write(connection, second, other, one)

    def copy(self, source: int, target: int) -> None:
        """Put one row's ciphertext into another row."""
        with self._one_at_a_time, self._engine.begin() as connection:
            before, value = self._stored(connection, target), self._stored(connection, source)
            self._write(connection, target, before, value)

    def flip(self, row: int) -> None:
        """Change one bit of a ciphertext's last byte."""
        with self._one_at_a_time, self._engine.begin() as connection:
            before = self._stored(connection, row)
            self._write(connection, row, before, before[:-1] + bytes([before[-1] ^ 1]))

    def undo(self) -> int:
        """Restore what was there before the first intrusion, as from a backup.

        :returns: how many rows.
        """
        with self._one_at_a_time, self._engine.begin() as connection:
            for row, value in self._before.items():
                connection.execute(_WRITE, {"id": row, "ssn": value})
            count = len(self._before)
            self._before.clear()
        return count

    def _stored(self, connection: Connection, row: int) -> bytes:
        value = connection.scalar(_READ, {"id": row})
        if value is None:
            raise LookupError(f"there is no patient {row}")
        return bytes(value)

    def _write(self, connection: Connection, row: int, before: bytes, value: bytes) -> None:
        self._before.setdefault(row, before)
        connection.execute(_WRITE, {"id": row, "ssn": value})
