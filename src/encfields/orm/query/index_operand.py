"""One side of a comparison: an encrypted column, its indexes and its rows."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from sqlalchemy import Column
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BindParameter, ColumnElement, Grouping, Label
from sqlalchemy.sql.selectable import CompoundSelect, ScalarSelect, Select, TextualSelect
from sqlalchemy.sql.visitors import iterate

from encfields.errors import EncFieldsError, UnreadableError, UnsupportedOperationError
from encfields.orm.adoption.plaintext import WRITE_SEALED, adoption_of
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.declare.index_binding import IndexBinding
from encfields.orm.declare.table_indexes import indexes_of
from encfields.orm.query.comparison import BlindValue, BlindView, IndexComparison, viewed
from encfields.orm.query.operator_names import operator_name
from encfields.orm.read.beside import same_row
from encfields.orm.read.provenance import row_part, sibling, source_column
from encfields.orm.read.union_reads import branches_of, selects_rows


class IndexOperand(NamedTuple):
    """One side of a comparison that a blind index replaces.

    :ivar expression: the encrypted column, of a table, an alias or a subquery, or a subquery's
        column that holds the index.
    :ivar column: the table's encrypted column behind it.
    :ivar view: the index asked for by name, or ``None``.
    :ivar subquery: the scalar subquery that selects it, if it is one.
    """

    expression: Any
    column: Column[Any]
    view: BlindView | None
    subquery: Select[Any] | None = None

    def candidates(self) -> list[list[IndexBinding]]:
        """The indexes that can answer, best first, each as its versions."""
        by_index: dict[int, list[IndexBinding]] = {}
        for index in indexes_of(self.column.table):
            if self._may_answer(index):
                by_index.setdefault(id(index.declared), []).append(index)
        return sorted(by_index.values(), key=lambda versions: self.needs_filter(versions[0]))

    def _may_answer(self, index: IndexBinding) -> bool:
        if self.column is not index.sources[0].column:
            return False
        if self.view is None:
            return len(index.sources) == 1
        return index.label == self.view.label and self.view.is_compound == (len(index.sources) > 1)

    def needs_filter(self, index: IndexBinding) -> bool:
        """Whether the index may find rows that do not match."""
        return not index.is_full or (self.view is None and not index.is_exact)

    def index_column(self, index: IndexBinding) -> ColumnElement[Any]:
        """The index's column, from the same row as the encrypted column or looked up in the table.

        :raises UnreadableError: the subquery that the column comes from has neither it nor the
            row's primary key.
        """
        column = self._carried(index)
        if column is None:
            column = self._looked_up(index)
        return self._required(index, column)

    def selected(self, index: IndexBinding) -> ColumnElement[Any]:
        """The index's column, from the same row as the encrypted column.

        :raises UnreadableError: the subquery that the column comes from does not select it.
        """
        return self._required(index, self._carried(index))

    def _required(
        self, index: IndexBinding, column: ColumnElement[Any] | None
    ) -> ColumnElement[Any]:
        if column is not None:
            return column
        raise UnreadableError(
            "the subquery that it is selected from carries neither the column's blind index nor "
            "the row's primary key, by which the index could be looked up: put the comparison into "
            f"the subquery, or select column.blind({index.label!r}) in it too (a text() selects "
            f"{index.index_column.name}). (Relationships: load them with selectinload())",
            table=index.table,
            column=index.column_name,
            reason="index-not-selected",
        )

    def carries(self, index: IndexBinding) -> bool:
        """Whether its rows have the index's column, or the primary key to look it up."""
        return self._carried(index) is not None or self._looked_up(index) is not None

    def _looked_up(self, index: IndexBinding) -> ColumnElement[Any] | None:
        """The index's column in the encrypted column's row of the table.

        For subqueries that the ORM builds, as for ``aliased()`` of a joined subclass. A text, or a
        UNION that cannot be resolved, may not give a value of that row, and a write in a CTE
        returns newer values than the statement sees in the table.
        """
        if _is_view(self.expression):
            return None
        kinds = {type(part) for part in iterate(self.expression.table)}
        if any(issubclass(kind, TextualSelect | UpdateBase) for kind in kinds):
            return None
        is_union = any(issubclass(kind, CompoundSelect) for kind in kinds)
        if is_union and not selects_rows(self.expression, self.column):
            return None
        try:
            return row_part(self.expression, index.index_column, self.column)
        except UnreadableError:
            return None

    def _carried(self, index: IndexBinding) -> ColumnElement[Any] | None:
        if not _is_view(self.expression):
            try:
                return sibling(self.expression, index.index_column, self.column)
            except UnreadableError:
                pass
        # A subquery's column.blind() is the first version's.
        if index.definition.version == index.declared.versions[0]:
            for place, candidate in enumerate(self.expression.table.c):
                is_index = self._is_index(candidate, index) and same_row(candidate, self.expression)
                if is_index or self._is_index_in_each(place, index):
                    return cast("ColumnElement[Any]", candidate)
        return None

    def _is_index(self, candidate: Any, index: IndexBinding) -> bool:
        view = viewed(candidate) if _is_view(candidate) else None
        return view is not None and self._is_view_of(view, index)

    def _is_index_in_each(self, place: int, index: IndexBinding) -> bool:
        """Whether each SELECT of a UNION has the column's index at this position."""
        branches = branches_of(self.expression)
        return len(branches) > 1 and all(
            isinstance(view := branch.columns[place], BlindValue)
            and hash(view.clause) == hash(branch.value)
            and self._is_view_of(view, index)
            for branch in branches
        )

    def _is_view_of(self, view: BlindValue, index: IndexBinding) -> bool:
        asks = IndexOperand(view.clause, source_column(view.clause), cast("BlindView", view.type))
        return asks._may_answer(index)


