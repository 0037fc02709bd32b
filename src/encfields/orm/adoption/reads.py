"""Reads a column that is being adopted: the sealed value if the row has one, else the plaintext,
from the same row and in the same cell::

    P ':' <the plaintext's bytes>

An encrypted cell begins with six hexadecimal digits, so the two cannot be confused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement

from encfields.databases import MYSQL_NAMES
from encfields.errors import EncFieldsError, UnsupportedOperationError
from encfields.message import core
from encfields.orm import internals
from encfields.orm.adoption.text_form import ReadForm
from encfields.orm.declare.columns import ColumnBinding, SealedColumnType
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.read.packed import Packed, without_result_map
from encfields.orm.read.row_reader import Decode, RowReader
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

_MARK = b"P:"


class AdoptingReader(RowReader):
    """The type of a :class:`PackedOrPlain` cell.

    :param binding: the encrypted column. :param plain_type: of the plaintext column.
    """

    def __init__(self, binding: ColumnBinding, plain_type: TypeEngine[Any]) -> None:
        super().__init__(binding)
        self.plain_type = plain_type

    def plain_form(self, dialect: Dialect) -> ReadForm:
        """How the plaintext is delivered."""
        value = cast("SealedColumnType", self.binding.column.type).inner
        return ReadForm(self.plain_type, value, dialect)

    def opener(self, dialect: Dialect, decode: Decode | None = None) -> Callable[[Any], Any]:
        open_sealed = super().opener(dialect, decode)
        form = self.plain_form(dialect).form
        attachment, binding = attachment_of(dialect), self.binding
        opened = core.OpenedCell

        def open_cell(cell: Any) -> Any:
            if cell is None or type(cell) is opened or bytes(cell[:2]) != _MARK:
                return open_sealed(cell)
            encryption = attachment.encryption or attachment.require(
                binding.table, binding.column_name
            )
            encryption.stats.adoption.fallback_reads += 1
            try:
                return form.value(bytes(cell[2:]))
            except EncFieldsError as error:
                error.table, error.column = binding.table, binding.column_name
                raise

        return leaves_no_trace(open_cell)


class PackedOrPlain(Packed):
    """The expression that selects a row's sealed value with its key, or else its plaintext.

    :param plain: the plaintext column of the same row.
    """

    inherit_cache = False

    def __init__(
        self,
        ciphertext: ColumnElement[Any],
        identity: tuple[ColumnElement[Any], ...],
        reader: AdoptingReader,
        plain: ColumnElement[Any],
    ) -> None:
        super().__init__(ciphertext, identity, reader)
        self.plain = plain


@compiles(PackedOrPlain)
def _compile(element: PackedOrPlain, compiler: Any, **kw: Any) -> str:
    inner = without_result_map(kw)
    dialect = compiler.dialect
    reader: Any = element.reader
    if internals.is_part_of_ddl(compiler):
        raise UnsupportedOperationError(
            "while the column is being adopted, a view of it, or a table that is made of a SELECT, "
            "would lack the values that are still plaintext: let it select the row's key, and read "
            "the column from its own table",
            table=reader.binding.table,
            column=reader.binding.column_name,
            reason="view-of-adopted",
        )
    form = reader.plain_form(dialect).sql(element.plain, compiler, **inner)
    sealed = compiler.process(element.ciphertext, **inner)
    packed = compiler.process(Packed(element.ciphertext, element.identity, reader), **inner)
    is_null = f"{sealed} IS NULL"
    if dialect.name == "sqlite":  # in RETURNING its IS NULL may be false of a column that is NULL
        is_null = f"typeof({sealed}) = 'null'"
        if _is_moved(compiler, reader.binding):
            plain = compiler.process(element.plain, **inner)
            is_null = f"({is_null} OR typeof({plain}) <> 'null')"
    return f"CASE WHEN {is_null} THEN {_marked(form, dialect.name)} ELSE {packed} END"


def _is_moved(compiler: Any, binding: ColumnBinding) -> bool:
    """Whether the statement changes what a value is bound to, and not the value.

    Then the row is pending afterwards, but SQLite's RETURNING shows it as it was before the
    trigger.
    """
    written = internals.updated_keys(compiler)
    is_bound = not written.isdisjoint(column.key for column in binding.identity)
    return is_bound and binding.column.key not in written


def _marked(form: str, dialect_name: str) -> str:
    if dialect_name == "postgresql":
        return f"(CAST('P:' AS BYTEA) || {form})"
    if dialect_name in MYSQL_NAMES:
        return f"CONCAT(CAST('P:' AS BINARY), {form})"
    return f"CAST('P:' || {form} AS BLOB)"
