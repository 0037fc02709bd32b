"""How stored values are bound, as their headers say, and whether that is to be believed.

Every value carries the logical name, the names of its identity columns and its branch key id in
its header. So a table's own values are the record that a declaration is compared with: there is
no second one to be kept, and none that can be out of date.

But whoever can write to the database can put a value there that belongs to another place, and to
rebind it would be to open it where it came from and to seal it for the row that it was put into.
So a source is believed only if no other column is declared under its name, nothing that was drawn
is bound as declared, and most of what was drawn is bound to the very row it stands in, and opens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, Table

from encfields.alembic.autogenerate.binding_check import belonging, binding_check_of
from encfields.alembic.autogenerate.sampled import SampledValue, drawn, near_ends
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.errors import DeclarationError
from encfields.key_template import encoded
from encfields.orm.declare.columns import ColumnBinding
from encfields.orm.types import DEFAULT_KEY

if TYPE_CHECKING:
    from encfields.engine import Encryption

AGREEING = 0.8
"""Share of the values drawn that have to agree."""

_BY_HAND = (
    "Nothing is proposed that rests on this alone, because anybody who can write to the database "
    "may have put it there. `encfields verify` names the rows. Delete what does not belong; if "
    "the values were bound so by an earlier declaration, write op.rebind(...) by hand."
)
_LOST_IDENTITY = (
    "They cannot be opened while it is missing. If it was renamed, write op.rebind(...) by hand, "
    "with what each column of the identity was called as context_names= of was=. Else bring it "
    "back under that name, with what it held, rebind the values with op.rebind(...) to the new "
    "identity, and drop it then."
)


@dataclass(frozen=True, slots=True)
class BindingVerdict:
    """What the values of one column say of how they are bound.

    :ivar seen: what was counted, in words.
    :ivar was: how they were bound, if that is to be proposed as the source of a rebinding.
    :ivar refusal: why nothing is proposed although they do not open as declared.
    :ivar steps: what to do then.
    :ivar strays: values that belong neither where they are nor to the source.
    """

    seen: str
    was: SealedColumn | None = None
    refusal: str | None = None
    steps: tuple[str, ...] = (_BY_HAND,)
    strays: tuple[SampledValue, ...] = ()


class Examination:
    """Compares the values of one table with its declaration.

    :param stored: the table as the database has it.
    :param table: its declaration.
    :param unique: sets of columns of which the database holds no two rows alike.
    :param declared: logical name to the column, of every table, that it is declared for.
    :param encryption: opens values; ``None`` if there are no keys.
    """

    def __init__(
        self,
        connection: Connection,
        stored: Table,
        table: Table,
        unique: Sequence[Collection[str]],
        declared: Mapping[str, str],
        encryption: Encryption | None,
    ) -> None:
        self._connection = connection
        self._stored = stored
        self._spec = TableSpec.from_table(table)
        self._unique = unique
        self._declared = declared
        self._encryption = encryption

    def of(self, binding: ColumnBinding) -> BindingVerdict | None:
        """What there is to say of one column; ``None`` if all that is looked at is as declared.

        :raises KeyStoreError: the keys are out of reach.
        """
        column = self._stored.c[binding.column_name]
        encrypted = {c.name for c in self._spec.columns}
        ends = near_ends(self._connection, column, encrypted)
        if all(_is_as_declared(binding, cell) for cell in ends):
            return None
        cells = drawn(self._connection, column, encrypted)
        (now,) = (c for c in self._spec.columns if c.name == binding.column_name)
        current, others = self._belonging(now, cells)
        if current or not others:
            _, strays = self._belonging(now, [*ends, *others])
            seen = f"{len(current)} of {len(cells)} values drawn are bound as declared"
            return BindingVerdict(seen, strays=tuple(strays))
        return self._otherwise(binding, others, ends)

    def _otherwise(
        self, binding: ColumnBinding, cells: Sequence[SampledValue], ends: Sequence[SampledValue]
    ) -> BindingVerdict:
        """Of a column of which no value is bound as declared."""
        name, names = most_frequent(names_of(cell) for cell in cells)
        alike = [cell for cell in cells if names_of(cell) == (name, names)]
        identity_names = ", ".join(shown(one) for one in in_order(binding, names)) or "no row"
        seen = (
            f"{len(alike)} of {len(cells)} values drawn are bound, as {shown(name)}, to "
            f"{identity_names}"
        )
        if not _are_most(alike, cells):
            return BindingVerdict(seen, refusal=f"its values are bound in several ways: {seen}")
        other = self._declared.get(name)
        if other is not None and name != binding.logical_name:
            return BindingVerdict(seen, refusal=f"{seen}, which is declared for {other}")
        was = sealed_column_under(binding, name, names, self._stored.c.keys())
        lost = f"its values are bound to {identity_names}, which the table no longer has"
        if was is None:
            return BindingVerdict(seen, refusal=lost, steps=(_LOST_IDENTITY,))
        if not self._identifies(binding, was):
            return BindingVerdict(seen, refusal=f"{seen}, which may be alike in several rows")
        verdict = self._judged(was, cells, ends, seen)
        if was.context_names is not None and verdict.was is None:
            return replace(verdict, refusal=lost, steps=(_LOST_IDENTITY,))
        return verdict

    def _judged(
        self,
        was: SealedColumn,
        cells: Sequence[SampledValue],
        ends: Sequence[SampledValue],
        seen: str,
    ) -> BindingVerdict:
        """A source that the headers name, if the rows bear it out."""
        try:
            judge = binding_check_of(self._connection, self._spec, was, None)
            of_row = [cell for cell in cells if judge.is_of_row(cell)]
            source = replace(was, key=key_of(of_row)) if of_row else was
            there, strays = self._belonging(source, cells)
        except DeclarationError as error:
            return BindingVerdict(
                seen, refusal=f"{seen}, which describes no table: {error.message}"
            )
        opened = "that open as such" if self._encryption else "that say so (no keys were at hand)"
        seen = f"{seen}; {len(there)} are of the rows they stand in and of one key {opened}"
        if not there or not _are_most(there, [*there, *strays]):
            return BindingVerdict(seen, refusal=seen)
        _, strays = self._belonging(source, [*ends, *strays])
        return BindingVerdict(seen, source, strays=tuple(strays))

    def _belonging(
        self, column: SealedColumn, cells: Iterable[SampledValue]
    ) -> tuple[list[SampledValue], list[SampledValue]]:
        return belonging(
            binding_check_of(self._connection, self._spec, column, self._encryption), cells
        )

    def _identifies(self, binding: ColumnBinding, was: SealedColumn) -> bool:
        """Whether the source's identity tells rows apart.

        Otherwise a hostile writer chooses the row, by a column that is theirs to fill.
        """
        own = {column.name for column in binding.own_identity}
        names = set(was.bind_to or ())
        return any(names.issuperset(unique) for unique in (own, *self._unique))


def _are_most(some: Sequence[SampledValue], cells: Sequence[SampledValue]) -> bool:
    return len(some) >= AGREEING * len(cells)


def _is_as_declared(binding: ColumnBinding, cell: SampledValue) -> bool:
    """Whether the header names what is declared; of which row, is not looked at."""
    names = [column.name for column in binding.identity]
    if cell.logical_name != binding.logical_name or cell.texts.keys() != set(names):
        return False
    return cell.key_id == binding.key_id([cell.texts[name] for name in names])


T = TypeVar("T")

SHOWN = 60
"""Characters of a name out of a header that are shown."""

_PLAIN = re.compile(r"[A-Za-z0-9_.]+")


def shown(name: str) -> str:
    """A name out of a header, which may be anything, for a message or a comment."""
    if len(name) <= SHOWN and _PLAIN.fullmatch(name):
        return name
    return ascii(name[:SHOWN])


def most_frequent(values: Iterable[T]) -> T:
    """The value that there is most of; there is at least one."""
    return Counter(values).most_common(1)[0][0]


def names_of(cell: SampledValue) -> tuple[str, tuple[str, ...]]:
    """The logical name, and the names of the columns that identify the row."""
    return cell.logical_name, tuple(sorted(cell.texts))


def in_order(binding: ColumnBinding, names: Sequence[str]) -> list[str]:
    """Names of identity columns, those that are declared first."""
    ordered = [column.name for column in binding.identity if column.name in names]
    return ordered + sorted(set(names) - set(ordered))


def sealed_column_under(
    binding: ColumnBinding, logical_name: str, names: Sequence[str], there: Sequence[str]
) -> SealedColumn | None:
    """The description of a binding under these names, the key left open.

    A key of one column that is not there may be the declared one, renamed since.

    :param there: columns that the table has.
    :returns: ``None`` if the table has no such columns.
    """
    ordered = in_order(binding, names)
    column = SealedColumn(binding.column_name, logical_name, DEFAULT_KEY, tuple(ordered))
    if set(ordered) <= set(there):
        return column
    declared = [column.name for column in binding.identity]
    if len(declared) != 1 or len(ordered) != 1:
        return None
    return replace(column, bind_to=tuple(declared), context_names=tuple(ordered))


def key_of(cells: Sequence[SampledValue]) -> str:
    """The branch key id of most values, or the template that gave theirs.

    :param cells: at least one, all bound to columns of the same names.
    """
    key_id = most_frequent(cell.key_id for cell in cells)
    literal = sum(cell.key_id == key_id for cell in cells)
    for name in cells[0].texts:
        templates = [_with_name(cell.key_id, name, cell.texts[name]) for cell in cells]
        template = most_frequent(templates)
        if f"{{{name}}}" in template and templates.count(template) >= literal:
            return template
    return key_id


def _with_name(key_id: str, name: str, text: str) -> str:
    parts = key_id.split("/")
    return "/".join(f"{{{name}}}" if part == encoded(text) else part for part in parts)
