"""Refuses SQL in a table's declaration that the database would compute of a ciphertext.

A CHECK, an index's or an exclusion constraint's condition, and what another column is computed of:
the database would take the stored message for the value, and accept anything, or nothing. Whether
a value is NULL, and ``octet_length()``, a message tells as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, Table
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BooleanClauseList,
    ColumnClause,
    Null,
    TextClause,
)
from sqlalchemy.sql.functions import FunctionElement

from encfields.errors import DeclarationError
from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.message_check import is_message, name_of_check
from encfields.orm.query.comparison import ungrouped
from encfields.orm.query.raw_names import encrypted_column_named

_LENGTH = re.compile(r"(?i)\b(?:char_|character_)?length(?=\s*\()")
"""Functions that tell a message's length where a value's is meant."""

_TOLD_BY_MESSAGE = ("octet_length", "num_nulls", "num_nonnulls")
"""Functions whose answer a message gives as well as a value does, as one is meant."""

_IN_PYTHON = "check the value in Python, for example with SQLAlchemy's validates()"
_BY_TRANSFORM = "give the column index=BlindIndex(...), with a transform of the value if need be"
_BY_OTHER_COLUMN = "leave it out, or let a column that is not encrypted say which rows are meant"


def refuse_sql_of(table: Table) -> None:
    """Refuse SQL over an encrypted column in any rule and column of its table.

    :raises DeclarationError: names the column, and what is over it.
    """
    for rule in (*table.constraints, *table.indexes):
        refuse_sql_of_rule(rule, table)
    for column in table.c:
        for rule in column.constraints:
            refuse_sql_of_rule(rule, table)
        for what, clause in _given_by_database(column):
            _refuse(clause, table, what, "leave it out, and compute it in Python")


def refuse_sql_of_rule(rule: Any, table: Table) -> None:
    """The same for one constraint or index."""
    if isinstance(rule, CheckConstraint):
        if not _is_of_messages(rule, table):
            _refuse(rule.sqltext, table, _called("the CHECK", rule), _IN_PYTHON)
    elif isinstance(rule, Index):
        what = _called("the index", rule)
        for part in rule.expressions:
            if not isinstance(part, Column):
                _refuse(part, table, what, _BY_TRANSFORM)
        for option, clause in rule.dialect_kwargs.items():
            if option.endswith("_where") and clause is not None:
                _refuse(clause, table, f"the condition of {what}", _BY_OTHER_COLUMN)
    elif internals.is_exclusion(rule):
        what = _called("the exclusion constraint", rule)
        for part in internals.exclusion_expressions(rule):
            if not isinstance(part, Column):
                _refuse(part, table, what, _BY_TRANSFORM)
        if rule.where is not None:
            _refuse(rule.where, table, f"the condition of {what}", _BY_OTHER_COLUMN)


def refuse_reference(table: Table) -> None:
    """Refuse a foreign key to an encrypted column.

    :raises DeclarationError: names the column that refers, and the other.
    """
    for key in table.foreign_keys:
        try:
            other = key.column
        except NoReferenceError:
            continue  # SQLAlchemy says so where it is needed
        if is_encrypted(other):
            raise DeclarationError(
                f"a foreign key cannot refer to {other.table.fullname}.{other.name}, which is "
                "encrypted: no two ciphertexts are alike. Refer to the primary key; or leave it "
                "out, encrypt this column too with the same BlindIndex(domain=...), and join the "
                "two with relationship(primaryjoin=...)",
                table=table.fullname,
                column=key.parent.name,
                reason="foreign-key",
            )


def _given_by_database(column: Column[Any]) -> Iterator[tuple[str, Any]]:
    """The SQL by which the database gives a column's value."""
    if column.computed is not None:
        yield f"the computed column {column.name!r}", column.computed.sqltext
    for what in ("server_default", "server_onupdate"):
        clause = getattr(getattr(column, what), "arg", None)
        if hasattr(clause, "get_children"):
            yield f"the {what} of {column.name!r}", clause


def _called(what: str, rule: Any) -> str:
    return f"{what} {str(rule.name)!r}" if isinstance(rule.name, str) else what


def _is_of_messages(check: CheckConstraint, table: Table) -> bool:
    """Whether it is the CHECK of ``guard=True``, also as a migration may spell it."""
    if isinstance(check.sqltext, is_message):
        return True
    names = (name_of_check(table.name, column.name) for column in filter(is_encrypted, table.c))
    return check.name is not None and str(check.name) in names


def _refuse(clause: Any, table: Table, what: str, fix: str) -> None:
    column = _computed_with(clause, list(table.c))
    if column is not None:
        raise DeclarationError(
            f"{what} would be computed of a ciphertext and not of the value: {fix}. IS NULL, "
            "IS NOT NULL and octet_length() work",
            table=table.fullname,
            column=column.name,
            reason="sql-over-ciphertext",
        )


def _computed_with(clause: Any, columns: list[Any]) -> Any | None:
    """The encrypted column of which SQL is computed, or ``None``."""
    if isinstance(clause, str):
        return _in_text(clause, columns)
    for part in _operands(clause):
        if is_encrypted(part):
            return part
        if isinstance(part, TextClause):
            named = _in_text(part.text, columns)
        elif isinstance(part, ColumnClause) and part.table is None:
            named = _in_text(part.name if part.is_literal else f'"{part.name}"', columns)
        else:
            continue
        if named is not None:
            return named
    return None


def _in_text(sql: str, columns: Iterable[Any]) -> Any | None:
    return encrypted_column_named(re.sub(_LENGTH, "measured", sql), columns)


def _operands(clause: Any) -> Iterator[Any]:
    """The elements of SQL but for what is only tested for NULL, or measured as a message."""
    tested: set[int] = set()
    for element in visitors.iterate(clause):
        if isinstance(element, BinaryExpression) and _is_null_test(element):
            tested.add(id(ungrouped(element.left)))
        elif isinstance(element, FunctionElement) and _is_told_by_message(element):
            tested.update(id(ungrouped(argument)) for argument in element.clauses)
        if id(element) not in tested and not isinstance(element, BooleanClauseList):
            yield element


def _is_null_test(element: BinaryExpression[Any]) -> bool:
    return element.operator in (operators.is_, operators.is_not) and isinstance(element.right, Null)


def _is_told_by_message(function: FunctionElement[Any]) -> bool:
    return str(getattr(function, "name", "")).lower() in _TOLD_BY_MESSAGE
