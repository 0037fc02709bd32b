"""Seals a statement's parked values for their rows. Values under one branch key are sealed in one
call.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from encfields.errors import (
    AmbiguousRowError,
    CiphertextCopyError,
    EncFieldsError,
    UnknownIdentityError,
)
from encfields.message import core, seal
from encfields.orm import internals
from encfields.orm.sealed import Sealed, is_from_elsewhere, to_be_written
from encfields.orm.write.index_values import IndexedBind
from encfields.orm.write.pending import Carried, Pending, PendingIndex, is_null
from encfields.orm.write.statement_plan import SealedBind, StatementPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.engine_encryption import EngineEncryption

_Bind = TypeVar("_Bind", SealedBind, IndexedBind)
_Parked = TypeVar("_Parked", bound=Pending)


# -- parked values ------------------------------------------------------------------------------


def name_row(
    error: EncFieldsError, plan: StatementPlan, bind: IndexedBind, values: Mapping[str, Any]
) -> None:
    """Add the row to an error of a blind index.

    :param bind: of the index.
    :param values: the row's parameters, by bind.
    """
    error.table = error.table or bind.index.table
    error.column = error.column or bind.index.column_name
    of_row = next((plan.by_bind[s] for s in bind.sources if s and s in plan.by_bind), None)
    if error.row is None and of_row is not None:
        with suppress(EncFieldsError):
            error.row = known_row(of_row.binding, identity_texts(of_row, values))


def identity_texts(bind: SealedBind, values: Mapping[str, Any]) -> list[str | None]:
    """The canonical texts of the row's identity; ``None`` for parts not known yet.

    :param bind: of an encrypted value of the row.
    :param values: the row's parameters, by bind.
    :raises EncFieldsError: a part of the key has no canonical text; the error names the row.
    """
    texts: list[str | None] = []
    for part in bind.identity:
        value = None if part is None else values[part.bind]
        if part is None or value is None or isinstance(value, Pending):
            texts.append(None)
            continue
        try:
            texts.append(part.to_text(value))
        except EncFieldsError as error:
            error.table, error.column = bind.binding.table, bind.binding.column_name
            unknown = [None] * (len(bind.identity) - len(texts))
            error.row = known_row(bind.binding, [*texts, *unknown])
            raise
    return texts


def refuse_unpinned(plan: StatementPlan, context: Any) -> None:
    """Refuse values whose row the statement does not determine, before indexing them.

    :param context: the execution.
    :raises BindingError: the plan's own refusal of the first of them.
    """
    for values, _ in internals.parameter_rows(context):
        for bind, refusal in plan.unpinned:
            if is_parked(bind, values):
                raise refusal()


def refuse_unfound(plan: StatementPlan, context: Any) -> None:
    """Refuse values of an upsert for a row whose key nobody found out.

    :param context: the execution.
    :raises BindingError: the plan's own refusal, if there is a value.
    """
    for values, _ in internals.parameter_rows(context):
        if plan.hits_unfound is not None and any(is_parked(one, values) for one in plan.sealed):
            raise plan.hits_unfound()


def without_rows_of_null(
    plan: StatementPlan, rows: list[tuple[Mapping[str, Any], Any]]
) -> list[tuple[Mapping[str, Any], Any]]:
    """The parameter sets that may update a row. The values of the others are sent as NULL, since
    their WHERE compares with NULL what is never NULL.

    :param rows: each parameter set as the application gave it and as the driver will get it.
    """
    kept = []
    for values, given in rows:
        if all(values[name] is not None for name in plan.of_no_row_if_null):
            kept.append((values, given))
            continue
        for parked in given.values() if isinstance(given, dict) else given:
            if type(parked) in (Pending, PendingIndex) and not parked.done:
                parked.settle(None)
    return kept


def leave_indexes_empty(rows: list[tuple[Mapping[str, Any], Any]]) -> None:
    """Set the blind indexes of rows without a value to NULL.

    :param rows: as for :func:`without_rows_of_null`.
    """
    for _, given in rows:
        for parked in given.values() if isinstance(given, dict) else given or ():
            if type(parked) is PendingIndex:
                parked.settle(None)


def null_key(bind: SealedBind, texts: list[str | None], plan: StatementPlan) -> EncFieldsError:
    """The error for a part of the row's key without a value: NULL in WHERE, or unknown.

    :param bind: of an encrypted value of the row.
    :param texts: canonical texts of the row's identity, as far as they are known.
    """
    columns = zip(bind.binding.identity, texts, strict=True)
    missing = [column.name for column, text in columns if text is None]
    if not plan.may_be_generated:
        return AmbiguousRowError(
            f"{', '.join(missing)} identifies the row and is NULL in this UPDATE, so that there is "
            "no row to seal the value for: give it a value, or set the encrypted columns that are "
            "bound to it to NULL",
            table=bind.binding.table,
            column=bind.binding.column_name,
            row=known_row(bind.binding, texts),
            reason="row-not-pinned",
        )
    return UnknownIdentityError(
        f"{', '.join(missing)} identifies the row and has no value: give it one, or a Python-side "
        "default",
        table=bind.binding.table,
        column=bind.binding.column_name,
        row=known_row(bind.binding, texts),
        reason="identity-unknown",
    )


def parked_in(
    binds: list[tuple[_Bind, str]], values: Mapping[str, Any], given: Any, kind: type[_Parked]
) -> list[tuple[_Bind, _Parked]]:
    """The parked values of one parameter set and one kind, each with its bind.

    :param binds: those of the kind, each with its name in the driver's parameters.
    :param values: the parameter set as the application gave it.
    :param given: the same for the driver.
    :param kind: the class of the parked values.
    """
    if isinstance(given, dict):
        return [(bind, value) for bind, name in binds if type(value := given.get(name)) is kind]
    parked = [value for value in given if type(value) is kind]
    if len(parked) == len(binds):
        return [(bind, value) for (bind, _), value in zip(binds, parked, strict=True)]
    given_binds = [bind for bind, _ in binds if is_parked(bind, values)]
    return list(zip(given_binds, parked, strict=True))


def is_parked(bind: SealedBind | IndexedBind, values: Mapping[str, Any]) -> bool:
    """Whether the bind's type parked the value given for it.

    :param values: the row's parameters, by bind.
    """
    if isinstance(bind, IndexedBind):
        return True
    return not is_null(values[bind.bind], none_is_value=bind.binding.none_is_value)


# -- messages -----------------------------------------------------------------------------------

Ready = tuple["ColumnBinding", Pending, list[str], bytes]
"""A value ready to be sealed: its column, the message's destination, its row and plaintext."""


