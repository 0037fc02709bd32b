"""Types and binds in the keys of SQLAlchemy's statement cache.

Read::

    sqlalchemy.sql.elements.BindParameter          _clone _cloned_set _deannotate
    sqlalchemy.sql.lambdas.PyWrapper               _py_wrapper_literal

Overridden::

    sqlalchemy.types.TypeEngine                    _static_cache_key
"""

from __future__ import annotations

import weakref
from functools import cached_property
from typing import Any, cast

from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.lambdas import PyWrapper
from sqlalchemy.types import TypeEngine


class CacheKey:
    """A type's cache key as one object, which equal types share as long as one is in use.

    SQLAlchemy looks up every statement in its cache, and hashes its key. Without this, the hash of
    a declaration, with its indexes and their transforms, would be computed each time.

    :ivar parts: the key itself.
    """

    __slots__ = ("__weakref__", "parts")

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts

    @classmethod
    def of(cls, parts: tuple[Any, ...]) -> CacheKey:
        """The object for these parts."""
        return _cache_keys.setdefault(parts, cls(parts))

    def __repr__(self) -> str:
        return f"<CacheKey {self.parts!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return CacheKey.of, (self.parts,)


_cache_keys: weakref.WeakValueDictionary[tuple[Any, ...], CacheKey] = weakref.WeakValueDictionary()


class CacheKeyedType(TypeEngine[Any]):
    """A type that defines its own key for SQLAlchemy's statement cache."""

    def statement_cache_key(self) -> tuple[Any, ...]:
        """What distinguishes the type from others; computed once for each instance."""
        raise NotImplementedError

    # Not a property, so that an instance with a computed key is read without a call.
    @cached_property
    def _static_cache_key(self) -> Any:
        return CacheKey.of(self.statement_cache_key())


def cache_key_by_arguments(type_: CacheKeyedType) -> Any:
    """SQLAlchemy's own key for the type: its class and most of its arguments."""
    # From a copy, because SQLAlchemy stores its key on the type, where ours will be.
    copied = object.__new__(type(type_))
    vars(copied).update(vars(type_))
    return super(CacheKeyedType, copied)._static_cache_key


def cache_key_of(type_: TypeEngine[Any]) -> Any:
    """A type's key in SQLAlchemy's statement cache."""
    return type_._static_cache_key


# -- binds -------------------------------------------------------------------------------------


def copy_of_bind(bind: BindParameter[Any]) -> BindParameter[Any]:
    """A copy of a bind, which may have another value."""
    return bind._clone(maintain_key=True)


def retyped_bind(
    bind: BindParameter[Any], type_: TypeEngine[Any], *, rename: bool
) -> BindParameter[Any]:
    """The bind with another type, which gets the same value from SQLAlchemy's statement cache.

    :param rename: give it a name of its own, unless the application chose its name.
    """
    copied = _renamed(bind) if rename and bind.unique else copy_of_bind(bind)
    copied.type = type_
    # Some executions that share the cached statement may get the value from a callable.
    if copied.callable is None and not copied.required:
        value = copied.value
        copied.callable = lambda: value
    return copied


def _renamed(bind: BindParameter[Any]) -> BindParameter[Any]:
    # The copy of an annotated bind, as in a loader's criteria, would keep the name.
    copied: BindParameter[Any] = bind._deannotate()._clone()
    copied.value, copied.callable, copied.required = bind.value, bind.callable, bind.required
    return copied


def same_value_bind(
    bind: BindParameter[Any], type_: TypeEngine[Any], compiler: Any, what: str
) -> BindParameter[Any]:
    """Another bind for a value that the application gives under a name of its choice.

    A compiled statement has one type for each name, but looks values up by the bind's key, which
    the two share.

    :param what: a part of its name that says what it is for.
    """
    copied = retyped_bind(bind, type_, rename=False)
    taken = set(compiler.bind_names.values())
    number = next(n for n in range(len(taken) + 1) if f"{bind.key}__{what}_{n}" not in taken)
    compiler.bind_names[copied] = f"{bind.key}__{what}_{number}"
    return copied


def clones_of(bind: BindParameter[Any]) -> set[BindParameter[Any]]:
    """A bind and those that it was copied from."""
    return {clone for clone in bind._cloned_set if isinstance(clone, BindParameter)}


def bind_of_variable(operand: Any, column: Any, operator: Any) -> BindParameter[Any] | None:
    """The bind of a lambda's closure variable, whose value is another in each execution; ``None``
    if it is none.

    :param column: that it is compared with. :param operator: by which.
    """
    if type(operand) is not PyWrapper:
        return None
    variable = cast("Any", operand)
    bind: BindParameter[Any] = variable._py_wrapper_literal(expr=column, operator=operator)
    return bind
