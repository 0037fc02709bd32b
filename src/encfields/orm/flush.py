"""What an ORM session knows of the rows that it will update.

A value is bound to its row's identity. If that is more than the primary key (a tenant's column,
``bind_to=``), the flush's UPDATE does not contain it. So what the object was loaded with is
recorded here before the flush; :mod:`encfields.orm.write.row_update` seals the values for it, and
makes the database compare it.

An attribute of a lazy column holds a ``Sealed`` or ``None``, whatever it is given.

In an UPDATE or DELETE of many rows, SQLAlchemy's evaluator of ``synchronize_session`` finds the
session's objects by comparing them with the criteria in Python. A lazy column's objects hold no
value. In ``tuple_(a, b).in_([...])`` and ``literal(x) == column`` a value is unconverted, such as a
UUID's text, which does not equal the loaded UUID; only an application's type knows how it
converts; and only the database whether a date equals its midnight. In these cases the session asks
the database instead.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, Table
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ClauseList
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import Date, DateTime, Interval, TypeDecorator

from encfields.codecs.temporal import is_day
from encfields.orm import internals
from encfields.orm.declare.columns import binding_of, is_encrypted
from encfields.orm.query.comparison import EQUALITY, MEMBERSHIP, IndexComparison
from encfields.orm.query.loaded_form import LISTS, OF_SEVERAL_FORMS
from encfields.orm.sealed import Sealed
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import InstanceState, Mapper, ORMExecuteState

Identity = Mapping[str, Any]
"""Values of a row's identity columns, by column key."""


class TableAttributes(NamedTuple):
    """The ORM attributes of one table with encrypted columns.

    :ivar watched: attributes of the encrypted columns and of what they are bound to.
    :ivar key: attribute of each column of the table's primary key; if the class leaves one out, of
        what it has for a key instead.
    :ivar beyond_key: attribute of each identity column that the ORM's WHERE does not pin.
    """

    table: Table
    watched: tuple[str, ...]
    key: dict[Column[Any], str]
    beyond_key: dict[Column[Any], str]


@functools.cache
def watch_mappers() -> None:
    """Listen for mapped classes with encrypted columns; only once."""
    from sqlalchemy import event
    from sqlalchemy.orm import Mapper

    event.listen(Mapper, "mapper_configured", _mapper_configured)
    event.listen(object, "attribute_instrument", _attribute_instrumented, propagate=True)
    event.listen(object, "attribute_instrument", watch_attribute, propagate=True)
    event.listen(object, "attribute_instrument", _watch_synchronisation, propagate=True)


def _mapper_configured(mapper: Mapper[Any], class_: type[Any]) -> None:
    from sqlalchemy import event

    # Which row its values are bound to may not be known yet: awaits_key_types() says why.
    if _encrypted(mapper) and not event.contains(mapper, "before_update", _before_update):
        event.listen(mapper, "before_update", _before_update)


def _attribute_instrumented(class_: type[Any], key: str, attribute: Any) -> None:
    """An attribute was added to a class, which may already be configured."""
    mapper = getattr(attribute, "parent", None)
    if getattr(mapper, "configured", False) and is_encrypted(attribute):
        from sqlalchemy import event

        if not event.contains(mapper, "before_update", _before_update):
            event.listen(mapper, "before_update", _before_update)


_known: weakref.WeakKeyDictionary[Any, tuple[int, list[TableAttributes]]] = (
    weakref.WeakKeyDictionary()
)


@leaves_no_trace
def _before_update(mapper: Mapper[Any], connection: Connection, target: Any) -> None:
    from sqlalchemy import inspect

    count, tables = _known.get(mapper, (0, []))
    if count != len(mapper.columns):  # attributes may have been added since
        tables = _tables(mapper)
        _known[mapper] = len(mapper.columns), tables
    state = inspect(target)
    for attributes in tables:
        if attributes.beyond_key and any(_is_changed(state, key) for key in attributes.watched):
            _note(connection, state, attributes)


