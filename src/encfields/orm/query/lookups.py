"""Values that are looked up in a blind index: planned once for a compiled statement, then hashed.

Where the index key is a tenant's, the tenant must be known: the statement has to compare the
template's columns, of the same table or alias, with ``=`` to a value, or with ``IN`` to a list of
one, in the same SELECT's WHERE, in one around it, or in the AND that the comparison is part of.
So it may another table's column, which the template's has to equal there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import TupleType

from encfields.codecs.base import BecomesNullError
from encfields.errors import EncFieldsError, UnsupportedOperationError, ValueEncodingError
from encfields.orm import internals
from encfields.orm.declare.row_keys import from_bound_value, may_match_another_spelling
from encfields.orm.query.lookup_type import Compared, CompoundValue, LookupType
from encfields.orm.query.statement_scope import (
    OuterStatement,
    certain_sources,
    conditions_beside,
    conjunction_of,
    deciding,
    selected_in,
)
from encfields.orm.read.provenance import sibling
from encfields.orm.write.pending import PendingLookup

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from encfields.orm.declare.index_binding import Form, IndexBinding
    from encfields.orm.engine_encryption import EngineEncryption

NO_ROW = b""
"""What a value that the column cannot hold is looked up as: no row's index is empty."""


class LookupBind(NamedTuple):
    """One bind that is looked up.

    :ivar bind: its name in the compiled statement.
    :ivar type: tells the index, and the comparison it is part of.
    :ivar key: for each column of the key's template, what tells it.
    :ivar place: in each row, of a bind that has rows.
    """

    bind: str
    type: LookupType
    key: tuple[KeyPart, ...]
    place: int = 0


class KeyPart(NamedTuple):
    """A bind that tells a column of a key's template.

    :ivar bind: its name in the compiled statement.
    :ivar to_text: how its value becomes text.
    :ivar takes_null: whether the answer is what it has to be where the bind is given NULL.
    """

    bind: str
    to_text: Callable[[object], str]
    takes_null: bool


def plan_lookups(compiled: Any, dialect: Dialect) -> tuple[LookupBind, ...]:
    """Every lookup of a compiled statement.

    :raises UnsupportedOperationError: the statement does not tell the tenant, or one bind serves
        what needs two.
    """
    lookups = [
        LookupBind(name, type_, tuple(_key(compiled, type_, dialect)), place)
        for bind, name in compiled.bind_names.items()
        for place, type_ in enumerate(_types_in(bind.type))
        if isinstance(type_, LookupType)
    ]
    if lookups:
        types = internals.types_by_bind_name(compiled)
        for lookup in lookups:
            _refuse_shared_name(lookup, lookups, types[lookup.bind])
    return tuple(lookups)


def _types_in(type_: Any) -> list[Any]:
    """The types of a row's values; of a bind that has none, its own."""
    return list(type_.types) if isinstance(type_, TupleType) else [type_]


def _refuse_shared_name(lookup: LookupBind, lookups: list[LookupBind], types: list[Any]) -> None:
    """One name has one value, and one value one hash."""
    place = lookup.place
    uses = [one for one in lookups if one.bind == lookup.bind and one.place == place]
    alike = all(_hashed_as(other) == _hashed_as(lookup) for other in uses)
    in_place = [_types_in(type_)[place:][:1] for type_ in types]
    if not alike or not all(one and isinstance(one[0], LookupType) for one in in_place):
        index = lookup.type.index
        raise UnsupportedOperationError(
            f"the bind {lookup.bind!r} is compared with this column and used elsewhere too, where "
            "it would need another value in the database: give each use a bind of its own name",
            table=index.table,
            column=index.column_name,
            reason="shared-bind",
        )


def _hashed_as(lookup: LookupBind) -> tuple[Any, ...]:
    index = lookup.type.index
    inner = [cast("Any", source.column.type).inner for source in index.sources]
    types = [(type(type_), repr(type_)) for type_ in inner]
    comparable = [version.comparable for version in lookup.type.hashed_for]
    return (*comparable, *types, *(part.bind for part in lookup.key))


