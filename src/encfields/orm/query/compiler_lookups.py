"""Look-ups for comparisons that SQLAlchemy builds without asking the encrypted column's type,
wherever they are: in a CASE, a CTE, a subquery in FROM, a loader's criteria.

:mod:`criteria_lookups <encfields.orm.query.criteria_lookups>` replaces those in a WHERE before
compilation. The rest is replaced here, when an attached engine's compiler reaches it. Compiled
statements are cached and executed with other values, so nothing here may depend on a value: every
bind is one of the statement's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import LargeBinary, and_, or_
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    AsBoolean,
    BinaryExpression,
    BindParameter,
    Case,
    ClauseElement,
    CollectionAggregate,
    ColumnElement,
    False_,
    FunctionFilter,
    Grouping,
    Label,
    Null,
    True_,
    Tuple,
    UnaryExpression,
)
from sqlalchemy.sql.selectable import CompoundSelect
from sqlalchemy.sql.visitors import iterate, replacement_traverse
from sqlalchemy.types import TupleType

from encfields.orm import internals
from encfields.orm.adoption.comparisons import may_be_pending
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.query.bound_lists import asks_as_in, in_bound_list
from encfields.orm.query.comparison import (
    BOOLEAN,
    EQUALITY,
    MEMBERSHIP,
    NEGATIVE,
    IndexComparison,
    members_of,
    ungrouped,
)
from encfields.orm.query.criteria_lookups import asked_for_truth, is_indexed
from encfields.orm.query.index_operand import (
    IndexOperand,
    asked,
    refuse_list_for_many,
    refused,
)
from encfields.orm.query.lookup_type import Compared, LookupType, renamed_bind
from encfields.orm.query.null_tests import null_test_marked
from encfields.orm.query.raw_order import is_raw_name
from encfields.orm.query.resolution import answering, resolved
from encfields.orm.query.statement_scope import enclosing
from encfields.orm.read.compound_reads import read_each_branch
from encfields.orm.write.hidden_values import veil_all

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class _LookupCompiler(internals.LabelsOfCells, internals.NamesInReturning):
    """Mixed into a dialect's compiler class."""

    process: Callable[..., str]
    dialect: Dialect
    stack: list[Any]

    def visit_binary(self, binary: BinaryExpression[Any], **kw: Any) -> str:
        """Compile a comparison."""
        is_looked_up = is_looked_up_by_compiler(binary)
        asked = _as_lookups(binary, self) if is_looked_up else null_test_marked(binary, self)
        if asked is binary:
            return str(super().visit_binary(binary, **kw))  # type: ignore[misc]
        return self.process(asked, **kw)

    def visit_case(self, clause: Case[Any], **kw: Any) -> str:
        """Compile a CASE."""
        asked = _as_searched_case(clause) if is_looked_up_by_compiler(clause) else clause
        if asked.value is None:
            asked = _with_truth_asked(asked)
        return str(super().visit_case(asked, **kw))  # type: ignore[misc]

    def visit_funcfilter(self, funcfilter: FunctionFilter[Any], **kw: Any) -> str:
        """Compile a function with a FILTER."""
        asked = _as_equality(funcfilter.criterion, funcfilter)
        if asked is not funcfilter.criterion:
            funcfilter = FunctionFilter(funcfilter.func, asked)
        return str(super().visit_funcfilter(funcfilter, **kw))  # type: ignore[misc]

    def visit_is_true_unary_operator(
        self, element: UnaryExpression[Any], operator: Any, **kw: Any
    ) -> str:
        """Compile a boolean that is a condition by itself."""
        asked = _as_equality(element, element)
        if asked is element:
            return str(super().visit_is_true_unary_operator(element, operator, **kw))  # type: ignore[misc]
        return self.process(asked, **kw)

    def visit_is_false_unary_operator(
        self, element: UnaryExpression[Any], operator: Any, **kw: Any
    ) -> str:
        """Compile NOT of one."""
        asked = _as_equality(element, element)
        if asked is element:
            return str(super().visit_is_false_unary_operator(element, operator, **kw))  # type: ignore[misc]
        return self.process(asked, **kw)

    def visit_on_duplicate_key_update(self, on_duplicate: Any, **kw: Any) -> str:
        """Compile what MySQL and MariaDB do with a row that is there already."""
        made_before = copy(on_duplicate)
        made_before.update = {
            key: _with_inserted_looked_up(value, on_duplicate.inserted_alias, self)
            for key, value in on_duplicate.update.items()
        }
        return str(super().visit_on_duplicate_key_update(made_before, **kw))  # type: ignore[misc]

    def visit_compound_select(self, cs: CompoundSelect[Any], *args: Any, **kw: Any) -> str:
        """Compile a UNION, INTERSECT or EXCEPT."""
        is_whole = not self.stack
        sql = str(super().visit_compound_select(cs, *args, **kw))  # type: ignore[misc]
        if is_whole:
            read_each_branch(cs, self)
        return sql

    def returned_instead(self, statement: Any, column: Any) -> Any:
        """The encrypted column that RETURNING gives by its name; anything else unchanged."""
        if isinstance(column, Label):
            named = self.returned_instead(statement, column.element)
            return column if named is column.element else named.label(column.name)
        named = encrypted_column_returned(statement, column, self.dialect)
        return column if named is None else named


