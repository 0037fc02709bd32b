"""Values that are looked up in a blind index: planned once for a compiled statement, then hashed.

Where the index key is a tenant's, the tenant must be known: the statement has to compare the
template's columns, of the same table or alias, with ``=`` to a value, in the same SELECT's WHERE
or in one around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Delete, Update
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, Grouping
from sqlalchemy.sql.selectable import Join, Select

from encfields.binding import sqlalchemy_internals as internals
from encfields.binding.index_comparison import IndexComparison
from encfields.binding.lookup_type import LookupType
from encfields.binding.pending import PendingLookup
from encfields.binding.reads import sibling
from encfields.binding.row_keys import from_bound_value
from encfields.errors import EncFieldsError, UnsupportedOperationError, ValueEncodingError
from encfields.index.compound_key import CompoundKey

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.binding.index_columns import IndexBinding
    from encfields.encryption import Encryption

Pins = Mapping[int, str]
"""The bind that each column is compared with, by the column's hash."""

NO_ROW = b""
"""What a value that the column cannot hold is looked up as: no row's index is empty."""


@dataclass(frozen=True, slots=True)
class LookupBind:
    """One bind that is looked up.

    :ivar bind: its name in the compiled statement.
    :ivar type: tells the index, and the comparison it is part of.
    :ivar key: for each column of the key's template, its bind and how it becomes text.
    """

    bind: str
    type: LookupType
    key: tuple[tuple[str, Callable[[object], str]], ...]


def plan_lookups(compiled: Any, statement: Any, dialect: Dialect) -> tuple[LookupBind, ...]:
    """Every lookup of a compiled statement.

    :raises UnsupportedOperationError: the statement does not tell the tenant.
    """
    found = [
        (name, bind.type)
        for bind, name in compiled.bind_names.items()
        if isinstance(bind.type, LookupType)
    ]
    if not found:
        return ()
    pins = dict(_pins_by_comparison(compiled, statement))
    return tuple(
        LookupBind(name, type_, tuple(_key(type_, pins.get(id(type_.comparison), {}), dialect)))
        for name, type_ in found
    )


def _key(type_: LookupType, pins: Pins, dialect: Dialect) -> Iterator[Any]:
    index = type_.index
    for column in index.key_columns:
        there = sibling(type_.scope.expression, column, type_.scope.column)
        bind = pins.get(hash(there))
        if bind is None:
            raise UnsupportedOperationError(
                f"its blind index has a key of its own for each {column.name}: add "
                f"{column.table.name}.{column.name} == ... to the WHERE, next to this comparison",
                table=index.table,
                column=index.column_name,
                reason="tenant-unknown",
            )
        yield bind, from_bound_value(column.type, dialect)


# -- which columns are compared with a value, and where ---------------------------------------


def _pins_by_comparison(compiled: Any, statement: Any) -> Iterator[tuple[int, Pins]]:
    """For each comparison by an index, the pins that hold wherever it is decided."""
    stack: list[tuple[Any, Pins]] = [(statement, {})]
    seen: set[int] = set()
    while stack:
        element, pins = stack.pop()
        if id(element) in seen:
            continue
        seen.add(id(element))
        if isinstance(element, IndexComparison):
            yield id(element), pins
        elif isinstance(element, Select | Update | Delete):
            pins = {**pins, **dict(_pinned_by(compiled, element))}
        stack.extend((child, pins) for child in element.get_children())


def _pinned_by(compiled: Any, statement: Any) -> Iterator[tuple[int, str]]:
    for criterion in conjunction_of(statement):
        if type(criterion) is not BinaryExpression or criterion.operator is not operators.eq:
            continue
        sides = (criterion.left, criterion.right)
        for column, value in (sides, sides[::-1]):
            if isinstance(value, BindParameter) and not value.expanding:
                name = internals.bind_name(compiled, value)
                if name is not None:
                    yield hash(column), name


def conjunction_of(statement: Any) -> Iterator[Any]:
    """The conditions that all hold for every row of a statement: WHERE, and ON of inner joins."""
    yield from _conjunction(internals.where_criteria(statement))
    if isinstance(statement, Select):
        for source in internals.top_level_from(statement):
            yield from _join_conditions(source)


def _join_conditions(source: Any) -> Iterator[Any]:
    if isinstance(source, Join) and not source.isouter and not source.full:
        yield from _conjunction([source.onclause])
        yield from _join_conditions(source.left)
        yield from _join_conditions(source.right)


def _conjunction(criteria: Any) -> Iterator[Any]:
    for criterion in criteria:
        if isinstance(criterion, Grouping):
            yield from _conjunction([criterion.element])
        elif isinstance(criterion, BooleanClauseList) and criterion.operator is operators.and_:
            yield from _conjunction(criterion.clauses)
        else:
            yield criterion


# -- at every execution ------------------------------------------------------------------------


def answer_lookups(
    lookups: Mapping[object, LookupBind], encryption: Encryption, context: Any, dialect: Dialect
) -> None:
    """Exchange every value that is looked up for its blind index.

    :param lookups: by the token of their types.
    :raises KeyStoreError: a beacon key cannot be had.
    """
    for values, given in internals.parameter_rows(context):
        for value in given.values() if isinstance(given, dict) else given:
            if type(value) is PendingLookup and not value.done:
                lookup = lookups[value.token]
                value.settle(_answer(lookup, values, value.value, encryption, dialect))


def _answer(
    lookup: LookupBind,
    values: Mapping[str, Any],
    value: object,
    encryption: Encryption,
    dialect: Dialect,
) -> bytes | None:
    index = lookup.type.index
    normalised = normalised_lookup(index, value, dialect)
    texts = [None if values[b] is None else to_text(values[b]) for b, to_text in lookup.key]
    if normalised is None or None in texts:
        return None
    if normalised is UNKNOWN:
        return NO_ROW
    key_id = index.key_id([text or "" for text in texts])
    return index.value(encryption, key_id, normalised, for_writing=False)


UNKNOWN = b"\x00encfields: no value of this column"
"""Identity counts: told apart with ``is``."""


def normalised_lookup(index: IndexBinding, value: object, dialect: Dialect) -> bytes | None:
    """What of a value is looked up; :data:`UNKNOWN` for one that the column cannot hold.

    :raises ValueEncodingError: the value is of another type.
    """
    parts = value.values if isinstance(value, CompoundKey) else (value,)
    return _or_unknown(lambda: index.normalise(parts, dialect))


def encoded_lookup(index: IndexBinding, value: object, dialect: Dialect) -> bytes | None:
    """The same of the whole value, whatever of it is indexed."""
    return _or_unknown(lambda: index.sources[0].codec.encode(value, dialect))


def _or_unknown(encode: Callable[[], bytes | None]) -> bytes | None:
    failure: EncFieldsError
    try:
        return encode()
    except ValueEncodingError as error:
        if error.reason == "range":
            return UNKNOWN
        error.message = error.message.replace("nothing was stored", "nothing was looked up")
        failure = error
    raise failure
