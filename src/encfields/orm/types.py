"""``EncryptedType``: the declaration of an encrypted column."""

from __future__ import annotations

import copyreg
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from sqlalchemy import Enum, Interval, LargeBinary, String, event
from sqlalchemy.types import TypeDecorator, TypeEngine

from encfields.arguments import check_flag, check_text, names
from encfields.codecs import codec_for
from encfields.codecs.base import none_is_value
from encfields.codecs.decorated import null_value
from encfields.databases import MYSQL_NAMES
from encfields.errors import DeclarationError, UnboundValueError, UnreadableError
from encfields.index.blind_index import BlindIndex
from encfields.key_template import DEFAULT_KEY, KeyTemplate
from encfields.orm import internals
from encfields.orm.adoption.plaintext import Plaintext
from encfields.orm.declare.columns import SealedColumnType
from encfields.orm.declare.formerly import Formerly
from encfields.orm.declare.table_events import column_attached
from encfields.orm.declare.type_options import (
    blind_indexes,
    check_adopts,
    check_formerly,
    check_storage,
)
from encfields.orm.engine_encryption import attachment_of
from encfields.orm.sealed import Sealed, are_same
from encfields.orm.write.pending import Pending, is_null

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.elements import ColumnElement

    from encfields.orm.query.comparator import EncryptedComparator

__all__ = ["DEFAULT_KEY", "EncryptedType"]