def encrypted_column_returned(statement: Any, column: Any, dialect: Dialect) -> Any | None:
    """The encrypted column that RETURNING gives by its name, unless as bytes; else ``None``."""
    if not is_raw_name(column) or column.is_literal or isinstance(column.type, LargeBinary):
        return None
    named = _column_named(statement.table, column.name, dialect)
    return named if is_encrypted(named) else None


def _column_named(table: Any, name: str, dialect: Dialect) -> Any:
    """The table's column that SQL means: in any case, except in PostgreSQL."""
    same = [one for one in table.c if one.name == name]
    if not same and dialect.name != "postgresql":
        same = [one for one in table.c if one.name.lower() == name.lower()]
    return same[0] if same else None


_classes: dict[type[Any], type[Any]] = {}
"""By the dialect's compiler class."""


def use_lookup_compiler(dialect: Dialect) -> None:
    """Compile an engine's statements with a look-up compiler."""
    compiler = dialect.statement_compiler
    if not issubclass(compiler, _LookupCompiler):
        if compiler not in _classes:
            _classes[compiler] = type(compiler.__name__, (_LookupCompiler, compiler), {})
        dialect.statement_compiler = _classes[compiler]


def use_own_compiler(dialect: Dialect) -> None:
    """Undo :func:`use_lookup_compiler`."""
    for plain, asking in _classes.items():
        if dialect.statement_compiler is asking:
            dialect.statement_compiler = plain


def is_from_lookup_compiler(compiled: Any) -> bool:
    """Whether a look-up compiler compiled the statement."""
    return isinstance(compiled, _LookupCompiler)


def is_looked_up_by_compiler(element: Any) -> bool:
    """Whether a look-up compiler replaces an element."""
    if isinstance(element, Case):
        return element.value is not None and is_indexed(element.value)
    if isinstance(element, AsBoolean):
        return asked_for_truth(element) is not None
    if not isinstance(element, BinaryExpression):
        return False
    left, right, operator = element.left, element.right, element.operator
    if isinstance(left, True_ | False_):
        return operator in EQUALITY and asked_for_truth(right) is not None
    if isinstance(left, BindParameter):
        if operator in EQUALITY:
            return is_indexed(right)
        columns = members_of(right)
        is_found = operator in MEMBERSHIP and any(map(is_indexed, columns))
        return is_found and not any(map(_is_bare_ciphertext, columns))
    if isinstance(left, Tuple):
        return any(map(is_indexed, left.clauses)) and _is_comparison_of_rows(element)
    if isinstance(right, CollectionAggregate):
        is_listed = internals.array_items(ungrouped(right.element)) or asks_as_in(operator, right)
        return bool(is_listed) and operator in EQUALITY and is_indexed(left)
    return False


