"""Finds and refuses, in a whole statement, uses of an encrypted column that ciphertext would answer
wrongly.

The comparator refuses operators as they are written. Where SQLAlchemy does not ask a column's type,
this module, :mod:`~encfields.orm.query.refused_expressions` and
:mod:`~encfields.orm.query.refused_clauses` check each compiled statement once: ORDER BY, GROUP BY,
DISTINCT, functions, CAST, CASE, comparisons from the other side, conditions, and writes inside a
CTE. An encrypted column may be selected, tested for NULL and counted; anything else is refused,
including elements that SQLAlchemy adds in future.

``column.blind()`` may be used where a hash answers as its value would: in a comparison by index, IS
NULL, GROUP BY, DISTINCT, ``count()``, or selected.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.dml import Insert, Update, UpdateBase
from sqlalchemy.sql.elements import ClauseElement, Label
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import CompoundSelect, FromClause, Join, Select

from encfields.errors import UnboundValueError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.plaintext import WRITE_SEALED, adoption_of
from encfields.orm.declare.columns import bindings_of
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.query.application_sql import (
    is_written_by_application,
    refuse_ciphertext_written,
)
from encfields.orm.query.ciphertext_uses import ciphertexts_among
from encfields.orm.query.compiler_lookups import (
    encrypted_column_returned,
    is_from_lookup_compiler,
    is_looked_up_by_compiler,
)
from encfields.orm.query.criteria_lookups import is_asked_for_truth
from encfields.orm.query.raw_operands import Columns
from encfields.orm.query.refused_clauses import (
    IsAsked,
    check_compound,
    check_criterion,
    check_join,
    check_select,
    check_write,
)
from encfields.orm.query.refused_expressions import check_expression
from encfields.orm.query.refused_parts import check_index_column, check_whole_row
from encfields.orm.query.statement_elements import every_element, exchanges_nothing
from encfields.orm.read.provenance import column_named, table_named
from encfields.orm.write.ciphertext_copies import refuse_copies_elsewhere


def refuse_usage(compiled: Any) -> None:
    """Check the statement behind `compiled`.

    :raises UnsupportedOperationError: an encrypted column is used where only plaintext could give
        the right answer.
    :raises UnboundValueError: a CTE writes to an encrypted column.
    :raises CiphertextCopyError: an encrypted column is copied into another column.
    """
    statement = internals.compiled_statement(compiled)
    if isinstance(statement, UpdateBase) and compiled.dialect.name == "sqlite":
        _check_returning(statement)
    is_exchanged, is_asked = _answered_by(compiled)
    roots = [statement]
    if is_written_by_application(compiled.statement):
        roots.append(compiled.statement)  # compiled.statement is its SELECT
    around = cache(lambda: list(_columns_in(statement)))
    for criterion in _loader_criteria(compiled, statement):
        check_criterion(criterion, around, is_asked)
        roots.append(criterion)  # in a subquery it is not among the statement's elements
    while roots:
        for element in every_element(roots.pop(), is_exchanged):
            if not is_exchanged(element):
                _check(element, around, is_asked)
            if isinstance(element, count):
                _check_count(element)
            roots += _parts_of_upsert(element)
            if isinstance(element, Insert | Update):
                refuse_copies_elsewhere(element)
                if element is not statement:
                    _refuse_nested_write(element)
            if isinstance(element, UpdateBase) and element is not statement:
                _refuse_name_returned(element, compiled.dialect)
            if is_written_by_application(element):
                columns = chain.from_iterable(map(_columns_in, (statement, element)))
                roots += refuse_ciphertext_written(element, compiled, columns)


def _parts_of_upsert(statement: Any) -> Iterator[ClauseElement]:
    """The expressions of an upsert's SET and of its ``where=``, which SQLAlchemy 2.0 does not show
    among a statement's elements; nothing of any other element."""
    if not isinstance(statement, Insert):
        return
    values = [value for _, value in internals.upsert_values(statement)]
    for part in chain(values, internals.upsert_conditions(statement)):
        if isinstance(part, ClauseElement):
            yield part