class EncryptedType(
    SealedColumnType, internals.SchemaPart, internals.CacheKeyedType, internals.TruthfulType
):
    """A column whose every value is an AWS Encryption SDK message bound to its row.

    In the database it is a ``LargeBinary`` (BYTEA, BLOB); in Python it behaves as `inner`.

    :param inner: any SQLAlchemy type with a Python value, as a class or an instance; default
        ``String``. ``PickleType`` is refused.
    :param key: branch key id, or a template over columns of the row such as
        ``"tenant/{tenant_id}"``. The template's columns become part of what a value is bound
        to: a row that is moved to another tenant no longer opens. A value opens under this key
        alone.
    :param former_keys: ids, or templates over identity columns, under which values may still be
        from before `key` was changed. Remove them when re-encryption has moved the last value:
        whoever holds such a key can forge values.
    :param name: the column's logical name in the encryption context. Default:
        ``"table.column"``, with the schema if there is one. Pin it before you rename a table
        or column, because every stored value carries it.
    :param bind_to: names of the columns that identify the row. Default: the primary key.
    :param storage: ``LargeBinary(n)``, for a column that MySQL and MariaDB limit to the size class
        of `n` bytes; :func:`encfields.sizes.max_stored_bytes` computes `n`. It is refused if the
        longest value would not fit or is unlimited. Default: unlimited.
    :param index: a :class:`BlindIndex`, or several, for look-ups. Each has a column of its own,
        which is appended to the table. Default: none, and ``==`` is refused.
    :param guard: add a CHECK by which the database refuses what is not a message, such as plaintext
        written without this library. Default: no.
    :param lazy: load a value as a :class:`Sealed`, which is opened only on request. Default: no.
    :param adopts: a :class:`Plaintext`: the plaintext column that this one is replacing, while the
        application is running.
    :param formerly: a :class:`Formerly`: how the values were stored before this declaration was
        changed, while the application is running.
    :raises DeclarationError: the column cannot be protected as declared. Faults of the table
        (no primary key, a server default) are raised when the table is defined.
    """

    impl = LargeBinary
    cache_ok = True

    def __init__(
        self,
        inner: TypeEngine[Any] | type[TypeEngine[Any]] = String,
        *,
        key: str = DEFAULT_KEY,
        former_keys: Sequence[str] | str = (),
        name: str | None = None,
        bind_to: Sequence[str] | str | None = None,
        storage: LargeBinary | None = None,
        index: BlindIndex | Sequence[BlindIndex] | None = None,
        guard: bool = False,
        lazy: bool = False,
        adopts: Plaintext | None = None,
        formerly: Formerly | None = None,
    ) -> None:
        super().__init__()
        self.inner = _instance(inner)
        self.key = key
        self.former_keys = names("former_keys", former_keys)
        check_text("name", name)
        check_flag("guard", guard)
        check_flag("lazy", lazy)
        self.name = name
        self.bind_to = None if bind_to is None else names("bind_to", bind_to)
        self.storage = storage
        self.guard = guard
        self.lazy = lazy
        self.adopts = adopts
        self.formerly = formerly
        check_storage(storage)
        check_adopts(adopts, lazy=lazy)
        check_formerly(formerly, adopts=adopts is not None, lazy=lazy)
        if isinstance(self.inner, EncryptedType):
            raise DeclarationError("an encrypted type cannot contain another one", reason="inner")
        for key_id in (key, *self.former_keys):
            KeyTemplate(key_id)
        self.codec = codec_for(self.inner)
        # SQLAlchemy stores values through impl_instance; schema generators read impl.
        self.impl_instance = LargeBinary()
        self.impl = self.inner  # type: ignore[assignment]
        self.indexes = blind_indexes(self.inner, index)
        self.__class__ = _class_shown_as(type(_undecorated(self.inner)))
        self.hashable = self.inner.hashable
        # Until the change is over, NULL is what either type, former or present, stores as NULL.
        self.none_is_value = all(map(none_is_value, self._written_types()))
        self.should_evaluate_none = self.inner.should_evaluate_none
        self.coerce_to_is_types = _coerced_to_is(self.inner)

    def _written_types(self) -> Iterator[TypeEngine[Any]]:
        """The inner type, and the former one while values are written by it."""
        yield self.inner
        if self.formerly is not None and self.formerly.writes_former and self.formerly.inner:
            yield self.formerly.inner

    def __repr__(self) -> str:
        options = [repr(self.inner), f"key={self.key!r}"]
        options += [f"former_keys={list(self.former_keys)!r}"] if self.former_keys else []
        options += [f"name={self.name!r}"] if self.name else []
        options += [f"bind_to={self.bind_to!r}"] if self.bind_to else []
        options += [f"storage={self.storage!r}"] if self.storage else []
        options += [f"index={list(self.indexes)!r}"] if self.indexes else []
        options += ["guard=True"] if self.guard else []
        options += ["lazy=True"] if self.lazy else []
        options += [f"adopts={self.adopts!r}"] if self.adopts else []
        options += [f"formerly={self.formerly!r}"] if self.formerly else []
        return f"EncryptedType({', '.join(options)})"

    def __getattr__(self, name: str) -> Any:
        """Other attributes are the inner type's."""
        inner = vars(self).get("inner")
        if (name in _INNER_ATTRIBUTES and hasattr(inner, name)) or _defines_attribute(inner, name):
            return getattr(inner, name)
        return super().__getattr__(name)

    @property
    def python_type(self) -> type[Any]:
        """The Python type of the inner type's values."""
        return self.inner.python_type

    def statement_cache_key(self) -> tuple[Any, ...]:
        """Distinguishes two of these types in SQLAlchemy's statement cache.

        SQLAlchemy ignores keyword-only arguments, and would mistake types that differ in one.
        """
        storage = self.storage and internals.cache_key_of(self.storage)
        keys = self.key, self.former_keys
        changes = (change and change.cache_key for change in (self.adopts, self.formerly))
        inherited = internals.cache_key_by_arguments(self)
        of_ours = *keys, self.name, self.bind_to, storage, self.indexes, *changes, self.lazy
        return inherited, *of_ours

    # -- declaration ---------------------------------------------------------------------------

    def given_to(self, parent: Any) -> None:
        """The type was assigned to a column."""
        if parent.type is not self:
            raise DeclarationError(
                "an encrypted type can be neither a variant of another type, which would store "
                "plaintext on the other dialects, nor decorated: use "
                "EncryptedType(YourTypeDecorator)",
                column=parent.name,
                reason="variant",
            )
        if parent.table is not None:
            column_attached(parent, parent.table)
        else:
            event.listen(parent, "after_parent_attach", column_attached)
        from encfields.orm.flush import watch_mappers

        watch_mappers()

    def with_variant(self, type_: Any, *dialect_names: str) -> NoReturn:
        """Refused: the other dialect would store plaintext."""
        raise DeclarationError("an encrypted type has no variants", reason="variant")

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """BYTEA on PostgreSQL, LONGBLOB on MySQL and MariaDB, whose BLOB ends at 64 KB."""
        if self.storage is not None:
            return dialect.type_descriptor(self.storage)
        if dialect.name in MYSQL_NAMES:
            from sqlalchemy.dialects.mysql import LONGBLOB

            return dialect.type_descriptor(LONGBLOB())
        return dialect.type_descriptor(LargeBinary())

    # -- statements ----------------------------------------------------------------------------

    @property
    def comparator_factory(self) -> type[EncryptedComparator]:  # type: ignore[override]
        """The operators of the column."""
        comparator, _ = statement_parts()
        return comparator

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column together with its row's key."""
        _, packed = statement_parts()
        return packed(column)

    # -- values --------------------------------------------------------------------------------

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Parks a value, to be sealed when its row is known."""
        attachment = attachment_of(dialect)
        has_none = self.none_is_value

        def park(value: Any) -> Pending | None:
            # Most values are texts.
            if type(value) is not str and is_null(value, none_is_value=has_none):
                return None
            if attachment.encryption is None:
                del value
                attachment.require()
            return Pending(value)

        return park

    def literal_processor(self, dialect: Dialect) -> NoReturn:
        """Refuses ``literal_binds``: it would render the value into the statement's text.

        The refusal is here and not in a processor, because SQLAlchemy replaces a processor's
        exception with one that shows the value.
        """
        raise UnboundValueError(
            "an encrypted value cannot be rendered into the text of a statement: leave "
            "literal_execute and literal_binds out",
            reason="literal",
        )

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Refuses a bare cell, whose row is unknown without its key.

        During an adoption a bare NULL is refused as well: the row's value may be in the plaintext
        column.
        """
        is_adopted = self.adopts is not None
        codec, is_lazy, attachment = self.codec, self.lazy, attachment_of(dialect)

        def refuse(value: Any) -> Any:
            if value is None and not is_adopted:
                return None if is_lazy else null_value(codec, dialect)
            del value
            attachment.require()
            raise UnreadableError(
                "a bare ciphertext cannot be opened, because its row is unknown. For raw SQL use "
                + (_OF_AN_ADOPTION if is_adopted else _RAW_SQL),
                reason="bare",
            )

        return refuse

    def compare_values(self, x: Any, y: Any) -> bool:
        """Whether two Python values are the same, as the inner type sees it."""
        if isinstance(x, Sealed) or isinstance(y, Sealed):
            return are_same(x, y)
        return self.inner.compare_values(x, y)  # no bool(): SQLAlchemy asks whether it is True

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self


