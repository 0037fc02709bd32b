"""The tables of both twins of a schema: made once, and emptied for each program that has it."""

from __future__ import annotations

import sqlalchemy as sa

from tests.differential.models import ROTATION, SLOTS, Schema, Twin
from tests.differential.triggers import create_triggers

MYSQLS = ("mysql", "mariadb")


class Stage:
    """Where programs of one schema run: classes, and tables without rows.

    :ivar schema: theirs. :ivar plain: the classes of the plain side. :ivar phases: those of the
        encrypted side, in each phase of the rotation of its indexes; one if there is none.
    """

    def __init__(self, schema: Schema, plain: sa.Engine, encrypted: sa.Engine) -> None:
        self.schema = schema
        self.plain = Twin(schema, encrypted=False)
        first = Twin(schema.at(0), encrypted=True)
        later = range(1, len(ROTATION)) if schema.rotates else ()
        more = [Twin(schema.at(p), encrypted=True, like=first) for p in later]
        self.phases = (first, *more)
        # While both versions of an index are in use, its table has the columns of both.
        self._tables = (self.plain, more[0] if more else first)
        self._engines = (plain, encrypted)
        self.drop()
        for twin, engine in zip(self._tables, self._engines, strict=True):
            _create(twin, engine)

    def empty(self) -> None:
        """Take the rows out again, but for those that keys refer to."""
        for twin, engine in zip(self._tables, self._engines, strict=True):
            with engine.begin() as connection:
                _empty(twin, connection)

    def drop(self) -> None:
        """Drop everything."""
        for twin, engine in zip(self._tables, self._engines, strict=True):
            twin.base.metadata.drop_all(engine)

    def close(self) -> None:
        """Drop everything, and have no more of the classes."""
        self.drop()
        for twin in (self.plain, *self.phases):
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
            connection.execute(table.delete())
    connection.exec_driver_sql(f"DELETE FROM {twin.audit.name}")
    if is_mysql:
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 1")
