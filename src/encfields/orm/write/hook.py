"""Replaces each parked value with a message bound to its row.

This happens in one ``before_cursor_execute`` listener. At that point every row's final parameters
are known, including client-side defaults, and nothing has reached a driver or a log.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from encfields.codecs.base import BecomesNullError
from encfields.errors import EncFieldsError
from encfields.kept_state import PLAN
from encfields.orm import internals
from encfields.orm.declare.collisions import EngineTables
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.query.lookups import answer_lookups, refuse_empty_list
from encfields.orm.query.recheck import FilteredFetch
from encfields.orm.query.statement_elements import elements_of
from encfields.orm.read.binary_results import DRIVERS, BinaryResults
from encfields.orm.read.raw_rows import RawColumn, plan_raw_columns, put_together
from encfields.orm.read.results import open_at_once
from encfields.orm.write.generated_keys.listener import GeneratedKeys
from encfields.orm.write.generated_keys.rehearsal import (
    REHEARSAL_OPTION,
    dummy_index,
    dummy_value,
    rehearsal_of,
)
from encfields.orm.write.index_values import IndexedBind, RowIndex
from encfields.orm.write.key_spelling import StoredSpelling
from encfields.orm.write.pending import Pending, PendingIndex, exchanged
from encfields.orm.write.read_back import ReadBack, rows_to_read_back
from encfields.orm.write.sealing import (
    Ready,
    RowSealer,
    encode,
    identity_texts,
    is_parked,
    leave_indexes_empty,
    name_row,
    null_key,
    parked_in,
    refuse_unfound,
    refuse_unpinned,
    without_rows_of_null,
)
from encfields.orm.write.statement_plan import NOTHING, RAW_COPY_OPTION, StatementPlan
from encfields.orm.write.statement_planner import make_plan
from encfields.orm.write.triggered_tables import LATER, TriggeredTables
from encfields.orm.write.upsert_set_values import refuse_shared
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.engine_encryption import EngineEncryption
    from encfields.orm.write.generated_keys.rehearsal import Rehearsal


_Rows = list[tuple[Mapping[str, Any], Any]]
"""Each parameter set of an execution, as the application gave it and as the driver will get it."""

_ReadyIndex = tuple[IndexedBind, PendingIndex, RowIndex, Mapping[str, Any]]
"""A blind index that can be computed: where it goes, what is indexed, and the row's parameters."""


