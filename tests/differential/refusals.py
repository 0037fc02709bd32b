"""What the encrypted side may refuse, each with the row of the documentation that says so.

Anything else that only one side raises is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm.exc import StaleDataError

from encfields import errors
from tests.differential.access_steps import OldQuery
from tests.differential.bulk_steps import Returning, UpdateSome
from tests.differential.condition_steps import WriteBy
from tests.differential.core_steps import BulkUpdate, SetNull, UpdateRow, Upsert
from tests.differential.kin_steps import LoadNamesakes
from tests.differential.loader_steps import LoadCriteria
from tests.differential.models import Schema
from tests.differential.query_steps import Find
from tests.differential.statement_steps import Spelt, Within
from tests.differential.step import Step
from tests.differential.table_steps import UpsertMany, WriteJoined
from tests.differential.unique_steps import WriteByUnique
from tests.differential.values import NONE_IS_VALUE
from tests.differential.write_steps import OrmUpsert, UpdateSub, UpdateWhere


@dataclass(frozen=True)
class Refusal:
    """Something that is documented as refused.

    :ivar error: what it raises. :ivar where: whether that is to be expected of a step.
    :ivar documented: the sentence, of a page in ``docs/``.
    """

    error: type[Exception]
    where: Callable[[Step, Schema], bool]
    documented: str


def _uses_truncated_index(step: Step, schema: Schema) -> bool:
    if not isinstance(step, Find):
        return False
    index = schema.column(step.name).index
    return index == "truncated" or (index == "both" and step.operator == "transformed")


def _sets_part_of_compound(step: Step, schema: Schema) -> bool:
    some = UpdateRow | BulkUpdate | SetNull | Returning | WriteJoined | Within | Spelt
    some |= WriteByUnique
    if not isinstance(step, some) or not schema.compound:
        return False
    names = {step.name} if isinstance(step, SetNull) else set()
    names |= set(step.values) if not isinstance(step, SetNull | BulkUpdate) else set()
    names |= {step.by} if isinstance(step, WriteByUnique) and step.way == "moved" else set()
    names |= set(step.rows[0][2]) if isinstance(step, BulkUpdate) else set()
    return bool(names & set(schema.compound)) and not names >= set(schema.compound)


def _gives_many_rows_a_value(step: Step, schema: Schema) -> bool:
    if isinstance(step, UpdateWhere | WriteBy):
        is_delete = "delete" in step.way
    elif isinstance(step, WriteJoined):
        is_delete = step.way == "delete"
    elif isinstance(step, UpdateSome | SetNull):
        is_delete = step.delete
    elif isinstance(step, LoadCriteria | OldQuery):
        is_delete = step.way != "update"
    elif isinstance(step, UpdateSub):
        # MySQL sets a column of the parent's table too, in all rows: nothing joins the tables.
        return step.base and schema.has_two_tables
    else:
        return False
    if is_delete:
        return False
    is_value = isinstance(step, SetNull) and schema.column(step.name).kind in NONE_IS_VALUE
    return is_value or any(c.default == "update" for c in schema.columns)


def _upserts(step: Step, schema: Schema) -> bool:
    if isinstance(step, OrmUpsert):
        return bool(schema.tenant)
    return isinstance(step, Upsert) or (isinstance(step, UpsertMany) and step.how != "along")


def _upserts_a_value(step: Step, schema: Schema) -> bool:
    if not isinstance(step, UpsertMany):
        return False
    return step.how == "given" or (step.how == "keep" and bool(schema.compound))


def _compares_tenants(step: Step, schema: Schema) -> bool:
    return isinstance(step, UpsertMany) and step.how == "changed" and bool(schema.tenant)


def _returns_another_table(step: Step, schema: Schema) -> bool:
    if not schema.has_two_tables:
        return False
    if isinstance(step, WriteByUnique) and step.way == "entity" and step.sub:
        return True
    if schema.joins != "*":
        return False
    is_returned = isinstance(step, Returning) and step.entity
    return is_returned or (isinstance(step, UpdateWhere) and step.way == "entity")


def _loads_through_a_subquery(step: Step, schema: Schema) -> bool:
    # What is loaded with the namesakes of a row by a query of its own may come through them.
    return isinstance(step, LoadNamesakes) and "subquery" in (step.loader, schema.loads)


def _gives_cte_a_value(step: Step, schema: Schema) -> bool:
    if not isinstance(step, Within):
        return False
    has_default = any(c.default == "update" for c in schema.columns)
    return step.way in ("insert", "update key") or (step.way == "update" and has_default)


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        errors.AmbiguousRowError,
        _gives_many_rows_a_value,
        "`UPDATE` that does not pin the whole primary key with `=`",
    ),
    Refusal(
        errors.UnsupportedOperationError,
        _uses_truncated_index,
        "a truncated index where its extra rows could not be taken out",
    ),
    Refusal(
        errors.CiphertextCopyError,
        _sets_part_of_compound,
        "a Core UPDATE, or an upsert, of some columns of a compound index",
    ),
    Refusal(
        errors.AmbiguousRowError,
        _upserts,
        "upsert that sets an encrypted column of a row whose key may be another",
    ),
    Refusal(
        errors.CiphertextCopyError,
        _upserts_a_value,
        "upsert that sets an encrypted column to anything but its inserted value, a plain value, "
        "`null()` or `coalesce(excluded.ssn, table.ssn)`",
    ),
    Refusal(
        errors.AmbiguousRowError,
        _upserts_a_value,
        "one plain value in SET for several rows",
    ),
    Refusal(
        errors.UnsupportedOperationError,
        _compares_tenants,
        "a comparison of columns that share no index",
    ),
    Refusal(
        errors.UnboundValueError,
        _gives_cte_a_value,
        "an encrypted value in `WHERE`, in a function, in a CTE",
    ),
    Refusal(
        StaleDataError,
        lambda step, schema: bool(schema.tenant),
        "writing a value raises SQLAlchemy's `StaleDataError`",
    ),
    Refusal(
        errors.UnsupportedOperationError,
        _returns_another_table,
        "on SQLite, `RETURNING` of a column of another table than the one that is written",
    ),
    Refusal(
        errors.UnreadableError,
        _loads_through_a_subquery,
        "`subqueryload` selects the rows in a subquery without their key, and is refused",
    ),
)


def documented(error: Exception, step: Step, schema: Schema) -> bool:
    """Whether the step may be refused with this error."""
    return any(isinstance(error, r.error) and r.where(step, schema) for r in REFUSALS)
