"""Which branch key a row's values are sealed under: a fixed id, or one made from its columns."""

from __future__ import annotations

import string
from collections.abc import Mapping

from encfields.errors import DeclarationError


class KeyTemplate:
    """A branch key id, or a template such as ``"tenant/{tenant_id}"``.

    :param template: ``{name}`` stands for the canonical text of a column of the row.
    :raises DeclarationError: the template is empty or holds anything but plain column names.
    """

    __slots__ = ("columns", "template")

    def __init__(self, template: str) -> None:
        if not template:
            raise DeclarationError("the branch key id is empty", reason="key")
        self.template = template
        self.columns = tuple(dict.fromkeys(_fields(template)))

    @property
    def fixed_id(self) -> str | None:
        """The id, if it is the same for every row."""
        return None if self.columns else self.template

    def key_id(self, texts: Mapping[str, str]) -> str:
        """The branch key id for a row, given the canonical texts of the template's columns."""
        return self.template.format_map(texts) if self.columns else self.template


def _fields(template: str) -> list[str]:
    names: list[str] = []
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DeclarationError(
            f"the key template {template!r} is not well formed: {error}", reason="key"
        ) from None
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if not field.isidentifier() or spec or conversion:
            raise DeclarationError(
                f"the key template {template!r} may only hold plain column names in braces, "
                f"as in 'tenant/{{tenant_id}}'",
                reason="key",
            )
        names.append(field)
    if not names and ("{" in template or "}" in template):
        raise DeclarationError(
            f"the key id {template!r} holds a brace but names no column", reason="key"
        )
    return names