class RowSealer:
    """Seals the values of rows whose identity is known.

    :param encryption: where branch keys come from.
    """

    def __init__(self, encryption: EngineEncryption) -> None:
        self._encryption = encryption

    def require_active(self, wanted: Mapping[str, ColumnBinding]) -> None:
        """Fetch the active version of some keys.

        :param wanted: for each key id, a column whose values are sealed under it.
        :raises KeyStoreError: one cannot be fetched.
        """
        for key_id, binding in wanted.items():
            try:
                self._encryption.active_key(key_id)
            except EncFieldsError as error:
                error.table, error.column = binding.table, binding.column_name
                raise

    def seal_all(self, ready: list[Ready]) -> None:
        """Settle each value with its message.

        :raises KeyStoreError: a key cannot be fetched.
        """
        if len(ready) == 1:
            ((binding, pending, texts, plaintext),) = ready
            pending.settle(self._sealed(binding, texts, plaintext))
            return
        self._fetch_keys(ready)
        by_key: dict[str, list[Ready]] = {}
        for value in ready:
            by_key.setdefault(value[0].key_id(value[2]), []).append(value)
        for key_id, those in by_key.items():
            messages = self._sealed_at_once(key_id, those)
            for (binding, pending, texts, plaintext), message in zip(those, messages, strict=True):
                pending.settle(message or self._sealed(binding, texts, plaintext))

    def _fetch_keys(self, ready: list[Ready]) -> None:
        """Fetch the keys of rows of many tenants in one query."""
        templated = [value for value in ready if value[0].key.columns]
        if key_ids := {binding.key_id(texts) for binding, _, texts, _ in templated}:
            try:
                self._encryption.require_keys(key_ids)
            except EncFieldsError as error:
                error.table, error.column = templated[0][0].table, templated[0][0].column_name
                raise

    def _sealed_at_once(self, key_id: str, those: list[Ready]) -> list[bytes | None]:
        """The messages of values under one branch key; ``None`` for each to seal separately, which
        raises its error."""
        if len(those) == 1:
            return [None]
        binding, _, texts, _ = those[0]
        try:
            key = self._encryption.active_key(key_id)
        except EncFieldsError as error:
            _name_value(error, binding, texts)
            raise
        try:
            contexts = [binding.context.serialize(texts) for binding, _, texts, _ in those]
        except EncFieldsError:
            return [None] * len(those)
        messages = core.seal_many([plaintext for *_, plaintext in those], contexts, key)
        self._encryption.stats.sealed += len(messages) - messages.count(None)
        return messages

    def _sealed(self, binding: ColumnBinding, texts: list[str], plaintext: bytes) -> bytes:
        """One message, for the row with these canonical texts."""
        try:
            key = self._encryption.active_key(binding.key_id(texts))
            message = seal(plaintext, binding.context.serialize(texts), key)
        except EncFieldsError as error:
            _name_value(error, binding, texts)
            raise
        self._encryption.stats.sealed += 1
        return message


def encode(
    binding: ColumnBinding,
    texts: list[str | None],
    value: object,
    connection: Connection,
) -> bytes:
    """The plaintext bytes of a value.

    :param texts: canonical texts of the row's identity, as far as they are known.
    :param binding: of the column that the value is for.
    :param connection: that writes it; the codec may depend on its dialect.
    :raises ValueEncodingError: the column's type has no encoding for it.
    :raises CiphertextCopyError: it is a sealed value of another place.
    """
    if type(value) is Sealed:
        if is_from_elsewhere(value, binding.logical_name, texts):
            raise _from_elsewhere(binding, texts)
        value = to_be_written(value)
    if isinstance(value, Carried) and value.data is not None:
        return value.data
    try:
        return binding.codec.encode(value, connection.dialect)
    except EncFieldsError as error:
        error.table, error.column = binding.table, binding.column_name
        error.row = known_row(binding, texts)
        raise


def known_row(binding: ColumnBinding, texts: Sequence[str | None]) -> dict[str, str] | None:
    """The known part of a row's identity, for an error.

    :param texts: canonical texts; ``None`` for unknown ones.
    """
    named = zip(binding.row([text or "" for text in texts]), texts, strict=True)
    return {name: text for name, text in named if text is not None} or None


def _name_value(error: EncFieldsError, binding: ColumnBinding, texts: list[str]) -> None:
    """Add the value's place to an error."""
    error.table, error.column = binding.table, binding.column_name
    error.row = error.row or dict(binding.row(texts))


def _from_elsewhere(binding: ColumnBinding, texts: list[str | None]) -> EncFieldsError:
    return CiphertextCopyError(
        "a sealed value of another row or column cannot be written here: to copy it on purpose, "
        "write what its reveal() returns",
        table=binding.table,
        column=binding.column_name,
        row=known_row(binding, texts),
        reason="sealed-elsewhere",
    )
