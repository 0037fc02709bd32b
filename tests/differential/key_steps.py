"""Steps of whoever looks after the keys: nothing that the application sees may change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from encfields.bulk.reencryption import Options, Reencryption
from encfields.bulk.rows.spec import TableSpec
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
    """Every branch key gets a new version."""

    def run(self, world: World) -> Any:
        audit = super().run(world)
        if world.encryption is not None:
            for key_id in sorted({key.id for key in world.encryption.keys.list()}):
                world.encryption.keys.rotate(key_id)
        return audit


@dataclass(frozen=True)
class Reencrypt(Audit):
    """Every value is moved to the newest version of its key; triggers see that."""

    def run(self, world: World) -> Any:
        audit = super().run(world)
        if world.encryption is not None:
            classes = {world.twin.item, world.twin.sub, world.twin.child}
            for table in sorted({c.__table__ for c in classes}, key=lambda t: t.name):
                if table.name.endswith("_sub") and not _has_encrypted(world):
                    continue
                spec = TableSpec.from_table(table)
                options = Options(duty_cycle=1, batch_rows=2)
                Reencryption(world.bulk_engine, world.encryption, spec, options=options).run()
            super().run(world)
        return audit


def _has_encrypted(world: World) -> bool:
    return world.schema.inherits == "joined"


KEY_STEPS = (Audit, Rotate, Reencrypt)
