"""Finds and checks the blind indexes of a declared table."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from sqlalchemy import Enum, Table
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.errors import DeclarationError
from encfields.index.transforms import casefold, exact
from encfields.kept_state import INDEXES
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType, bindings_of
from encfields.orm.declare.compound_index import CompoundBlindIndex, compound_indexes
from encfields.orm.declare.index_binding import IndexBinding, refusal_of


class _Indexes(list[IndexBinding]):
    """The indexes of one table, stored on the table itself.

    :ivar made_from: the declarations, to notice a column that is added later.
    """

    made_from: list[Any] | None = None

    def __reduce__(self) -> tuple[type[_Indexes], tuple[()]]:
        """Left out of a pickled table; they are computed again from its columns."""
        return _Indexes, ()


def indexes_of(table: Table) -> list[IndexBinding]:
    """The blind indexes of `table`, once for each version.

    Their columns are appended to the table if they are missing.

    :raises DeclarationError: one of them is impossible as declared.
    """
    bindings = bindings_of(table)
    known = vars(table).get(INDEXES)
    declared = list(_declared(table, bindings))
    if known is None or known.made_from != declared:
        for binding in bindings.values():
            _refuse_ignored_case(binding)
        known = _Indexes(
            IndexBinding(table, blind, sources, transforms, name, version)
            for blind, sources, transforms in declared
            for version in blind.versions
            for name in [_name_of(blind, sources, version)]
        )
        known.made_from = declared
        _refuse_shared_columns(known)
        vars(table)[INDEXES] = known
    return cast("list[IndexBinding]", known)


def known_indexes(table: Table) -> list[IndexBinding]:
    """The known blind indexes of `table`, for every statement that is executed.

    Does not look for columns that were added since the table was complete, which would complete it
    again.
    """
    known = vars(table).get(INDEXES)
    if known is None or known.made_from is None:
        return indexes_of(table)
    return cast("list[IndexBinding]", known)


def _declared(table: Table, bindings: dict[str, ColumnBinding]) -> Iterator[Any]:
    """Each declared index with its columns and their transforms."""
    for binding in bindings.values():
        for blind in cast("Any", binding.column.type).indexes:
            yield blind, (binding,), (blind.transform,)
    for blind in compound_indexes(table):
        sources = tuple(_source(blind, table, bindings, name) for name, _ in blind.parts)
        _check_parts(blind, sources)
        yield blind, sources, tuple(transform for _, transform in blind.parts)


def _refuse_ignored_case(source: ColumnBinding) -> None:
    """Refuse an exact index of a type that compares without regard to case, which is not kept."""
    type_ = cast("SealedColumnType", source.column.type)
    transforms = [index.transform for index in type_.indexes]
    if exact not in transforms or casefold in transforms:
        return
    by, otherwise = _ignores_case_by(type_.inner)
    if by is None:
        return
    raise refusal_of(
        source,
        f"{by} ignores the case of letters, and its blind index, which is of the exact value, does "
        "not: declare BlindIndex(casefold) (from encfields.index import casefold) and query "
        f'.blind("casefold") == ..., or {otherwise}',
        "collation",
    )


def _ignores_case_by(inner: TypeEngine[Any]) -> tuple[str | None, str]:
    """What compares values of a type without regard to case, and how to do without it, in words."""
    stored: Any = inner
    while isinstance(stored, TypeDecorator):
        stored = stored.impl_instance
    if stored.__visit_name__ == "CITEXT":
        return "the type CITEXT", "take Text"
    collation = str(getattr(stored, "collation", None) or "")
    ignores = re.search(r"(?i)^nocase$|_ci(_|$)", collation) is not None
    return f"the collation {collation!r}" if ignores else None, "leave the collation out"


def _source(
    blind: CompoundBlindIndex, table: Table, bindings: dict[str, ColumnBinding], name: str
) -> ColumnBinding:
    binding = bindings.get(name)
    if binding is None:
        raise DeclarationError(
            f"the blind index {blind.label!r} names a column {name!r}, which is not an encrypted "
            "column of the table",
            table=table.fullname,
            reason="index",
        )
    return binding


def _check_parts(blind: CompoundBlindIndex, sources: Sequence[ColumnBinding]) -> None:
    """Refuse types that the transforms do not accept, and indexes that would reveal everything."""
    types: list[type[Any]] = []
    for source, (_, transform) in zip(sources, blind.parts, strict=True):
        python_type = indexed_type(cast("SealedColumnType", source.column.type).inner)
        types.append(python_type)
        if not transform.accepts(python_type):
            raise refusal_of(
                source,
                f"the transform {transform.name!r} of the blind index {blind.label!r} cannot be "
                f"applied to {python_type.__name__} values",
                "transform",
            )
        if source.column.onupdate is not None:
            raise refusal_of(
                source,
                f"the blind index {blind.label!r} covers several columns, and an onupdate default "
                "would change this one without the others: set it in the application",
                "onupdate",
            )
    if all(map(has_few_values, types)) and not blind.accepts_leakage:
        raise refusal_of(
            sources[0],
            f"the columns of the blind index {blind.label!r} have so few values that counting the "
            "rows of each hash tells which value it is. If that is acceptable, say why in "
            "CompoundBlindIndex(accept_leakage=...)",
            "leakage",
        )


def _name_of(blind: Any, sources: Sequence[ColumnBinding], version: int) -> str:
    name: str = blind.index_column_name(sources[0].column_name, version)
    return name


def _refuse_shared_columns(indexes: Iterable[IndexBinding]) -> None:
    seen: dict[str, IndexBinding] = {}
    for index in indexes:
        other = seen.setdefault(index.index_column.key, index)
        if other is not index:
            raise refusal_of(
                index.sources[0],
                f"two of its blind indexes are called {index.label!r}: give each a name= of its "
                "own",
                "index",
            )


def indexed_type(inner: TypeEngine[Any]) -> type[Any]:
    """The Python type of the stored value, from which an index is computed.

    For an application's ``TypeDecorator`` that is the decorated type's; an enumeration of strings
    is an enumeration.
    """
    stored: Any = inner
    while isinstance(stored, TypeDecorator):
        stored = stored.impl_instance
    if isinstance(stored, Enum):
        return enum.Enum
    try:
        python_type: type[Any] = stored.python_type
    except NotImplementedError:
        return object
    return python_type


def has_few_values(python_type: type[Any]) -> bool:
    """Whether a column of that type has so few values that counting rows reveals them."""
    return issubclass(python_type, bool | enum.Enum)
