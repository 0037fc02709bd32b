"""A column's bytes, read and written by SQL that nothing of ours takes part in."""

from __future__ import annotations

from sqlalchemy import Engine, text


def stored(engine: Engine, place: str, key: int) -> bytes:
    """The bytes of ``table.column`` in the row of that primary key."""
    table, _, column = place.partition(".")
    with engine.connect() as connection:
        query = text(f"SELECT {column} FROM {table} WHERE id = :id")
        return bytes(connection.execute(query, {"id": key}).scalar_one())


def store(engine: Engine, place: str, key: int, message: bytes) -> None:
    """Put bytes there."""
    table, _, column = place.partition(".")
    with engine.begin() as connection:
        query = text(f"UPDATE {table} SET {column} = :message WHERE id = :id")
        connection.execute(query, {"message": message, "id": key})
