"""Checks of a declaration's arguments, with errors that name the argument."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from encfields.errors import DeclarationError


def check_text(option: str, value: object, *, may_be_blank: bool = False) -> None:
    """Refuse what is not a string; ``None`` means that the option was left out.

    :param option: its name in the declaration.
    :raises DeclarationError: says what the option takes.
    """
    if value is not None and not (isinstance(value, str) and (may_be_blank or value.strip())):
        given = "an empty one" if isinstance(value, str) else kind(value)
        raise DeclarationError(f"{option}= takes a string, not {given}", reason=option)
    if isinstance(value, str) and not is_unicode(value):
        raise DeclarationError(
            f"{option}= takes valid Unicode, without a lone surrogate", reason=option
        )


def is_unicode(text: str) -> bool:
    """Whether a string has a UTF-8 form; one with a lone surrogate has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_flag(option: str, value: object) -> None:
    """Refuse what is not a ``bool``.

    :param option: its name in the declaration.
    :raises DeclarationError: says what the option takes.
    """
    if not isinstance(value, bool):
        raise DeclarationError(f"{option}= takes True or False, not {kind(value)}", reason=option)


def names(option: str, given: Sequence[str] | str) -> tuple[str, ...]:
    """One name, or several, as a tuple.

    :param option: its name in the declaration.
    :raises DeclarationError: it is neither a string nor a list of strings.
    """
    several = given if isinstance(given, Iterable) else (None,)
    texts = (given,) if isinstance(given, str) else tuple(several)
    if not all(isinstance(text, str) for text in texts):
        raise DeclarationError(
            f"{option}= takes a name, or a list of names, not {kind(given)}", reason=option
        )
    return texts


def check_table_name(given: object) -> None:
    """Refuse what is no table's name.

    :raises DeclarationError: says what it is.
    """
    if not isinstance(given, str):
        raise DeclarationError(f"the table is named by a string, not {kind(given)}", reason="table")


_Described = TypeVar("_Described")


def each_as(described: type[_Described], option: str, given: Any) -> tuple[_Described, ...]:
    """One description or name, or several, as descriptions.

    :param described: their class, which a name alone makes one of.
    :param option: its name in the declaration.
    :raises DeclarationError: one of them is neither a string nor a description.
    """
    cls: Any = described
    several = (given,) if isinstance(given, str | cls) else given
    parts = tuple(several) if isinstance(several, Iterable) else (several,)
    for part in parts:
        if not isinstance(part, str | cls):
            raise DeclarationError(
                f"{option}= takes names, or {cls.__name__}(...), not {kind(part)}", reason=option
            )
    return tuple(cls(part) if isinstance(part, str) else part for part in parts)


def kind(value: object) -> str:
    """An argument's type for a message: ``an int``, or ``the class Integer``."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
