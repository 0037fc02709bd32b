"""One program on both sides, step by step, until they disagree."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from encfields import EncFieldsError
from tests.differential.access_steps import ACCESS_STEPS
from tests.differential.account_query_steps import ACCOUNT_QUERY_STEPS
from tests.differential.account_read_steps import ACCOUNT_READ_STEPS
from tests.differential.account_steps import ACCOUNT_STEPS, AllAccounts
from tests.differential.account_write_steps import ACCOUNT_WRITE_STEPS
from tests.differential.attribute_steps import ATTRIBUTE_STEPS
from tests.differential.bulk_steps import BULK_STEPS
from tests.differential.condition_steps import CONDITION_STEPS
from tests.differential.core_steps import CORE_STEPS
from tests.differential.databases import Database, Engines
from tests.differential.instance_steps import INSTANCE_STEPS
from tests.differential.key_steps import KEY_STEPS, Audit
from tests.differential.kin_steps import KIN_STEPS
from tests.differential.leaf_steps import LEAF_STEPS, ChangeLeaves
from tests.differential.loader_steps import LOADER_STEPS
from tests.differential.models import SLOTS, Schema, draw_schema
from tests.differential.orm_steps import ORM_STEPS, Add, AddChild, Commit
from tests.differential.query_steps import QUERY_STEPS, Load
from tests.differential.refusals import documented
from tests.differential.refused_steps import REFUSED_STEPS
from tests.differential.result_steps import RESULT_STEPS
from tests.differential.stage import MYSQLS, Stage
from tests.differential.statement_steps import STATEMENT_STEPS
from tests.differential.step import Step
from tests.differential.table_steps import TABLE_STEPS
from tests.differential.tree_steps import TREE_STEPS
from tests.differential.unique_steps import UNIQUE_STEPS
from tests.differential.world import Settings, World
from tests.differential.write_steps import WRITE_STEPS

STEPS: tuple[type[Step], ...] = (
    *ORM_STEPS, *INSTANCE_STEPS, *CORE_STEPS, *BULK_STEPS, *QUERY_STEPS, *KIN_STEPS,
    *WRITE_STEPS, *RESULT_STEPS, *REFUSED_STEPS, *KEY_STEPS,
    *CONDITION_STEPS, *TABLE_STEPS, *TREE_STEPS, *ATTRIBUTE_STEPS, *LEAF_STEPS, *LOADER_STEPS,
    *STATEMENT_STEPS, *ACCESS_STEPS, *UNIQUE_STEPS,
)  # fmt: skip
OF_ACCOUNTS: tuple[type[Step], ...] = (
    *ACCOUNT_STEPS, *ACCOUNT_WRITE_STEPS, *ACCOUNT_QUERY_STEPS, *ACCOUNT_READ_STEPS,
)  # fmt: skip
SHARE = 10
"""How many seeds in a row have one schema: to make the classes and the tables takes long."""

END = (Load(0, "lazy", "c0", sub=False, limit=False), AllAccounts(0, 0, 1), Audit(0))


@dataclass(frozen=True)
class Program:
    """A schema, how sessions work, and what an application does with them."""

    schema: Schema
    settings: Settings
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Finding:
    """Where the two sides disagree."""

    step: Step
    plain: str
    encrypted: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.step}\n  plain:     {self.plain}\n  encrypted: {self.encrypted}"

    @property
    def kind(self) -> tuple[str, ...]:
        """What stays when the program becomes shorter."""
        return (type(self.step).__name__, *(s.partition(":")[0] for s in self._told))

    @property
    def _told(self) -> tuple[str, str]:
        return self.plain, self.encrypted


@dataclass(frozen=True)
class Outcome:
    """What a step gave."""

    value: Any = None
    error: Exception | None = None
    events: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if self.error is None:
            return f"gives: {self.value!r}, after {self.events}"
        return f"raises {type(self.error).__name__}: {self.error}"

    @property
    def told(self) -> str:
        """What has to agree."""
        if self.error is None:
            return repr((self.value, self.events))
        return type(self.error).__name__


def draw_program(seed: int) -> Program:
    """The program of a seed, the same every time."""
    rng = random.Random(seed)
    schema = draw_schema(random.Random(-1 - seed // SHARE))  # -s is s to it
    expires, flushes, waits, rolls = (rng.random() < p for p in (0.5, 0.7, 0.2, 0.3))
    settings = Settings(expires, flushes, waits, rolls, overlaps=rng.random() < 0.3)
    some = (*STEPS, *OF_ACCOUNTS) if schema.accounts else STEPS
    kinds = rng.choices(some, [s.weight for s in some], k=rng.randint(10, 30))
    steps = tuple(kind.draw(rng, schema, 10 * n) for n, kind in enumerate(kinds, 1))
    rows = tuple(_draw_rows(rng, schema)) if rng.random() < 0.75 else ()
    return Program(schema, settings, (*rows, *steps))


def _draw_rows(rng: random.Random, schema: Schema) -> Iterator[Step]:
    """Some rows to begin with, and what belongs to them: most steps are about rows that are there.

    Each is committed by itself, for a database may refuse it.
    """
    for number, slot in enumerate(rng.sample(range(SLOTS), rng.randint(2, SLOTS))):
        tag = 5 + 40 * number
        yield replace(Add.draw(rng, schema, tag), session=0, slot=slot)
        if rng.random() < 0.5:
            yield replace(AddChild.draw(rng, schema, tag + 2), session=0, slot=slot)
        if schema.leaves and rng.random() < 0.7:
            yield replace(ChangeLeaves.draw(rng, schema, tag), session=0, slot=slot, way="add")
        yield Commit(0)


def attempt(program: Program, database: Database) -> Finding | None:
    """Run a program on both sides.

    :returns: the first step about which they disagree.
    """
    stage = database.stage(program.schema)
    trial = partial(_attempt, program, stage, database.engines)
    return database.run(trial, asynchronous=program.settings.asynchronous)


def _attempt(program: Program, stage: Stage, ordinary: Engines, engines: Engines) -> Finding | None:
    settings = program.settings
    plain = World((stage.plain,), engines.plain, None, settings, ordinary.plain)
    encrypted = World(
        stage.phases, engines.encrypted, ordinary.encryption, settings, ordinary.encrypted
    )
    try:
        return _steps(program, plain, encrypted)
    finally:
        plain.close()
        encrypted.close()


def _steps(program: Program, plain: World, encrypted: World) -> Finding | None:
    active = 0
    # MySQL's and MariaDB's indexes are locked too, and those differ.
    overlaps = program.settings.overlaps and plain.engine.dialect.name not in MYSQLS
    for step in (*program.steps, *END):
        # A transaction ends before the other session goes on, which might wait for it otherwise.
        ended = [] if step.session == active or overlaps else [active]
        if isinstance(step, Audit):
            ended = [0, 1]  # each by itself: one may be refused after the other was committed
        active = step.session
        for part in (*map(Commit, ended), step):
            for world in (plain, encrypted):
                world.twin.step += 1
            if finding := _both(part, plain, encrypted):
                return finding
    return None


def _both(step: Step, plain: World, encrypted: World) -> Finding | None:
    """A step on both sides; on neither where it is refused for a reason that is documented."""
    ours = _outcome(step, encrypted)
    if ours.error is not None and documented(ours.error, step, plain.schema):
        _reset(step, plain, encrypted, anew=True)
        return None
    theirs = _outcome(step, plain)
    if ours.told != theirs.told and not _may_be_either(ours, theirs, plain.settings):
        error = ours.error or theirs.error
        details = "".join(traceback.format_exception(error)) if error else ""
        return Finding(step, str(theirs), str(ours), details)
    if ours.error is not None:
        _reset(step, plain, encrypted, anew=False)
    return None


def _may_be_either(ours: Outcome, theirs: Outcome, settings: Settings) -> bool:
    """Whether a row has another's value in two unique columns, one of them another session's that
    is under way: which is looked at first depends on the order of the indexes."""
    either = sa.exc.IntegrityError, sa.exc.OperationalError
    return settings.overlaps and all(isinstance(o.error, either) for o in (ours, theirs))


def _reset(step: Step, plain: World, encrypted: World, *, anew: bool) -> None:
    # What was refused was not even begun on the other side.
    for world in (plain, encrypted):
        for number in (0, 1) if isinstance(step, Audit) else (step.session,):
            world.reset(number, anew=anew)


def _outcome(step: Step, world: World) -> Outcome:
    world.take_events()
    try:
        # A copy, since a row may have a list of the step itself, which a later step changes.
        value = deepcopy(step).run(world)
        return Outcome(value, events=tuple(world.take_events()))
    except (EncFieldsError, sa.exc.SQLAlchemyError) as error:
        return Outcome(error=error)
    except Exception as error:
        # Neither side may let such a thing out; where both do, they agree.
        return Outcome(error=error)
