"""``blind(Patient, "who").matches(...)``: query a blind index over several columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Table, inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.sql.selectable import Alias, FromClause

from encfields.errors import UnsupportedOperationError
from encfields.expected_arguments import TEXT, require
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.query.comparison import BlindValue, BlindView, is_column
from encfields.orm.query.lookup_type import CompoundValue
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement
    from sqlalchemy.orm import Mapper

_LEAST_PARTS = 2


class CompoundQuery:
    """One compound blind index of a table, an alias, or a mapped class.

    :ivar value: the index itself, for GROUP BY and COUNT DISTINCT.
    """

    def __init__(self, names: list[str], value: BlindValue) -> None:
        self._names = names
        self.value = value

    @leaves_no_trace
    def matches(self, **values: object) -> ColumnElement[bool]:
        """Rows that have these values, as far as the index's transforms tell.

        A row with NULL in one of the columns is not in the index: the result for it is NULL, also
        under ``not_()``. Query it with ``column.is_(None)``.

        :param values: one for each column of the index, whole or already transformed.
        :returns: the condition, for ``where()``.
        :raises UnsupportedOperationError: a column is missing, or there is none of that name, or
            one is given an SQL expression.
        """
        if set(values) != set(self._names):
            raise UnsupportedOperationError(
                f"the compound blind index takes a value for each of {', '.join(self._names)}, "
                "and of nothing else",
                reason="compound",
            )
        for name, value in values.items():
            if is_column(value):
                raise UnsupportedOperationError(
                    f"the compound blind index takes values, and {name} is given an SQL "
                    "expression, of which there is no hash: build the condition with the value "
                    "itself, and not with a bindparam(), literal() or column",
                    reason="compound",
                )
        answer: ColumnElement[bool] = self.value == CompoundValue(
            tuple(values[name] for name in self._names)
        )
        return answer

    def __eq__(self, other: object) -> NoReturn:
        raise _ask_by_matches(self._names)

    def __ne__(self, other: object) -> NoReturn:
        raise _ask_by_matches(self._names)

    __hash__ = None  # type: ignore[assignment]


def _ask_by_matches(names: list[str]) -> UnsupportedOperationError:
    values = ", ".join(f"{name}=..." for name in names)
    return UnsupportedOperationError(
        f"a compound blind index is not compared with ==, which would be Python's: write "
        f"blind(...).matches({values}), and not_() of that for what differs",
        reason="compound",
    )


def blind(entity: Any, name: str) -> CompoundQuery:
    """A compound blind index, for use in a query.

    :param entity: a mapped class, ``aliased()`` of one, a ``Table``, or an alias of one.
    :param name: of the :class:`~encfields.CompoundBlindIndex`.
    :raises UnsupportedOperationError: the table has no such index, or the class leaves out one of
        its columns.
    """
    require("name", TEXT, name, UnsupportedOperationError)
    if isinstance(entity, FromClause):
        table = entity.element if isinstance(entity, Alias) else entity
        of_table = _index(table, name)
        names = [source.column.key for source in of_table.sources]
        return CompoundQuery(
            names, BlindValue(entity.c[names[0]], BlindView(name, is_compound=True))
        )
    try:
        mapper = inspect(entity).mapper
    except (NoInspectionAvailable, AttributeError):
        raise _no_index(name) from None
    indexes = [index for index in (_find(table, name) for table in mapper.tables) if index]
    if not indexes:
        raise _no_index(name)
    names = [_attribute(mapper, source.column, name) for source in indexes[0].sources]
    view = BlindView(name, is_compound=True)
    return CompoundQuery(names, BlindValue(getattr(entity, names[0]), view))


def _attribute(mapper: Mapper[Any], column: Column[Any], name: str) -> str:
    from sqlalchemy.orm.exc import UnmappedColumnError

    try:
        return mapper.get_property_by_column(column).key
    except UnmappedColumnError:
        raise UnsupportedOperationError(
            f"{mapper.class_.__name__} leaves out the column {column.name!r} of the compound blind "
            f"index {name!r}: pass the table, blind({mapper.class_.__name__}.__table__, {name!r})",
            reason="no-index",
        ) from None


def _find(table: Any, name: str) -> IndexBinding | None:
    if not isinstance(table, Table):
        return None
    compound = (i for i in indexes_of(table) if len(i.sources) >= _LEAST_PARTS)
    return next((index for index in compound if index.label == name), None)


def _index(table: Any, name: str) -> IndexBinding:
    index = _find(table, name)
    if index is None:
        raise _no_index(name)
    return index


def _no_index(name: str) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"there is no compound blind index {name!r}: declare CompoundBlindIndex({name!r}, ...) "
        "in __table_args__, and pass the mapped class, the table, or an alias of either",
        reason="no-index",
    )
