"""Models in pairs: a plaintext one, and its twin with the same columns encrypted."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Integer, String
from sqlalchemy.orm import declarative_base, mapped_column

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType

TENANT = "tenant/{tenant}"


def _model(base: Any, name: str, *, key: str, encrypted: bool, compound: bool) -> Any:
    def text() -> Any:
        return EncryptedType(String, key=key) if encrypted else String(50)

    def found() -> Any:
        index = BlindIndex(key="default")
        return EncryptedType(String, key=key, index=index) if encrypted else String(50)

    names: dict[str, Any] = {
        "__tablename__": name,
        "id": mapped_column(Integer, primary_key=True, autoincrement=False),
        "tenant": mapped_column(Integer),
        "email": mapped_column(text() if compound else found()),
        "phone": mapped_column(text()),
        "title": mapped_column(String(50)),
        "version": mapped_column(Integer, nullable=False),
        "changes": mapped_column(Integer, default=0, onupdate=1),
    }
    names["__mapper_args__"] = {"version_id_col": names["version"]}
    if encrypted and compound:
        names["__table_args__"] = (CompoundBlindIndex("who", "email", "phone"),)
    return type(name.title(), (base,), names)


@functools.cache
def twins() -> SimpleNamespace:
    """The models of all tests: by kind, the plaintext one and the encrypted one."""
    base: Any = declarative_base()
    kinds = {
        "tenant": {"key": TENANT, "compound": False},
        "compound": {"key": "default", "compound": True},
        "tenant_compound": {"key": TENANT, "compound": True},
        "simple": {"key": "default", "compound": False},
    }
    pairs: dict[str, tuple[Any, Any]] = {}
    for kind, options in kinds.items():
        pairs[kind] = (
            _model(base, f"plain_{kind}", encrypted=False, **options),  # type: ignore[arg-type]
            _model(base, f"{kind}", encrypted=True, **options),  # type: ignore[arg-type]
        )
    return SimpleNamespace(metadata=base.metadata, **pairs)
