"""The type of the column that holds a blind index, beside the encrypted column it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import LargeBinary
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.databases import MYSQL_NAMES
from encfields.errors import UnboundValueError
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.write.pending import PendingIndex

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class IndexOfRow:
    """Stands for "the index of this row's value" until the value is known.

    Every INSERT and UPDATE assigns it to the index column; the application assigns nothing.
    """

    def __repr__(self) -> str:
        return "<blind index>"


class IndexWithRest(IndexOfRow):
    """Stands for the index of several columns, some of which a statement sets.

    :param rest: the row's values in the others, by column key.
    """

    def __init__(self, rest: Mapping[str, object]) -> None:
        self.rest = rest

    def __reduce__(self) -> NoReturn:
        raise TypeError("a value that waits to be indexed is never pickled")


INDEX_OF_ROW = IndexOfRow()
"""The value assigned to index columns, also as their Python-side default."""


class IndexColumnType(TypeDecorator[bytes]):
    """Bytes of a fixed length that can be indexed: BYTEA, VARBINARY, BLOB.

    :param length: in bytes.
    """

    impl = LargeBinary
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return bytes_type(dialect, self.length)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Parks a placeholder: the index is computed when the row's value is known."""
        attachment = attachment_of(dialect)

        def park(value: Any) -> PendingIndex | None:
            if value is None or isinstance(value, IndexOfRow):
                # Without an encryption the value's own column refuses it, so the row has none.
                return None if attachment.encryption is None else PendingIndex(value)
            raise UnboundValueError(
                "the column of a blind index is written by encfields alone, together with the "
                "value it belongs to: leave it out of the statement, and to look a value up "
                "compare the encrypted column with it",
                reason="companion",
            )

        return park

    def literal_processor(self, dialect: Dialect) -> NoReturn:
        raise UnboundValueError(
            "a blind index cannot be rendered into the text of a statement", reason="literal"
        )

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return lambda value: None if value is None else bytes(value)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self


def bytes_type(dialect: Dialect, length: int) -> TypeEngine[Any]:
    """The type that stores `length` bytes: MySQL and MariaDB cannot index a BLOB."""
    if dialect.name in MYSQL_NAMES:
        from sqlalchemy.dialects.mysql import VARBINARY

        return dialect.type_descriptor(VARBINARY(length))
    return dialect.type_descriptor(LargeBinary())
