"""Results: their columns, before and after a statement is executed.

Read::

    sqlalchemy.engine.cursor.BufferedRowCursorFetchStrategy _rowbuffer
    sqlalchemy.engine.cursor.CursorResult          _metadata
    sqlalchemy.engine.cursor.FullyBufferedCursorFetchStrategy _rowbuffer
    sqlalchemy.engine.default.DefaultExecutionContext _is_implicit_returning _rowcount
    sqlalchemy.engine.cursor.CursorResultMetaData  _keymap _processors
    sqlalchemy.sql.compiler.ResultColumnsEntry     _replace
    sqlalchemy.sql.compiler.SQLCompiler            _loose_column_name_matching _result_columns
    sqlalchemy.sql.lambdas.LambdaElement           _resolved

Written::

    sqlalchemy.engine.default.DefaultExecutionContext _rowcount

Overridden::

    sqlalchemy.sql.compiler.SQLCompiler            _add_to_result_map _label_returning_column
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy.engine.cursor import (
    BufferedRowCursorFetchStrategy,
    FullyBufferedCursorFetchStrategy,
)
from sqlalchemy.sql.elements import ColumnClause, Label, TextClause
from sqlalchemy.sql.lambdas import LambdaElement
from sqlalchemy.sql.selectable import TextualSelect
from sqlalchemy.types import TypeEngine


def result_position(
    compiled: Any, is_wanted: Callable[[Any], bool]
) -> tuple[int, TypeEngine[Any]] | None:
    """The position of an encrypted column in a statement's result, and the type that opens it.

    :param is_wanted: whether an object by which SQLAlchemy identifies a result column is the
        column.
    """
    for position, entry in enumerate(compiled._result_columns):
        delivered = getattr(entry.type, "delivers_row_key", False)
        if delivered and any(map(is_wanted, (*entry.objects, *_labelled(entry.objects)))):
            return position, entry.type
    return None


def set_result_type(compiled: Any, position: int, type_: TypeEngine[Any]) -> None:
    """Read a column of a statement's result by another type.

    :param compiled: the compiler, or what it made.
    """
    columns = compiled._result_columns
    columns[position] = columns[position]._replace(type=type_)


def is_raw(compiled: Any) -> bool:
    """Whether a whole statement is raw SQL of which columns are known."""
    statement: Any = getattr(compiled, "statement", None)
    if isinstance(statement, LambdaElement):
        statement = statement._resolved
    if getattr(statement, "__visit_name__", "") == "orm_from_statement":
        statement = statement.element
    return isinstance(statement, TextClause | TextualSelect) and bool(compiled._result_columns)


def has_only_names(compiled: Any) -> bool:
    """Whether a raw statement's columns are found by the names that its SQL gives them."""
    return bool(compiled._loose_column_name_matching)


def result_columns(compiled: Any) -> list[tuple[tuple[Any, ...], TypeEngine[Any]]]:
    """By what SQLAlchemy knows each column of a statement's result, and its type."""
    return [(entry.objects, entry.type) for entry in compiled._result_columns]


def place_in_row(result: Any, candidates: Iterable[object]) -> int | None:
    """Where a fetched row has a column; ``None`` if nowhere, or in several places.

    :param candidates: what the result may know it by: columns, and its name.
    """
    columns = getattr(result._metadata, "_keymap", {})
    for candidate in candidates:
        if candidate in columns:
            place: int | None = columns[candidate][0]
            return place
    return None


def keep_count(context: Any) -> bool:
    """Have an execution keep the number of rows that the driver reports.

    :returns: whether this release of SQLAlchemy does.
    """
    if not hasattr(type(context), "_rowcount"):
        return False
    options = context.execution_options
    if not options.get("preserve_rowcount"):
        context.execution_options = options.union({"preserve_rowcount": _FOR_US})
    return True


_FOR_US = "for encfields"
"""Marks the option where the application has not asked for the number."""


