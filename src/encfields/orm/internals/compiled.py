"""Compiled statements: their binds and assignments.

Read::

    sqlalchemy.engine.default.DefaultExecutionContext _expanded_parameters
    sqlalchemy.sql.elements.ClauseElement          _de_clone _from_objects
    sqlalchemy.sql.dml.Insert                      _compile_state_factory
    sqlalchemy.sql.dml.InsertDMLState              _has_multi_parameters
    sqlalchemy.sql.dml.DMLState                    _dict_parameters _multi_parameters
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from sqlalchemy import Column
from sqlalchemy.engine.interfaces import ExecuteStyle
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import BindParameter, ColumnElement

from encfields.orm.internals.inserts import upsert_values
from encfields.orm.internals.statement_cache import clones_of
from encfields.orm.internals.statements import same_table

MULTI_VALUES_SUFFIX = "_m"
"""SQLAlchemy's names for the binds of ``values([{...}, {...}])``: ``name_m0``, ``name_m1``."""


class BoundValue(NamedTuple):
    """A column is assigned the bind with this name."""

    bind: str


class Expression(NamedTuple):
    """A column is assigned something other than a bind."""

    element: Any


Assigned = BoundValue | Expression


def note_joined(left: Any, right: Any, options: Mapping[str, Any]) -> None:
    """Tell SQLAlchemy, which warns of cartesian products, that a comparison joins two FROMs.

    :param options: what the comparison is compiled with.
    """
    linter = options.get("from_linter")
    if not linter:
        return
    joined = [[item._de_clone() for item in side._from_objects] for side in (left, right)]
    lateral = options.get("lateral_from_linter")
    if lateral is None:
        linter.edges.update(product(*joined))
    else:
        enclosing = options["enclosing_lateral"]._de_clone()
        lateral.edges.update(product(*([*side, enclosing] for side in joined)))


def is_dml(compiled: Any) -> bool:
    """Whether the statement itself, rather than a CTE in it, is an INSERT or UPDATE."""
    return bool(compiled.isinsert or compiled.isupdate)


def has_written(compiled: Any) -> bool:
    """Whether a statement writes, or a CTE of it does."""
    ctes = compiled.ctes or ()
    return is_dml(compiled) or compiled.isdelete or any(cte.element.is_dml for cte in ctes)


def dml_statement(compiled: Any) -> Insert | Update:
    """The INSERT or UPDATE as SQLAlchemy compiled it, the ORM's rewriting included."""
    statement: Insert | Update = compiled.compile_state.statement
    return statement


def updated_by_default(compiled: Any) -> list[Column[Any]]:
    """The columns that an UPDATE sets to their ``onupdate=`` default, including other tables'."""
    return list(compiled.update_prefetch) if getattr(compiled, "isupdate", False) else []


def dml_state(compiled: Any) -> Any:
    """SQLAlchemy's compile state of an INSERT or UPDATE."""
    state = compiled.compile_state
    if hasattr(state, "_dict_parameters"):
        return state
    # select(Model).from_statement(insert(...).returning(...)) keeps only its own state.
    statement = state.statement
    return statement._compile_state_factory(statement, compiled)


def updated_keys(compiled: Any) -> set[str]:
    """Keys of the columns that an UPDATE, or an upsert's SET, assigns; none for other statements.

    :param compiled: may still be at it.
    """
    if compiled.isinsert:
        return {key for key, _ in upsert_values(dml_statement(compiled))}
    if not compiled.isupdate:
        return set()
    stated = dml_state(compiled)._dict_parameters or {}
    return {str(getattr(target, "key", target)) for target in stated} | {
        str(key) for key in compiled.column_keys or ()
    }


def compiled_statement(compiled: Any) -> Any:
    """The statement as SQLAlchemy compiled it, the ORM's rewriting included."""
    state = getattr(compiled, "compile_state", None)
    statement = getattr(state, "statement", None)
    return compiled.statement if statement is None else statement


def is_part_of_ddl(compiler: Any) -> bool:
    """Whether this compiles a part of a statement like CREATE VIEW, which has a compiler for it."""
    return compiler.statement is None


def compiler_of_select(compiled: Any) -> Any | None:
    """What compiled the SELECT in a statement like CREATE VIEW; ``None`` if it has none."""
    compiler = compiled.sql_compiler if isinstance(compiled, DDLCompiler) else None
    return None if compiler is None or compiler.compile_state is None else compiler


