"""The steps of an adoption: a plaintext column that becomes an encrypted one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from alembic.operations import MigrateOperation, Operations
from sqlalchemy.types import TypeEngine

from encfields.adopt.adoption import Adoption
from encfields.alembic.descriptions import IndexColumn, Indexes, index_columns, with_indexes
from encfields.alembic.operations.base import (
    DECLARED_TYPE,
    ONE_COLUMN,
    OPTIONS,
    NothingOp,
    Operation,
)
from encfields.alembic.operations.refused_or_postponed import RefusedChangeOp
from encfields.arguments import check_table_name, names
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.rows.types_as_data import (
    OF_APPLICATION,
    DeclaredTypes,
    InnerType,
    declared_to_data,
)
from encfields.expected_arguments import takes

DECLARED: Literal["declared"] = "declared"
"""Stands for a type that the models give."""

DeclaredType = InnerType | Literal["declared"]


def _made(type_: DeclaredType | None) -> TypeEngine[Any] | Literal["declared"] | None:
    if type_ == DECLARED:
        return DECLARED
    return type_() if isinstance(type_, type) else type_


def _as_data(type_: TypeEngine[Any] | Literal["declared"] | None) -> dict[str, Any] | None:
    if type_ is None:
        return None
    if isinstance(type_, str):
        return {"type": OF_APPLICATION, "name": None}
    return declared_to_data(type_)


def _declared(inner: Any, plain: Any) -> DeclaredTypes | None:
    """Types given in the migration; the models give the others."""
    if DECLARED in (inner, plain) or (inner is None and plain is None):
        return None
    return DeclaredTypes(plain if inner is None else inner, inner if plain is None else plain)


@dataclass(frozen=True, slots=True)
class AdoptedColumn:
    """A step's description of its adoption.

    :param plain: the plaintext column. :param into: the encrypted column.
    :param type: the inner type as data; ``None`` for the plaintext column's.
    :param plain_type: the type that reads the plaintext column, if different.
    :param declared: the two types, if they are the application's own.
    :param guard: whether the encrypted column gets the CHECK that it holds messages.
    :param indexes: columns of blind indexes. :param unique: those with unique values.
    """

    table: str
    schema: str | None
    plain: str
    into: SealedColumn
    type: Mapping[str, Any] | None
    indexes: tuple[IndexColumn, ...] = ()
    unique: tuple[str, ...] = ()
    plain_type: Mapping[str, Any] | None = None
    declared: DeclaredTypes | None = field(default=None, compare=False)
    guard: bool = False

    @property
    def is_declared(self) -> bool:
        """Whether a type comes from the application's models."""
        types = (self.type, self.plain_type)
        return any(type_ is not None and type_["type"] == OF_APPLICATION for type_ in types)

    def adoption(self, type_: Mapping[str, Any], declared: DeclaredTypes | None = None) -> Adoption:
        """The adoption, with the inner type.

        :param declared: the types from the models.
        """
        spec = TableSpec(self.table, (self.into,), self.schema)
        whole = with_indexes(spec, self.indexes)
        types = self.declared or declared
        inner = self.type or type_
        return Adoption(whole, self.plain, inner, self.unique, self.plain_type, types, self.guard)


