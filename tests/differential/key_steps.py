"""Steps of whoever looks after the keys: nothing that the application sees may change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from encfields.bulk.reencryption import Options, Reencryption
from encfields.bulk.rows.spec import TableSpec
from encfields.orm.declare.columns import bindings_of
from tests.differential.step import Step
from tests.differential.world import World


@dataclass(frozen=True)
class Audit(Step):
    """Both sessions are committed; the triggers' rows are read and thrown away."""

    weight = 1

    def run(self, world: World) -> Any:
        for session, nested in zip(world.sessions, world.nested, strict=True):
            session.commit()
            nested.clear()
        with world.engine.begin() as connection:
            rows = connection.execute(sa.select(world.twin.audit)).all()
            connection.execute(world.twin.audit.delete())
        return sorted(Counter(tuple(r) for r in rows).items())


@dataclass(frozen=True)
class Rotate(Audit):
    """Two branch keys get a new version."""

    def run(self, world: World) -> Any:
        audit = super().run(world)
        if world.encryption is not None:
            key = f"tenant/{world.some_tenant}" if world.schema.tenant else None
            for key_id in filter(None, ("default", key)):
                world.encryption.keys.rotate(key_id)
        return audit


@dataclass(frozen=True)
class Reencrypt(Audit):
    """Every value is moved to the newest version of its key; triggers see that."""

    def run(self, world: World) -> Any:
        audit = super().run(world)
        if world.encryption is not None:
            for table in world.twin.base.metadata.sorted_tables:
                if not bindings_of(table) or not _has_rows(world, table):
                    continue
                spec = TableSpec.from_table(table)
                options = Options(duty_cycle=1, batch_rows=2)
                Reencryption(world.bulk_engine, world.encryption, spec, options=options).run()
            super().run(world)
        world.take_events()  # this side's second look had some
        return audit


def _has_rows(world: World, table: sa.Table) -> bool:
    with world.bulk_engine.connect() as connection:
        return bool(
            connection.scalar(sa.select(sa.select(sa.text("1")).select_from(table).exists()))
        )


@dataclass(frozen=True)
class NextVersion(Reencrypt):
    """The next phase of the rotation of the indexes: old rows are indexed anew before the last."""

    weight = 3

    def run(self, world: World) -> Any:
        is_between = world.phase == 1
        audit = super().run(world) if is_between else Audit.run(self, world)
        world.deploy()
        world.take_events()
        return audit


KEY_STEPS = (Audit, Rotate, Reencrypt, NextVersion)