def _key(compiled: Any, type_: LookupType, dialect: Dialect) -> Iterator[KeyPart]:
    index = type_.index
    if not index.key_columns:
        return
    pins = _Pins(compiled, type_.compared)
    scope = type_.compared.scope
    for column in index.key_columns:
        key_column = sibling(scope.expression, column, scope.column)
        pinned = pins.bind_of(key_column)
        if pinned is None:
            raise UnsupportedOperationError(
                f"its blind index has a key of its own for each {column.name}: add "
                f"{column.table.name}.{column.name} == ... to the WHERE, next to this comparison",
                table=index.table,
                column=index.column_name,
                reason="tenant-unknown",
            )
        if may_match_another_spelling(column.type, dialect):
            # The row's index is under the key of the stored spelling, which is not known here.
            raise UnsupportedOperationError(
                f"under the collation of {column.name} the WHERE may match a row whose tenant is "
                "spelt differently, and whose blind index has another key: give the column a "
                "binary collation (on MariaDB utf8mb4_nopad_bin, on MySQL utf8mb4_0900_bin)",
                table=index.table,
                column=index.column_name,
                reason="spelling",
            )
        bind, takes_null = pinned
        yield KeyPart(bind, from_bound_value(column.type, dialect), takes_null)


class _Pins:
    """The binds that columns are compared with wherever a comparison counts."""

    def __init__(self, compiled: Any, compared: Compared) -> None:
        self._compiled = compiled
        self._compared = compared
        self._rendered = internals.rendered_bind_names(compiled)

    def bind_of(self, column: Any) -> tuple[str, bool] | None:
        """The bind that a column of the comparison's row has the value of, and whether the answer
        is right where that is given NULL."""
        inner = self._compared.scope.subquery
        if inner is not None:
            return self._bind_in([(OuterStatement(inner, frozenset()),)], column, frozenset())
        around = deciding(self._compared.enclosing, self._compared.scope.expression.table)
        return self._bind_in(around, column, frozenset())

    def _bind_in(
        self,
        scopes: Iterable[tuple[OuterStatement, ...]],
        column: Any,
        seen: frozenset[int],
    ) -> tuple[str, bool] | None:
        """The same within statements, each with those around it.

        :param seen: hashes of the columns that this one is known to equal.
        """
        equal: list[tuple[Any, tuple[OuterStatement, ...]]] = []
        for scope in scopes:
            for side, other, takes_null in self._compared_in(scope):
                if hash(side) != hash(column):
                    continue
                if isinstance(other, BindParameter):
                    name = internals.bind_name(self._compiled, other)
                    if name is not None and name not in self._rendered:
                        return name, takes_null
                elif _is_alike(column, other) and hash(other) not in seen:
                    equal.append((other, scope))
        for other, scope in equal:
            around = deciding(scope, other.table)
            bind = self._bind_in(around, other, seen | {hash(column)})
            if bind is not None:
                return bind
        inner = selected_in(column)
        if inner is None or hash(inner[1]) in seen:
            return None
        select, selected = inner
        within = [(OuterStatement(select, frozenset()),)]
        return self._bind_in(within, selected, seen | {hash(column)})

    def _compared_in(self, scope: tuple[OuterStatement, ...]) -> Iterator[tuple[Any, Any, bool]]:
        """Both sides of each comparison that holds wherever a statement's row counts, those with
        one value before those with a list; and whether the bind in it may be given NULL.

        Where NULL is compared, the comparison is not met, and no row of a WHERE counts. But
        what NOT makes of it depends on what stands beside.
        """
        statement = scope[0].statement
        beside = conditions_beside(statement, self._compared.element.place)
        whole = (c for c in conjunction_of(statement) if not _may_hold_of_no_row(c, statement))
        naming = [
            (criterion, is_met_or_not or criterion.operator is operators.is_not_distinct_from)
            for criterion, is_met_or_not in (*((c, True) for c in whole), *beside)
            if isinstance(criterion, BinaryExpression) and criterion.operator in _NAMES_TENANT
        ]
        for criterion, takes_null in sorted(naming, key=lambda one: one[0].operator is _IN):
            for side, other in permutations((criterion.left, criterion.right)):
                yield side, other, takes_null


def _may_hold_of_no_row(criterion: Any, statement: Any) -> bool:
    """Whether a condition may hold where an outer join finds no row, as when told apart from NULL.

    The look-up may be what it finds none by.
    """
    if getattr(criterion, "operator", None) is not operators.is_not_distinct_from:
        return False
    if not isinstance(statement, Select):
        return False
    certain = {hash(source) for source in certain_sources(statement)}
    tables = (getattr(side, "table", None) for side in (criterion.left, criterion.right))
    return any(table is not None and hash(table) not in certain for table in tables)


def _is_alike(column: Any, other: Any) -> bool:
    """Whether what stands beside a column is one whose values have the same text."""
    is_column = getattr(other, "table", None) is not None
    return is_column and repr(other.type) == repr(column.type)


_IN = operators.in_op
_NAMES_TENANT = (operators.eq, operators.is_not_distinct_from, _IN)


# -- at every execution ------------------------------------------------------------------------


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