def _is_comparison_of_rows(element: BinaryExpression[Any]) -> bool:
    """Whether a row of columns is compared with rows whose parts are looked up one by one."""
    columns = list(element.left.clauses)
    if any(map(_is_bare_ciphertext, columns)):
        return False
    if element.operator in EQUALITY:
        rows = [element.right]
    elif element.operator in MEMBERSHIP:
        if _is_in_bound_rows(element):
            return True
        rows = members_of(element.right)
    else:
        return False
    return bool(rows) and all(
        isinstance(row, Tuple)
        and len(row.clauses) == len(columns)
        and all(map(_is_comparable, columns, row.clauses))
        for row in rows
    )


def _is_comparable(column: Any, value: Any) -> bool:
    """Whether the database can compare a part of a row, which it cannot if it is ciphertext."""
    return is_indexed(column) or isinstance(value, BindParameter) or not is_encrypted(value)


def _is_bare_ciphertext(side: Any) -> bool:
    """Whether it is ciphertext that no index answers for."""
    return is_encrypted(side) and not isinstance(side, BindParameter) and not is_indexed(side)


def _as_lookups(binary: BinaryExpression[Any], compiler: Any) -> ColumnElement[Any]:
    left, right, operator = binary.left, binary.right, binary.operator
    differs = operator in NEGATIVE
    equal = operators.ne if differs else operators.eq
    if isinstance(left, True_ | False_):
        left = BindParameter(None, isinstance(left, True_), right.type, unique=True)
    if isinstance(left, BindParameter):
        if operator in EQUALITY:
            return IndexComparison.exchanged(right, operator, left, binary, is_all=True)
        binds = _copies_of_bind(left, compiler)
        each = [
            _part_compared(column, equal, bind, binary)
            for column, bind in zip(members_of(right), binds, strict=False)
        ]
        return Grouping((and_ if differs else or_)(*each))
    if isinstance(left, Tuple):
        if _is_in_bound_rows(binary):
            return _in_bound_rows(binary, compiler)
        rows = [right] if operator in EQUALITY else members_of(right)
        within, among = (or_, and_) if differs else (and_, or_)
        each = [
            within(
                *(
                    _part_compared(column, equal, value, binary)
                    for column, value in zip(left.clauses, row.clauses, strict=True)
                )
            )
            for row in rows
        ]
        return Grouping(among(*each))
    if asks_as_in(operator, right):
        return in_bound_list(left, operator, cast("CollectionAggregate[Any]", right), binary)
    items = internals.array_items(ungrouped(right.element)) or ()
    is_any = right.operator is operators.any_op
    each = [_part_compared(left, operator, item, binary) for item in items]
    return Grouping((or_ if is_any else and_)(*each))


def _copies_of_bind(bind: BindParameter[Any], compiler: Any) -> Iterator[BindParameter[Any]]:
    """Copies of a bind, one per look-up, since each has its own hash."""
    yield bind
    for number in count(2):
        yield renamed_bind(bind, compiler, number)


def _part_compared(column: Any, operator: Any, value: Any, place: Any) -> ColumnElement[Any]:
    """A part of the comparison at `place`."""
    if is_indexed(column) and not isinstance(value, Null):
        return IndexComparison.exchanged(column, operator, value, place, is_all=False)
    return BinaryExpression(column, value, operator, type_=BOOLEAN)


