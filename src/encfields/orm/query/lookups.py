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
    """The bytes to look up for a value; :data:`UNKNOWN` if the column cannot hold it.

    :param forms: the index's forms for look-ups.
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
    """The bytes to compare for a whole look-up value, whatever part of it is indexed.

    :param form: the index's form of whole values.
    """
    try:
        return form(value)
    except ValueEncodingError as error:
        failure = error
    return _unknown(failure)


def _unknown(failure: ValueEncodingError) -> bytes:
    """The look-up value for one that cannot be encoded: out of range, or stored as NULL."""
    if failure.reason == "range" or isinstance(failure, BecomesNullError):
        return UNKNOWN
    failure.message = failure.message.replace("; nothing was stored", "")
    failure.message += "; nothing was looked up"
    raise failure


NO_ROW = b""
"""Looked up for a value that the column cannot hold: no row's index is empty."""


def refuse_empty_list(lookups: Sequence[LookupBind], context: Any) -> None:
    """Refuse an empty list, around whose SQL no expression can be put.

    :param lookups: of binds that are compared with two versions.
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
    """Replace every look-up value with its hash.

    :param lookups: by the token of their types.
    :param encryption: where beacon keys come from.
    :param context: the execution.
    :raises KeyStoreError: a beacon key cannot be fetched.
    """
    for values, given in internals.parameter_rows(context):
        for value in given.values() if isinstance(given, dict) else given:
            if type(value) is PendingLookup and not value.done:
                lookup = lookups[value.token]
                texts = _tenant_of_lookup(lookup, values, context)
                value.settle(
                    None
                    if texts is None
                    else _hash_of(lookup, texts, value.value, encryption, dialect)
                )


def _tenant_of_lookup(
    lookup: LookupBind, values: Mapping[str, Any], context: Any
) -> list[str] | None:
    """The tenant of a look-up in one execution; ``None`` if it is NULL.

    :raises UnsupportedOperationError: there are several, each with hashes of its own; or it is NULL
        and the answer would depend on the rows of all tenants.
    """
    texts: list[str] = []
    for bind, to_text, takes_null in lookup.key:
        if not bind:
            return None
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
        f"each by itself, as in or_(and_({names} == ..., column == ...), ...), and load "
        "relationships with selectinload(), not subqueryload()",
        table=index.table,
        column=index.column_name,
        reason="tenant-unknown",
    )


def _null_tenant(index: IndexBinding, bind: str) -> UnsupportedOperationError:
    names = ", ".join(column.name for column in index.key_columns)
    return UnsupportedOperationError(
        f"the bind {bind!r} is given NULL for {names}, and the comparison is where NULL and false "
        "differ, as under NOT: the answer would depend on the rows of all tenants. Give a value, "
        f"leave the condition out, or put {names} == ... into the WHERE itself",
        table=index.table,
        column=index.column_name,
        reason="tenant-unknown",
    )


def _hash_of(
    lookup: LookupBind,
    texts: list[str] | None,
    value: object,
    encryption: EngineEncryption,
    dialect: Dialect,
) -> bytes | None:
    if texts is None:
        return None
    sends = lookup.type.sends(dialect)
    if sends is not None:
        value = sends(value)
    hashes: list[bytes | None] = []
    for version in lookup.type.hashed_for:
        forms = lookup.type.forms(version, dialect)
        normalised = normalised_lookup(version, forms, value)
        if normalised is None:
            return None
        if normalised is UNKNOWN:
            hashes.append(None)
            continue
        key_id = version.key_id(texts)
        hashes.append(version.value(encryption, key_id, normalised, for_writing=False))
    known = [index_hash for index_hash in hashes if index_hash is not None]
    # If one form cannot hold this value, look up the other form's hash twice.
    return b"".join(index_hash or known[0] for index_hash in hashes) if known else NO_ROW
