"""Plans a statement: which binds are encrypted, and which are their row's key.

This happens once per *compiled* statement, so SQLAlchemy's statement cache keeps working and an
execution only follows the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.sql.selectable import TableClause

from encfields.databases import MYSQL_NAMES
from encfields.errors import AmbiguousRowError, BindingError, EncFieldsError, UnboundValueError
from encfields.orm import internals
from encfields.orm.adoption.plaintext import adoption_of
from encfields.orm.declare.columns import WITH_ITS_KEY, SealedColumnType, bindings_of, is_encrypted
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.internals import Assigned
from encfields.orm.query.lookup_plan import plan_lookups
from encfields.orm.query.recheck_plan import plan_filters
from encfields.orm.query.refused_usage import refuse_usage
from encfields.orm.write.application_bindparams import refuse_shared_binds
from encfields.orm.write.index_values import (
    WRITTEN_BY_US,
    IndexedBind,
    is_null_expression,
    refuse_alias,
    refused,
)
from encfields.orm.write.indexes_along import refuse_half_upsert
from encfields.orm.write.row_planner import COPIED_ROWS, RowPlanner
from encfields.orm.write.statement_plan import NOTHING, Refusal, SealedBind, StatementPlan
from encfields.orm.write.upsert import refuse_upsert

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


def make_plan(compiled: Any, dialect: Dialect) -> StatementPlan:
    """Work out the plan of one compiled statement."""
    plan = _plan(compiled, dialect)
    if plan is not NOTHING:
        plan.sealed_in_order = _in_driver_order(plan.sealed, compiled)
        plan.indexed_in_order = _in_driver_order(plan.indexed, compiled)
    return plan


_Bind = TypeVar("_Bind", SealedBind, IndexedBind)


def _in_driver_order(planned: Sequence[_Bind], compiled: Any) -> list[tuple[_Bind, str]]:
    names = internals.positional_names(compiled)
    if names is None:
        return [(bind, internals.driver_name(compiled, bind.bind)) for bind in planned]
    by_bind = {bind.bind: bind for bind in planned}
    return [(by_bind[name], name) for name in names if name in by_bind]


def _plan(compiled: Any, dialect: Dialect) -> StatementPlan:
    if not hasattr(compiled, "bind_names"):
        made_of = internals.compiler_of_select(compiled)
        if made_of is not None:
            refuse_usage(made_of)
        return NOTHING
    if compiled.isplaintext:
        return _refuse_stray_binds(compiled, NOTHING)
    try:
        refuse_usage(compiled)
        plan = _plan_dml(compiled, dialect) if internals.is_dml(compiled) else NOTHING
        if not plan.indexed and internals.has_defaults_of(compiled, IndexColumnType):
            plan = replace(plan, without_values=True)  # an INSERT in a CTE
        return _refuse_stray_binds(compiled, _with_lookups(compiled, dialect, plan))
    except BindingError as error:
        return StatementPlan(
            refusal=_raise_again(error),
            raw_copy_allowed=error.reason == COPIED_ROWS,
            without_values=error.reason == COPIED_ROWS and bool(compiled.isinsert),
        )


def _with_lookups(compiled: Any, dialect: Dialect, plan: StatementPlan) -> StatementPlan:
    statement = internals.compiled_statement(compiled)
    lookups = plan_lookups(compiled, dialect)
    if not lookups:
        return plan
    filters = plan_filters(lookups, compiled, statement, dialect)
    return replace(plan, lookups=lookups, filters=filters)


def _raise_again(error: EncFieldsError) -> Refusal:
    """Raise a copy: an exception raised twice would collect tracebacks."""
    cls, message, table = type(error), error.message, error.table
    column, reason = error.column, error.reason
    return lambda: cls(message, table=table, column=column, reason=reason)


def _refuse_stray_binds(compiled: Any, plan: StatementPlan) -> StatementPlan:
    """Refuse encrypted binds that the plan does not cover."""
    for name, types in internals.types_by_bind_name(compiled).items():
        if name not in plan.by_bind and any(isinstance(t, SealedColumnType) for t in types):
            if plan.refusal is None:
                plan = StatementPlan(sealed=plan.sealed, refusal=_unbound_in(compiled))
            return plan
    return plan


_SEVERAL_TABLES = (
    "a multi-table UPDATE cannot say which row an encrypted value belongs to: "
    "update each table by its own primary key"
)


def _unbound_in(compiled: Any) -> Refusal:
    """Why a statement with an encrypted value outside any row is refused."""
    for column in internals.updated_by_default(compiled):
        if is_encrypted(column) and column.table is not internals.dml_statement(compiled).table:
            return partial(
                AmbiguousRowError,
                f"{_SEVERAL_TABLES}. The column's onupdate= sets a value too",
                table=column.table.name,
                column=column.key,
                reason="multi-table",
            )
    return _unbound


def _unbound() -> EncFieldsError:
    return UnboundValueError(
        "an encrypted value is used where no row is known (in WHERE, a function, a CTE or a "
        "text() statement); it can only be assigned to its column by INSERT or UPDATE",
        reason="unbound",
    )


# -- INSERT and UPDATE -------------------------------------------------------------------------


def _plan_dml(compiled: Any, dialect: Dialect) -> StatementPlan:
    statement = internals.dml_statement(compiled)
    table = statement.table
    rows = internals.assignments(compiled)
    _refuse_foreign_columns(rows)
    if not isinstance(table, Table):
        refuse_alias(table, rows)
        _refuse_keyless(table, rows)
        return NOTHING
    bindings = bindings_of(table)
    if not bindings:
        return NOTHING
    maker = RowPlanner(compiled, dialect, statement, table, bindings)
    hits_unseen = hits_unfound = None
    for part in internals.one_statement_per_conflict_clause(statement):
        unseen, unfound = refuse_upsert(part, rows, bindings, dialect)
        hits_unseen, hits_unfound = unseen or hits_unseen, unfound or hits_unfound
        refuse_half_upsert(part, table)
    if internals.has_select_source(statement):
        maker.refuse_select_source()
        return StatementPlan(without_values=True, table=table)
    # Indexes first: no option lifts their refusals.
    indexed = tuple(bind for row in rows for bind in maker.indexed_binds(row))
    sealed = tuple(bind for row in rows for bind in maker.sealed_binds(row))
    set_values = maker.set_values(rows[0])
    refuse_shared_binds(sealed + set_values.sealed)
    return StatementPlan(
        sealed=sealed + set_values.sealed,
        indexed=indexed + set_values.indexed,
        set_values=set_values.sealed,
        unchanged=tuple(maker.unchanged(rows[0])) if maker.is_update else set_values.keys,
        looks_up_spelling=maker.is_update and maker.spelling_matters(rows[0]),
        may_be_generated=not maker.is_update,
        kinds=(False, True) if internals.upsert_values(statement) else (maker.is_update,),
        may_skip=not maker.is_update and internals.may_skip_rows(statement),
        may_cut=dialect.name in MYSQL_NAMES and internals.has_prefixes(statement),
        hits_unseen=hits_unseen,
        hits_unfound=hits_unfound,
        table=table,
    )


def _refuse_foreign_columns(rows: list[dict[Any, Assigned]]) -> None:
    """Refuse values for encrypted columns of other tables. ``NULL`` is for any row."""
    for row in rows:
        emptied: list[Any] = []
        for target, assigned in row.items():
            if isinstance(target, str):
                continue
            of_index = isinstance(getattr(target, "type", None), IndexColumnType)
            if not of_index and not is_encrypted(target):
                continue
            is_known = isinstance(target.table, Table) and adoption_of(target) is None
            if not is_known or not is_null_expression(assigned):
                raise AmbiguousRowError(
                    _SEVERAL_TABLES,
                    table=str(getattr(target.table, "name", "")) or None,
                    column=target.key,
                    reason="multi-table",
                )
            emptied.append(target)
        if emptied:
            _refuse_half_emptied(emptied)


def _refuse_half_emptied(emptied: list[Any]) -> None:
    """Refuse to empty a column of another table without its blind index, or the reverse."""
    hashes = set(map(hash, emptied))
    for table in dict.fromkeys(column.table for column in emptied):
        for index in indexes_of(table):
            with_value = any(hash(source.column) in hashes for source in index.sources)
            if (hash(index.index_column) in hashes) != with_value:
                raise refused(index, WRITTEN_BY_US)


def _refuse_keyless(table: Any, rows: list[dict[Any, Assigned]]) -> None:
    """Refuse ``table("t", column("ssn", EncryptedType()))``, as migrations like to write it."""
    for column in table.c if isinstance(table, TableClause) else ():
        if is_encrypted(column) and any(column.key in row for row in rows):
            raise UnboundValueError(
                f"table() and column() do not tell the row's key: {WITH_ITS_KEY}",
                table=table.name,
                column=column.name,
                reason="no-key",
            )
