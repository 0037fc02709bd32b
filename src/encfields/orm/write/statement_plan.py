"""The plan of a compiled statement, as data: what to do before a driver sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from encfields.errors import EncFieldsError
from encfields.orm.write.pending import Pending

if TYPE_CHECKING:
    from sqlalchemy import Table

    from encfields.orm.declare.columns import ColumnBinding
    from encfields.orm.declare.row_keys import IdentityBind
    from encfields.orm.query.lookup_plan import LookupBind
    from encfields.orm.query.recheck_conditions import Condition
    from encfields.orm.write.index_values import IndexedBind

RAW_COPY_OPTION = "encfields_raw_copy"
"""Execution option that lets an INSERT .. SELECT copy whole rows with their ciphertext."""

Refusal = Callable[[], EncFieldsError]


class SealedBind(NamedTuple):
    """An encrypted bind and where its row's key comes from.

    :ivar identity: one for each identity column; ``None`` for one that the statement does not
        give, because the database generates it.
    :ivar refusal: raised if the bind holds a value and not NULL.
    """

    bind: str
    binding: ColumnBinding
    identity: tuple[IdentityBind | None, ...]
    refusal: Refusal | None = None


class UnchangedIdentity(NamedTuple):
    """An UPDATE sets a key column that its WHERE also compares: both values must be equal."""

    set_bind: str
    where_bind: str
    to_text: Callable[[object], str]
    refusal: Refusal

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether they are equal in one parameter set; ``True`` if there is no value."""
        given, pinned = values[self.set_bind], values[self.where_bind]
        if given is None or pinned is None or isinstance(pinned, Pending):
            return False
        try:
            return self.to_text(given) == self.to_text(pinned)
        except EncFieldsError as error:
            refusal = self.refusal()
            error.table, error.column = refusal.table, refusal.column
            raise


class SetValues(NamedTuple):
    """The plain values in an upsert's SET.

    :ivar keys: columns of the row's key, which must get the inserted row's value.
    """

    sealed: tuple[SealedBind, ...] = ()
    indexed: tuple[IndexedBind, ...] = ()
    keys: tuple[UnchangedIdentity, ...] = ()


@dataclass(slots=True, eq=False, repr=False)
class StatementPlan:
    """What to do with one compiled statement before a driver sees it.

    :ivar sealed: the encrypted binds, in the statement's order.
    :ivar indexed: the binds of their blind indexes.
    :ivar lookups: look-up binds.
    :ivar shared_lookups: those compared with two versions of an index.
    :ivar filters: comparisons of the found rows after decryption.
    :ivar unchanged: key columns that an UPDATE, or an upsert, sets and must not change.
    :ivar set_values: those of the encrypted binds that are in an upsert's SET.
    :ivar hits_unseen: raised where nobody could look afterwards which row an upsert has hit.
    :ivar hits_unfound: raised unless the key of the row that an upsert hits was found out.
    :ivar refusal: raised whatever the values are.
    :ivar raw_copy_allowed: whether ``encfields_raw_copy`` lifts the refusal.
    :ivar looks_up_spelling: the row's key may be spelt differently in the database.
    :ivar may_be_generated: an INSERT, whose row's key the database may generate.
    :ivar kinds: what it may be to a row, an UPDATE or not: an upsert may be either.
    :ivar may_skip: ON CONFLICT, IGNORE and their like: a row may not be stored.
    :ivar may_cut: IGNORE, by which MySQL and MariaDB cut a key that does not fit, strict or not.
    :ivar without_values: no indexed column is given a value, nor its index.
    :ivar sealed_in_order: the encrypted binds as the driver gets them, each with its key among
        named parameters.
    :ivar indexed_in_order: the same of the binds of blind indexes.
    :ivar unpinned: the encrypted binds that are refused if they hold a value.
    :ivar of_no_row_if_null: binds that WHERE compares columns with which are never NULL.
    :ivar is_write: whether a row that it writes may have to be checked afterwards.
    :ivar may_refuse: whether something is refused, whatever the values are or because of them.
    :ivar read_back: names of the columns that tell whether a row was stored as it was sealed for.
    """

    sealed: tuple[SealedBind, ...] = ()
    indexed: tuple[IndexedBind, ...] = ()
    lookups: tuple[LookupBind, ...] = ()
    filters: tuple[Condition, ...] = ()
    unchanged: tuple[UnchangedIdentity, ...] = ()
    set_values: tuple[SealedBind, ...] = ()
    hits_unseen: Refusal | None = None
    hits_unfound: Refusal | None = None
    refusal: Refusal | None = None
    raw_copy_allowed: bool = False
    looks_up_spelling: bool = False
    may_be_generated: bool = False
    kinds: tuple[bool, ...] = (True,)
    may_skip: bool = False
    may_cut: bool = False
    without_values: bool = False
    table: Table | None = None
    by_bind: dict[str, SealedBind] = field(default_factory=dict)
    shared_lookups: tuple[LookupBind, ...] = ()
    by_token: dict[object, LookupBind] = field(default_factory=dict)
    sealed_in_order: list[tuple[SealedBind, str]] = field(default_factory=list)
    indexed_in_order: list[tuple[IndexedBind, str]] = field(default_factory=list)
    unpinned: tuple[tuple[SealedBind, Refusal], ...] = ()
    of_no_row_if_null: tuple[str, ...] = ()
    is_write: bool = False
    may_refuse: bool = False
    read_back: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.by_bind = {sealed.bind: sealed for sealed in self.sealed}
        self.by_token = {lookup.type.token: lookup for lookup in self.lookups}
        self.unpinned = tuple((bind, bind.refusal) for bind in self.sealed if bind.refusal)
        parts = [part for sealed in self.sealed for part in sealed.identity if part]
        compared = dict.fromkeys(part.bind for part in parts if part.null_matches_none)
        self.of_no_row_if_null = tuple(compared)
        self.shared_lookups = tuple(
            shared for shared in self.lookups if len(shared.type.hashed_for) > 1
        )
        self.is_write = bool(self.sealed) or self.may_be_generated
        refuses = self.refusal, self.unchanged, self.shared_lookups
        self.may_refuse = any(refuses)
        bindings = [sealed.binding for sealed in self.sealed]
        identity = {column.name for binding in bindings for column in binding.identity}
        self.read_back = frozenset(identity.union(binding.column_name for binding in bindings))


NOTHING = StatementPlan()
"""The plan of a statement without encrypted columns."""
