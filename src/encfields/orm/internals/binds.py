"""Binds, and copies of them that share a value or have another type.

Read::

    sqlalchemy.sql.elements.BindParameter          _clone _cloned_set

Overridden::

    sqlalchemy.sql.elements.BindParameter          _gen_cache_key
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import TypeEngine


class OwnBind(BindParameter[Any]):
    """A bind of a class of ours, which SQLAlchemy's statement cache takes for one of its own."""

    inherit_cache = True

    def _gen_cache_key(self, *args: Any) -> Any:
        key: Any = super()._gen_cache_key(*args)  # type: ignore[no-untyped-call]
        return key and tuple(BindParameter if part is type(self) else part for part in key)


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
    bind: BindParameter[Any], type_: TypeEngine[Any], compiler: Any
) -> BindParameter[Any]:
    """Another bind of the value that the application gives under a name of its own choice.

    A compiled statement has one type for each name; it asks for values by the bind's key, which
    the two have in common.
    """
    copied = copy_of_bind(bind)
    copied.type = type_
    taken = set(compiler.bind_names.values())
    number = next(n for n in range(len(taken) + 1) if f"{bind.key}__plain_{n}" not in taken)
    compiler.bind_names[copied] = f"{bind.key}__plain_{number}"
    return copied


def clones_of(bind: BindParameter[Any]) -> set[BindParameter[Any]]:
    """A bind and those that it was copied from, which it keeps."""
    return {clone for clone in bind._cloned_set if isinstance(clone, BindParameter)}
