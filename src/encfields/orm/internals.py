"""The one place that knows private names of SQLAlchemy.

Were one of them to vanish, ``tests/house/test_sqlalchemy_privates.py`` would fail, and statements
with ``AttributeError`` or with a value left unsealed, which is refused: none would go through in
plaintext. Which class has each name that is read::

    sqlalchemy.engine.base.Connection               _has_events _is_autocommit_isolation
    sqlalchemy.engine.base.Connection               _rollback_to_savepoint_impl
    sqlalchemy.engine.base.NestedTransaction        _savepoint
    sqlalchemy.engine.base.RootTransaction          _connection_rollback_impl
    sqlalchemy.engine.base.OptionEngine             _proxied
    sqlalchemy.engine.cursor.CursorResult           _metadata
    sqlalchemy.engine.cursor.CursorResultMetaData   _processors
    sqlalchemy.engine.default.DefaultExecutionContext  _expanded_parameters
    sqlalchemy.dialects.sqlite.base.SQLiteDialect   _json_deserializer _json_serializer
    sqlalchemy.connectors.asyncio.AsyncAdapt_dbapi_cursor  _cursor _rows
    sqlalchemy.pool.base.Pool                       _creator
    sqlalchemy.schema.CheckConstraint               _create_rule _type_bound
    sqlalchemy.schema.Column                        _copy _label _annotate _annotations
    sqlalchemy.schema.Constraint                    _column_flag
    sqlalchemy.schema.Table                         _autoincrement_column
    sqlalchemy.sql.compiler.SQLCompiler             _result_columns
    sqlalchemy.sql.dml.Insert                       _multi_values _post_values_clause _prefixes
    sqlalchemy.sql.dml.Insert                       _propagate_attrs _return_defaults _values
    sqlalchemy.sql.dml.Insert                       _return_defaults_columns _select_names
    sqlalchemy.sql.dml.Insert                       _compile_state_factory _generate _returning
    sqlalchemy.sql.dml.InsertDMLState               _has_multi_parameters
    sqlalchemy.sql.dml.DMLState                     _dict_parameters _multi_parameters
    sqlalchemy.sql.dml.Update                       _ordered_values (2.0)
    sqlalchemy.sql.elements.BindParameter           _clone _cloned_set
    sqlalchemy.sql.elements.ColumnElement           _from_objects
    sqlalchemy.sql.lambdas.LambdaElement            _rec _resolved
    sqlalchemy.sql.selectable.Select                _distinct _distinct_on _fetch_clause _hints
    sqlalchemy.sql.selectable.Select                _group_by_clauses _having_criteria
    sqlalchemy.sql.selectable.Select                _independent_ctes _limit_clause _offset_clause
    sqlalchemy.sql.selectable.Select                _order_by_clauses _statement_hints _suffixes
    sqlalchemy.sql.selectable.Select                _where_criteria
    sqlalchemy.sql.selectable.SelectState           _get_display_froms
    sqlalchemy.orm.bulk_persistence                 _BulkUDCompileState (2.1)
    sqlalchemy.orm.bulk_persistence._BulkUDCompileState  _get_orm_crud_kv_pairs (2.1)
    sqlalchemy.orm.bulk_persistence.BulkUDCompileState   _get_orm_crud_kv_pairs (2.0)
    sqlalchemy.sql.sqltypes                         _AbstractInterval _Binary
    sqlalchemy.types.TypeEngine                     _type_affinity _variant_mapping

Written, on copies of statements, and on columns and connections of ours, never on what the
application made::

    sqlalchemy.engine.base.Connection               _transaction
    sqlalchemy.schema.Column                        _omit_from_statements
    sqlalchemy.schema.Table                         _use_schema_map
    sqlalchemy.sql.dml.Insert                       _multi_values _post_values_clause _values
    sqlalchemy.sql.dml.Insert                       _return_defaults _return_defaults_columns
    sqlalchemy.sql.dml.Insert                       _select_names _sort_by_parameter_order
    sqlalchemy.sql.dml.Update                       _ordered_values (2.0)
    sqlalchemy.sql.selectable.Select                _order_by_clauses _where_criteria

Overridden by classes of ours, which call what they override::

    sqlalchemy.sql.base.SchemaEventTarget           _set_parent
    sqlalchemy.sql.elements.BinaryExpression        _negate
    sqlalchemy.sql.elements.BindParameter           _gen_cache_key
    sqlalchemy.sql.elements.ColumnElement           _from_objects
    sqlalchemy.types.TypeEngine                     _static_cache_key
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import getclosurevars
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    BINARY,
    VARBINARY,
    CheckConstraint,
    Column,
    Connection,
    LargeBinary,
    Table,
    update,
)
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import ExecuteStyle
from sqlalchemy.sql.base import SchemaEventTarget
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseElement,
    ClauseList,
    ColumnElement,
    conv,
)
from sqlalchemy.sql.lambdas import LambdaElement
from sqlalchemy.sql.selectable import Alias, Select
from sqlalchemy.sql.sqltypes import _AbstractInterval, _Binary
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import immutabledict

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect, Engine

UNTRANSLATED = immutabledict({"schema_translate_map": None})
"""Execution options of statements of ours that name their schema themselves.

