"""What the database holds of an encrypted column."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text


def assert_sealed(bind: Engine | Connection, table: str, column: str, *values: str) -> None:
    """Fail unless the column holds messages, as many as there are `values`, and none of these.

    :param values: the plaintexts, as they would be found in the bytes.
    """
    statement = text(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")
    if isinstance(bind, Connection):
        cells = bind.scalars(statement).all()
    else:
        with bind.connect() as connection:
            cells = connection.scalars(statement).all()
    assert len(cells) == len(values)
    for cell in map(bytes, cells):
        assert cell.startswith(b"\x02\x04\x78")  # an AWS Encryption SDK message, format 2
        assert not any(value.encode() in cell for value in values)
