"""What a Python-side default sees of its row: what the application gave, and nothing of ours.

``context.get_current_parameters()`` gives a default the parameters of the row that is written. By
then the row has more: places of generated keys and of blind indexes, and what seals it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table

from encfields.orm import internals
from encfields.orm.declare.table_indexes import known_indexes
from encfields.orm.write.pending import Carried, Pending

if TYPE_CHECKING:
    from sqlalchemy import Engine

OUR_BINDS = "encfields_"
"""How the names of binds begin that a statement is completed with."""


def show_given_parameters(engine: Engine) -> None:
    """Have defaults see only what the application gave."""
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
    """What is put before a dialect's own class of executions."""

    compiled: Any

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> Any:
        """SQLAlchemy's method: the parameters of the row that a default is evaluated for."""
        execution: Any = super()
        parameters = execution.get_current_parameters(isolate_multiinsert_groups)
        table = internals.written_table(internals.dml_statement(self.compiled))
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
        return parameters  # the execution's own, which a default may change
    return {name: value for name, value in parameters.items() if name not in ours}


def _column_of(name: str, index_columns: set[str]) -> str:
    """The key of the column that a bind is for, in a row of ``values([...])`` too."""
    key, suffix, row = name.rpartition(internals.MULTI_VALUES_SUFFIX)
    return key if suffix and row.isdigit() and name not in index_columns else name
