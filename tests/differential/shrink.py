"""Make a failing program short, and a script of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.differential.accounts import KEYS, AccountShape
from tests.differential.databases import Database
from tests.differential.trial import Finding, Program, attempt

PLAINER: tuple[dict[str, Any], ...] = (
    {"tenant": ""}, {"inherits": ""}, {"compound": ()}, {"versioned": ""}, {"renamed": False},
    {"eager": False}, {"key": "integer"}, {"kin": ""}, {"extras": ()}, {"joins": ""},
    {"rotates": False}, {"leaves": ""}, {"loads": ""}, {"accounts": None},
    {"accounts": AccountShape()},
    *({"accounts": AccountShape(key=key)} for key in KEYS), {"accounts": AccountShape(tenant=True)},
)  # fmt: skip
"""What a schema may do without."""

SCRIPT = """\
# {finding}
import datetime
from decimal import Decimal
from uuid import UUID

from tests.differential.access_steps import *
from tests.differential.account_query_steps import *
from tests.differential.account_read_steps import *
from tests.differential.account_steps import *
from tests.differential.account_write_steps import *
from tests.differential.accounts import *
from tests.differential.attribute_steps import *
from tests.differential.bulk_steps import *
from tests.differential.condition_steps import *
from tests.differential.core_steps import *
from tests.differential.databases import Database
from tests.differential.instance_steps import *
from tests.differential.key_steps import *
from tests.differential.kin_steps import *
from tests.differential.leaf_steps import *
from tests.differential.loader_steps import *
from tests.differential.models import Column, Schema
from tests.differential.orm_steps import *
from tests.differential.query_steps import *
from tests.differential.refused_steps import *
from tests.differential.result_steps import *
from tests.differential.statement_steps import *
from tests.differential.table_steps import *
from tests.differential.tree_steps import *
from tests.differential.trial import Program, attempt
from tests.differential.unique_steps import *
from tests.differential.values import Colour
from tests.differential.world import Settings
from tests.differential.write_steps import *

print(attempt(Program(
    {schema},
    {settings},
    (
{steps}
    ),
), Database({url!r})))
"""


def shrink(program: Program, finding: Finding, database: Database) -> tuple[Program, Finding]:
    """Drop steps, then columns and settings, while the same kind of finding is left."""
    size = max(1, len(program.steps) // 2)
    while size:
        start = 0
        while start < len(program.steps):
            steps = program.steps[:start] + program.steps[start + size :]
            shorter = replace(program, steps=steps)
            again = attempt(shorter, database)
            if again is not None and again.kind == finding.kind:
                program, finding = shorter, again
            else:
                start += size
        size //= 2
    for plainer in PLAINER:
        simpler = replace(program, schema=replace(program.schema, **plainer))
        if simpler.schema == program.schema or not simpler.schema.is_possible:
            continue
        again = attempt(simpler, database)
        if again is not None and again.kind == finding.kind:
            program, finding = simpler, again
    return program, finding


def script(program: Program, finding: Finding, database: Database) -> str:
    """A script that shows the finding."""
    return SCRIPT.format(
        finding=str(finding).replace("\n", "\n# "),
        schema=program.schema,
        settings=program.settings,
        steps="\n".join(f"        {step}," for step in program.steps),
        url=database.url.render_as_string(hide_password=False),
    )