@functools.cache
def statement_parts() -> tuple[type[EncryptedComparator], Callable[[Any], ColumnElement[Any]]]:
    """Imports a column's operators and the expression that selects it.

    A program that only declares tables, such as a migration, needs neither; ``attach()`` imports
    both, so that no statement waits for them.
    """
    from encfields.orm.query.comparator import EncryptedComparator
    from encfields.orm.read.provenance import packed

    return EncryptedComparator, packed


_RAW_SQL = (
    "select(Model).from_statement(text(...)), or name the columns themselves, the row's key among "
    "them, as in text(...).columns(Model.id, Model.ssn)"
)
_OF_AN_ADOPTION = "select(aliased(Model, text(...).columns(...).subquery()))"

_INNER_ATTRIBUTES = frozenset(
    ("as_uuid", "asdecimal", "enum_class", "enums", "item_type", "length", "precision", "scale")
)


def _defines_attribute(inner: Any, name: str) -> bool:
    """Whether another library's type defines this attribute.

    SQLAlchemy-Utils' listeners read ``coercion_listener``, form generators ``choices``.
    """
    if name.startswith("_") or not isinstance(inner, TypeDecorator):
        return False
    # A mixin may come before or behind TypeDecorator.
    own = (kind for kind in type(inner).__mro__ if kind not in TypeDecorator.__mro__)
    return any(name in vars(holder) for holder in (inner, *own))


