"""Shows Python-side defaults only the application's parameters.

``context.get_current_parameters()`` gives a default the parameters of its row. By then we have
added placeholders for generated keys and blind indexes, and values to reseal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Insert, Table, Update

from encfields.orm import internals
from encfields.orm.declare.table_indexes import known_indexes
from encfields.orm.write.pending import Carried, Pending

if TYPE_CHECKING:
    from sqlalchemy import Engine

OUR_BINDS = "encfields_"
"""Prefixes of the binds that complete a statement."""


def show_given_parameters(engine: Engine) -> None:
    """Show defaults only the application's parameters."""
    dialect: Any = engine.dialect
    metaclass = type(dialect.execution_ctx_cls)
    dialect.execution_ctx_cls = metaclass(
        dialect.execution_ctx_cls.__name__,
        (_OfGivenParameters, dialect.execution_ctx_cls),
        {"__module__": __name__},
    )


def show_all_parameters(engine: Engine) -> None:
    """Undo :func:`show_given_parameters`."""
    dialect: Any = engine.dialect
    made = dialect.execution_ctx_cls
    if _OfGivenParameters in made.__bases__:
        dialect.execution_ctx_cls = made.__bases__[1]


class _OfGivenParameters:
    """Mixed into a dialect's class of executions."""

    compiled: Any
    current_column: Any

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> Any:
        """SQLAlchemy's method: the parameters of the row that a default is evaluated for."""
        execution: Any = super()
        parameters = execution.get_current_parameters(isolate_multiinsert_groups)
        statement: Any = internals.dml_statement(self.compiled)
        if isinstance(statement, Insert | Update):
            table = internals.written_table(statement)
        else:  # a SELECT with an INSERT or UPDATE in a CTE
            table = self.current_column.table
        indexes = known_indexes(table) if isinstance(table, Table) else ()
        return _given(parameters, {index.index_column.key for index in indexes})


def _given(parameters: Mapping[str, Any], index_columns: set[str]) -> Mapping[str, Any]:
    """The parameters of a row that are not ours.

    :param index_columns: keys of the table's columns that hold blind indexes.
    """
    ours = {
        name
        for name, value in parameters.items()
        if name.startswith(OUR_BINDS)
        or isinstance(value, Pending | Carried)
        or _column_of(name, index_columns) in index_columns
    }
    if not ours:
        return parameters  # the execution's own dictionary, which a default may change
    return {name: value for name, value in parameters.items() if name not in ours}


def _column_of(name: str, index_columns: set[str]) -> str:
    """The key of the column that a bind is for, in a row of ``values([...])`` too."""
    key, suffix, row = name.rpartition(internals.MULTI_VALUES_SUFFIX)
    return key if suffix and row.isdigit() and name not in index_columns else name
