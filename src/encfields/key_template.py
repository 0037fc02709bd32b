"""Branch key ids of rows: a fixed id, or a template over the row's columns.

A value opens only under its row's key id, so different rows must never get the same id by accident.
Columns' texts are therefore percent-encoded (RFC 3986), except ``A-Z a-z 0-9 - . _ ~``. Integers,
UUIDs, dates and plain names stay unchanged, ``"b/c"`` becomes ``b%2Fc``, and no value can imitate
the text around it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from encfields.arguments import is_unicode
from encfields.errors import BindingError, DeclarationError

DEFAULT_KEY = "default"
"""Branch key id of columns without ``key=``."""

ENCODED = frozenset(string.ascii_letters + string.digits + "-._~%")
"""Characters of an encoded column text in a key id."""

_is_plain = re.compile(r"[A-Za-z0-9._~-]*").fullmatch


class KeyTemplate:
    """A branch key id, or a template such as ``"tenant/{tenant_id}"``.

    :param template: ``{name}`` stands for the canonical text of a column of the row,
        percent-encoded.
    :raises DeclarationError: the template is empty, has anything but plain column names in braces,
        or could give one id to different rows.
    :ivar columns: the columns that it names, each once.
    :ivar pieces: literal texts, each with the following column, or ``None``.
    """

    __slots__ = ("columns", "pieces", "template")

    def __init__(self, template: str) -> None:
        if not isinstance(template, str) or not template:
            given = "empty" if isinstance(template, str) else type(template).__name__
            raise DeclarationError(f"the branch key id must be a string, not {given}", reason="key")
        if not is_unicode(template):
            raise DeclarationError(
                "the branch key id must be valid Unicode, without a lone surrogate", reason="key"
            )
        self.template = template
        self.pieces = _pieces(template)
        self.columns = tuple(dict.fromkeys(name for _, name in self.pieces if name is not None))
        _refuse_ambiguous(self)

    @property
    def fixed_id(self) -> str | None:
        """The id, if it is the same for every row."""
        return None if self.columns else self.template

    def key_id(self, texts: Mapping[str, str]) -> str:
        """The branch key id for a row, given the canonical texts of the template's columns.

        :raises BindingError: a text is not Unicode.
        """
        if not self.columns:
            return self.template
        return "".join(
            [text if name is None else text + encoded(texts[name]) for text, name in self.pieces]
        )

    def by_position(self, names: Sequence[str]) -> Callable[[Sequence[str]], str]:
        """A function that does the same for texts in a fixed order.

        :param names: of the columns whose texts are given.
        """
        at = {name: position for position, name in enumerate(names)}
        pieces = [(text, at[name]) for text, name in self.pieces if name is not None]
        last = "".join(text for text, name in self.pieces if name is None)
        if not pieces:
            return lambda texts: last
        if len(pieces) == 1:
            ((first, position),) = pieces
            return lambda texts: first + encoded(texts[position]) + last
        return lambda texts: "".join([text + encoded(texts[i]) for text, i in pieces]) + last


def encoded(text: str) -> str:
    """A column's text encoded for a key id.

    :raises BindingError: it is not Unicode.
    """
    if _is_plain(text):
        return text
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise BindingError(
            "a string that names the row's branch key is not valid Unicode", reason="key-id"
        ) from None


def _pieces(template: str) -> tuple[tuple[str, str | None], ...]:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise _refusal(f"the key template {template!r} is not well formed: {error}") from None
    pieces: list[tuple[str, str | None]] = []
    text = ""
    for literal, field, spec, conversion in parts:
        text += literal
        if field is None:  # a doubled brace, or the end
            continue
        if not field.isidentifier() or spec or conversion:
            raise _refusal(
                f"the key template {template!r} may hold only plain column names in braces, "
                f"as in 'tenant/{{tenant_id}}'"
            )
        pieces.append((text, field))
        text = ""
    if not pieces and ("{" in template or "}" in template):
        raise _refusal(f"the key id {template!r} holds a brace but names no column")
    return (*pieces, (text, None)) if text else tuple(pieces)


def _refuse_ambiguous(key: KeyTemplate) -> None:
    """Refuse a template whose ids do not determine their texts."""
    if key.columns and not any(text for text, _ in key.pieces):
        raise _refusal(
            f"the key template {key.template!r} has no literal text, so a row could name any key: "
            "put some before the column, as in 'tenant/{tenant_id}'"
        )
    for text, column in key.pieces[1:]:
        if column is not None and ENCODED.issuperset(text):
            raise _refusal(
                f"the key template {key.template!r} does not show where one column's text ends and "
                "the next begins: put a character between them that no encoded text contains, such "
                "as '/' or ':'"
            )


def _refusal(message: str) -> DeclarationError:
    return DeclarationError(message, reason="key")