class AdoptionOp(Operation):
    """One step."""

    takes_queue: ClassVar[bool] = False

    def __init__(self, adopted: AdoptedColumn, *, queue: bool = False) -> None:
        self.adopted = adopted
        self.queue = queue

    @classmethod
    @takes(
        **OPTIONS,
        into=ONE_COLUMN.or_none,
        type_=DECLARED_TYPE.or_none,
        plain_type=DECLARED_TYPE.or_none,
    )
    def _invoke(
        cls,
        operations: Operations,
        table_name: str,
        plain: str | Sequence[str],
        into: str | SealedColumn | None,
        type_: DeclaredType | None,
        plain_type: DeclaredType | None,
        indexes: Indexes,
        unique: Sequence[str],
        schema: str | None,
        *,
        queue: bool = False,
        guard: bool = False,
    ) -> None:
        inner, read_as = _made(type_), _made(plain_type)
        declared = _declared(inner, read_as)
        check_table_name(table_name)
        for name in names("plain", plain):
            sealed = f"{name}_enc" if into is None else into
            column = SealedColumn(sealed) if isinstance(sealed, str) else sealed
            if column.logical_name is None:
                table = f"{schema}.{table_name}" if schema else table_name
                column = replace(column, logical_name=f"{table}.{name}")
            adopted = AdoptedColumn(
                table_name,
                schema,
                name,
                column,
                _as_data(inner),
                index_columns(indexes),
                names("unique", unique),
                _as_data(read_as),
                declared,
                guard,
            )
            operations.invoke(cls(adopted, queue=queue))

    def _other(self, kind: type[AdoptionOp]) -> AdoptionOp:
        return kind(self.adopted)

    def reverse(self) -> MigrateOperation:
        return NothingOp()

    def arguments(self) -> tuple[Any, ...]:
        adopted = self.adopted
        return adopted.schema, adopted.table, adopted.plain, adopted.into, adopted.indexes


_ABOUT = """

        :param table_name: the table.
        :param plain: the plaintext column, or several; each is adopted by the column with its name
            plus ``_enc``.
        :param into: the encrypted column as declared. Default: the plaintext column's name plus
            ``_enc``, with the logical name ``table.plaintext column``.
        :param type_: the inner type. Default: the plaintext column's type in the database; required
            if the database lacks that type (UUID, Boolean, Enum, JSON).
        :param plain_type: the type that reads the plaintext column, if different, such as another
            library's. ``"declared"``, for this and `type_`, takes it from the models
            (``target_metadata``), since keys do not belong in a migration.
        :param indexes: columns of blind indexes, as for :func:`fill_blind_index`.
        :param unique: names of those with unique values.
        :param schema: the table's schema.
        :raises AdoptionError: another step must come first; the message names it.
        """


def _step(verb: str, about: str) -> Any:
    """Register an operation that has the arguments common to all steps."""

    def decorate(kind: type[AdoptionOp]) -> type[AdoptionOp]:
        def call(
            cls: Any,
            operations: Operations,
            table_name: str,
            plain: str | Sequence[str],
            *,
            into: str | SealedColumn | None = None,
            type_: DeclaredType | None = None,
            plain_type: DeclaredType | None = None,
            indexes: Indexes = (),
            unique: Sequence[str] = (),
            schema: str | None = None,
        ) -> None:
            types = type_, plain_type
            cls._invoke(operations, table_name, plain, into, *types, indexes, unique, schema)

        call.__name__, call.__doc__ = verb, about + _ABOUT
        kind.verb = verb
        setattr(kind, verb, classmethod(call))
        return Operations.register_operation(verb)(kind)

    return decorate


@_step(
    "withdraw_adoption",
    "Undo ``begin_adoption``: drop the encrypted column, its indexes and the triggers.",
)
class WithdrawAdoptionOp(AdoptionOp):
    """Undo the first step."""


@Operations.register_operation("begin_adoption")
class BeginAdoptionOp(AdoptionOp):
    """The first step."""

    verb = "begin_adoption"

    advice: tuple[str, ...] = ()
    """For a proposed step: what to declare first, in words."""

    is_anew: bool = False
    """The step is repeated for a blind index, so its inverse does nothing."""

    @classmethod
    def begin_adoption(
        cls,
        operations: Operations,
        table_name: str,
        plain: str | Sequence[str],
        *,
        into: str | SealedColumn | None = None,
        type_: DeclaredType | None = None,
        plain_type: DeclaredType | None = None,
        indexes: Indexes = (),
        unique: Sequence[str] = (),
        schema: str | None = None,
        guard: bool = False,
    ) -> None:
        """Add the encrypted column, its indexes and the triggers. Run it before the application
        enters the phase ``"write-both"``.
        """
        types = type_, plain_type
        cls._invoke(
            operations, table_name, plain, into, *types, indexes, unique, schema, guard=guard
        )

    def reverse(self) -> MigrateOperation:
        return NothingOp() if self.is_anew else self._other(WithdrawAdoptionOp)