def _undecorated(inner: TypeEngine[Any]) -> TypeEngine[Any]:
    while isinstance(inner, TypeDecorator) and not isinstance(inner, Interval):
        inner = inner.impl_instance
    return inner


class _Shown(type):
    """Metaclass of the classes made for inner types, which are pickled by their parts."""

    def mro(cls) -> list[type]:
        """What is called as the inner type's classes comes first: sqladmin goes through the names,
        and through what each class decorates, which of ``EncryptedType`` are bytes."""
        own, *others = super().mro()
        namesakes = cls.__bases__[1:]
        return [own, *namesakes, *(kind for kind in others if kind not in namesakes)]


def _reduce_shown(shown: _Shown) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return _class_shown_as, (vars(shown)["impl"],)


copyreg.pickle(_Shown, _reduce_shown)

_shown: dict[type[Any], type[EncryptedType]] = {}
"""By the class of the inner type; one class for each, which SQLAlchemy's caches rely on."""


_NO_SCHEMA = "none: it is encrypted"
"""Of an enumeration. alembic-postgresql-enum, which keeps the enumerations of the database in step
with a column's, asks for the schema, and leaves alone what is in another than its own."""


def _class_shown_as(inner: type[Any]) -> type[EncryptedType]:
    """``EncryptedType`` as generators of forms and schemas see it.

    sqladmin, starlette-admin and their like choose a field by the class that a type decorates,
    which they read from the type's own class: for ciphertext that would be a field of bytes.
    Flask-Admin and WTForms-SQLAlchemy choose it by the names of the classes that the type's own
    class is made of, and so does sqladmin where it has no field for the class that is decorated.
    """
    known = _shown.get(inner)
    if known is not None:
        return known
    bases: tuple[type, ...] = (EncryptedType, *_namesakes(inner))
    namespace = {
        "impl": inner,
        "cache_ok": True,
        "__module__": __name__,
        "__doc__": EncryptedType.__doc__,
    }
    if issubclass(inner, Enum):
        namespace["schema"] = _NO_SCHEMA
    made = cast("type[EncryptedType]", _Shown("EncryptedType", bases, namespace))
    return _shown.setdefault(inner, made)


def _namesakes(inner: type[Any]) -> Iterator[type[Any]]:
    """Empty classes, called what SQLAlchemy's classes that a type is made of are called."""
    for kind in inspect.getmro(inner):
        if issubclass(kind, TypeEngine) and kind not in (TypeEngine, TypeDecorator):
            yield type(kind.__name__, (), {"__module__": kind.__module__, "__slots__": ()})


def _coerced_to_is(inner: TypeEngine[Any]) -> tuple[type[Any], ...]:
    """``None`` is compared as NULL, unless an application's type compares it as a value."""
    taken = inner.coerce_to_is_types if isinstance(inner, TypeDecorator) else (type(None),)
    return tuple(kind for kind in taken if kind is type(None))


def _instance(inner: Any) -> TypeEngine[Any]:
    """The inner type as an instance; a declaration may give the class."""
    kind = inner if isinstance(inner, type) else type(inner)
    if not issubclass(kind, TypeEngine):
        given = kind.__name__ if isinstance(inner, type) else f"a {kind.__name__}"
        raise DeclarationError(
            f"EncryptedType() takes a type of SQLAlchemy's, as in EncryptedType(String), not "
            f"{given}",
            reason="inner",
        )
    made: TypeEngine[Any] = inner() if isinstance(inner, type) else inner
    return made