def asked(part: Any) -> IndexOperand | None:
    """The operand for one side of a comparison; ``None`` if it is a value.

    :raises UnsupportedOperationError: it is a subquery that cannot be compared with.
    """
    if isinstance(part, Grouping | Label):
        return asked(part.element)
    if isinstance(part, ScalarSelect | Select):
        inner = part.element if isinstance(part, ScalarSelect) else part
        if not isinstance(inner, Select) or len(inner.selected_columns) != 1:
            raise UnsupportedOperationError(
                "an encrypted column can be compared with a SELECT of one column, or be in a UNION "
                "of such without LIMIT, and not with an INTERSECT or EXCEPT: write and_() of two "
                "in_(), or exists()",
                reason="operator",
            )
        (column,) = inner.selected_columns
        selected = asked(column)
        return selected and selected._replace(subquery=inner)
    if isinstance(part, BlindValue):
        if isinstance(part.clause, BindParameter):
            return None
        return IndexOperand(part.clause, source_column(part.clause), cast("BlindView", part.type))
    if not _is_column(part):
        return None
    if isinstance(part.type, BlindView):
        view = viewed(part)
        return None if view is None else IndexOperand(part, source_column(view.clause), part.type)
    return IndexOperand(part, source_column(part), None)


def _is_column(part: Any) -> bool:
    """Whether it is an encrypted column, or an index, of a table or something like it."""
    if getattr(part, "table", None) is None:
        return False
    return is_encrypted(part) or _is_view(part)


def _is_view(part: Any) -> bool:
    return isinstance(part.type, BlindView)


def index_column_of_view(view: BlindValue) -> ColumnElement[Any]:
    """The index's column for ``column.blind(name)``, to select or group by.

    :raises UnsupportedOperationError: there is no such index.
    """
    operand = asked(view)
    groups = operand.candidates() if operand is not None else []
    if operand is None or not groups:
        raise UnsupportedOperationError("there is no such blind index", reason="no-index")
    if groups[0][0].other is not None:
        raise UnsupportedOperationError(
            "while the column's declaration is being changed (formerly=), equal values may have "
            "two hashes, so they cannot be grouped or counted by it",
            table=operand.column.table.fullname,
            column=operand.column.name,
            reason="formerly",
        )
    adopts = adoption_of(operand.column)
    if adopts is not None and adopts.phase != WRITE_SEALED:
        raise UnsupportedOperationError(
            f"in the phase {adopts.phase!r} of its adoption, rows that are not sealed yet have no "
            "blind index to be grouped or counted by",
            table=operand.column.table.fullname,
            column=operand.column.name,
            reason="adoption",
        )
    return operand.selected(groups[0][0])


def refused(index_side: IndexOperand | None, element: IndexComparison, why: str) -> EncFieldsError:
    """The error for a comparison that no index answers."""
    written = element.written or element.operator
    return UnsupportedOperationError(
        f"{operator_name(written)!r} cannot be answered: {why}",
        table=str(index_side.column.table.fullname) if index_side else None,
        column=index_side.column.name if index_side else None,
        reason="operator",
    )


def refuse_list_for_many(
    bind: BindParameter[Any], index_side: IndexOperand, element: IndexComparison, compiler: Any
) -> None:
    """Refuse a list in a statement that is compiled for several parameter sets.

    :raises UnsupportedOperationError: SQLAlchemy has no place for it there.
    """
    if bind.expanding and compiler.for_executemany:
        raise refused(
            index_side,
            element,
            "one statement for several parameter sets cannot contain a list: execute it for each "
            "by itself, or compare with each item, as in or_(column == first, column == second)",
        )