BeginAdoptionOp.begin_adoption.__func__.__doc__ += _ABOUT + (  # type: ignore[attr-defined]
    """:param guard: add the CHECK of ``EncryptedType(guard=True)`` with the column. MySQL and
    MariaDB copy the table for it, and block writes meanwhile.
        """
)


@_step(
    "reopen_plaintext",
    "The inverse of ``close_plaintext``: make the database accept plaintext again, before the "
    'phase ``"read-sealed"`` is deployed.',
)
class ReopenPlaintextOp(AdoptionOp):
    """The inverse of refusing plaintext."""


@_step(
    "refill_plaintext",
    "Go back: write the plaintext of rows that have only a sealed value. Every process must be in "
    'the phase ``"read-sealed"`` again.',
)
class RefillPlaintextOp(AdoptionOp):
    """The way back."""


@_step(
    "ensure_adopted",
    "Check that every value is sealed, equal to its plaintext, and indexed. After that the "
    'application may enter the phase ``"write-sealed"``.',
)
class EnsureAdoptedOp(AdoptionOp):
    """The comparison of all values."""

    def reverse(self) -> MigrateOperation:
        return self._other(RefillPlaintextOp)


@_step(
    "close_plaintext",
    "Make the database refuse plaintext, and set existing plaintext to NULL, each value only if "
    "the sealed one equals it.",
)
class ClosePlaintextOp(AdoptionOp):
    """The end of plaintext."""

    def reverse(self) -> MigrateOperation:
        return self._other(ReopenPlaintextOp)


@_step(
    "end_adoption",
    "Drop the plaintext column and the triggers. The log lists the copies that remain on disk, "
    "and commands to remove them.",
)
class EndAdoptionOp(AdoptionOp):
    """The last step."""

    def reverse(self) -> MigrateOperation:
        adopted = self.adopted
        return RefusedChangeOp(
            adopted.table,
            adopted.plain,
            "its plaintext is gone with its column",
            (
                "To go back: add the column, nullable, in a revision, and write the plaintext into "
                "it by op.decrypt_column(...) in one of its own.",
            ),
            schema=adopted.schema,
        )


@Operations.register_operation("adopt")
class AdoptOp(AdoptionOp):
    """The backfill."""

    verb = "adopt"
    takes_queue = True

    @classmethod
    def adopt(
        cls,
        operations: Operations,
        table_name: str,
        plain: str | Sequence[str],
        *,
        into: str | SealedColumn | None = None,
        type_: DeclaredType | None = None,
        plain_type: DeclaredType | None = None,
        indexes: Indexes = (),
        unique: Sequence[str] = (),
        schema: str | None = None,
        queue: bool = False,
    ) -> None:
        """Seal the plaintext of every row without a sealed value, while the application works.

        :param table_name: the table. :param plain: as for :func:`begin_adoption`.
        :param into: likewise. :param type_: likewise. :param plain_type: likewise.
        :param indexes: likewise. :param unique: likewise. :param schema: the table's schema.
        :param queue: only record the run, for `encfields reencrypt --run ID` on any hosts.
        :raises MigrationError: values were left over, such as those that the type cannot read.
        """
        types = type_, plain_type
        cls._invoke(
            operations, table_name, plain, into, *types, indexes, unique, schema, queue=queue
        )

    @classmethod
    def of(cls, adopted: AdoptedColumn) -> Self:
        """The operation of an adoption."""
        return cls(adopted)


class PostponedAdoptionOp(Operation):
    """A step of an adoption that autogenerate found besides other changes.

    It becomes a comment: the next autogenerate, after those changes, writes the step.
    """

    verb = "encfields_postponed_adoption"

    def __init__(self, step: AdoptionOp) -> None:
        self.step = step

    def reverse(self) -> NothingOp:
        return NothingOp()

    def arguments(self) -> tuple[Any, ...]:
        return self.step.arguments()