The application may execute under one ``schema_translate_map`` and then under another, which
SQLAlchemy refuses for one and the same statement.
"""

MULTI_VALUES_SUFFIX = "_m"
"""How SQLAlchemy names the binds of ``values([{...}, {...}])``: ``name_m0``, ``name_m1``."""


@dataclass(frozen=True, slots=True)
class BoundValue:
    """A column is assigned the bind of this name."""

    bind: str


@dataclass(frozen=True, slots=True)
class Expression:
    """A column is assigned something else than a bind."""

    element: Any


Assigned = BoundValue | Expression


def is_dml(compiled: Any) -> bool:
    """Whether the statement itself (not a CTE in it) is an INSERT or UPDATE."""
    return bool(compiled.isinsert or compiled.isupdate)


def has_written(compiled: Any) -> bool:
    """Whether a statement writes, or a CTE of it does."""
    ctes = compiled.ctes or ()
    return is_dml(compiled) or compiled.isdelete or any(cte.element.is_dml for cte in ctes)


def dml_statement(compiled: Any) -> Insert | Update:
    """The INSERT or UPDATE as SQLAlchemy compiled it, the ORM's rewriting included."""
    statement: Insert | Update = compiled.compile_state.statement
    return statement


def _dml_state(compiled: Any) -> Any:
    """What SQLAlchemy works out of an INSERT or UPDATE before it compiles it."""
    state = compiled.compile_state
    if hasattr(state, "_dict_parameters"):
        return state
    # select(Model).from_statement(insert(...).returning(...)) keeps the state of its own only.
    statement = state.statement
    return statement._compile_state_factory(statement, compiled)


def compiled_statement(compiled: Any) -> Any:
    """The statement as SQLAlchemy compiled it, the ORM's rewriting included."""
    state = getattr(compiled, "compile_state", None)
    statement = getattr(state, "statement", None)
    return compiled.statement if statement is None else statement


def has_select_source(statement: Insert | Update) -> bool:
    """Whether it is an INSERT .. SELECT."""
    return isinstance(statement, Insert) and statement.select is not None


def select_source_names(statement: Any) -> list[str]:
    """Keys of the columns that an INSERT .. SELECT fills."""
    return [getattr(name, "key", name) for name in statement._select_names or ()]


def is_bare_select(select: Select[Any]) -> bool:
    """Whether a SELECT gives rows of what it reads as they are, and has no SQL beside its clauses.

    No grouping, no CTE, and no prefix, suffix or hint, which may hold anything.
    """
    beside = (
        select._group_by_clauses,
        select._having_criteria,
        select._independent_ctes,
        select._prefixes,
        select._suffixes,
        select._hints,
        select._statement_hints,
    )
    return not any(beside)


def where_criteria(statement: Any) -> tuple[ColumnElement[Any], ...]:
    """The criteria of a SELECT, UPDATE or DELETE, joined by AND; none for what has no WHERE."""
    criteria: tuple[ColumnElement[Any], ...] = getattr(statement, "_where_criteria", ())
    return criteria


def with_criteria_rewritten(statement: Any, rewrite: Callable[[Any], Any]) -> Any:
    """The same SELECT, UPDATE or DELETE with each criterion of its WHERE rewritten.

    :param rewrite: gives a criterion, or another one in its place.
    :returns: `statement` itself if no criterion is another.
    """
    criteria = where_criteria(statement)
    rewritten = tuple(rewrite(one) for one in criteria)
    if all(new is old for new, old in zip(rewritten, criteria, strict=True)):
        return statement
    changed = statement._generate()
    changed._where_criteria = rewritten
    return changed


def array_items(element: Any) -> tuple[Any, ...] | None:
    """The items of PostgreSQL's ``array([...])``; ``None`` for any other expression."""
    return tuple(element.clauses) if getattr(element, "__visit_name__", "") == "array" else None


def having_criteria(select: Select[Any]) -> tuple[ColumnElement[Any], ...]:
    """The criteria of a SELECT's HAVING, joined by AND."""
    return select._having_criteria


def group_by_clauses(select: Any) -> tuple[Any, ...]:
    """What a SELECT groups by, the columns of a model in the place of the model."""
    given = select._group_by_clauses
    return tuple(part for one in given for part in (one.clauses if is_model(one) else (one,)))


def is_model(clause: Any) -> bool:
    """Whether it is what ``group_by(Model)`` made: a list of the model's columns."""
    return type(clause) is ClauseList


def select_parts(select: Select[Any]) -> Iterator[Any]:
    """What a SELECT consists of, the columns of a model that it groups by among them."""
    grouped = {id(clause) for clause in select._group_by_clauses}
    yield from (part for part in select.get_children() if id(part) not in grouped)
    yield from group_by_clauses(select)


def order_by_clauses(select: Any) -> tuple[Any, ...]:
    """What a SELECT, or a UNION and its like, is sorted by."""
    return tuple(select._order_by_clauses)


def is_distinct(select: Select[Any]) -> bool:
    """Whether it is a SELECT DISTINCT, of either kind."""
    return bool(select._distinct)


def distinct_on_clauses(select: Select[Any]) -> tuple[Any, ...]:
    """What a SELECT DISTINCT ON is distinct by."""
    return tuple(select._distinct_on)


def is_label_reference(element: Any) -> bool:
    """Whether it is SQLAlchemy's wrapper of what ORDER BY or GROUP BY names.

    Its ``element`` is an expression, or the name of a selected column.
    """
    return getattr(element, "__visit_name__", "") in _LABEL_REFERENCES


