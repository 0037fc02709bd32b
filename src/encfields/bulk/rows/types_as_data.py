"""Inner types as plain data: a worker that joins a run has no models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import types as sa

from encfields.codecs import codec_for
from encfields.codecs.inner_types import INNER_TYPES, inner_type_of
from encfields.errors import DeclarationError
from encfields.orm.adoption.plaintext import is_sqlalchemys

InnerType = sa.TypeEngine[Any] | type[sa.TypeEngine[Any]]

OF_APPLICATION = "application"
"""Stands for a type that only the application's code has."""


@dataclass(frozen=True, slots=True, repr=False)
class DeclaredTypes:
    """The application's own types of a column, which a job cannot describe as data.

    :param inner: the inner type of the encrypted column.
    :param plain: the type that reads the plaintext column that it adopts.
    """

    inner: sa.TypeEngine[Any]
    plain: sa.TypeEngine[Any]

    def __repr__(self) -> str:
        """Only class names: another library's type may show its key."""
        return f"DeclaredTypes({type(self.inner).__name__}, {type(self.plain).__name__})"


def type_to_data(inner: InnerType) -> dict[str, Any]:
    """A type as plain data; :func:`type_from_data` is the inverse.

    :raises DeclarationError: it is the application's own, or cannot be encrypted.
    """
    made = inner() if isinstance(inner, type) else inner
    codec_for(made)
    if isinstance(made, sa.ARRAY):
        items = {"item_type": type_to_data(made.item_type)}
        return {"type": "ARRAY", **items, "as_tuple": made.as_tuple, "dimensions": made.dimensions}
    known = inner_type_of(made)
    if known in INNER_TYPES:
        arguments = {name: _plain(getattr(made, name)) for name in known.arguments}
        return {"type": known.name, **arguments}
    raise DeclarationError(
        f"{type(made).__name__} cannot be named in a conversion, because workers do not import the "
        f"application's code: give one of {', '.join(known.name for known in INNER_TYPES)}",
        reason="inner-type",
    )


def declared_to_data(declared: sa.TypeEngine[Any]) -> dict[str, Any]:
    """A type as plain data; only the name of one of the application's own, which may hold keys."""
    if is_sqlalchemys(declared):
        return type_to_data(declared)
    return {"type": OF_APPLICATION, "name": type(declared).__name__}


def type_from_data(data: dict[str, Any]) -> sa.TypeEngine[Any]:
    """The type that :func:`type_to_data` described."""
    arguments = {name: value for name, value in data.items() if name != "type"}
    if data["type"] == "ARRAY":
        return sa.ARRAY(type_from_data(arguments.pop("item_type")), **arguments)
    kind = next(known.kind for known in INNER_TYPES if known.name == data["type"])
    made: sa.TypeEngine[Any] = kind(*arguments.pop("enums", ()), **arguments)
    return made


def store_differently(was: dict[str, Any], to: dict[str, Any]) -> bool:
    """Whether a plaintext tells which of two types wrote it.

    Text may look like JSON, and JSON is both text and bytes: a converted string would be converted
    again.
    """
    types = {was["type"], to["type"]}
    return all(types != {sa.JSON.__name__, kind.__name__} for kind in (sa.String, sa.LargeBinary))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