def assignments(compiled: Any) -> list[dict[Any, Assigned]]:
    """What each column of the statement's table is assigned, one dictionary per VALUES row.

    Keys are column keys, or the column itself if it belongs to another table (MySQL's multi-table
    UPDATE).
    """
    state = dml_state(compiled)
    if compiled.isinsert and state._has_multi_parameters:
        rows = [
            _written(compiled, _stated(compiled, row, f"{MULTI_VALUES_SUFFIX}{index}"))
            for index, row in enumerate(state._multi_parameters)
        ]
    else:
        rows = [_stated(compiled, state._dict_parameters or {}, "")]
        for key in compiled.column_keys or ():
            rows[0].setdefault(key, BoundValue(key))
    _add_defaults(compiled, rows)
    return rows


def _written(compiled: Any, stated: dict[Any, Assigned]) -> dict[Any, Assigned]:
    """Removes values that SQLAlchemy omits: of columns that the first row does not name."""
    return {
        key: assigned
        for key, assigned in stated.items()
        if not isinstance(assigned, BoundValue) or assigned.bind in compiled.binds
    }


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


def _add_defaults(compiled: Any, rows: list[dict[Any, Assigned]]) -> None:
    """Add Python-side defaults, which SQLAlchemy binds under the column's own name."""
    for column in (*compiled.insert_prefetch, *compiled.update_prefetch):
        original = getattr(column, "original", column)
        index = column.index + 1 if original is not column else 0
        rows[index][original.key] = BoundValue(column.key)


def row_of_default(column: Any) -> int:
    """Number of the row of ``values([{...}, {...}])`` for which a default is evaluated."""
    return column.index + 1 if getattr(column, "original", column) is not column else 0


def bind_name(compiled: Any, parameter: BindParameter[Any]) -> str | None:
    """The name under which a bind of the statement is executed."""
    name: str | None = compiled.bind_names.get(parameter)
    if name is None and parameter.key in compiled.binds:
        # A copy of it was compiled, under another name if it had no name of its own.
        name = compiled.bind_names.get(compiled.binds[parameter.key], parameter.key)
    return name


def name_of_copy(compiled: Any, parameter: BindParameter[Any]) -> str | None:
    """The name of a bind of an upsert's SET, which MySQL's compiler copies."""
    for bind, name in compiled.bind_names.items():
        if any(clone is parameter for clone in clones_of(bind)):
            return str(name)
    return bind_name(compiled, parameter)


def shares_statement(context: Any) -> bool:
    """Whether several parameter sets become one INSERT, whose SET has one value for all."""
    return (
        context.execute_style is ExecuteStyle.INSERTMANYVALUES
        and len(context.compiled_parameters) > 1
    )


def rendered_bind_names(compiled: Any) -> frozenset[str]:
    """Binds that are rendered into the text of each execution (``literal_execute=True``), so that
    the execution does not have their values."""
    return frozenset(compiled.bind_names[bind] for bind in compiled.literal_execute_params)


def types_by_bind_name(compiled: Any) -> dict[str, list[Any]]:
    """Every type under which each bind name occurs in the statement."""
    types: dict[str, list[Any]] = {}
    for parameter, name in compiled.bind_names.items():
        types.setdefault(name, []).append(parameter.type)
    return types


def parameter_rows(context: Any) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Each parameter set as the application gave it, and as the driver will get it."""
    return zip(context.compiled_parameters, context.parameters, strict=True)


def bound_values(context: Any, name: str) -> list[Any]:
    """The value of a bind, or each value of an expanding bind, in a single execution."""
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


def is_multi_values(compiled: Any) -> bool:
    """Whether the statement is an INSERT with several rows in its VALUES clause."""
    return bool(getattr(dml_state(compiled), "_has_multi_parameters", False))


def values_count(compiled: Any) -> int:
    """Number of rows that one parameter set is for: more than one if VALUES has several."""
    return len(dml_state(compiled)._multi_parameters) if is_multi_values(compiled) else 1


def has_defaults_of(compiled: Any, type_: type[Any]) -> bool:
    """Whether columns of a type are inserted with their Python-side default, for example in a
    CTE."""
    return any(isinstance(column.type, type_) for column in compiled.insert_prefetch)


def default_values(context: Any) -> list[dict[str, Any]]:
    """The Python-side defaults that an execution has evaluated, row by row."""
    compiled = context.compiled
    columns = [c for c in compiled.insert_prefetch if not getattr(c.default, "is_sentinel", False)]
    if not is_multi_values(compiled):
        return [{c.key: row[c.key] for c in columns} for row in context.compiled_parameters]
    rows: list[dict[str, Any]] = [{} for _ in dml_state(compiled)._multi_parameters]
    for column in columns:
        original = getattr(column, "original", column)
        index = column.index + 1 if original is not column else 0
        rows[index][original.key] = context.compiled_parameters[0][column.key]
    return rows


def note_key(values: Any, column: Column[Any], bind: str, value: object) -> None:
    """Add a generated key to the parameters of one row of an execution.

    Also under the column's own name, where SQLAlchemy looks for the keys that it reports.
    """
    values[bind] = value
    values[column.key] = value
