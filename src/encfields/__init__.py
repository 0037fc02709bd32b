"""Field-level encryption for SQLAlchemy, on AWS KMS and the AWS Encryption SDK.

Declare a column with :class:`EncryptedType`, :func:`attach` a key store to the engine, and go
on writing ordinary SQLAlchemy: every value in the database is a genuine, key-committing AWS
Encryption SDK message that opens only in the row and column it was written for.
"""

from __future__ import annotations

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
from encfields.orm.query.compound import blind
from encfields.orm.sealed import Reveal, Sealed
from encfields.orm.types import EncryptedType
from encfields.version import VERSION

__version__ = VERSION

__all__ = [
    "BlindIndex",
    "CompoundBlindIndex",
    "DynamoDbKeyStore",
    "EncFieldsError",
    "EncryptedType",
    "Encryption",
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