def _answered_by(compiled: Any) -> tuple[IsAsked, IsAsked]:
    """What its compiler replaces, and of which conditions it asks an index."""
    if is_from_lookup_compiler(compiled):
        return is_looked_up_by_compiler, is_asked_for_truth
    return exchanges_nothing, exchanges_nothing


def _loader_criteria(compiled: Any, statement: Any) -> Iterator[Any]:
    return internals.loader_criteria(
        compiled.statement,
        lambda: {hash(one) for one in every_element(statement) if isinstance(one, Table)},
    )


def _columns_in(statement: Any) -> Iterator[Any]:
    """The columns of everything that a statement selects from or writes to."""
    for element in every_element(statement):
        if isinstance(element, FromClause):
            yield from element.c


def _check(element: Any, around: Columns, is_asked: IsAsked) -> None:
    if isinstance(element, Select):
        check_select(element, around, is_asked)
    elif isinstance(element, CompoundSelect):
        check_compound(element)
    elif isinstance(element, Executable) and not isinstance(element, FunctionElement):
        check_write(element, around, is_asked)
    elif isinstance(element, Join):
        check_join(element, around, is_asked)
    else:
        check_index_column(element)
        check_whole_row(element)
        check_expression(element, is_asked)


def _check_returning(statement: UpdateBase) -> None:
    """Refuse to return a column of any table but the written one, on SQLite.

    Its RETURNING knows only the written table and ignores table names: another table's column would
    be read from the written one, or be its name as a text if quoted.
    """
    written = hash(statement.table)  # an annotated table has the original's hash
    for element in ciphertexts_among(internals.returned_columns(statement)):
        if hash(element.table) != written:
            raise UnsupportedOperationError(
                "SQLite can return only columns of the table that is written: select it in a "
                "separate statement",
                table=table_named(element),
                column=column_named(element),
                reason="returning",
            )


def _check_count(element: Any) -> None:
    """Refuse to count a column's values while some rows have only plaintext."""
    for ciphertext in ciphertexts_among(element.clauses):
        adopts = adoption_of(ciphertext)
        if adopts is not None and adopts.phase != WRITE_SEALED:
            raise UnsupportedOperationError(
                f"in the phase {adopts.phase!r} of its adoption, count() would leave out rows that "
                "are not sealed yet: count the rows, with column.is_not(None) in the WHERE",
                table=table_named(ciphertext),
                column=column_named(ciphertext),
                reason="adoption",
            )


def _refuse_nested_write(statement: Insert | Update) -> None:
    """Refuse a write inside a CTE, whose binds SQLAlchemy does not assign to rows."""
    table = statement.table
    if not isinstance(table, Table):
        return
    bindings = bindings_of(table)
    written = internals.stated_keys(statement).union(internals.select_source_names(statement))
    of_values = [c for c in table.c if c.key in bindings or isinstance(c.type, IndexColumnType)]
    for column in of_values:
        default = column.onupdate if isinstance(statement, Update) else column.default
        if column.key in written or (default is not None and column.key in bindings):
            raise UnboundValueError(
                "an INSERT or UPDATE inside a CTE does not tell which row the value is for: run it "
                "as a separate statement",
                table=table.fullname,
                column=column.name,
                reason="cte",
            )


def _refuse_name_returned(statement: UpdateBase, dialect: Any) -> None:
    """Refuse a name in RETURNING inside a CTE: whoever selects it there knows nothing of the column
    and would get the message."""
    for returned in internals.returned_elements(statement):
        name = returned.element if isinstance(returned, Label) else returned
        column = encrypted_column_returned(statement, name, dialect)
        if column is not None:
            raise UnsupportedOperationError(
                f"the RETURNING of a CTE gives it by its name alone, column({name.name!r}), of "
                "which nothing but the name is known outside: return the column itself and the "
                "row's primary key, or give the name the type LargeBinary to get the message",
                table=table_named(column),
                column=column_named(column),
                reason="returning",
            )
