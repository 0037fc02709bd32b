"""Checks the SQL that the application's own elements write.

Its function may obtain a column from the compiler in any way, or write its name itself. So each
such element of a compiled statement is compiled again, alone, with a mark in place of each
encrypted column. The SQL may test a mark for NULL, and nothing else.
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
from encfields.orm.query.refused_parts import index_column_refused
from encfields.orm.query.statement_elements import is_of_application, parts_kept
from encfields.orm.query.stored_bytes import is_index_column
from encfields.orm.read.packed import DELIVERED

_MARK = "encfields_mark_"
_SELECT = "encfields_select"
"""Replaces the SQL of a SELECT, whose names the application did not write."""

Selects = list[Any]
"""SELECTs and UNIONs."""


def refuse_ciphertext_written(element: Any, compiled: Any, columns: Iterable[Any]) -> Selects:
    """Refuse an element of a compiled statement that writes ciphertext into the SQL.

    :param columns: of what the statement selects from or writes to.
    :returns: the SELECTs that the element compiled, to be checked like the statement.
    :raises UnsupportedOperationError: the database would use ciphertext, or a hash, as a value.
    """
    cls: Any = type(compiled)
    compiler = _marking(cls)(compiled.dialect, None)
    compiler.marked, compiler.selects, compiler.statement = [], [], element
    compiler.is_whole = element is compiled.statement
    try:
        sql = compiler.process(element)
    except EncFieldsError:
        raise
    except Exception:  # the application's function needs the surrounding statement
        refused = next(ciphertexts_among(_all_parts_of(element)), None)
        if refused is None:
            return []
    else:
        if isinstance(element, ColumnClause) and unquoted(sql) == element.name:
            return []  # only its name, which may be selected
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
    """Whether the application may have a function that compiles the element."""
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
    """The column of a mark used other than in a test for NULL; ``None`` if there is none."""
    for found in re.finditer(rf"(?i){_MARK}(\d+)", sql):
        what = marked[int(found[1])]
        if re.search(r"(?i)\bexists\s*\(\s*$", sql[: found.start()]):
            continue
        if not is_tested_for_null(sql, found.start(), found.end()):
            return what
    return None


class _MarkingCompiler:
    """Mixed into an engine's compiler class.

    :ivar marked: the encrypted columns and ``column.blind()`` behind the marks.
    :ivar selects: the SELECTs that the element compiled.
    :ivar is_whole: whether the element is the whole statement.
    """

    marked: list[Any]
    selects: Selects
    is_whole: bool
    stack: list[Any]

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> str:
        """Compile a column."""
        sql = str(super().visit_column(column, *args, **kw))  # type: ignore[misc]
        # Columns in a SELECT are checked with that SELECT.
        if self.stack or DELIVERED in kw:
            return sql
        if HASH in kw:
            return self._mark(kw[HASH])
        return self._mark(column) if is_encrypted(column) else sql

    def visit_select(self, select_stmt: Any, *args: Any, **kw: Any) -> str:
        """Compile a SELECT."""
        is_part = bool(self.stack)
        sql = str(super().visit_select(select_stmt, *args, **kw))  # type: ignore[misc]
        return sql if is_part else self._noted(select_stmt)

    def visit_compound_select(self, cs: Any, *args: Any, **kw: Any) -> str:
        """Compile a UNION, INTERSECT or EXCEPT."""
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
    """A marking compiler class, derived from an engine's."""
    return type(compiler.__name__, (_MarkingCompiler, compiler), {})
