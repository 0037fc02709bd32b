"""What tells a type apart in SQLAlchemy's statement cache.

Overridden::

    sqlalchemy.types.TypeEngine                    _static_cache_key
"""

from __future__ import annotations

import weakref
from functools import cached_property
from typing import Any

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
