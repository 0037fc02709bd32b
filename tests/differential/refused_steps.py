"""Steps that ciphertext can never answer: they are refused, and never answered wrongly."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from encfields.errors import BindingError
from tests.differential.models import Schema
from tests.differential.step import Step
from tests.differential.world import World

REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "min": lambda item, c: sa.select(sa.func.min(c)),
    "max of group": lambda item, c: sa.select(item.tag, sa.func.max(c)).group_by(item.tag),
    "coalesce": lambda item, c: sa.select(sa.func.coalesce(c, None)),
    "case": lambda item, c: sa.select(sa.case((item.tag > 1, c), else_=None)),
    "order by": lambda item, c: sa.select(item).order_by(c),
    "order by label": lambda item, c: sa.select(c.label("x")).order_by("x"),
    "order by place": lambda item, c: sa.select(c, item.tag).order_by(sa.text("1")),
    "window": lambda item, c: sa.select(sa.func.row_number().over(order_by=c)),
    "partition": lambda item, c: sa.select(sa.func.count().over(partition_by=c)),
    "group by": lambda item, c: sa.select(sa.func.count()).group_by(c),
    "distinct": lambda item, c: sa.select(c).distinct(),
    "count distinct": lambda item, c: sa.select(sa.func.count(sa.distinct(c))),
    "union": lambda item, c: sa.union(sa.select(c), sa.select(c)),
    "cast": lambda item, c: sa.select(sa.cast(c, sa.String(50))),
    "less": lambda item, c: sa.select(item).where(c < c),
    "concat": lambda item, c: sa.select(c + c),
    "like": lambda item, c: sa.select(item).where(c.like("a%")),
    "having": lambda item, c: sa.select(item.tag).group_by(item.tag).having(sa.func.max(c) == c),
    "alias order": lambda item, c: sa.select(aliased(item)).order_by(getattr(aliased(item), c.key)),
    "subquery order": lambda item, c: (lambda s: sa.select(s.c.value).order_by(s.c.value))(
        sa.select(item.tag, c.label("value")).subquery()
    ),
    "aggregate in subquery": lambda item, c: (lambda s: sa.select(sa.func.max(s.c.value)))(
        sa.select(item.tag, c.label("value")).subquery()
    ),
    # The column may be that of a joined subclass's own table, which an INSERT of the class lacks.
    "insert from select": lambda item, c: (
        lambda stored: sa.insert(stored.table).from_select(
            [stored.key], sa.select(c).where(item.tag < 0)
        )
    )(item.__mapper__.get_property(c.key).columns[0]),
    "copy": lambda item, c: sa.update(item).values({c.key: c}),
    "copy of another": lambda item, c: sa.update(item).values({c.key: item.tag}),
    "literal": lambda item, c: sa.update(item).values({c.key: sa.literal("x")}),
}


@dataclass(frozen=True)
class Refused(Step):
    """Something that is refused whatever the rows are."""

    name: str
    what: str

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {"name": rng.choice(schema.columns).name, "what": rng.choice(tuple(REFUSED))}

    def run(self, world: World) -> Any:
        item, session = world.twin.item, world.sessions[self.session]
        session.execute(sa.select(item.tag))  # has both sides flush
        if not world.twin.encrypted or not hasattr(item, self.name):
            world.take_events()
            return "refused"
        try:
            statement = REFUSED[self.what](item, getattr(item, self.name))
            answered: Any = session.execute(statement)
        except BindingError:
            world.take_events()
            return "refused"
        return answered.all() if answered.returns_rows else answered.rowcount


REFUSED_STEPS = (Refused,)
