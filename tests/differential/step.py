"""What a step of a program is. Its ``repr`` makes it again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tests.differential.models import SLOTS, Schema
from tests.differential.world import World


@dataclass(frozen=True)
class Step:
    """Something that an application does in one of two sessions.

    :cvar weight: how often it is drawn, against others.
    """

    session: int
    weight: ClassVar[int] = 2

    @classmethod
    def draw(cls, rng: random.Random, schema: Schema, tag: int) -> Self:
        """A random step of this kind.

        :param tag: a number that no other step has.
        """
        return cls(rng.randrange(2), **cls.draw_rest(rng, schema, tag))

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        """The other fields."""
        return {}

    def run(self, world: World) -> Any:
        """Do it.

        :returns: what the application sees of it.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class RowStep(Step):
    """A step about one row."""

    slot: int

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        return {"slot": rng.randrange(SLOTS)}


@dataclass(frozen=True)
class WholeRowStep(RowStep):
    """A step that gives a row all its values."""

    values: dict[str, Any]
    tenant: Any
    tag: int

    @classmethod
    def draw_rest(cls, rng: random.Random, schema: Schema, tag: int) -> dict[str, Any]:
        values = schema.draw_values(rng, whole=True)
        rest = {"values": values, "tenant": schema.draw_tenant(rng), "tag": tag}
        return {**super().draw_rest(rng, schema, tag), **rest}
