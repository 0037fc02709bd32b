"""Plans a compiled statement's look-ups once: their binds, and the binds that tell the tenant whose
key hashes them.

For that, the statement has to compare the template's columns, of the same table or alias, with
``=`` to a value, or with ``IN`` to a list of one, in the same SELECT's WHERE, in one around it, or
in the AND that the comparison is part of. So it may another table's column, which the template's
has to equal there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, permutations
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import TupleType

from encfields.errors import UnsupportedOperationError
from encfields.orm import internals
from encfields.orm.declare.row_keys import (
    from_bound_value,
    is_bound_otherwise,
    may_match_another_spelling,
)
from encfields.orm.query.lookup_type import Compared, LookupType
from encfields.orm.query.statement_scope import (
    OuterStatement,
    certain_sources,
    conditions_beside,
    conjunction_of,
    deciding,
    equal_beside,
    have_same_texts,
    is_null_test_of,
    selected_in,
)
from encfields.orm.read.provenance import sibling

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class LookupBind(NamedTuple):
    """One bind that is looked up.

    :ivar bind: its name in the compiled statement.
    :ivar type: tells the index, and the comparison it is part of.
    :ivar key: for each column of the key's template, what tells its value.
    :ivar place: its position in each row, for a bind that has rows.
    """

    bind: str
    type: LookupType
    key: tuple[KeyPart, ...]
    place: int = 0


class KeyPart(NamedTuple):
    """A bind that gives the value of a key template's column.

    :ivar bind: its name in the compiled statement; empty if the statement says that it is NULL.
    :ivar to_text: converts its value to text.
    :ivar takes_null: whether the answer is right if the bind is NULL.
    """

    bind: str
    to_text: Callable[[object], str]
    takes_null: bool


def _no_text(value: object) -> str:
    raise AssertionError(f"a {type(value).__name__} for a bind that there is not")


_NO_TENANT = KeyPart("", _no_text, True)
"""The rows that are asked have NULL there, and so no value: the column equals nothing in them, and
differs from nothing."""


def plan_lookups(compiled: Any, dialect: Dialect) -> tuple[LookupBind, ...]:
    """Every look-up of a compiled statement.

    :raises UnsupportedOperationError: the statement does not tell the tenant, or one bind has two
        uses that need different values.
    """
    uses: dict[tuple[str, int], list[LookupType]] = {}
    for bind, name in compiled.bind_names.items():
        for place, type_ in enumerate(_types_in(bind.type)):
            if isinstance(type_, LookupType):
                uses.setdefault((name, place), []).append(type_)
    lookups = [
        LookupBind(name, type_, key, place)
        for (name, place), types_ in uses.items()
        for type_, key in zip(types_, _keys(compiled, types_, dialect), strict=True)
    ]
    if lookups:
        types = internals.types_by_bind_name(compiled)
        for lookup in lookups:
            _refuse_shared_name(lookup, lookups, types[lookup.bind])
    return tuple(lookups)


def _types_in(type_: Any) -> list[Any]:
    """The types of a row's values; for a bind without rows, its own."""
    return list(type_.types) if isinstance(type_, TupleType) else [type_]


