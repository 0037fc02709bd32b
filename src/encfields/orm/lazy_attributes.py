"""The ORM: an attribute of a lazy column holds a ``Sealed`` or ``None``, whatever it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encfields.orm.sealed import Sealed

if TYPE_CHECKING:
    from sqlalchemy.orm import InstanceState


def watch_attribute(class_: type[Any], key: str, attribute: Any) -> None:
    """SQLAlchemy's ``attribute_instrument``: have what is assigned to a lazy column sealed."""
    columns = getattr(attribute.property, "columns", ())
    if not columns or not getattr(columns[0].type, "lazy", False):
        return
    from sqlalchemy import event

    event.listen(attribute, "set", _assigned, retval=True)
    event.listen(class_, "refresh_flush", _defaulted, raw=True)


def _assigned(target: Any, value: Any, old: Any, initiator: Any) -> Any:
    return _sealed(value)


def _defaulted(state: InstanceState[Any], context: Any, names: Any) -> None:
    """Defaults are put into an object by the flush, which assigns nothing."""
    for name in names or ():
        value = state.dict.get(name)
        column = state.mapper.columns.get(name)
        if value is not None and getattr(getattr(column, "type", None), "lazy", False):
            state.dict[name] = _sealed(value)


def _sealed(value: Any) -> Any:
    """A Python value as a Sealed; NULL, an SQL expression and a Sealed as they are."""
    is_expression = hasattr(value, "__clause_element__") or hasattr(value, "__visit_name__")
    if value is None or is_expression or isinstance(value, Sealed):
        return value
    return Sealed.of(value)
