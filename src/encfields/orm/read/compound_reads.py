"""Reads the encrypted columns of a UNION that is executed itself, not within a SELECT.

SQLAlchemy reads all its rows by the types of its first SELECT. Each SELECT delivers a value with
its row's key and a tag, a constant in its SQL that no row can change, which tells whose column it
is.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from encfields.errors import UnreadableError
from encfields.orm import internals
from encfields.orm.declare.columns import is_encrypted
from encfields.orm.read.provenance import column_named, packed, table_named
from encfields.orm.read.row_reader import RowReader
from encfields.orm.read.union_reads import UnionReader, elements_of, is_no_value, selects_of

if TYPE_CHECKING:
    from sqlalchemy.sql.selectable import CompoundSelect


def read_each_branch(compound: CompoundSelect[Any], compiled: Any) -> None:
    """Give the result columns of a compiled UNION the types that read all its SELECTs.

    :raises UnreadableError: a SELECT has a column whose values tell nothing of their table.
    """
    branches = [elements_of(select) for select in selects_of(compound)]
    for place, elements in enumerate(zip_longest(*branches)):
        if is_encrypted(elements[0]):
            readers = _readers(elements)
            if len(readers) > 1:
                internals.set_result_type(compiled, place, UnionReader(readers))


def _readers(elements: tuple[Any, ...]) -> list[RowReader]:
    """What reads the values of each column at one position, if it is not one column throughout."""
    columns = [one for one in elements if one is not None and is_encrypted(one)]
    types = [packed(one).type for one in columns if not is_no_value(one)]
    of_all = [_columns_read_by(type_) for type_ in types]
    if not any(of_all) or all(of_one == of_all[0] for of_one in of_all):
        return []
    readers: dict[str, RowReader] = {}
    for column, type_ in zip(columns, types, strict=True):
        for reader in getattr(type_, "readers", (type_,)):
            if type(reader) is not RowReader or (
                readers.setdefault(reader.tag, reader).binding.column is not reader.binding.column
            ):
                raise UnreadableError(
                    "it comes from a UNION with another encrypted column, which does not tell the "
                    "two apart: select from each table by itself",
                    table=table_named(column),
                    column=column_named(column),
                    reason="untraceable",
                )
    return list(readers.values())


def _columns_read_by(type_: Any) -> list[Any]:
    """The encrypted columns whose cells a type opens; none if it reads plaintext."""
    readers = getattr(type_, "readers", (type_,))
    return [reader.binding.column for reader in readers if isinstance(reader, RowReader)]