def _tables(mapper: Mapper[Any]) -> list[TableAttributes]:
    return [_table_attributes(mapper, table, pairs) for table, pairs in _encrypted(mapper).items()]


def _encrypted(mapper: Mapper[Any]) -> dict[Table, list[tuple[str, Column[Any]]]]:
    """The encrypted columns by table, each with its attribute's name."""
    encrypted: dict[Table, list[tuple[str, Column[Any]]]] = {}
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        if isinstance(column, Column) and is_encrypted(column) and isinstance(column.table, Table):
            encrypted.setdefault(column.table, []).append((attribute.key, column))
    return encrypted


def _table_attributes(mapper: Mapper[Any], table: Table, pairs: list[Any]) -> TableAttributes:
    bound_to = dict.fromkeys(key for _, column in pairs for key in binding_of(column).bound_to)
    # What a class leaves out is not known from its objects: the UPDATE reads it from the row.
    identity = _mapped(mapper, bound_to)
    key = _mapped(mapper, table.primary_key)
    if not key or len(key) < len(table.primary_key):
        key = _mapped(mapper, (c for c in table.columns if c in mapper.primary_key))
    beyond = {column: name for column, name in identity.items() if column not in key}
    watched = dict.fromkeys([*(name for name, _ in pairs), *identity.values()])
    return TableAttributes(table, tuple(watched), key, beyond)


def _mapped(mapper: Mapper[Any], columns: Iterable[Column[Any]]) -> dict[Column[Any], str]:
    """The attributes of those columns that the class has."""
    from sqlalchemy.orm.exc import UnmappedColumnError

    names: dict[Column[Any], str] = {}
    for column in columns:
        with suppress(UnmappedColumnError):
            names[column] = mapper.get_property_by_column(column).key
    return names


def _is_changed(state: Any, key: str) -> bool:
    """Whether the flush will write the attribute, which it skips if the value is the same."""
    return internals.has_loaded_change(state, key) and state.attrs[key].history.has_changes()


# -- what was loaded ---------------------------------------------------------------------------

_loaded: weakref.WeakKeyDictionary[Any, dict[Any, Identity]] = weakref.WeakKeyDictionary()
"""By connection, and there by table and primary key, until the UPDATE takes it."""


def _note(connection: Connection, state: Any, attributes: TableAttributes) -> None:
    from sqlalchemy.orm.exc import ObjectDeletedError

    try:
        _note_loaded(connection, state, attributes)
    except ObjectDeletedError:
        # There is no row to load from. The flush says so itself, as it does of a plain column:
        # when it loads the primary key, or when its UPDATE matches nothing.
        return


def _note_loaded(connection: Connection, state: Any, attributes: TableAttributes) -> None:
    identity: dict[str, Any] = {}
    for column, key in attributes.beyond_key.items():
        if key in state.expired_attributes:
            state.attrs[key].load_history()  # as the flush does for the primary key
        history = state.attrs[key].history
        if history.deleted or history.unchanged:
            identity[column.key] = (history.deleted or history.unchanged)[0]
    row_key = {column: _loaded_key(state, key) for column, key in attributes.key.items()}
    noted = _loaded.setdefault(connection, {})
    noted[attributes.table, row_key_of(row_key)] = identity


def _loaded_key(state: Any, key: str) -> Any:
    history = state.attrs[key].load_history()
    return next(iter(history.deleted or history.unchanged or history.added), None)


def row_key_of(values: Mapping[Column[Any], Any]) -> tuple[Any, ...]:
    """A row's primary key in a canonical order of columns."""
    return tuple(sorted(((column.key, value) for column, value in values.items()), key=_name))


def _name(pair: tuple[str, Any]) -> str:
    return pair[0]


