"""Field-level encryption for SQLAlchemy, on AWS KMS and the AWS Encryption SDK.

Declare a column with :class:`EncryptedType`, :func:`attach` a key store to the engine, and go
on writing ordinary SQLAlchemy: every value in the database is a genuine, key-committing AWS
Encryption SDK message that opens only in the row and column it was written for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from encfields.version import VERSION

if TYPE_CHECKING:
    from encfields import errors, keyrings
    from encfields.engine import Encryption, attach, encryption_of
    from encfields.errors import EncFieldsError
    from encfields.index.blind_index import BlindIndex
    from encfields.keys.dynamodb.store import DynamoDbKeyStore
    from encfields.keys.sql.store import SqlKeyStore
    from encfields.legacy import LegacyReader
    from encfields.message.header import read_header
    from encfields.orm.adoption.plaintext import Plaintext
    from encfields.orm.declare.compound_index import CompoundBlindIndex
    from encfields.orm.declare.formerly import Formerly
    from encfields.orm.query.compound_query import blind
    from encfields.orm.sealed import Reveal, Sealed
    from encfields.orm.types import EncryptedType

__version__ = VERSION

__all__ = [
    "BlindIndex",
    "CompoundBlindIndex",
    "DynamoDbKeyStore",
    "EncFieldsError",
    "EncryptedType",
    "Encryption",
    "Formerly",
    "LegacyReader",
    "Plaintext",
    "Reveal",
    "Sealed",
    "SqlKeyStore",
    "attach",
    "blind",
    "encryption_of",
    "errors",
    "keyrings",
    "read_header",
]

_MODULES = {
    "BlindIndex": "index.blind_index",
    "CompoundBlindIndex": "orm.declare.compound_index",
    "DynamoDbKeyStore": "keys.dynamodb.store",
    "EncFieldsError": "errors",
    "EncryptedType": "orm.types",
    "Encryption": "engine",
    "Formerly": "orm.declare.formerly",
    "LegacyReader": "legacy",
    "Plaintext": "orm.adoption.plaintext",
    "Reveal": "orm.sealed",
    "Sealed": "orm.sealed",
    "SqlKeyStore": "keys.sql.store",
    "attach": "engine",
    "blind": "orm.query.compound_query",
    "encryption_of": "engine",
    "read_header": "message.header",
}
"""Each public name's module. Names are imported on first use: ``python -m encfields.cli`` runs this
file first, and must soon be able to handle Ctrl-C."""


def _asked_for(name: str) -> Any:
    """Import a public name on first use."""
    if name in _MODULES:
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    elif name in ("errors", "keyrings"):
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = _asked_for


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