def _with_inserted_looked_up(value: Any, inserted: Any, compiler: Any) -> Any:
    """A value of ON DUPLICATE KEY UPDATE with its look-ups of the inserted row already made.

    SQLAlchemy puts SQL, ``VALUES(ssn)``, in the place of the row's columns, which no look-up knows.
    """

    def replace(element: Any, **_: Any) -> Any:
        if not any(getattr(part, "table", None) is inserted for part in iterate(element)):
            return None
        asked = element
        if isinstance(element, Case):
            asked = _as_searched_case(element) if is_looked_up_by_compiler(element) else element
            asked = _with_truth_asked(asked) if asked.value is None else asked
        elif is_looked_up_by_compiler(element):
            is_truth = isinstance(element, AsBoolean)
            asked = _as_equality(element, element) if is_truth else _as_lookups(element, compiler)
        if isinstance(asked, IndexComparison):
            return Grouping(resolved(asked, compiler))
        return None if asked is element else replacement_traverse(asked, {}, replace)

    is_expression = isinstance(value, ClauseElement)
    return replacement_traverse(value, {}, replace) if is_expression else value


def _as_searched_case(case: Case[Any]) -> Case[Any]:
    """``CASE column WHEN value`` as ``CASE WHEN column = value``."""
    whens = [
        (_part_compared(case.value, operators.eq, value, case), result)
        for value, result in case.whens
    ]
    return Case(*whens, else_=case.else_)


def _with_truth_asked(case: Case[Any]) -> Case[Any]:
    """A CASE with look-ups of the booleans that are conditions by themselves."""
    whens = [(_as_equality(condition, case), result) for condition, result in case.whens]
    is_same = all(new is old for (new, _), (old, _) in zip(whens, case.whens, strict=True))
    return case if is_same else Case(*whens, else_=case.else_)


def _as_equality(condition: Any, place: Any) -> Any:
    """``column = TRUE`` in the place of a boolean that is a condition by itself."""
    asked = asked_for_truth(condition)
    if asked is None:
        return condition
    column, truth = asked
    value = BindParameter(None, truth, column.type, unique=True)
    is_all = condition is place
    return IndexComparison.exchanged(column, operators.eq, value, place, is_all=is_all)


def _is_in_bound_rows(element: BinaryExpression[Any]) -> bool:
    """Whether a row of columns is compared with a list of rows in one bind."""
    rows = element.right
    if element.operator not in MEMBERSHIP or not isinstance(rows, BindParameter):
        return False
    return isinstance(rows.type, TupleType) and len(rows.type.types) == len(element.left.clauses)


def _in_bound_rows(element: BinaryExpression[Any], compiler: Any) -> ColumnElement[Any]:
    """The same comparison with the columns' indexes.

    The list may be longer in the next execution, so rows stay rows, and each value in them is
    hashed for its column.

    :raises UnsupportedOperationError: one of the columns has no single index that answers it.
    """
    rows: Any = element.right
    veil_all(rows)
    sides, types = [], []
    for column, type_ in zip(element.left.clauses, rows.type.types, strict=True):
        if not is_indexed(column):
            sides.append(column)
            types.append(type_)
            continue
        part = IndexComparison.exchanged(column, element.operator, rows, element, is_all=False)
        refuse_list_for_many(rows, cast("IndexOperand", asked(part.left)), part, compiler)
        index_column, lookup = _index_and_lookup(part, rows, compiler)
        sides.append(index_column)
        types.append(lookup)
    hashed = internals.retyped_bind(rows, TupleType(*types), rename=False)
    return BinaryExpression(Tuple(*sides), hashed, element.operator, type_=element.type)


def _index_and_lookup(
    part: IndexComparison, rows: BindParameter[Any], compiler: Any
) -> tuple[ColumnElement[Any], LookupType]:
    """The index in place of one column, and the type of the rows' values there."""
    operand = cast("IndexOperand", asked(part.left))
    index, *others = answering(part, operand)
    if others or index.other is not None or may_be_pending(index):
        raise refused(
            operand,
            part,
            "while the column has two kinds of hashes or is being adopted, a list of rows can be "
            "looked up only in the WHERE of a statement: write and_() and or_() of each column",
        )
    compared = Compared(part, operand, operand.needs_filter(index), enclosing(compiler))
    return operand.index_column(index), LookupType(index, compared, rows)