def rows_written(context: Any, result: Any) -> int | None:
    """How many rows an INSERT wrote; ``None`` if nobody tells. What it returns is fetched."""
    count: int | None = getattr(context, "_rowcount", None)
    if context.execution_options.get("preserve_rowcount") is _FOR_US:
        context._rowcount = None
    returned = getattr(result.cursor_strategy, "_rowbuffer", None)
    if returned is None and context._is_implicit_returning:
        returned = context.returned_default_rows
    if returned is not None:
        return len(returned)
    return count if count is not None and count >= 0 else None


def fetch_streamed(result: Any) -> None:
    """Fetch the rest of what a statement returns in a stream, before its connection is asked more.

    PyMySQL throws the rows away that it has not read when the next statement comes.
    """
    stream, cursor = result.cursor_strategy, result.cursor
    if not isinstance(stream, BufferedRowCursorFetchStrategy):
        return
    try:
        rows = [*stream._rowbuffer, *cursor.fetchall()]
    except Exception as error:
        stream.handle_exception(result, cursor, error)
    result.cursor_strategy = FullyBufferedCursorFetchStrategy(cursor, initial_buffer=rows)


def driver_type(result: Any, place: int) -> object:
    """What a driver says of the type of a result's column; ``None`` if nothing."""
    described = getattr(getattr(result, "cursor", None), "description", None)
    return described[place][1] if described else None


class LabelsOfCells:
    """Mixed into a dialect's compiler class: a row has a labelled column under its label alone.

    SQLAlchemy names a column that its type reads by an expression in its label's place too. If the
    statement selects the column as well, the ORM then cannot tell which of the two it is.

    A row also has the column under the name that the table gives it. SQLAlchemy's own, of a class
    derived from `str`, is refused by what takes exact strings alone, such as orjson for keys.
    """

    def _add_to_result_map(
        self, keyname: str, name: str, objects: tuple[Any, ...], type_: TypeEngine[Any]
    ) -> None:
        if getattr(type_, "delivers_row_key", False):
            labelled = _labelled(objects)
            objects = tuple(o for o in objects if not any(o is column for column in labelled))
            keyname = _name_of_column(keyname, objects)
        super()._add_to_result_map(keyname, name, objects, type_)  # type: ignore[misc]


class NamesInReturning:
    """Mixed into a dialect's compiler class: RETURNING may give a column by its bare name.

    SQLAlchemy knows nothing of ``returning(column("ssn"))`` but the name, so an encrypted column
    would be returned as its message. In RETURNING a name can only be a column of the written table.
    """

    _result_columns: list[Any]

    def returned_instead(self, statement: Any, column: Any) -> Any:
        """The table's column, or a label of it, to return instead of a name; else the same."""
        raise NotImplementedError

    def _label_returning_column(
        self,
        stmt: Any,
        column: Any,
        populate_result_map: bool,
        column_clause_args: Any = None,
        **kw: Any,
    ) -> str:
        returned = self.returned_instead(stmt, column) if populate_result_map else column
        if returned is not column:
            kw["fallback_label_name"] = column.name  # SQLAlchemy's own is "ssn_1"
        sql = super()._label_returning_column(  # type: ignore[misc]
            stmt, returned, populate_result_map, column_clause_args, **kw
        )
        if returned is not column and not kw.get("column_is_repeated"):
            # Not by the table's column, which the statement may return beside the name.
            entry = self._result_columns[-1]
            objects = (*(name for name in entry.objects if isinstance(name, str)), column)
            self._result_columns[-1] = entry._replace(objects=objects)
        return str(sql)


def _name_of_column(keyname: str, objects: Sequence[Any]) -> str:
    """A plain column's name, for one that SQLAlchemy made to select an expression under it."""
    columns = (part for part in objects if isinstance(part, ColumnClause))
    return next((column.name for column in columns if column.name == keyname), keyname)


def _labelled(objects: Sequence[Any]) -> list[Any]:
    """What is behind the labels by which SQLAlchemy identifies a result column."""
    return [part.element for part in objects if isinstance(part, Label)]


def result_processors(result: Any) -> Sequence[Any]:
    """The result processor of each column: a callable, or ``None``."""
    if not getattr(result, "returns_rows", False):
        return ()
    return getattr(getattr(result, "_metadata", None), "_processors", None) or ()
