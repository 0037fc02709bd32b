"""``CompoundBlindIndex``: one blind index over several encrypted columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table
from sqlalchemy.schema import SchemaItem

from encfields.errors import DeclarationError
from encfields.index.blind_index import DeclaredIndex, check_name, index_column_name
from encfields.index.hashing import FULL_BITS
from encfields.index.transforms import Transform, exact
from encfields.kept_state import COMPOUND_INDEXES
from encfields.orm.internals import SchemaPart

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEAST_PARTS = 2


class CompoundBlindIndex(DeclaredIndex, SchemaPart, SchemaItem):
    """Makes rows findable by the values of several encrypted columns at once.

    It goes into ``__table_args__``, or among the arguments of a ``Table``::

        __table_args__ = (CompoundBlindIndex("who", ("last_name", casefold), "born"),)

    and is queried with ``blind(Patient, "who").matches(last_name="Lovelace", born=date(...))``.

    A row with NULL in one of the columns is not in the index. It leaks less than an index per
    column: only rows that agree in all columns look alike.

    :param name: the index's name; its column is called ``name_bidx``.
    :param parts: keys of encrypted columns, each alone or with a transform.
    :param bits: length of the hash in bits, as for :class:`~encfields.BlindIndex`.
    :param unique: make the database refuse a second row with the same values.
    :param key: id, or template, of the branch key whose beacon key is used. Default: the
        columns'.
    :param domain: name under which the index key is derived. Default: ``table.name``.
    :param versions: versions of the beacon key to write and query.
    :param accept_leakage: why columns that all have few values may be indexed.
    :raises DeclarationError: an argument is not usable.
    """

    __visit_name__ = "encfields_compound_index"

    def __init__(
        self,
        name: str,
        *parts: str | tuple[str, Transform],
        bits: int = FULL_BITS,
        unique: bool = False,
        key: str | None = None,
        domain: str | None = None,
        versions: Sequence[int] = (1,),
        accept_leakage: str | None = None,
    ) -> None:
        self.label = check_name(name)
        self.parts = tuple(_part(part) for part in parts)
        if len({column for column, _ in self.parts}) < max(len(self.parts), _LEAST_PARTS):
            raise DeclarationError(
                f"the compound blind index {name!r} needs two or more different columns: for one "
                "column declare index=BlindIndex(...) on it",
                reason="index",
            )
        self._set_options(
            bits=bits,
            unique=unique,
            key=key,
            domain=domain,
            versions=versions,
            accept_leakage=accept_leakage,
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} ({transform.name})" for name, transform in self.parts)
        return f"<CompoundBlindIndex {self.label!r} of {parts}>"

    def index_column_name(self, column: str, version: int) -> str:
        """Name of the index's database column; **frozen**, since migrations contain it."""
        return index_column_name(self.label, version=version)

    def given_to(self, parent: Any) -> None:
        """The index was given to a table."""
        vars(parent).setdefault(COMPOUND_INDEXES, []).append(self)


def _part(part: object) -> tuple[str, Transform]:
    match part:
        case str():
            return part, exact
        case (str() as column, Transform() as transform):
            return column, transform
    raise DeclarationError(
        "a part of a compound blind index is the key of a column, or a column with its transform, "
        f'as in ("last_name", casefold), not {part!r}',
        reason="index",
    )


def compound_indexes(table: Table) -> Iterator[CompoundBlindIndex]:
    """The compound indexes of `table`, including those of a table that it was copied from."""
    declared = {index.label: index for index in vars(table).get(COMPOUND_INDEXES, ())}
    for column in table.c:
        copied = column.info.get(COMPOUND_INDEXES)
        if copied is not None:
            declared.setdefault(copied.label, copied)
    yield from declared.values()


def remember(index_column: Column[Any], declared: object) -> None:
    """Make copies of the table know the index: SQLAlchemy copies columns with their ``info``."""
    if isinstance(declared, CompoundBlindIndex):
        index_column.info[COMPOUND_INDEXES] = declared
