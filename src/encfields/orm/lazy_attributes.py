"""The ORM: an attribute of a lazy column holds a ``Sealed`` or ``None``, whatever it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.sql.visitors import iterate

from encfields.orm.sealed import Sealed

if TYPE_CHECKING:
    from sqlalchemy.orm import InstanceState, ORMExecuteState


def watch_attribute(class_: type[Any], key: str, attribute: Any) -> None:
    """SQLAlchemy's ``attribute_instrument``: have what is assigned to a lazy column sealed."""
    columns = getattr(attribute.property, "columns", ())
    if not columns or not _is_lazy(columns[0]):
        return
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    event.listen(attribute, "set", _assigned, retval=True)
    event.listen(class_, "refresh_flush", _defaulted, raw=True)
    event.listen(class_, "refresh", _updated, raw=True)
    if not event.contains(Session, "do_orm_execute", _compare_in_the_database):
        event.listen(Session, "do_orm_execute", _compare_in_the_database)


def _assigned(target: Any, value: Any, old: Any, initiator: Any) -> Any:
    return _sealed(value)


def _defaulted(state: InstanceState[Any], context: Any, names: Any) -> None:
    """Defaults are put into an object by the flush, which assigns nothing."""
    for name in names or ():
        value = state.dict.get(name)
        if value is not None and _is_lazy(state.mapper.columns.get(name)):
            state.dict[name] = _sealed(value)


def _updated(state: InstanceState[Any], context: Any, names: Any) -> None:
    """So is what ``update().values(...)`` wrote, by the evaluator of ``synchronize_session``."""
    if context is None:
        _defaulted(state, context, state.mapper.columns.keys())


def _compare_in_the_database(execution: ORMExecuteState) -> None:
    """Have an UPDATE or DELETE by a lazy column ask the database which objects it is about, for
    none is opened to be compared."""
    if not (execution.is_update or execution.is_delete):
        return
    if execution.execution_options.get("synchronize_session", "auto") != "auto":
        return
    where = getattr(execution.statement, "whereclause", None)
    if where is not None and any(_is_lazy(element) for element in iterate(where)):
        execution.update_execution_options(synchronize_session="fetch")


def _is_lazy(column: Any) -> bool:
    return bool(getattr(getattr(column, "type", None), "lazy", False))


def _sealed(value: Any) -> Any:
    """A Python value as a Sealed; NULL, an SQL expression and a Sealed as they are."""
    is_expression = hasattr(value, "__clause_element__") or hasattr(value, "__visit_name__")
    if value is None or is_expression or isinstance(value, Sealed):
        return value
    return Sealed.of(value)
