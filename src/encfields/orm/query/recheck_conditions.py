"""The conditions that the rows of a statement are compared with again after decryption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from encfields.errors import UnreadableError
from encfields.message import core
from encfields.orm import internals
from encfields.orm.declare.index_binding import is_indexed_as_stored
from encfields.orm.query.comparison import NEGATIVE
from encfields.orm.query.lookup_plan import LookupBind
from encfields.orm.query.lookups import normalised_lookup, whole_lookup
from encfields.orm.read.beside import proxies
from encfields.orm.read.lazy import carried
from encfields.orm.read.provenance import sibling

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.declare.index_binding import IndexBinding
    from encfields.orm.read.row_reader import RowReader


class DeliveredCell(NamedTuple):
    """Where a row has one of an index's columns.

    :ivar position: in the driver's row.
    :ivar reader: the column's reader, which tells a cell's row.
    :ivar open: gives the comparable value of a cell.
    :ivar is_shown: whether that is the value that the result shows.
    """

    position: int
    reader: RowReader
    open: Callable[[Any], Any]
    is_shown: bool


def delivered_cell(
    compiled: Any,
    expression: Any,
    dialect: Dialect,
    is_wanted: Callable[[Any], bool] | None = None,
) -> DeliveredCell | None:
    """Where the rows have the value of an encrypted column; ``None`` if they do not.

    :param compiled: the statement.
    :param expression: the column, as the statement has it.
    :param is_wanted: whether a selected column is it; by default, whether it is `expression`.
    """

    def is_same(part: Any) -> bool:
        return hash(part) == hash(expression)

    delivered = internals.result_position(compiled, is_wanted or is_same)
    if delivered is None:
        return None
    position, type_ = delivered
    reader = cast("RowReader", type_)
    if not is_indexed_as_stored(reader.binding):
        return DeliveredCell(position, reader, reader.opener(dialect), is_shown=True)
    carry = reader.opener(dialect, carried)
    return DeliveredCell(position, reader, lambda cell: carry(_as_delivered(cell)), is_shown=False)


def _as_delivered(cell: Any) -> Any:
    return cell.cell if type(cell) is core.OpenedCell else cell


@dataclass(slots=True, eq=False, repr=False)
class RowFilter:
    """One comparison, and where its rows contain the columns.

    :ivar index: the index that answers it.
    :ivar binds: its look-up binds.
    :ivar cells: one for each column of the index.
    :ivar form: gives the same result for two values that the comparison treats as equal.
    :ivar sends: what converts a value asked for before it is compared, if anything.
    :ivar is_full: whether the index finds only matches, unless tampered with.
    :ivar is_negative: whether it asks for rows that differ.
    :ivar is_checked: whether a value without a form was refused when hashed.
    :ivar takes_none: whether ``None`` can be looked up like any value.
    :ivar takes_text: whether a cell that shows the text asked for meets it, without its form.
    """

    index: IndexBinding
    binds: tuple[str, ...]
    cells: tuple[DeliveredCell, ...]
    form: Callable[[object], bytes | None]
    sends: Callable[[Any], Any] | None
    is_full: bool
    is_negative: bool
    is_checked: bool
    takes_none: bool
    takes_text: bool = field(init=False)

    def __post_init__(self) -> None:
        is_single = len(self.cells) == 1 and len(self.binds) == 1 and self.cells[0].is_shown
        self.takes_text = is_single and self.is_checked and not self.is_negative

    @classmethod
    def of(cls, group: list[LookupBind], cells: list[DeliveredCell], dialect: Dialect) -> RowFilter:
        """The filter of a comparison, from its binds and the cells of its columns."""
        type_ = group[0].type
        index, compared = type_.index, type_.compared
        return cls(
            index=index,
            binds=tuple(lookup.bind for lookup in group),
            cells=tuple(cells),
            form=_form(index.of_values, group, dialect),
            sends=type_.sends(dialect),
            is_full=not compared.needs_filter,
            is_negative=compared.element.operator in NEGATIVE,
            is_checked=index.is_exact or compared.scope.view is not None,
            takes_none=any(source.none_is_value for source in index.sources),
        )


class Within(NamedTuple):
    """Where a comparison is, if it is in a subquery that the rows are selected from.

    :ivar via: the subqueries around it, outermost first.
    :ivar sources: what the innermost of them selects from.
    """

    via: tuple[Any, ...]
    sources: tuple[Any, ...]


def known_filter(
    group: list[LookupBind], compiled: Any, dialect: Dialect, within: Within | None = None
) -> RowFilter | None:
    """The filter of a comparison whose columns the rows have; ``None`` if they lack one.

    :param group: the binds of the comparison. :param compiled: the statement.
    :param within: the subqueries that the rows are selected from, if it is in one of them.
    """
    cells = []
    try:
        for _, cell in delivered_cells(group, compiled, dialect, within):
            if cell is None:
                return None
            cells.append(cell)
    except UnreadableError:
        return None
    return RowFilter.of(group, cells, dialect)


def delivered_cells(
    group: list[LookupBind], compiled: Any, dialect: Dialect, within: Within | None = None
) -> Iterator[tuple[ColumnBinding, DeliveredCell | None]]:
    """Each column of a comparison's index, and where the rows have it; ``None`` if they do not.

    The parameters are those of :func:`known_filter`.

    :raises UnreadableError: the subquery that is compared does not select one of them.
    """
    scope = group[0].type.compared.scope
    for source in group[0].type.index.sources:
        expression = sibling(scope.expression, source.column, scope.column)
        wanted = within and partial(proxies, expression=expression, **within._asdict())
        yield source, delivered_cell(compiled, expression, dialect, wanted)


def _form(
    index: IndexBinding, group: list[LookupBind], dialect: Dialect
) -> Callable[[object], bytes | None]:
    """See :attr:`RowFilter.form`."""
    type_ = group[0].type
    if type_.compared.scope.view is None:
        return partial(whole_lookup, type_.whole_form(index, dialect))
    return partial(normalised_lookup, index, type_.forms(index, dialect))


class AnyOf(NamedTuple):
    """An OR, all of whose parts can be compared."""

    parts: tuple[Condition, ...]


class AllOf(NamedTuple):
    """An AND; parts that cannot be compared are left out of it."""

    parts: tuple[Condition, ...]


class NullTest(NamedTuple):
    """IS NULL of an encrypted column that the rows contain, or IS NOT NULL."""

    cell: DeliveredCell
    is_null: bool


class NoValueGiven(NamedTuple):
    """Whether a bind is NULL in an execution, or is not."""

    bind: str
    is_null: bool


class OfTenant(NamedTuple):
    """Whether a row is of the tenant whose key a value beside is looked up under.

    :ivar cell: of an encrypted column of the row. It is asked for its row once it was opened.
    :ivar column: the name of the tenant's column.
    :ivar bind: gives the tenant, as `to_text` writes it.
    """

    cell: DeliveredCell
    column: str
    bind: str
    to_text: Callable[[object], str]


Condition = RowFilter | AnyOf | AllOf | NullTest | NoValueGiven | OfTenant
