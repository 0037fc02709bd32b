"""Types and binds, as SQLAlchemy's cache of statements tells them apart.

Read::

    sqlalchemy.sql.elements.BindParameter          _clone _cloned_set

Overridden::

    sqlalchemy.types.TypeEngine                    _static_cache_key
"""

from __future__ import annotations

import weakref
from functools import cached_property
from typing import Any

from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import TypeEngine


class CacheKey:
    """What tells a type apart, as one object: equal ones are the same as long as either is in use.

    A statement is looked for in SQLAlchemy's cache at every execution, and its key hashed; the hash
    of a declaration in it, with its indexes and their transforms, would be worked out each time.

    :ivar parts: what it stands for.
    """

    __slots__ = ("__weakref__", "parts")

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts

    @classmethod
    def of(cls, parts: tuple[Any, ...]) -> CacheKey:
        """The key of these parts."""
        return _cache_keys.setdefault(parts, cls(parts))

    def __repr__(self) -> str:
        return f"<CacheKey {self.parts!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return CacheKey.of, (self.parts,)


_cache_keys: weakref.WeakValueDictionary[tuple[Any, ...], CacheKey] = weakref.WeakValueDictionary()


class CacheKeyedType(TypeEngine[Any]):
    """A type that says itself what tells it apart in SQLAlchemy's statement cache."""

    def statement_cache_key(self) -> tuple[Any, ...]:
        """What tells the type apart from others; worked out once for each instance."""
        raise NotImplementedError

    # No property: an instance that has worked it out is asked without a call of ours.
    @cached_property
    def _static_cache_key(self) -> Any:
        return CacheKey.of(self.statement_cache_key())


def cache_key_by_arguments(type_: CacheKeyedType) -> Any:
    """What SQLAlchemy would tell the type apart by: its class and most of its arguments."""
    # Asked of a copy: SQLAlchemy keeps its answer on the type, where ours will be.
    copied = object.__new__(type(type_))
    vars(copied).update(vars(type_))
    return super(CacheKeyedType, copied)._static_cache_key


def cache_key_of(type_: TypeEngine[Any]) -> Any:
    """What tells a type apart in SQLAlchemy's statement cache."""
    return type_._static_cache_key


# -- binds -------------------------------------------------------------------------------------


def copy_of_bind(bind: BindParameter[Any]) -> BindParameter[Any]:
    """The same bind once more, which may hold another value."""
    return bind._clone(maintain_key=True)


def retyped_bind(
    bind: BindParameter[Any], type_: TypeEngine[Any], *, rename: bool
) -> BindParameter[Any]:
    """A bind of another type, which SQLAlchemy's statement cache gives the same value.

    :param rename: give it a name of its own, where its name was not chosen by the application.
    """
    copied: BindParameter[Any] = bind._clone(maintain_key=not rename)
    copied.type = type_
    # Of all that share the cached statement, some may be asked by a callable.
    if copied.callable is None and not copied.required:
        value = copied.value
        copied.callable = lambda: value
    return copied


def same_value_bind(
    bind: BindParameter[Any], type_: TypeEngine[Any], compiler: Any, what: str
) -> BindParameter[Any]:
    """Another bind of the value that the application gives under a name of its own choice.

    A compiled statement has one type for each name; it asks for values by the bind's key, which
    the two have in common.

    :param what: it is of the value: a part of its name.
    """
    copied = retyped_bind(bind, type_, rename=False)
    taken = set(compiler.bind_names.values())
    number = next(n for n in range(len(taken) + 1) if f"{bind.key}__{what}_{n}" not in taken)
    compiler.bind_names[copied] = f"{bind.key}__{what}_{number}"
    return copied


def clones_of(bind: BindParameter[Any]) -> set[BindParameter[Any]]:
    """A bind and those that it was copied from, which it keeps."""
    return {clone for clone in bind._cloned_set if isinstance(clone, BindParameter)}
