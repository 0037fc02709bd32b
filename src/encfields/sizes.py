"""The lengths of stored values.

A stored value is its plaintext plus an overhead that depends on the names and the row's key::

    247 + length of the branch key id + length of the encryption context + length of the plaintext

The encryption context takes 2 bytes and, for the column's logical name and for each column of
the row's key, 4 bytes and the lengths of its name and text (``enc:column`` and ``enc:row:`` in
front of the names included). For ``patient.ssn``, row 42 and the key ``default`` that is 297
bytes beside the value.

Lengths are bytes of UTF-8. A column is unlimited unless it is declared with ``storage=``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column

from encfields.errors import DeclarationError
from encfields.expected_arguments import LENGTH, ROW, takes
from encfields.orm.declare.columns import ColumnBinding, binding_of, is_encrypted
from encfields.orm.declare.stored_size import max_stored_size, stored_size

__all__ = ["max_stored_bytes", "stored_bytes"]


@takes(plaintext_bytes=LENGTH, row=ROW)
def stored_bytes(column: Any, plaintext_bytes: int, row: Mapping[str, str]) -> int:
    """Exact length of one stored value.

    :param column: an encrypted column of a table, or a mapped attribute of one.
    :param plaintext_bytes: length of the value's plaintext (:mod:`encfields.codecs`).
    :param row: canonical text (:mod:`encfields.identity`) of each column that identifies the
        row or is named by the key template, by column name: ``{"id": "42"}``.
    :returns: bytes.
    :raises DeclarationError: the column is not an encrypted one of a table.
    :raises UnknownIdentityError: `row` lacks a column.
    """
    binding = _binding(column)
    return stored_size(binding, plaintext_bytes, binding.identity_in(row))


def max_stored_bytes(column: Any) -> int | None:
    """Length of the longest value that the column can store.

    :param column: an encrypted column of a table, or a mapped attribute of one.
    :returns: bytes; ``None`` if the inner type or a column of the row's key has no length limit,
        such as ``String()``, ``JSON`` and ``Text``.
    :raises DeclarationError: the column is not an encrypted one of a table.
    """
    return max_stored_size(_binding(column))


def _binding(column: Any) -> ColumnBinding:
    element = column.__clause_element__() if hasattr(column, "__clause_element__") else column
    if not isinstance(element, Column) or not is_encrypted(element) or element.table is None:
        raise DeclarationError(
            ("a size can be computed only for an encrypted column of a table"), reason="size"
        )
    return binding_of(element)
