"""Values that a statement looks up in a blind index, hashed at each execution.

They are transformed as those of the rows are: what is indexed may be a part of the value.

Where the index key is a tenant's, the execution's parameters tell the tenant, in the binds that
:mod:`~encfields.orm.query.lookup_plan` found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from encfields.codecs.base import BecomesNullError
from encfields.errors import EncFieldsError, UnsupportedOperationError, ValueEncodingError
from encfields.orm import internals
from encfields.orm.query.lookup_plan import LookupBind
from encfields.orm.query.lookup_type import CompoundValue
from encfields.orm.write.pending import PendingLookup

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.index_binding import Form, IndexBinding
    from encfields.orm.engine_encryption import EngineEncryption

UNKNOWN = b"\x00encfields: no value of this column"
"""Compared with ``is``."""


def normalised_lookup(index: IndexBinding, forms: tuple[Form, ...], value: object) -> bytes | None:
    """What of a value is looked up; :data:`UNKNOWN` for one that the column cannot hold.

    :param forms: of the index, for values that are looked up.
    :raises ValueEncodingError: the value is of another type.
    """
    parts = value.values if isinstance(value, CompoundValue) else (value,)
    if len(parts) != len(index.sources):
        raise UnsupportedOperationError(
            "a compound blind index is asked with blind(...).matches(...), a value for each of its "
            "columns",
            table=index.table,
            column=index.column_name,
            reason="compound",
        )
    try:
        return index.normalise(parts, forms)
    except ValueEncodingError as error:
        failure = error
    return _unknown(failure)


def whole_lookup(form: Form, value: object) -> bytes:
    """What is compared of a whole value that is looked up, whatever of it is indexed.

    :param form: of the index, for whole values.
    """
    try:
        return form(value)
    except ValueEncodingError as error:
        failure = error
    return _unknown(failure)


def _unknown(failure: ValueEncodingError) -> bytes:
    """What a value is looked up as that cannot be encoded: one out of range, or stored as NULL."""
    if failure.reason == "range" or isinstance(failure, BecomesNullError):
        return UNKNOWN
    failure.message = failure.message.replace("; nothing was stored", "")
    failure.message += "; nothing was looked up"
    raise failure


NO_ROW = b""
"""What a value that the column cannot hold is looked up as: no row's index is empty."""


def refuse_empty_list(lookups: Sequence[LookupBind], context: Any) -> None:
    """SQLAlchemy renders an empty list so that no expression can be put around it.

    :param lookups: of binds that two versions are asked with.
    :raises UnsupportedOperationError: one of them has such a list.
    """
    for lookup in lookups:
        if not internals.bound_values(context, lookup.bind):
            raise UnsupportedOperationError(
                f"while the key of its blind index is rotated, the bind {lookup.bind!r} cannot "
                "have an empty list: pass the list itself to in_(), or skip the query",
                table=lookup.type.index.table,
                column=lookup.type.index.column_name,
                reason="empty-list",
            )


def answer_lookups(
    lookups: Mapping[object, LookupBind],
    encryption: EngineEncryption,
    context: Any,
    dialect: Dialect,
) -> None:
    """Exchange every value that is looked up for its blind index.

    :param lookups: by the token of their types.
    :param encryption: where beacon keys come from.
    :param context: the execution.
    :raises KeyStoreError: a beacon key cannot be fetched.
    """
    for values, given in internals.parameter_rows(context):
        for value in given.values() if isinstance(given, dict) else given:
            if type(value) is PendingLookup and not value.done:
                lookup = lookups[value.token]
                texts = _tenant(lookup, values, context)
                value.settle(
                    None
                    if texts is None
                    else _answer(lookup, texts, value.value, encryption, dialect)
                )


def _tenant(lookup: LookupBind, values: Mapping[str, Any], context: Any) -> list[str] | None:
    """What the key of a look-up depends on, in one execution; ``None`` where that is NULL.

    :raises UnsupportedOperationError: it is several, each with hashes of its own; or it is NULL
        where the answer depends on what the rows of no certain tenant hold.
    """
    texts: list[str] = []
    for bind, to_text, takes_null in lookup.key:
        given = [values[bind]] if bind in values else internals.bound_values(context, bind)
        try:
            named = {to_text(value) for value in given if value is not None}
        except EncFieldsError as error:
            index = lookup.type.index
            error.table, error.column = index.table, index.column_name
            raise
        if not takes_null and None in given:
            raise _null_tenant(lookup.type.index, bind)
        if len(named) > 1:
            raise _several_tenants(lookup.type.index)
        if not named:
            return None
        texts += named
    return texts


def _several_tenants(index: IndexBinding) -> UnsupportedOperationError:
    names = ", ".join(column.name for column in index.key_columns)
    return UnsupportedOperationError(
        f"its blind index has a key of its own for each {names}, and IN names several: ask for "
        f"each by itself, as in or_(and_({names} == ..., column == ...), ...)",
        table=index.table,
        column=index.column_name,
        reason="tenant-unknown",
    )


def _null_tenant(index: IndexBinding, bind: str) -> UnsupportedOperationError:
    names = ", ".join(column.name for column in index.key_columns)
    return UnsupportedOperationError(
        f"the bind {bind!r} is given NULL for {names}, and the comparison is where NULL is told "
        "apart from false, as under NOT: the answer would depend on the rows of all tenants. Give "
        f"a value, leave the condition out, or put {names} == ... into the WHERE itself",
        table=index.table,
        column=index.column_name,
        reason="tenant-unknown",
    )


def _answer(
    lookup: LookupBind,
    texts: list[str] | None,
    value: object,
    encryption: EngineEncryption,
    dialect: Dialect,
) -> bytes | None:
    if texts is None:
        return None
    hashes: list[bytes | None] = []
    for version in lookup.type.hashed_for:
        normalised = normalised_lookup(version, version.forms(dialect, asked=True), value)
        if normalised is None:
            return None
        if normalised is UNKNOWN:
            hashes.append(None)
            continue
        key_id = version.key_id(texts)
        hashes.append(version.value(encryption, key_id, normalised, for_writing=False))
    known = [index_hash for index_hash in hashes if index_hash is not None]
    # Where one way of keeping values cannot hold this one, the other's hash is asked for twice.
    return b"".join(index_hash or known[0] for index_hash in hashes) if known else NO_ROW