def loaded_identity(connection: Connection, table: Table, row_key: tuple[Any, ...]) -> Identity:
    """The loaded values of a flushed object's identity beyond the primary key; returned once.

    Empty for a row without an object, and without attributes that were never loaded.
    """
    noted = _loaded.get(connection)
    return noted.pop((table, row_key), {}) if noted else {}


def watch_attribute(class_: type[Any], key: str, attribute: Any) -> None:
    """SQLAlchemy's ``attribute_instrument``: seal what is assigned to a lazy column."""
    columns = getattr(attribute.property, "columns", ())
    if not columns or not _is_lazy(columns[0]):
        return
    from sqlalchemy import event

    event.listen(attribute, "set", _assigned, retval=True)
    event.listen(class_, "refresh_flush", _defaulted, raw=True)
    event.listen(class_, "refresh", _updated, raw=True)


def _assigned(target: Any, value: Any, old: Any, initiator: Any) -> Any:
    return _sealed(value)


def _defaulted(state: InstanceState[Any], context: Any, names: Any) -> None:
    """The flush sets defaults in an object without assigning them."""
    for name in names or ():
        value = state.dict.get(name)
        if value is not None and _is_lazy(state.mapper.columns.get(name)):
            state.dict[name] = _sealed(value)


def _updated(state: InstanceState[Any], context: Any, names: Any) -> None:
    """Also seal what the evaluator of ``synchronize_session`` puts into an object."""
    if context is None:
        _defaulted(state, context, state.mapper.columns.keys())


def _is_lazy(column: Any) -> bool:
    return bool(getattr(getattr(column, "type", None), "lazy", False))


def _sealed(value: Any) -> Any:
    """A Python value as a Sealed; NULL, an SQL expression and a Sealed unchanged."""
    is_expression = hasattr(value, "__clause_element__") or hasattr(value, "__visit_name__")
    if value is None or is_expression or isinstance(value, Sealed):
        return value
    return Sealed.of(value)


def _watch_synchronisation(class_: type[Any], key: str, attribute: Any) -> None:
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
        return  # for several parameter sets SQLAlchemy raises its own error
    for element in iterate(where):
        if _compares_as_given(element) or (strategy == "auto" and _is_lazy(element)):
            execution.update_execution_options(synchronize_session="fetch")
            return


def _compares_as_given(element: Any) -> bool:
    """Whether a column whose type accepts other forms is compared with an unconverted value."""
    if isinstance(element, BinaryExpression):
        if element.operator not in (*EQUALITY, *MEMBERSHIP):
            return False
        sides = (element.left, element.right)
        if any(map(_is_of_own_type, sides)) or _is_day_beside_time(*sides):
            return True
        return not isinstance(element, IndexComparison) and _has_forms(element.right)
    return isinstance(element, ClauseList) and any(map(_has_forms, element.clauses))


def _is_day_beside_time(*sides: Any) -> bool:
    """Whether a date is compared with a ``datetime``, which equals it in some databases only."""
    inner = [_inner_of_indexed(side) for side in sides]
    is_date = any(isinstance(type_, Date) for type_ in inner)
    if not is_date and not any(isinstance(type_, DateTime) for type_ in inner):
        return False
    given = [side.effective_value for side in sides if isinstance(side, BindParameter)]
    values = itertools.chain.from_iterable(v if isinstance(v, LISTS) else (v,) for v in given)
    return any(isinstance(value, dt.datetime) if is_date else is_day(value) for value in values)


def _has_forms(column: Any) -> bool:
    """Whether it is looked up by values that are loaded in another form."""
    return isinstance(_inner_of_indexed(column), OF_SEVERAL_FORMS) or _is_of_own_type(column)


def _is_of_own_type(column: Any) -> bool:
    inner = _inner_of_indexed(column)
    return isinstance(inner, TypeDecorator) and type(inner) is not Interval


def _inner_of_indexed(column: Any) -> Any:
    """The inner type of a column with a blind index, or ``None``."""
    type_: Any = getattr(column, "type", None)
    return type_.inner if getattr(type_, "indexes", ()) else None
