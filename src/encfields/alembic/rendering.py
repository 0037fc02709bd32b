"""How autogenerate writes an encrypted column into a migration: as the bytes that it stores."""

from __future__ import annotations

from typing import Any, Literal

from encfields.types import EncryptedType

_LONG = "{sa}LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql', 'mariadb')"


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Alembic's ``render_item``: give it to ``context.configure(render_item=render_item)``.

    A migration that is run again in years to come must not depend on this library or on how a
    column was declared then; the database only ever knew it as bytes.

    :param kind: what is rendered; only ``"type"`` concerns us.
    :param item: the type.
    :param autogen_context: Alembic's ``AutogenContext``.
    :returns: Python code of a ``LargeBinary`` (on MySQL and MariaDB ``LONGBLOB``), or ``False``
        for Alembic to render what is not ours.
    """
    if kind != "type" or not isinstance(item, EncryptedType):
        return False
    prefix = autogen_context.opts.get("sqlalchemy_module_prefix") or ""
    if item.storage is not None and item.storage.length is not None:
        return f"{prefix}LargeBinary(length={item.storage.length})"
    autogen_context.imports.add("from sqlalchemy.dialects import mysql")
    return _LONG.format(sa=prefix)