_LABEL_REFERENCES = ("label_reference", "textual_label_reference")


def stands_for_its_parts(element: Any) -> bool:
    """Whether it is no use of what it holds: judged by where it stands, or an upsert's SET."""
    return getattr(element, "__visit_name__", "") in (*_LABEL_REFERENCES, *_UPSERTS)


_UPSERTS = ("on_conflict_do_update", "on_conflict_do_nothing", "on_duplicate_key_update")


def post_values_clause(statement: Any) -> Any:
    """ON CONFLICT or ON DUPLICATE KEY clause of an INSERT, or ``None``."""
    return getattr(statement, "_post_values_clause", None)


def has_prefixes(statement: Any) -> bool:
    """Whether words such as OR IGNORE were put behind INSERT."""
    return bool(statement._prefixes)


def may_skip_rows(statement: Any) -> bool:
    """Whether an INSERT may leave a row out, or change another one in its stead."""
    return post_values_clause(statement) is not None or has_prefixes(statement)


def assignments(compiled: Any) -> list[dict[Any, Assigned]]:
    """What each column of the statement's table is assigned, one dictionary per VALUES row.

    Keys are the columns' keys; for a column of another table (MySQL's multi-table UPDATE) the
    column itself.
    """
    state = _dml_state(compiled)
    if compiled.isinsert and state._has_multi_parameters:
        rows = [
            _stated(compiled, row, f"{MULTI_VALUES_SUFFIX}{index}")
            for index, row in enumerate(state._multi_parameters)
        ]
    else:
        rows = [_stated(compiled, state._dict_parameters or {}, "")]
        for key in compiled.column_keys or ():
            rows[0].setdefault(key, BoundValue(key))
    _add_defaults(compiled, rows)
    return rows


def _stated(compiled: Any, values: Mapping[Any, Any], suffix: str) -> dict[Any, Assigned]:
    table = compiled.compile_state.statement.table
    stated: dict[Any, Assigned] = {}
    for target, value in values.items():
        key = getattr(target, "key", target)
        owner = getattr(target, "table", None)
        foreign = owner is not None and not same_table(owner, table)
        name = f"{key}{suffix}"
        stated[target if foreign else key] = _assigned(compiled, value, name)
    return stated


def same_table(owner: Any, table: Any) -> bool:
    """Whether two tables are one, or the ORM's annotated copies of it."""
    return hash(owner) == hash(table)


def _assigned(compiled: Any, value: Any, default_name: str) -> Assigned:
    if isinstance(value, BindParameter):
        name = compiled.bind_names.get(value)
        if name is None:
            name = default_name if value.unique else bind_name(compiled, value)
        return BoundValue(name) if name in compiled.binds else Expression(value)
    if isinstance(value, ColumnElement) or hasattr(value, "__clause_element__"):
        return Expression(value)
    if hasattr(value, "get_children"):
        return Expression(value)
    return BoundValue(default_name)


def is_expression(value: Any) -> bool:
    """Whether it is an SQL expression, an attribute of the ORM among them, and no plain value."""
    return isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")


def _add_defaults(compiled: Any, rows: list[dict[Any, Assigned]]) -> None:
    """Python-side defaults: SQLAlchemy binds them under the column's own name."""
    for column in (*compiled.insert_prefetch, *compiled.update_prefetch):
        original = getattr(column, "original", column)
        index = column.index + 1 if original is not column else 0
        rows[index][original.key] = BoundValue(column.key)


def row_of_default(column: Any) -> int:
    """Number of the row of ``values([{...}, {...}])`` that a default is asked for."""
    return column.index + 1 if getattr(column, "original", column) is not column else 0


def bind_name(compiled: Any, parameter: BindParameter[Any]) -> str | None:
    """The name under which a bind of the statement is executed."""
    name: str | None = compiled.bind_names.get(parameter)
    if name is None and parameter.key in compiled.binds:
        # A copy of it is there, and executed under another name where it was given none.
        name = compiled.bind_names.get(compiled.binds[parameter.key], parameter.key)
    return name


def name_of_copy(compiled: Any, parameter: BindParameter[Any]) -> str | None:
    """The name of a bind of an upsert's SET, which MySQL's compiler copies."""
    for bind, name in compiled.bind_names.items():
        if any(one is parameter for one in clones_of(bind)):
            return str(name)
    return bind_name(compiled, parameter)


def shares_statement(context: Any) -> bool:
    """Whether several parameter sets become one INSERT, whose SET has one value for all."""
    return (
        context.execute_style is ExecuteStyle.INSERTMANYVALUES
        and len(context.compiled_parameters) > 1
    )


def rendered_bind_names(compiled: Any) -> frozenset[str]:
    """Binds that are rendered into the text of each execution (``literal_execute=True``): an
    execution does not tell their values."""
    return frozenset(compiled.bind_names[bind] for bind in compiled.literal_execute_params)


def types_by_bind_name(compiled: Any) -> dict[str, list[Any]]:
    """Every type under which each bind name occurs in the statement."""
    types: dict[str, list[Any]] = {}
    for parameter, name in compiled.bind_names.items():
        types.setdefault(name, []).append(parameter.type)
    return types


