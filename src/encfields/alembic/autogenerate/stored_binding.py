"""How stored values are bound by their headers, and whether to trust that.

Every value's header has the logical name, the names of its identity columns and its branch key id.
So declarations are compared with the table's own values; no separate record exists that could be
outdated.

But anybody with write access can copy a value here from another place, and rebinding it would seal
it for the row it was copied into. So a source is trusted only if no other column is declared under
its name, no drawn value is bound as declared, and most drawn values are bound to their own row and
open.
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
"""Share of the drawn values that must agree."""

_BY_HAND = (
    "This alone is not trusted, because anybody with write access to the database may have put it "
    "there. `encfields verify` names the rows. Delete what does not belong; if an earlier "
    "declaration bound the values this way, write op.rebind(...) by hand."
)
_LOST_IDENTITY = (
    "They cannot be opened while it is missing. If it was renamed, write op.rebind(...) by hand, "
    "with the former names of the identity columns as context_names= of was=. Otherwise restore "
    "the column under that name with its content, rebind the values to the new identity with "
    "op.rebind(...), and then drop it."
)


@dataclass(frozen=True, slots=True)
class BindingVerdict:
    """What the values of one column show about their binding.

    :ivar seen: what was counted, in words.
    :ivar was: how they were bound, if it can be proposed as the source of a rebinding.
    :ivar refusal: why nothing is proposed although they do not open as declared.
    :ivar steps: what to do about the refusal.
    :ivar strays: values that belong neither where they are nor to the source.
    """

    seen: str
    was: SealedColumn | None = None
    refusal: str | None = None
    steps: tuple[str, ...] = (_BY_HAND,)
    strays: tuple[SampledValue, ...] = ()


class Examination:
    """Compares the values of one table with its declaration.

    :param stored: the reflected table.
    :param table: its declaration.
    :param unique: sets of columns that are unique in the database.
    :param declared: logical name to its declared column, for all tables.
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
        """The verdict on one column; ``None`` if all values read are bound as declared.

        :raises KeyStoreError: the keys are unreachable.
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
        return self._bound_elsewhere(binding, others, ends)

    def _bound_elsewhere(
        self, binding: ColumnBinding, cells: Sequence[SampledValue], ends: Sequence[SampledValue]
    ) -> BindingVerdict:
        """The verdict on a column with no value bound as declared."""
        name, names = most_frequent(names_of(cell) for cell in cells)
        alike = [cell for cell in cells if names_of(cell) == (name, names)]
        identity_names = ", ".join(shown(one) for one in in_order(binding, names)) or "no row"
        seen = (
            f"{len(alike)} of {len(cells)} values drawn are bound, as {shown(name)}, to "
            f"{identity_names}"
        )
        if not _is_majority(alike, cells):
            return BindingVerdict(seen, refusal=f"its values are bound in several ways: {seen}")
        other = self._declared.get(name)
        if other is not None and name != binding.logical_name:
            return BindingVerdict(seen, refusal=f"{seen}, which is declared for {other}")
        was = sealed_column_under(binding, name, names, self._stored.c.keys())
        lost = f"its values are bound to {identity_names}, which the table no longer has"
        if was is None:
            return BindingVerdict(seen, refusal=lost, steps=(_LOST_IDENTITY,))
        if not self._identifies(binding, was):
            return BindingVerdict(
                seen, refusal=f"{seen}, which may have the same values in several rows"
            )
        verdict = self._verdict_on(was, cells, ends, seen)
        if was.context_names is not None and verdict.was is None:
            return replace(verdict, refusal=lost, steps=(_LOST_IDENTITY,))
        return verdict

    def _verdict_on(
        self,
        was: SealedColumn,
        cells: Sequence[SampledValue],
        ends: Sequence[SampledValue],
        seen: str,
    ) -> BindingVerdict:
        """The verdict on a source that headers name, after checking it against the rows."""
        try:
            judge = binding_check_of(self._connection, self._spec, was, None)
            of_row = [cell for cell in cells if judge.is_of_row(cell)]
            source = replace(was, key=key_of(of_row)) if of_row else was
            there, strays = self._belonging(source, cells)
        except DeclarationError as error:
            return BindingVerdict(
                seen, refusal=f"{seen}, which describes no table: {error.message}"
            )
        opened = "and open" if self._encryption else "by their headers (no keys were available)"
        seen = f"{seen}; {len(there)} belong to their own rows and one key, {opened}"
        if not there or not _is_majority(there, [*there, *strays]):
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
        """Whether the source's identity distinguishes rows.

        Otherwise an attacker chooses the row, through a column that they can write.
        """
        own = {column.name for column in binding.own_identity}
        names = set(was.bind_to or ())
        return any(names.issuperset(unique) for unique in (own, *self._unique))


def _is_majority(some: Sequence[SampledValue], cells: Sequence[SampledValue]) -> bool:
    return len(some) >= AGREEING * len(cells)


def _is_as_declared(binding: ColumnBinding, cell: SampledValue) -> bool:
    """Whether the header has the declared names; the row is not checked."""
    names = [column.name for column in binding.identity]
    if cell.logical_name != binding.logical_name or cell.texts.keys() != set(names):
        return False
    return cell.key_id == binding.key_id([cell.texts[name] for name in names])


T = TypeVar("T")

SHOWN = 60
"""Most characters to show of a name from a header."""

_PLAIN = re.compile(r"[A-Za-z0-9_.]+")


def shown(name: str) -> str:
    """A name from a header, which may be anything, made safe for a message or comment."""
    if len(name) <= SHOWN and _PLAIN.fullmatch(name):
        return name
    return ascii(name[:SHOWN])


def most_frequent(values: Iterable[T]) -> T:
    """The most frequent of at least one value."""
    return Counter(values).most_common(1)[0][0]


def names_of(cell: SampledValue) -> tuple[str, tuple[str, ...]]:
    """The logical name, and the names of the identity columns."""
    return cell.logical_name, tuple(sorted(cell.texts))


def in_order(binding: ColumnBinding, names: Sequence[str]) -> list[str]:
    """Names of identity columns, declared ones first."""
    ordered = [column.name for column in binding.identity if column.name in names]
    return ordered + sorted(set(names) - set(ordered))


def sealed_column_under(
    binding: ColumnBinding, logical_name: str, names: Sequence[str], there: Sequence[str]
) -> SealedColumn | None:
    """A description with these names, without a key.

    A single identity column that is missing may be the declared one before it was renamed.

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

    :param cells: at least one value, all bound to the same column names.
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