class WriteHook:
    """The listener of one engine.

    :param encryption: where branch keys come from.
    :param dialect: of the engine.
    :ivar keys: handles rows whose keys the database generates.
    :ivar binary: makes psycopg return encrypted cells in binary format.
    """

    def __init__(self, encryption: EngineEncryption, dialect: Dialect) -> None:
        self._encryption = encryption
        self._attachment = attachment_of(dialect)
        self.binary = BinaryResults() if dialect.driver in DRIVERS else None
        self._sealer = RowSealer(encryption)
        self._plans: weakref.WeakKeyDictionary[Any, StatementPlan] = weakref.WeakKeyDictionary()
        self._raw: weakref.WeakKeyDictionary[Any, Sequence[RawColumn]] = weakref.WeakKeyDictionary()
        self._tables = EngineTables()
        self._read_back = ReadBack()
        self.keys = GeneratedKeys(self.before_cursor_execute)
        self._triggered = TriggeredTables(self.keys.mysql.side.note)

    @leaves_no_trace
    def before_cursor_execute(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> tuple[str, Any]:
        """SQLAlchemy's event; returns the statement and what the driver gets."""
        plan = NOTHING if context.compiled is None else self._plan_of(context, connection)
        vars(context)[PLAN] = plan
        sent = statement, parameters
        if plan is not NOTHING:
            sent = self._sealed(plan, connection, statement, parameters, context, executemany)
        else:
            if context.compiled is None or context.is_text or context.isddl:
                self._triggered.note(statement)
                if self.binary is not None:
                    self.binary.note_change(statement)
            if self.keys.given:
                sent = self.keys.wording(context, statement), parameters
        if connection.dialect.name == "mysql":
            # Only now: fetching the keys depends on what was written before.
            self.keys.mysql.side.note(connection, statement)
        return sent

    def _plan_of(self, context: Any, connection: Connection) -> StatementPlan:
        compiled = context.compiled
        plan = self._plans.get(compiled)
        if plan is None:
            plan = make_plan(compiled, connection.dialect)
            with internals.schemas_of(connection, context.execution_options):
                if hasattr(compiled, "bind_names") and not compiled.isplaintext:
                    self._tables.meet(elements_of(compiled), connection)
                if raw := plan_raw_columns(compiled, connection):
                    self._raw[compiled] = raw
            self._plans[compiled] = plan
        return plan

    def _sealed(
        self,
        plan: StatementPlan,
        connection: Connection,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> tuple[str, Any]:
        if plan.may_refuse:
            self._refuse_execution(plan, context)
        rows = parameters if executemany and isinstance(parameters, list) else [parameters]
        first = _first_pending(rows)
        if first is None and not plan.may_be_generated:
            return statement, parameters  # also for a look-up, whose type has hashed the value
        options = context.execution_options
        rehearsal = rehearsal_of(options) if REHEARSAL_OPTION in options else None
        if first is not None and not first.done:
            with internals.schemas_of(connection, options):
                self._prepare(plan, connection, context, rehearsal)
        # A rehearsal also has no value: it is undone, in a savepoint of its own.
        if rehearsal is not None:
            statement = rehearsal.reword(statement)
        elif self.keys.given or self.keys.under_way:
            statement = self.keys.wording(context, statement)
        if first is None:
            return statement, parameters
        sent = list(map(exchanged, rows))
        return statement, sent if rows is parameters else sent[0]

    def _prepare(
        self, plan: StatementPlan, connection: Connection, context: Any, rehearsal: Rehearsal | None
    ) -> None:
        """Fetch what the rows of the execution need."""
        is_rehearsal = rehearsal is not None
        awaited = self.keys.awaited(context) if plan.may_be_generated else None
        if awaited is not None:
            self._require_keys(plan, context)
            self.keys.learn(connection, context, awaited)
        elif plan.hits_unfound is not None and not is_rehearsal:
            refuse_unfound(plan, context)
        if plan.lookups:
            answer_lookups(plan.by_token, self._encryption, context, connection.dialect)
        if plan.unpinned:
            refuse_unpinned(plan, context)
        if plan.set_values and internals.shares_statement(context):
            raise refuse_shared(plan.set_values[0].binding)
        spelling = StoredSpelling(plan, connection, context) if plan.looks_up_spelling else None
        rows = list(internals.parameter_rows(context))
        if plan.of_no_row_if_null:
            rows = without_rows_of_null(plan, rows)
        if plan.without_values:
            leave_indexes_empty(rows)
        elif plan.indexed:
            finds_rows = rehearsal is None or rehearsal.finds_rows
            self._index_rows(plan, connection, rows, spelling, is_rehearsal=not finds_rows)
        if plan.sealed:
            self._seal_rows(plan, connection, context, rows, spelling, is_rehearsal=is_rehearsal)

    def _refuse_execution(self, plan: StatementPlan, context: Any) -> None:
        if plan.shared_lookups:
            refuse_empty_list(plan.shared_lookups, context)
        if plan.refusal is not None and not (
            plan.raw_copy_allowed and context.execution_options.get(RAW_COPY_OPTION)
        ):
            raise plan.refusal()
        for check in plan.unchanged:
            for values, _ in internals.parameter_rows(context):
                if not check.holds(values):
                    raise check.refusal()

    def _index_rows(
        self,
        plan: StatementPlan,
        connection: Connection,
        rows: _Rows,
        spelling: StoredSpelling | None,
        *,
        is_rehearsal: bool,
    ) -> None:
        """Compute the blind indexes of every row of the execution."""
        binds = plan.indexed_in_order
        ready: list[_ReadyIndex] = []
        for values, given in rows:
            for bind, pending in parked_in(binds, values, given, PendingIndex):
                if pending.value is None:
                    raise bind.not_ours()
                if is_rehearsal:
                    pending.settle(_dummy_index(bind, values))
                    continue
                try:
                    row = bind.of_row(values, pending.value, connection.dialect)
                except EncFieldsError as error:
                    name_row(error, plan, bind, values)
                    raise
                if spelling is not None and bind.key and row.normalised is not None:
                    row = _as_spelt(row, plan, bind, values, spelling)
                ready.append((bind, pending, row, values))
        if len(ready) > 1:
            self._fetch_beacons(ready)
        for bind, pending, row, values in ready:
            try:
                pending.settle(bind.value(self._encryption, row))
            except EncFieldsError as error:
                name_row(error, plan, bind, values)
                raise

    def _fetch_beacons(self, ready: list[_ReadyIndex]) -> None:
        """Fetch the beacon keys of rows of many tenants in one query."""
        templated = [(bind, row) for bind, _, row, _ in ready if bind.key and row.normalised]
        if key_ids := {row.key_id for _, row in templated}:
            try:
                self._encryption.require_beacons(key_ids)
            except EncFieldsError as error:
                index = templated[0][0].index
                error.table, error.column = index.table, index.column_name
                raise

    def _seal_rows(
        self,
        plan: StatementPlan,
        connection: Connection,
        context: Any,
        rows: _Rows,
        spelling: StoredSpelling | None,
        *,
        is_rehearsal: bool,
    ) -> None:
        """Seal every parked value of every row of the execution."""
        binds = plan.sealed_in_order
        ready: list[Ready] = []
        is_uncounted = plan.may_skip and self.keys.is_uncounted(context)
        is_told, keys = self._to_read_back(
            plan, connection, is_rehearsal=is_rehearsal, is_uncounted=is_uncounted
        )
        for values, given in rows:
            for bind, pending in parked_in(binds, values, given, Pending):
                texts = identity_texts(bind, values)
                try:
                    plaintext = encode(bind.binding, texts, pending.value, connection)
                except BecomesNullError:
                    pending.settle(None)
                    continue
                if is_rehearsal:
                    pending.settle(dummy_value(bind.binding, texts, plaintext))
                    continue
                if None in texts:
                    if self.keys.is_skipped(context, bind.binding, texts):
                        pending.settle(dummy_value(bind.binding, texts, plaintext))
                        continue
                    raise null_key(bind, texts, plan)
                known = cast("list[str]", texts)
                if spelling is not None:
                    known = spelling.of(bind, values, known)
                ready.append((bind.binding, pending, known, plaintext))
                if keys is not None:
                    keys.append([values[part.bind] for part in bind.identity if part])
        if ready:
            self._sealer.seal_all(ready)
        if keys:
            self._read_back.note(
                context,
                rows_to_read_back(ready, keys, context.compiled),
                count=len(context.compiled_parameters) * internals.values_count(context.compiled),
                may_match_none=(plan.may_skip or not plan.may_be_generated) and not is_uncounted,
                is_required=is_told,
            )

    def _to_read_back(
        self, plan: StatementPlan, connection: Connection, *, is_rehearsal: bool, is_uncounted: bool
    ) -> tuple[bool | None, list[list[Any]] | None]:
        """Whether triggers may change rows' keys, and a list to record the rows to check.

        :param is_uncounted: nobody tells whether all rows were written.
        :returns: for the first, ``None`` if the database is queried only after the write.
        :raises UnknownIdentityError: they may, and this role cannot check.
        """
        if is_rehearsal or plan.table is None:
            return False, None
        if plan.hits_unseen is not None:
            if internals.is_autocommit(connection):
                raise plan.hits_unseen()
            return True, []
        if plan.may_cut or is_uncounted:
            return True, []
        is_told = self._triggered.may_move_before(
            connection, plan.table, plan.read_back, plan.kinds
        )
        if is_told is LATER:
            return None, []
        return bool(is_told), None if is_told is None else []

    def _require_keys(self, plan: StatementPlan, context: Any) -> None:
        """Fetch the branch keys before taking locks that creating one would wait for."""
        if any(bind.binding.key.columns for bind in plan.sealed):
            rows = context.compiled_parameters
        else:
            rows = context.compiled_parameters[:1]
        first_with_key: dict[str, ColumnBinding] = {}
        for values in rows:
            for bind in plan.sealed:
                texts = identity_texts(bind, values)
                if is_parked(bind, values) and bind.binding.knows_key(texts):
                    known = [text or "" for text in texts]
                    first_with_key.setdefault(bind.binding.key_id(known), bind.binding)
        self._sealer.require_active(first_with_key)

    @leaves_no_trace
    def after_execute(
        self,
        connection: Connection,
        statement: Any,
        multiparams: Any,
        params: Any,
        execution_options: Any,
        result: Any,
    ) -> None:
        """SQLAlchemy's event: check that rows have the keys they were sealed for; set up the result
        to open cells as they are fetched and drop rows that do not match."""
        context = getattr(result, "context", None)  # the value of a default has none
        if context is None:
            return
        plan = vars(context).get(PLAN, NOTHING)
        if plan.is_write and (self.keys.under_way or self._read_back.due):
            with internals.schemas_of(connection, execution_options):
                self._check_written(plan, connection, context, result)
        if self.binary is not None:
            self.binary.note(connection, context, result)
        processors = internals.result_processors(result)
        if self._raw and any(processors) and (raw := self._raw.get(context.compiled)):
            put_together(result, raw, connection)
        if any(processors):
            open_at_once(result, processors, self._attachment)
        if plan.filters:
            fetch, stats = result.cursor_strategy, self._encryption.stats
            result.cursor_strategy = FilteredFetch(fetch, plan.filters, context, stats)

    def _check_written(
        self, plan: StatementPlan, connection: Connection, context: Any, result: Any
    ) -> None:
        """Check that rows have the keys they were sealed for."""
        internals.fetch_streamed(result)
        table = cast("Table", plan.table)
        ask = cache(lambda: self._triggered.may_move(connection, table, plan.read_back, plan.kinds))
        seen = self.keys.check(connection, context, result, ask) if plan.may_be_generated else ()
        if plan.sealed:
            self._read_back.check(
                connection,
                context,
                result,
                seen,
                ask,
                lambda: plan.may_cut or self._triggered.may_cut(connection, table),
            )


def _first_pending(rows: Sequence[Any]) -> Pending | None:
    """The first parked value among parameter sets."""
    for row in rows:
        for value in row.values() if isinstance(row, dict) else row or ():
            if isinstance(value, Pending):
                return value
    return None


def _as_spelt(
    row: RowIndex,
    plan: StatementPlan,
    bind: IndexedBind,
    values: Mapping[str, Any],
    spelling: StoredSpelling,
) -> RowIndex:
    """What to index of a row, under its key as the database spells it."""
    value = next(plan.by_bind[source] for source in bind.sources if source)
    texts = cast("list[str]", identity_texts(value, values))
    return row.under(value.binding.key_id(spelling.of(value, values, texts)))


def _dummy_index(bind: IndexedBind, values: Mapping[str, Any]) -> bytes | None:
    """A placeholder for the blind index in a rehearsed INSERT."""
    if bind.is_null(values):
        return None
    return dummy_index(bind.index.definition.stored_bytes)
