"""The listeners of one engine, one for each of SQLAlchemy's events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import CompoundSelect, Insert, Update, event

from encfields.keys.sql.altered_bytes import ASYNCMY, refuse_altered_bytes
from encfields.orm import internals
from encfields.orm.adoption.expressions import with_plaintext_asked
from encfields.orm.adoption.plaintext import Plaintext
from encfields.orm.adoption.refusals import tell_of_refused_write
from encfields.orm.adoption.writes import write_plaintext_along
from encfields.orm.query.compiler_lookups import use_lookup_compiler, use_own_compiler
from encfields.orm.query.criteria_lookups import with_lookups_in_criteria
from encfields.orm.read.async_prefetch import AsyncPrefetch
from encfields.orm.read.other_column_types import tell_of_other_column_type
from encfields.orm.read.union_reads import with_bare_nulls
from encfields.orm.write.application_bindparams import type_application_bindparams
from encfields.orm.write.default_context import show_all_parameters, show_given_parameters
from encfields.orm.write.execution import WriteExecution
from encfields.orm.write.generated_keys.rehearsal import rehearsal_of
from encfields.orm.write.hidden_values import veil_written
from encfields.orm.write.hook import WriteHook
from encfields.orm.write.indexes_along import write_indexes_along
from encfields.orm.write.redaction import Redaction
from encfields.orm.write.row_update import complete_row_update
from encfields.orm.write.rows_of_defaults import store_one_row_of_defaults
from encfields.orm.write.update_by_unique_key import name_row_of_unique_key
from encfields.orm.write.update_rewording import (
    decide_values,
    with_nulls_elsewhere,
    with_row_named,
)
from encfields.orm.write.upsert_choices import mark_choices
from encfields.orm.write.upsert_set_values import bind_set_values
from encfields.orm.write.upsert_targets import columns_to_find, target_indexes
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from encfields.orm.engine_encryption import EngineEncryption


class EngineListeners:
    """Listens to the statements of one engine.

    :param engine: the engine; no reference is kept.
    :param encryption: seals, opens and looks up its values.
    :ivar hook: seals their values.
    """

    def __init__(self, engine: Engine, encryption: EngineEncryption) -> None:
        self.hook = WriteHook(encryption, engine.dialect)
        self._redaction = Redaction()
        self._is_postgresql = engine.dialect.name == "postgresql"
        self._is_asyncmy = engine.dialect.driver == ASYNCMY
        self._prefetch = AsyncPrefetch(encryption.cache.holds) if engine.dialect.is_async else None

    def put_on(self, engine: Engine) -> None:
        """Add the listeners to the engine."""
        for name, listener, changes in self.each():
            event.listen(engine, name, listener, **({"retval": True} if changes else {}))
        show_given_parameters(engine)
        use_lookup_compiler(engine.dialect)
        engine.clear_compiled_cache()  # statements compiled before would compare ciphertext

    def take_off(self, engine: Engine) -> None:
        """Undo :meth:`put_on`."""
        for name, listener, _ in self.each():
            event.remove(engine, name, listener)
        show_all_parameters(engine)
        use_own_compiler(engine.dialect)
        engine.clear_compiled_cache()

    def each(self) -> Iterator[tuple[str, Callable[..., Any], bool]]:
        """Each event's name, its listener, and whether it changes what is executed."""
        if self._is_asyncmy:
            yield "engine_connect", refuse_altered_bytes, False
        yield "before_execute", self.before_execute, True
        yield "before_cursor_execute", self.hook.before_cursor_execute, True
        if self.hook.binary is not None:
            yield "do_execute", self.hook.binary.do_execute, False
        yield "after_execute", self.hook.after_execute, False
        if self._prefetch is not None:
            yield "after_execute", self._prefetch.after_execute, False
        yield "handle_error", self._redaction.hide_unsealed_parameters, False
        yield "handle_error", tell_of_refused_write, False
        if self._is_postgresql:
            yield "handle_error", tell_of_other_column_type, False

    @leaves_no_trace
    def before_execute(
        self,
        connection: Connection,
        statement: Any,
        multiparams: Any,
        params: Any,
        execution_options: Any,
    ) -> tuple[Any, Any, Any]:
        """Complete an execution before it is compiled."""
        if isinstance(statement, CompoundSelect):
            statement = with_bare_nulls(statement)
        write = internals.insert_or_update_in(statement)
        given = None if multiparams else params
        asked = with_lookups_in_criteria(statement if write is None else write, given)
        if Plaintext.is_used and not isinstance(asked, Insert):
            asked = with_plaintext_asked(asked)
        if write is None:
            self._redaction.note_statement(connection, statement)
            return asked, multiparams, params
        if isinstance(asked, Update):
            asked = with_nulls_elsewhere(asked)
        execution = WriteExecution.of(connection, asked, multiparams, params, execution_options)
        if execution is not None:
            with internals.schemas_of(connection, execution_options):
                self._complete(execution)
            asked, multiparams, params = (
                execution.statement,
                execution.multiparams,
                execution.params,
            )
        # Only now: completing one may execute others.
        self._redaction.note_statement(connection, statement)
        if asked is not write:
            statement = internals.with_insert_or_update(statement, asked)
        return statement, multiparams, params

    def _complete(self, execution: WriteExecution) -> None:
        if isinstance(execution.statement, Update):
            decide_values(execution)
        if Plaintext.is_used:
            write_plaintext_along(execution)
        if isinstance(execution.statement, Update):
            execution.statement = with_row_named(execution)
            type_application_bindparams(execution)
            if not complete_row_update(execution):
                name_row_of_unique_key(execution)
            veil_written(execution)
            write_indexes_along(execution)
            return
        if internals.takes_all_from_parameters(execution.statement):
            if not execution.gives_all_keys():
                self.hook.keys.ask(execution)
            return
        store_one_row_of_defaults(execution)
        type_application_bindparams(execution)
        veil_written(execution)
        whole = execution.statement
        parts = []
        for part in internals.one_statement_per_conflict_clause(whole):
            execution.statement = part
            bind_set_values(execution)
            mark_choices(execution)
            write_indexes_along(execution)
            target_indexes(execution)
            parts.append(execution.statement)
        execution.statement = internals.with_all_conflict_clauses(whole, parts)
        if rehearsal_of(execution.options) is None:
            execution.to_find = columns_to_find(execution)
        self.hook.keys.ask(execution)
