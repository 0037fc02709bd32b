"""The values that a statement's types have parked, row by row, and the identity of each row."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

from encfields.errors import (
    EncFieldsError,
    UnknownIdentityError,
)
from encfields.orm import internals
from encfields.orm.write.dml_plan import row_not_pinned
from encfields.orm.write.index_values import IndexedBind
from encfields.orm.write.pending import (
    Pending,
    is_null,
)
from encfields.orm.write.sealing import known_row
from encfields.orm.write.statement_plan import (
    SealedBind,
    StatementPlan,
)


def name_row(
    error: EncFieldsError, plan: StatementPlan, bind: IndexedBind, values: Mapping[str, Any]
) -> None:
    """Have an error of a blind index say which row it is about."""
    error.table = error.table or bind.index.table
    error.column = error.column or bind.index.column_name
    of_row = next((plan.by_bind[s] for s in bind.sources if s and s in plan.by_bind), None)
    if error.row is None and of_row is not None:
        with suppress(EncFieldsError):
            error.row = known_row(of_row.binding, identity_texts(of_row, values))


def identity_texts(bind: SealedBind, values: Mapping[str, Any]) -> list[str | None]:
    """The canonical texts of the row's identity; ``None`` for a part that is not known yet."""
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
    """Refuse values whose row the statement does not say, before they are indexed."""
    for values, _ in internals.parameter_rows(context):
        for bind, refusal in plan.unpinned:
            if is_parked(bind, values):
                raise refusal()


def null_key(bind: SealedBind, texts: list[str | None], plan: StatementPlan) -> EncFieldsError:
    """A part of the row's key has no value: WHERE compares it to NULL, or it is not learnt."""
    columns = zip(bind.binding.identity, texts, strict=True)
    missing = [column.name for column, text in columns if text is None]
    if not plan.may_be_generated:
        error = row_not_pinned(bind.binding, missing)()
        error.row = known_row(bind.binding, texts)
        return error
    return UnknownIdentityError(
        f"{', '.join(missing)} identifies the row and has no value: give it one, or a Python-side "
        "default",
        table=bind.binding.table,
        column=bind.binding.column_name,
        row=known_row(bind.binding, texts),
        reason="identity-unknown",
    )


_Bind = TypeVar("_Bind", SealedBind, IndexedBind)


_Parked = TypeVar("_Parked", bound=Pending)


def parked_in(
    binds: list[tuple[_Bind, str]], values: Mapping[str, Any], given: Any, kind: type[_Parked]
) -> list[tuple[_Bind, _Parked]]:
    """The parked values of one parameter set and one kind, each with its bind."""
    if isinstance(given, dict):
        pairs = [(bind, given.get(name)) for bind, name in binds]
        return [(bind, value) for bind, value in pairs if type(value) is kind]
    parked = [value for value in given if type(value) is kind]
    if len(parked) == len(binds):
        return [(bind, value) for (bind, _), value in zip(binds, parked, strict=True)]
    given_binds = [bind for bind, _ in binds if is_parked(bind, values)]
    return list(zip(given_binds, parked, strict=True))


def is_parked(bind: SealedBind | IndexedBind, values: Mapping[str, Any]) -> bool:
    """Whether the type of a bind parked what the statement was given for it."""
    if isinstance(bind, IndexedBind):
        return True
    return not is_null(values[bind.bind], none_is_value=bind.binding.none_is_value)
