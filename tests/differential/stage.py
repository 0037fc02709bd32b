"""The tables of both twins of a schema: made once, and emptied for each program that has it."""

from __future__ import annotations

import sqlalchemy as sa

from tests.differential.models import SLOTS, Schema, Twin, twins
from tests.differential.triggers import create_triggers

MYSQLS = ("mysql", "mariadb")


class Stage:
    """Where programs of one schema run: classes, and tables without rows.

    :ivar schema: theirs. :ivar twins: both sides, the plain one first.
    """

    def __init__(self, schema: Schema, plain: sa.Engine, encrypted: sa.Engine) -> None:
        self.schema = schema
        pair = twins(schema)
        self.twins: tuple[Twin, Twin] = (pair.plain, pair.encrypted)
        self._engines = (plain, encrypted)
        self.drop()
        for twin, engine in zip(self.twins, self._engines, strict=True):
            _create(twin, engine)

    def empty(self) -> None:
        """Take the rows out again, but for those that keys refer to."""
        for twin, engine in zip(self.twins, self._engines, strict=True):
            with engine.begin() as connection:
                _empty(twin, connection)

    def drop(self) -> None:
        """Drop everything."""
        for twin, engine in zip(self.twins, self._engines, strict=True):
            twin.base.metadata.drop_all(engine)

    def close(self) -> None:
        """Drop everything, and have no more of the classes."""
        self.drop()
        for twin in self.twins:
            twin.base.registry.dispose()


def _create(twin: Twin, engine: sa.Engine) -> None:
    metadata = twin.base.metadata
    with engine.begin() as connection:
        metadata.create_all(connection)
        create_triggers(connection, twin.item.__tablename__, twin.audit.name)
        if (owner := metadata.tables.get(f"{twin.prefix}_owner")) is not None:
            connection.execute(owner.insert(), [{"id": n} for n in range(1, SLOTS + 3)])


def _empty(twin: Twin, connection: sa.Connection) -> None:
    is_mysql = connection.dialect.name in MYSQLS
    if is_mysql:
        # InnoDB checks a table's references to itself row by row.
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
    for table in reversed(twin.base.metadata.sorted_tables):
        if not table.name.endswith("_owner") and table is not twin.audit:
            connection.exec_driver_sql(f"DELETE FROM {table.name}")
    connection.exec_driver_sql(f"DELETE FROM {twin.audit.name}")
    if is_mysql:
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 1")
