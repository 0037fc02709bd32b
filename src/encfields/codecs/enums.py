"""Enum: the text that SQLAlchemy itself stores, a member's name by default."""

from __future__ import annotations

import enum
from typing import ClassVar, cast

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import Enum

from encfields.codecs.base import JsonForm, KeepsValues, out_of_range, undecodable, wrong_type
from encfields.codecs.text import encode_utf8
from encfields.errors import DeclarationError


class EnumCodec(KeepsValues):
    """UTF-8 of the member's name, of its text from ``values_callable``, or of the string.

    A member's stored text is accepted instead of the member, as in SQLAlchemy, and so is what
    equals the member: ``"x"`` of a class that is a ``str`` as well. Any other text is refused in
    both directions, whatever ``validate_strings`` says.

    :param inner: the declared type.
    :raises DeclarationError: the type has no members.
    """

    __slots__ = ("_enum_class", "_equals", "_texts", "_values", "max_bytes")
    json_form: ClassVar[JsonForm] = JsonForm.TEXT

    def __init__(self, inner: Enum) -> None:
        texts: list[str] = list(inner.enums)
        if not texts:
            raise DeclarationError("Enum has no members to encrypt; declare them")
        self._enum_class: type[enum.Enum] | None = inner.enum_class
        self._texts: dict[str, bytes] = {}
        self._values: dict[bytes, object] = {}
        members = _members(inner, len(texts))
        for text, member in zip(texts, members or texts, strict=True):
            data = encode_utf8(text)
            self._values[data] = member
            # An alias (omit_aliases=False) is written as its member.
            name = member.name if isinstance(member, enum.Enum) else text
            self._texts.setdefault(name, data)
        self._equals: dict[object, bytes] = {
            member: self._texts[member.name] for member in members or ()
        }
        self.max_bytes: int | None = max(map(len, self._values))

    def encode(self, value: object, dialect: Dialect) -> bytes:
        is_text = isinstance(value, str) and not (self._enum_class and isinstance(value, enum.Enum))
        if self._enum_class is not None and isinstance(value, self._enum_class):
            data, is_text = self._texts.get(value.name), True
        else:
            stored = self._stored(encode_utf8(cast("str", value))) if is_text else None
            data = self._of_equal(value) if stored is None else stored
        if data is not None:
            return data
        if is_text:
            raise out_of_range("the value is not one of the Enum's members")
        expected = f"a member of {self._enum_class.__name__}" if self._enum_class else "a str"
        raise wrong_type(expected, value)

    def _of_equal(self, value: object) -> bytes | None:
        """The text that is written for the member that equals `value`."""
        try:
            return self._equals.get(value)
        except Exception:  # not hashable, or an application's own comparison
            return None

    def _stored(self, data: bytes) -> bytes | None:
        """The text that is written for the member with stored text `data`."""
        member = self._values.get(data)
        return (
            self._texts[member.name]
            if isinstance(member, enum.Enum)
            else (data if data in self._values else None)
        )

    def decode(self, data: bytes, dialect: Dialect) -> object:
        if data in self._values:
            return self._values[data]
        raise undecodable("one of the Enum's members")


def _members(inner: Enum, count: int) -> list[enum.Enum] | None:
    """The Enum class's members in the order of the type's texts; ``None`` without a class.

    Aliases are included only with ``omit_aliases=False``, which the number of texts shows.
    SQLAlchemy itself refuses a ``values_callable`` that returns another number.
    """
    enum_class: type[enum.Enum] | None = inner.enum_class
    if enum_class is None:
        return None
    named = enum_class.__members__.items()
    members = [member for name, member in named if member.name == name]
    if len(members) != count:
        members = [member for _, member in named]
    return members