def _refuse_shared_name(lookup: LookupBind, lookups: list[LookupBind], types: list[Any]) -> None:
    """Refuse a bind used for a look-up and anything else: one name can have only one value."""
    place = lookup.place
    uses = [one for one in lookups if one.bind == lookup.bind and one.place == place]
    alike = all(_hashed_as(other) == _hashed_as(lookup) for other in uses)
    in_place = [_types_in(type_)[place:][:1] for type_ in types]
    are_looked_up = all(one and isinstance(one[0], LookupType) for one in in_place)
    if alike and are_looked_up:
        return
    index = lookup.type.index
    fix = (
        "give each use a bind of its own name. Beside column == bind, the same bind can be asked "
        "for IS NULL and IS NOT NULL"
    )
    if are_looked_up and index.key_columns:
        names = ", ".join(column.name for column in index.key_columns)
        fix = (
            f"name one {names} for all of its uses, in the condition of a with_loader_criteria() "
            f"itself, as in and_({names} == ..., column == ...), or give each use a bind of its "
            "own name"
        )
    raise UnsupportedOperationError(
        f"the bind {lookup.bind!r} is compared with this column and also used elsewhere, where it "
        f"would need another value: {fix}",
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


def _keys(compiled: Any, uses: list[LookupType], dialect: Dialect) -> Iterator[tuple[KeyPart, ...]]:
    """What tells the key of one value, in each place where it is looked up.

    A criterion of ``with_loader_criteria()`` and its binds appear in several SELECTs. If several
    binds tell the tenant, take the one that tells it in every place. In one place they are equal,
    or no row matches.
    """
    most = 1 if len(uses) == 1 else _MOST_TELLING
    telling = [list(_key(compiled, type_, dialect, most)) for type_ in uses]
    for parts in telling:
        key = []
        for position, told_by in enumerate(parts):
            others = [{p.bind for p in one[position]} for one in telling if position < len(one)]
            common = (part for part in told_by if all(part.bind in binds for binds in others))
            key.append(next(common, told_by[0]))
        yield tuple(key)


_MOST_TELLING = 20
"""Most binds to try for one that tells the tenant everywhere."""


def _key(compiled: Any, type_: LookupType, dialect: Dialect, most: int) -> Iterator[list[KeyPart]]:
    """For each column of the key's template, the binds that give its value.

    :param most: the most binds to find.
    """
    index = type_.index
    if not index.key_columns:
        return
    tenant = _TenantBinds(compiled, type_.compared)
    scope = type_.compared.scope
    for column in index.key_columns:
        key_column = sibling(scope.expression, column, scope.column)
        pinned = list(islice(tenant.binds_of(key_column), most))
        if not pinned and tenant.is_null(key_column):
            yield [_NO_TENANT]
            continue
        if not pinned:
            raise UnsupportedOperationError(
                f"its blind index has a key of its own for each {column.name}: add "
                f"{column.table.name}.{column.name} == ... to the WHERE, next to this comparison",
                table=index.table,
                column=index.column_name,
                reason="tenant-unknown",
            )
        if may_match_another_spelling(column.type, dialect):
            # The row's index uses the key of the stored spelling, which is not known here.
            raise UnsupportedOperationError(
                f"under the collation of {column.name} the WHERE may match a row whose tenant is "
                "spelt differently, and whose blind index has another key: give the column a "
                "binary collation (on MariaDB utf8mb4_nopad_bin, on MySQL utf8mb4_0900_bin)",
                table=index.table,
                column=index.column_name,
                reason="spelling",
            )
        yield [
            KeyPart(bind, from_bound_value(column.type, dialect, bound_as), takes_null)
            for bind, takes_null, bound_as in pinned
        ]


_Pinned = tuple[str, bool, Any]


class _TenantBinds:
    """The binds that columns equal wherever a comparison counts."""

    def __init__(self, compiled: Any, compared: Compared) -> None:
        self._compiled = compiled
        self._compared = compared
        self._rendered = internals.rendered_bind_names(compiled)

    def binds_of(self, column: Any) -> Iterator[_Pinned]:
        """The binds that equal a column of the comparison's row, each with whether NULL is a valid
        value for it, and the type that converts it if that is not the column's."""
        inner = self._compared.scope.subquery
        if inner is not None:
            return self._binds_in([(OuterStatement(inner, frozenset()),)], column, frozenset())
        around = deciding(self._compared.enclosing, self._compared.scope.expression.table)
        return self._binds_in(around, column, frozenset())

    def is_null(self, column: Any) -> bool:
        """Whether a column of the comparison's row is NULL wherever the comparison counts."""
        inner = self._compared.scope.subquery
        if inner is not None:
            statements = [inner]
        else:
            around = deciding(self._compared.enclosing, self._compared.scope.expression.table)
            statements = [scope[0].statement for scope in around]
        for statement in statements:
            beside = conditions_beside(statement, self._compared.element.place)
            criteria = [*conjunction_of(statement), *(one.condition for one in beside)]
            if any(is_null_test_of(criterion, column) for criterion in criteria):
                return True
        return False

    def _binds_in(
        self,
        scopes: Iterable[tuple[OuterStatement, ...]],
        column: Any,
        seen: frozenset[int],
    ) -> Iterator[_Pinned]:
        """The same within statements, each with those around it.

        :param seen: hashes of the columns known to be equal.
        """
        equal: list[tuple[Any, tuple[OuterStatement, ...]]] = []
        scopes = list(scopes)
        for scope in scopes:
            for side, other, takes_null in self._compared_in(scope):
                if hash(side) != hash(column):
                    continue
                if isinstance(other, BindParameter):
                    name = internals.bind_name(self._compiled, other)
                    if name is not None and name not in self._rendered:
                        is_other = is_bound_otherwise(other.type, column.type)
                        yield name, takes_null, other.type if is_other else None
                elif have_same_texts(column, other) and hash(other) not in seen:
                    equal.append((other, scope))
        for other, scope in equal:
            around = deciding(scope, other.table)
            yield from self._binds_in(around, other, seen | {hash(column)})
        for beside in equal_beside(column):
            if hash(beside) not in seen:
                yield from self._binds_in(scopes, beside, seen | {hash(column)})
        inner = selected_in(column)
        if inner is None or hash(inner[1]) in seen:
            return
        select, selected = inner
        within = [(OuterStatement(select, frozenset()),)]
        yield from self._binds_in(within, selected, seen | {hash(column)})

    def _compared_in(self, scope: tuple[OuterStatement, ...]) -> Iterator[tuple[Any, Any, bool]]:
        """Both sides of each comparison that must hold for a statement's row, single values before
        lists; and whether its bind may be NULL.

        A comparison with NULL is not met, so in a WHERE no row counts. Under NOT the result depends
        on the conditions beside it.
        """
        statement = scope[0].statement
        beside = conditions_beside(statement, self._compared.element.place)
        whole = (c for c in conjunction_of(statement) if not _may_hold_without_row(c, statement))
        naming = [
            (
                criterion,
                null_counts_as_false or criterion.operator is operators.is_not_distinct_from,
            )
            for criterion, null_counts_as_false in (*((c, True) for c in whole), *beside)
            if isinstance(criterion, BinaryExpression) and criterion.operator in _NAMES_TENANT
        ]
        for criterion, takes_null in sorted(naming, key=lambda one: one[0].operator is _IN):
            for side, other in permutations((criterion.left, criterion.right)):
                yield side, other, takes_null


def _may_hold_without_row(criterion: Any, statement: Any) -> bool:
    """Whether a condition may hold for an outer join's missing row, such as a test for NULL.

    The look-up may be why the row is missing.
    """
    if getattr(criterion, "operator", None) is not operators.is_not_distinct_from:
        return False
    if not isinstance(statement, Select):
        return False
    certain = {hash(source) for source in certain_sources(statement)}
    tables = (getattr(side, "table", None) for side in (criterion.left, criterion.right))
    return any(table is not None and hash(table) not in certain for table in tables)


_IN = operators.in_op
_NAMES_TENANT = (operators.eq, operators.is_not_distinct_from, _IN)