def variant_of(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """The type that ``with_variant()`` puts in the place of `type_` on this dialect."""
    return type_._variant_mapping.get(dialect.name, type_)


def parameter_rows(context: Any) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Each parameter set as the application gave it, and as the driver will get it."""
    return zip(context.compiled_parameters, context.parameters, strict=True)


def bound_values(context: Any, name: str) -> list[Any]:
    """The value of a bind, or the values of one that was given a list, in a single execution."""
    values = context.compiled_parameters[0]
    if name in values:
        return [values[name]]
    return [values[each] for each in context._expanded_parameters.get(name, ())]


def driver_name(compiled: Any, name: str) -> str:
    """A bind's key in a driver's parameter dictionary."""
    escaped: str = compiled.escaped_bind_names.get(name, name)
    return escaped


def positional_names(compiled: Any) -> Sequence[str] | None:
    """Bind names in a driver's positional order, or ``None`` for named parameters."""
    names: Sequence[str] | None = compiled.positiontup
    return names if compiled.positional else None


def is_autocommit(connection: Any) -> bool:
    """Whether each statement of the connection is a transaction of its own."""
    return bool(connection._is_autocommit_isolation())


def unobserved(connection: Any) -> Any:
    """A connection in the same transaction, whose statements no listener of the engine sees."""
    own: Any = Connection(
        connection.engine,
        connection=connection.connection,
        _has_events=False,
    )
    translated = connection.get_execution_options().get("schema_translate_map")
    if translated is not None:
        own.execution_options(schema_translate_map=translated)
    # With none, an error would have it roll back all that the application's own has done.
    own._transaction = connection.get_transaction()
    return own


def take_back(connection: Any) -> None:
    """Roll back what a connection's innermost savepoint, or else its transaction, holds.

    A transaction is then as after a failed COMMIT: nothing more can be executed, let alone
    committed, before the application has rolled it back itself.
    """
    nested = connection.get_nested_transaction()
    if nested is not None:
        connection._rollback_to_savepoint_impl(nested._savepoint)
        return
    transaction = connection.get_transaction()
    transaction._connection_rollback_impl()
    transaction.is_active = False


def in_sqlite_transaction(connection: Any) -> bool:
    """Whether the driver's connection to SQLite has begun a transaction."""
    driver = connection.connection.driver_connection
    return bool(getattr(driver, "in_transaction", True))


def autoincrement_column(table: Any) -> Column[Any] | None:
    """The column whose values the database generates, if the table has one."""
    column: Column[Any] | None = table._autoincrement_column
    return column


def is_multi_values(compiled: Any) -> bool:
    """Whether the statement is an INSERT with several rows in its VALUES clause."""
    return bool(getattr(_dml_state(compiled), "_has_multi_parameters", False))


def values_count(compiled: Any) -> int:
    """How many rows one set of parameters is of: more than one if VALUES has several."""
    return len(_dml_state(compiled)._multi_parameters) if is_multi_values(compiled) else 1


def stated_keys(statement: Insert | Update) -> set[str]:
    """Keys of the columns that the statement itself gives values."""
    names: set[Any] = set(statement._values or ())
    for group in statement._multi_values or ():
        for row in group:
            names.update(row)
    return {str(getattr(name, "key", name)) for name in names}


def multi_value_rows(statement: Insert) -> list[dict[Any, Any]] | None:
    """The rows of ``values([...])``, or ``None`` where the statement has not that form."""
    if not statement._multi_values:
        return None
    rows: list[Any] = [row for group in statement._multi_values for row in group]
    return rows if all(isinstance(row, dict) for row in rows) else None


def with_multi_value_rows(statement: Insert, rows: list[dict[Any, Any]]) -> Insert:
    """The same INSERT with other rows; the given statement is left as it is."""
    copied: Insert = statement._generate()
    copied._multi_values = (rows,)
    return copied


def old_value_bind(column: Any) -> str:
    """Name of the bind that the ORM compares a row's key to in its UPDATE by primary key."""
    return str(column._label)


def stale_data(table: Table, expected: int) -> Exception:
    """The error that the ORM raises where an UPDATE matches fewer rows than it wrote."""
    from sqlalchemy.orm.exc import StaleDataError

    return StaleDataError(
        f"UPDATE statement on table '{table.description}' expected to update {expected} row(s), "
        "and the identity of one or more has changed since it was loaded"
    )


def is_carried(element: Any) -> bool:
    """Whether an encrypted column is read with its row's key, to be sealed anew as it is."""
    return bool(getattr(element.type, "carries_row_key", False))


def entity_of(element: Any) -> Any:
    """The mapper, or the aliased class, that the ORM has a table or column for; or ``None``."""
    annotations: Mapping[str, Any] = getattr(element, "_annotations", {})
    return annotations.get("parententity")


def written_table(statement: Any) -> Any:
    """The table that an INSERT or UPDATE writes to.

    The ORM executes an INSERT or UPDATE of many rows of a joined subclass once for each of its
    tables, and notes which on the statement. An UPDATE of a class that is queried together with its
    subclasses (``with_polymorphic="*"``) names the join of all their tables, until it is compiled.
    """
    for noted in ("_emit_update_table", "_emit_insert_table"):
        if noted in statement._annotations:
            return statement._annotations[noted]
    if isinstance(statement, Update):
        entity = entity_of(statement.table)
        if getattr(entity, "is_mapper", False):
            return entity.local_table
    return statement.table


def has_loaded_change(state: Any, key: str) -> bool:
    """Whether an ORM attribute was set since it was loaded."""
    return key in state.committed_state


# -- the column of a blind index ---------------------------------------------------------------


class CompanionColumn(Column[Any]):
    """A column that no mapper maps, and that is selected only by name, from aliases too.

    SQLAlchemy has the like of it in ``insert_sentinel(omit_from_statements=True)``.
    """

    inherit_cache = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Columns of aliases are made from this class as well, without the option.
        self._omit_from_statements = True

    @property
    def default(self) -> Any:
        """What fills it: no default of the application's, so it stays where those are taken away,
        as libraries do that keep a table's history in a copy of it."""
        return vars(self).get("default")

    @default.setter
    def default(self, given: Any) -> None:
        if given is not None or "default" not in vars(self):
            vars(self)["default"] = given


def check_of_type(
    condition: ColumnElement[bool], name: str, has_check: Callable[[Any], bool]
) -> CheckConstraint:
    """A CHECK that a column's type brings along, as Boolean and Enum do; its table gets it.

    SQLAlchemy copies it with the type, and Alembic does not write it beside the type.

    :param name: its name, which no naming convention changes.
    :param has_check: whether it is emitted, by the DDL compiler.
    """
    return CheckConstraint(condition, name=conv(name), _create_rule=has_check, _type_bound=True)


class OwnBind(BindParameter[Any]):
    """A bind of a class of ours, which SQLAlchemy's statement cache takes for one of its own."""

    inherit_cache = True

    def _gen_cache_key(self, *args: Any) -> Any:
        key: Any = super()._gen_cache_key(*args)  # type: ignore[no-untyped-call]
        return key and tuple(BindParameter if part is type(self) else part for part in key)


def copy_of_bind(bind: BindParameter[Any]) -> BindParameter[Any]:
    """The same bind once more, which may hold another value."""
    return bind._clone(maintain_key=True)


def retyped_bind(
    bind: BindParameter[Any], type_: TypeEngine[Any], *, rename: bool
) -> BindParameter[Any]:
    """A bind of another type, which SQLAlchemy's statement cache gives the same value.

    :param rename: give it a name of its own, where its name was not chosen by the application.
    """
    copied: BindParameter[Any] = bind._clone(maintain_key=not rename)
    copied.type = type_
    # Of all that share the cached statement, some may be asked by a callable.
    if copied.callable is None and not copied.required:
        value = copied.value
        copied.callable = lambda: value
    return copied


def same_value_bind(
    bind: BindParameter[Any], type_: TypeEngine[Any], compiler: Any
) -> BindParameter[Any]:
    """Another bind of the value that the application gives under a name of its own choice.

    A compiled statement has one type for each name; it asks for values by the bind's key, which
    the two have in common.
    """
    copied = copy_of_bind(bind)
    copied.type = type_
    taken = set(compiler.bind_names.values())
    number = next(n for n in range(len(taken) + 1) if f"{bind.key}__plain_{n}" not in taken)
    compiler.bind_names[copied] = f"{bind.key}__plain_{number}"
    return copied


def clones_of(bind: BindParameter[Any]) -> set[BindParameter[Any]]:
    """A bind and those that it was copied from, which it keeps."""
    return {one for one in bind._cloned_set if isinstance(one, BindParameter)}


def annotated_like(column: ColumnElement[Any], other: Any) -> ColumnElement[Any]:
    """A column that the ORM takes for one of the same entity as `other`.

    Without it, a SELECT of the column would lose what the ORM adds for the entity: the condition
    of single-table inheritance, and ``with_loader_criteria()``.
    """
    annotations = getattr(other, "_annotations", None)
    return column._annotate(dict(annotations)) if annotations else column


def top_level_from(select: Select[Any]) -> tuple[Any, ...]:
    """What a SELECT selects from, its joins included.

    ``get_final_froms()`` compiles the SELECT to find out, for a dialect that knows nothing of what
    only PostgreSQL can say, and raises.
    """
    compiler = SQLCompiler(DefaultDialect(), None)
    return tuple(select._compile_state_factory(select, compiler)._get_display_froms())


def has_row_limit(select: Any) -> bool:
    """Whether a SELECT returns some of its rows only."""
    limits = (select._limit_clause, select._offset_clause, select._fetch_clause)
    return any(limit is not None for limit in limits)


def result_position(
    compiled: Any, is_wanted: Callable[[Any], bool]
) -> tuple[int, TypeEngine[Any]] | None:
    """Where a statement delivers an encrypted column, and the type that opens the cell.

    :param is_wanted: whether it is the column, given what SQLAlchemy takes for it.
    """
    for position, entry in enumerate(compiled._result_columns):
        delivered = getattr(entry.type, "delivers_row_key", False)
        if delivered and any(is_wanted(part) for part in entry.objects):
            return position, entry.type
    return None


def update_values(statement: Any) -> list[tuple[Any, Any]]:
    """What an UPDATE's own values() or ordered_values() assign."""
    ordered = getattr(statement, "_ordered_values", None)  # SQLAlchemy 2.0
    return list(ordered) if ordered else list((statement._values or {}).items())


def with_update_values(statement: Update, added: Mapping[Column[Any], Any]) -> Update:
    """The same UPDATE with more assignments; the given statement is left as it is."""
    ordered = getattr(statement, "_ordered_values", None)  # SQLAlchemy 2.0
    wanted = update_values(update(statement.table).values(dict(added)))
    copied: Any = statement._generate()
    if ordered:
        copied._ordered_values = [*ordered, *wanted]
    else:
        # A lambda's statement has an ordinary dictionary, which values() cannot add to.
        copied._values = immutabledict({**(copied._values or {}), **dict(wanted)})
    return cast("Update", copied)


def with_replaced_values(
    statement: Update, replaced: Column[Any], added: Mapping[Column[Any], Any]
) -> Update:
    """The same UPDATE without what it assigns to `replaced`, and with other assignments."""
    ordered = getattr(statement, "_ordered_values", None)  # SQLAlchemy 2.0
    copied: Any = statement._generate()
    kept = [
        (target, value)
        for target, value in update_values(statement)
        if replaced.key not in _by_key(statement, [(target, value)])
    ]
    if ordered:
        copied._ordered_values = kept
    else:
        copied._values = immutabledict(dict(kept))
    return with_update_values(copied, added)


def with_select_name(statement: Insert, name: str, other: str) -> Insert:
    """The same INSERT .. SELECT, which fills another column in the place of one."""
    copied: Any = statement._generate()
    names = select_source_names(statement)
    copied._select_names = [other if one == name else one for one in names]
    return cast("Insert", copied)


def with_order_by(select: Any, clauses: tuple[Any, ...]) -> Any:
    """The same SELECT, sorted by something else."""
    changed = select._generate()
    changed._order_by_clauses = clauses
    return changed


def write_in(statement: Any) -> Any:
    """The INSERT or UPDATE that a statement is, or that its lambda or its ``from_statement()``
    holds; ``None`` where there is none."""
    if isinstance(statement, Insert | Update):
        return statement
    if isinstance(statement, LambdaElement):
        is_write = isinstance(statement._rec.expected_expr, Insert | Update)
        return statement._resolved if is_write else None
    if getattr(statement, "__visit_name__", "") == "orm_from_statement":
        return statement.element if isinstance(statement.element, Insert | Update) else None
    return None


def with_write(statement: Any, write: Any) -> Any:
    """The same statement with another INSERT or UPDATE; the given one is left as it is."""
    if isinstance(statement, Insert | Update | LambdaElement):
        return write
    copied = statement._generate()
    copied.element = write
    return copied


def update_values_by_key(statement: Update) -> dict[str, Any]:
    """The same by key of the table's column, whatever attribute of the ORM stands for it."""
    return _by_key(statement, update_values(statement))


def _by_key(statement: Update, values: Any) -> dict[str, Any]:
    table: Any = written_table(statement)
    mapper = getattr(statement._propagate_attrs.get("plugin_subject"), "mapper", None)
    if mapper is not None:
        from sqlalchemy.orm import bulk_persistence

        persistence: Any = bulk_persistence
        try:
            state = persistence._BulkUDCompileState
        except AttributeError:  # SQLAlchemy 2.0
            state = persistence.BulkUDCompileState
        values = state._get_orm_crud_kv_pairs(mapper, statement, values, False)
    by_key: dict[str, Any] = {}
    for target, value in values:
        owner = getattr(target, "table", None)
        if owner is None or same_table(owner, table):
            by_key[str(getattr(target, "key", target))] = value
    return by_key


def upsert_values(statement: Any) -> list[tuple[str, Any]]:
    """What an upsert's SET assigns, by key as it was given; nothing for any other statement."""
    clause = post_values_clause(statement)
    given = getattr(clause, "update_values_to_set", None) or getattr(clause, "update", None) or ()
    pairs = given.items() if isinstance(given, Mapping) else given
    return [(_key_in_set(target), value) for target, value in pairs]


def _key_in_set(target: Any) -> str:
    """The key of a column, which an attribute of the ORM may have another name than."""
    column = target.__clause_element__() if hasattr(target, "__clause_element__") else target
    return str(getattr(column, "key", column))


def conflict_elements(statement: Any) -> list[Any]:
    """What an upsert's conflict target names, as it was given: names and columns."""
    clause = post_values_clause(statement)
    return list(getattr(clause, "inferred_target_elements", None) or ())


def with_conflict_elements(statement: Any, elements: list[Any]) -> Insert:
    """The same upsert with another conflict target; the given statement is left as it is."""
    changed: Any = statement._post_values_clause._clone()
    changed.inferred_target_elements = elements
    copied: Any = statement._generate()
    copied._post_values_clause = changed
    return cast("Insert", copied)


def with_upsert_values(statement: Insert, added: list[tuple[str, Any]]) -> Insert:
    """The same upsert with more in its SET; the given statement is left as it is."""
    return _with_set(statement, lambda given: [*given, *added])


def with_changed_upsert_values(statement: Insert, change: Callable[[str, Any], Any]) -> Insert:
    """The same upsert whose SET has what `change` makes of each key, as given, and value."""
    return _with_set(
        statement,
        lambda given: [(key, change(_key_in_set(key), value)) for key, value in given],
    )


def _with_set(statement: Any, change: Callable[[list[Any]], list[Any]]) -> Insert:
    clause: Any = statement._post_values_clause
    name = "update_values_to_set" if hasattr(clause, "update_values_to_set") else "update"
    given = getattr(clause, name)
    changed: Any = clause._clone()
    is_mapping = isinstance(given, Mapping)
    pairs = change(list(given.items()) if is_mapping else list(given))
    setattr(changed, name, dict(pairs) if is_mapping else pairs)
    copied: Any = statement._generate()
    copied._post_values_clause = changed
    return cast("Insert", copied)


def sibling_in(value: Any, key: str) -> Any:
    """Another column of the alias that a column is of; ``None`` for what is of none."""
    source = getattr(value, "table", None)
    return source.c.get(key) if isinstance(source, Alias) else None


def has_defaults_of(compiled: Any, type_: type[Any]) -> bool:
    """Whether columns of a type are inserted with their Python-side default, in a CTE for one."""
    return any(isinstance(column.type, type_) for column in compiled.insert_prefetch)


def leave_schema(table: Table) -> None:
    """Have no ``schema_translate_map`` apply to a table."""
    table._use_schema_map = False


def is_column_flag(rule: Any) -> bool:
    """Whether a constraint or index stems from a column's ``unique=True`` or ``index=True``."""
    return bool(rule._column_flag)


def discard_rule(table: Table, rule: Any) -> None:
    """Take a constraint or index off its table."""
    table.constraints.discard(rule)
    table.indexes.discard(rule)


def of_one_kind(one: TypeEngine[Any], other: TypeEngine[Any]) -> bool:
    """Whether a database compares two columns of these types as either compares with itself."""
    collations = getattr(one, "collation", None), getattr(other, "collation", None)
    return one._type_affinity is other._type_affinity and collations[0] == collations[1]


def holds_bytes(column: Column[Any]) -> bool:
    """Whether a column, as reflected for instance, holds bytes."""
    return isinstance(column.type, LargeBinary | BINARY | VARBINARY)


# -- an INSERT whose keys the database generates -----------------------------------------------


def insert_values_by_key(statement: Insert) -> dict[str, Any]:
    """What an INSERT's own ``values()`` assigns, by key of the table's column."""
    return row_by_key(statement, statement._values or {})


def takes_all_from_parameters(statement: Insert) -> bool:
    """Whether an INSERT assigns nothing itself, and names its parameters by keys of columns."""
    own = statement._values, statement._multi_values, statement._select_names
    is_more = statement.select is not None or statement._post_values_clause is not None
    return not (any(own) or is_more or statement._propagate_attrs)


_PLAIN_NAMES = frozenset({str})


def row_by_key(statement: Insert, row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of an INSERT, by key of the table's column, whatever attribute of the ORM is named."""
    mapper = getattr(statement._propagate_attrs.get("plugin_subject"), "mapper", None)
    if mapper is None:
        if set(map(type, row)) <= _PLAIN_NAMES:
            return dict(row)  # as a flush gives each of its many rows
        return {str(getattr(name, "key", name)): value for name, value in row.items()}
    by_key: dict[str, Any] = {}
    for name, value in row.items():
        columns = mapper.columns if isinstance(name, str) else {}
        column = columns.get(name) if name in columns else name
        by_key[str(getattr(column, "key", column))] = value
    return by_key


def with_insert_values(
    statement: Insert, replaced: Sequence[Column[Any]], values: Mapping[Column[Any], Any]
) -> Insert:
    """A copy of the INSERT with other values, or none, for some columns.

    :param replaced: columns whose values it no longer assigns.
    :param values: what it assigns instead.
    """
    keys = {column.key for column in replaced}
    copied: Any = statement._generate()
    if statement._values:
        kept = {n: v for n, v in statement._values.items() if _key_of(n) not in keys}
        copied._values = type(statement._values)(kept)
    return cast("Insert", copied.values(dict(values)) if values else copied)


def _key_of(name: Any) -> str:
    return str(getattr(name, "key", name))


def is_part_of_insert(statement: Any) -> bool:
    """Whether the ORM executes it for some rows of an INSERT of a class, and joins the results."""
    return "_emit_insert_table" in getattr(statement, "_annotations", ())


def is_joined_part_of_insert(statement: Insert) -> bool:
    """Whether the ORM puts the rows that it returns below those of other parts, by position."""
    return is_part_of_insert(statement) and bool(statement._returning)


def without_reported_keys(statement: Insert, keys: Sequence[Column[Any]]) -> Insert:
    """The INSERT, not asked to report keys that are given to it.

    What the ORM wants reported beside keys is left.
    """
    columns = statement._return_defaults_columns
    if not statement._return_defaults or not columns:
        return statement
    if not set(columns) <= {*keys, *statement.table.primary_key}:
        return statement
    copied: Any = statement._generate()
    copied._return_defaults = False
    copied._return_defaults_columns = None
    copied._sort_by_parameter_order = False
    return cast("Insert", copied)


def default_values(context: Any) -> list[dict[str, Any]]:
    """The Python-side defaults that an execution has evaluated, row by row."""
    compiled = context.compiled
    columns = [c for c in compiled.insert_prefetch if not getattr(c.default, "is_sentinel", False)]
    if not is_multi_values(compiled):
        return [{c.key: row[c.key] for c in columns} for row in context.compiled_parameters]
    rows: list[dict[str, Any]] = [{} for _ in _dml_state(compiled)._multi_parameters]
    for column in columns:
        original = getattr(column, "original", column)
        index = column.index + 1 if original is not column else 0
        rows[index][original.key] = context.compiled_parameters[0][column.key]
    return rows


def note_key(values: Any, column: Column[Any], bind: str, value: object) -> None:
    """Put a generated key among the parameters of one row of an execution.

    Under the column's own name too, where SQLAlchemy looks for the keys that it reports.
    """
    values[bind] = value
    values[column.key] = value


def are_plain_rows(rows: Sequence[Mapping[Any, Any]]) -> bool:
    """Whether rows hold Python values only, all for the same columns."""
    keys = set(rows[0])
    return all(
        set(row) == keys and not any(isinstance(value, ClauseElement) for value in row.values())
        for row in rows
    )


# -- what a subclass of ours overrides ---------------------------------------------------------


class CacheKey:
    """What tells a type apart, as one object: equal ones are the same as long as either is in use.

    A statement is looked for in SQLAlchemy's cache at every execution, and its key hashed; the hash
    of a declaration in it, with its indexes and their transforms, would be worked out each time.

    :ivar parts: what it stands for.
    """

    __slots__ = ("__weakref__", "parts")

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts

    @classmethod
    def of(cls, parts: tuple[Any, ...]) -> CacheKey:
        """The key of these parts."""
        return _cache_keys.setdefault(parts, cls(parts))

    def __repr__(self) -> str:
        return f"<CacheKey {self.parts!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return CacheKey.of, (self.parts,)


_cache_keys: weakref.WeakValueDictionary[tuple[Any, ...], CacheKey] = weakref.WeakValueDictionary()


class CacheKeyedType(TypeEngine[Any]):
    """A type that says itself what tells it apart in SQLAlchemy's statement cache."""

    def statement_cache_key(self) -> tuple[Any, ...]:
        """What tells the type apart from others; worked out once for each instance."""
        raise NotImplementedError

    # No property: an instance that has worked it out is asked without a call of ours.
    @cached_property
    def _static_cache_key(self) -> Any:
        return CacheKey.of(self.statement_cache_key())


def cache_key_by_arguments(type_: CacheKeyedType) -> Any:
    """What SQLAlchemy would tell the type apart by: its class and most of its arguments."""
    # Asked of a copy: SQLAlchemy keeps its answer on the type, where ours will be.
    copied = object.__new__(type(type_))
    vars(copied).update(vars(type_))
    return super(CacheKeyedType, copied)._static_cache_key


def cache_key_of(type_: TypeEngine[Any]) -> Any:
    """What tells a type apart in SQLAlchemy's statement cache."""
    return type_._static_cache_key


class SchemaPart(SchemaEventTarget):
    """A type or schema item that is called when it is given to a column or table."""

    def given_to(self, parent: Any) -> None:
        """Called with the column or table, when SQLAlchemy has done its part."""
        raise NotImplementedError

    def _set_parent(self, parent: Any, outer: bool = False, **kw: Any) -> None:
        super()._set_parent(parent, outer=outer, **kw)
        self.given_to(parent)


class WrappedColumn(ColumnElement[Any]):
    """An expression around a stored column; a SELECT of it reads from the column's table."""

    inherit_cache = False

    def wrapped(self) -> ColumnElement[Any]:
        """The column."""
        raise NotImplementedError

    @property
    def _from_objects(self) -> list[Any]:
        return list(self.wrapped()._from_objects)


class NegatableComparison(BinaryExpression[bool]):
    """A comparison that says itself what ``~`` makes of it."""

    inherit_cache = True

    def negation(self, negated: Any) -> Any:
        """What the opposite is, given what SQLAlchemy makes of it."""
        raise NotImplementedError

    def _negate(self) -> Any:
        return self.negation(super()._negate())  # type: ignore[no-untyped-call]


# -- types, dialects and engines ---------------------------------------------------------------

ANY_BINARY = _Binary
"""What every type of bytes derives from, those of dialects too."""

ANY_INTERVAL = _AbstractInterval
"""What every type of time spans derives from, those of dialects too."""


def json_serializer(dialect: Dialect) -> Callable[[Any], Any] | None:
    """``create_engine(json_serializer=...)``, if it was given."""
    return getattr(dialect, "_json_serializer", None)


def json_deserializer(dialect: Dialect) -> Callable[[str], Any] | None:
    """``create_engine(json_deserializer=...)``, if it was given."""
    return getattr(dialect, "_json_deserializer", None)


def plain_engine(engine: Any) -> Any:
    """The engine that a view, which ``execution_options()`` gave, is of; any other as it is."""
    return getattr(engine, "_proxied", engine)


def connect_parameters(engine: Engine) -> dict[str, Any] | None:
    """What the engine's driver connects with; ``None`` where the application does it itself.

    SQLAlchemy keeps it nowhere but in the function that it makes connections by.
    """
    creator = engine.pool._creator
    known = getclosurevars(creator).nonlocals
    is_its_own = creator.__module__ == "sqlalchemy.engine.create"
    return known.get("cparams") if is_its_own else None


def column_copy(column: Column[Any]) -> Column[Any]:
    """A column like it, of no table."""
    return column._copy()


# -- a result's rows ---------------------------------------------------------------------------


def rows_at_hand(result: Any) -> Sequence[Any]:
    """Rows that an asyncio driver has delivered and the result has not handed out yet."""
    return getattr(getattr(result, "cursor", None), "_rows", None) or ()


def driver_cursor(cursor: Any) -> Any:
    """The driver's own, of one that an asyncio driver's is wrapped in."""
    return getattr(cursor, "_cursor", cursor)


def result_processors(result: Any) -> Sequence[Any]:
    """What each column of a result's rows goes through: a callable, or ``None``."""
    if not getattr(result, "returns_rows", False):
        return ()
    return getattr(getattr(result, "_metadata", None), "_processors", None) or ()
