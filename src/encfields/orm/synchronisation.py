"""Which objects of a session an UPDATE or DELETE is about, where Python cannot tell.

SQLAlchemy's evaluator of ``synchronize_session`` compares what was asked with what the objects
hold. A lazy column's objects hold no value. In a row, ``tuple_(a, b).in_([...])``, and on the left,
``literal(x) == column``, a value stands as it was given, a UUID's text for instance, which is not
the UUID that was loaded; and what a user's own type makes of a value, it alone knows. So the
database is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.sql.elements import BinaryExpression, ClauseList
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import TypeDecorator

from encfields.orm.query.comparison import EQUALITY, MEMBERSHIP, IndexComparison
from encfields.orm.query.loaded_form import OF_SEVERAL_FORMS

if TYPE_CHECKING:
    from sqlalchemy.orm import ORMExecuteState


def watch_synchronisation(class_: type[Any], key: str, attribute: Any) -> None:
    """SQLAlchemy's ``attribute_instrument``: once there is a column to which that may happen, look
    at each session's statements."""
    columns = getattr(attribute.property, "columns", ())
    if not columns or not (_is_lazy(columns[0]) or _has_forms(columns[0])):
        return
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    if not event.contains(Session, "do_orm_execute", _compare_in_the_database):
        event.listen(Session, "do_orm_execute", _compare_in_the_database)


def _compare_in_the_database(execution: ORMExecuteState) -> None:
    if not (execution.is_update or execution.is_delete):
        return
    strategy = execution.execution_options.get("synchronize_session", "auto")
    where = getattr(execution.statement, "whereclause", None)
    if strategy not in ("auto", "evaluate") or where is None or execution.is_executemany:
        return  # of several parameter sets, SQLAlchemy says what to do
    for element in iterate(where):
        if _compares_as_given(element) or (strategy == "auto" and _is_lazy(element)):
            execution.update_execution_options(synchronize_session="fetch")
            return


def _compares_as_given(element: Any) -> bool:
    """Whether a column that has other forms meets a value as it is given there."""
    if isinstance(element, BinaryExpression):
        if element.operator not in (*EQUALITY, *MEMBERSHIP):
            return False
        if any(map(_is_of_own_type, (element.left, element.right))):
            return True
        return not isinstance(element, IndexComparison) and _has_forms(element.right)
    return isinstance(element, ClauseList) and any(map(_has_forms, element.clauses))


def _is_lazy(column: Any) -> bool:
    return bool(getattr(getattr(column, "type", None), "lazy", False))


def _has_forms(column: Any) -> bool:
    """Whether it is looked up by values that are loaded in another form."""
    return isinstance(_inner_of_indexed(column), (*OF_SEVERAL_FORMS, TypeDecorator))


def _is_of_own_type(column: Any) -> bool:
    return isinstance(_inner_of_indexed(column), TypeDecorator)


def _inner_of_indexed(column: Any) -> Any:
    """The inner type of a column with a blind index, or ``None``."""
    type_: Any = getattr(column, "type", None)
    return type_.inner if getattr(type_, "indexes", ()) else None
