"""What an element of the application's own writes into the SQL, looked at as it is written.

The application's function may ask the compiler for a column in whichever way, or write its name by
itself. So each such element of a compiled statement is compiled once more, alone: where an
encrypted column would stand, a mark stands, which may be asked whether it is NULL and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BindParameter, ColumnClause
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import FromClause, SelectBase

from encfields.errors import EncFieldsError
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.ciphertext_uses import ciphertext_refused, ciphertexts_among, hash_refused
from encfields.orm.query.comparison import HASH
from encfields.orm.query.raw_names import (
    encrypted_column_named,
    is_tested_for_null,
    unquoted,
)
from encfields.orm.query.refused_parts import index_column_refused, is_index_column
from encfields.orm.query.statement_elements import is_of_application, parts_kept
from encfields.orm.read.packed import DELIVERED

_MARK = "encfields_mark_"
_SELECT = "encfields_select"
"""What stands for the SQL of a SELECT, whose names are none that the application has written."""

Selects = list[Any]
"""SELECTs, and UNIONs of them."""


def refuse_ciphertext_written(element: Any, compiled: Any, columns: Iterable[Any]) -> Selects:
    """Look at what an element of a compiled statement writes.

    :param columns: of what the statement selects from or writes to.
    :returns: the SELECTs that it had compiled, which are to be looked through like the statement.
    :raises UnsupportedOperationError: the database would be given ciphertext, or a hash, as a
        value.
    """
    cls: Any = type(compiled)
    compiler = _marking(cls)(compiled.dialect, None)
    compiler.marked, compiler.selects, compiler.statement = [], [], element
    compiler.is_whole = element is compiled.statement
    try:
        sql = compiler.process(element)
    except EncFieldsError:
        raise
    except Exception:  # of the application's function, which wants the statement around it
        refused = next(ciphertexts_among(_all_parts_of(element)), None)
        if refused is None:
            return []
    else:
        if isinstance(element, ColumnClause) and unquoted(sql) == element.name:
            return []  # no more than its name, which may be delivered
        refused = _written_as_value(sql, compiler.marked)
        if refused is None:
            refused = encrypted_column_named(sql, columns)
        if refused is None:
            return list(compiler.selects)
    what = f"the application's own {type(element).__name__}"
    if is_encrypted(refused):
        raise ciphertext_refused(refused, what, "apply it to what is loaded")
    if is_index_column(refused):
        raise index_column_refused(refused)
    raise hash_refused(refused, what)


def is_written_by_application(element: Any) -> bool:
    """Whether the application may have a function that compiles an element, of an expression or of
    a statement that is none of SQLAlchemy's."""
    if not is_of_application(element) or isinstance(element, BindParameter | count):
        return False
    if isinstance(element, ColumnClause) and element.table is not None:
        return False
    is_source = isinstance(element, FromClause) and not isinstance(element, FunctionElement)
    return not is_source and not isinstance(element, SelectBase | UpdateBase)


def _all_parts_of(element: Any) -> Iterator[Any]:
    seen: set[int] = set()
    stack = [element]
    while stack:
        part = stack.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            stack.extend((*part.get_children(), *parts_kept(part)))


def _written_as_value(sql: str, marked: list[Any]) -> Any | None:
    """What a mark stands for that is not merely asked whether it is NULL, or ``None``."""
    for found in re.finditer(rf"(?i){_MARK}(\d+)", sql):
        what = marked[int(found[1])]
        if re.search(r"(?i)\bexists\s*\(\s*$", sql[: found.start()]):
            continue
        if not is_tested_for_null(sql, found.start(), found.end()):
            return what
    return None


class _MarkingCompiler:
    """What is put before the compiler of an engine.

    :ivar marked: what marks stand for: encrypted columns, and ``column.blind()``.
    :ivar selects: the SELECTs that the element had compiled.
    :ivar is_whole: whether the element is the statement itself, whose SELECTs deliver.
    """

    marked: list[Any]
    selects: Selects
    is_whole: bool
    stack: list[Any]

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> str:
        """SQLAlchemy's, of a column."""
        sql = str(super().visit_column(column, *args, **kw))  # type: ignore[misc]
        # What stands in a SELECT is looked through with it.
        if self.stack or DELIVERED in kw:
            return sql
        if HASH in kw:
            return self._mark(kw[HASH])
        return self._mark(column) if is_encrypted(column) else sql

    def visit_select(self, select_stmt: Any, *args: Any, **kw: Any) -> str:
        """SQLAlchemy's, of a SELECT."""
        is_part = bool(self.stack)
        sql = str(super().visit_select(select_stmt, *args, **kw))  # type: ignore[misc]
        return sql if is_part else self._noted(select_stmt)

    def visit_compound_select(self, cs: Any, *args: Any, **kw: Any) -> str:
        """SQLAlchemy's, of a UNION and its like."""
        is_part = bool(self.stack)
        sql = str(super().visit_compound_select(cs, *args, **kw))  # type: ignore[misc]
        return sql if is_part else self._noted(cs)

    def _noted(self, select: Any) -> str:
        self.selects.append(select)
        delivered = next(ciphertexts_among(select.selected_columns), None)
        return _SELECT if delivered is None or self.is_whole else self._mark(delivered)

    def _mark(self, what: Any) -> str:
        self.marked.append(what)
        return f"{_MARK}{len(self.marked) - 1}"


@cache
def _marking(compiler: type[Any]) -> type[Any]:
    """Such a compiler, made of that of an engine."""
    return type(compiler.__name__, (_MarkingCompiler, compiler), {})
