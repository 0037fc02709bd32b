"""A value that is compared with the plaintext column of an adoption.

It cannot be compared if another library's type writes a value as a different ciphertext each time.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, literal_column
from sqlalchemy import types as sa
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, ClauseList, False_, Null, True_
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.errors import EncFieldsError, UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.adoption.columns import HiddenBytes, PlaintextType, takes_bytes_alone
from encfields.orm.adoption.plaintext import is_sqlalchemys
from encfields.orm.adoption.text_form import read_in_sql
from encfields.orm.query.comparison import BlindValue, ungrouped
from encfields.orm.query.lookup_type import CompoundValue, renamed_bind
from encfields.traces import leaves_no_trace

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine


class PlainOperand(internals.CacheKeyedType, TypeDecorator[Any]):
    """A value that is compared with a plaintext column.

    :param declared: the column's type.
    :param part: number of a compound value's part.
    :param exact: whether it is compared as stored bytes.
    """

    impl = String
    cache_ok = True

    def __init__(self, declared: TypeEngine[Any], part: int | None, *, exact: bool = False) -> None:
        super().__init__()
        self.part = part
        self.exact = exact
        self.declared = declared
        self.impl = sa.LargeBinary() if exact else declared  # type: ignore[assignment]
        self.impl_instance = self.impl
        self._plain = PlaintextType(declared)

    def statement_cache_key(self) -> tuple[Any, ...]:
        """Distinguishes operands in SQLAlchemy's statement cache."""
        return PlainOperand, internals.cache_key_of(self.declared), self.part, self.exact

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        process = self._plain.dialect_impl(dialect).bind_processor(dialect)
        part, exact, declared = self.part, self.exact, self.declared
        # There, text that is compared with bytes is converted to bytes.
        encode = not takes_bytes_alone(dialect)

        def bind(value: Any) -> Any:
            if isinstance(value, CompoundValue):
                value = value.values[part or 0]
            if process is not None:
                bound, given = process(value), value
                value = bound
                # SQLAlchemy's own types are functions of the value; another library's may not be.
                if not is_sqlalchemys(declared) and not are_alike(process(given), bound):
                    raise random_ciphertext(declared)
            is_text = exact and encode and isinstance(value, str)
            return HiddenBytes(value.encode()) if is_text else value

        return leaves_no_trace(bind)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self


def random_ciphertext(declared: TypeEngine[Any]) -> EncFieldsError:
    return UnsupportedOperationError(
        "it cannot be queried yet: a row that is not sealed yet holds what "
        f"{type(declared).__name__} wrote, a different ciphertext each time, with which nothing "
        'can be compared. Query it from the phase "write-sealed" on, in which every value is in '
        "the blind index",
        reason="adoption",
    )


def plain_operand(part: Any, type_: PlainOperand, column: Any, compiler: Any) -> Any:
    """A value of the comparison, or a list of them, as binds of the plaintext.

    :param column: the encrypted column that is adopted, of the table.
    """
    part = ungrouped(part)
    if isinstance(part, ClauseList):
        listed = [
            item if isinstance(item, Null) else plain_operand(item, type_, column, compiler)
            for item in part.clauses
        ]
        return ClauseList(*listed).self_group(against=operators.in_op)
    value = part.clause if isinstance(part, BlindValue) else part
    if isinstance(value, True_ | False_):
        return BindParameter(None, isinstance(value, True_), type_=type_, unique=True)
    if not isinstance(value, BindParameter):
        raise UnsupportedOperationError(
            "a column that is being adopted can be compared with a value or an equally indexed "
            "column only",
            reason="operator",
        )
    if value.unique:
        use = type_.statement_cache_key(), id(column)
        named = renamed_bind(value, compiler, use)
        return internals.retyped_bind(named, type_, rename=False)
    return internals.same_value_bind(value, type_, compiler, "plain")


_SAMPLES: dict[type[Any], Any] = {
    str: "a",
    bytes: b"a",
    bool: True,
    int: 1,
    float: 1.0,
    decimal.Decimal: decimal.Decimal(1),
    dt.date: dt.date(2000, 1, 1),
    dt.datetime: dt.datetime(2000, 1, 1),
    dt.time: dt.time(1),
    dt.timedelta: dt.timedelta(1),
    uuid.UUID: uuid.UUID(int=1),
    dict: {},
}


_STORED: Any = literal_column("stored")


def are_alike(one: object, other: object) -> bool:
    """Whether two values for a driver are the same; the type may have wrapped them."""
    return bool(getattr(one, "obj", one) == getattr(other, "obj", other))


def writes_at_random(declared: TypeEngine[Any], value: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether a type is known to write a value as a different ciphertext each time.

    It is made to write a sample twice. For a type that does not accept the sample, this is found
    out with the first value that is compared.

    :param declared: the type; what it makes the database compute is not considered.
    :param value: type of the values that it accepts.
    """
    if is_sqlalchemys(declared) or read_in_sql(declared, _STORED, dialect) is not None:
        return False
    try:
        sample = _SAMPLES[value.python_type]
        write = declared.dialect_impl(dialect).bind_processor(dialect)
        return write is not None and not are_alike(write(sample), write(sample))
    except Exception:  # an application's type may raise anything
        return False
