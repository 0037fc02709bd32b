"""Whether the blind indexes of a row are those of its values, which a verification has opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from encfields.engine import engine_encryption
from encfields.errors import BlindIndexError, DeclarationError, EncFieldsError, KeyUnavailableError
from encfields.index.bulk import Deriver, deriver

if TYPE_CHECKING:
    from encfields.bulk.rows.spec import DerivedColumn, ReflectedTable
    from encfields.engine import Encryption


INDEX_REASONS = ("index-missing", "index-mismatch")
"""Reasons of failures that concern an index and not a value."""


class Opened(NamedTuple):
    """One value of a row.

    :ivar plaintext: ``None`` for NULL.
    :ivar key_id: of the branch key that a value in its place is sealed under.
    """

    plaintext: bytes | None
    key_id: str


class IndexCheck:
    """Compares one index of each row with the values of the row.

    :param derived: the index.
    :ivar column: its column's name.
    """

    def __init__(self, derived: DerivedColumn, encryption: Encryption) -> None:
        self.column = derived.name
        self.columns = derived.columns
        self._derive: Deriver = deriver(derived.how, engine_encryption(encryption))

    def fault(self, stored: object, opened: Mapping[str, Opened]) -> EncFieldsError | None:
        """What is wrong with the index of one row; ``None`` if nothing is, or nothing can be
        said because a value did not open.

        :param stored: what the index's column holds.
        :param opened: the values that opened, by column.
        :raises KeyUnavailableError: the beacon key is out of reach.
        """
        if any(name not in opened for name in self.columns):
            return None
        values = [opened[name] for name in self.columns]
        try:
            right = self._derive([value.plaintext for value in values], values[0].key_id)
        except KeyUnavailableError:
            raise
        except EncFieldsError as error:
            return error
        held = None if stored is None else bytes(stored)  # type: ignore[call-overload]
        if held == right:
            return None
        return _missing() if held is None else _mismatch()


def index_checks(reflected: ReflectedTable, encryption: Encryption) -> Iterator[IndexCheck]:
    """One for each index of a table's spec.

    :raises DeclarationError: the table has no such column.
    """
    for derived in reflected.spec.derived:
        if derived.name not in reflected.table.c:
            raise DeclarationError(
                f"the table has no column {derived.name}, in which its blind index is held: "
                "migrate the database first",
                table=reflected.spec.table,
                column=derived.name,
                reason="column",
            )
        yield IndexCheck(derived, encryption)


def _missing() -> BlindIndexError:
    return BlindIndexError(
        "the row has a value and no blind index, so that no look-up finds it: fill the index with "
        "encfields reencrypt, or op.fill_blind_index()",
        reason="index-missing",
    )


def _mismatch() -> BlindIndexError:
    return BlindIndexError(
        "the blind index is not that of the row's value: it was altered, or made under another "
        "transform, length, domain or key. Compute the table's indexes anew",
        reason="index-mismatch",
    )
