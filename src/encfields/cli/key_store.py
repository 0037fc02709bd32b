"""The key store of a command: ``--keyring``, which wrapping keys open and make branch keys;
``--key-table``, where they are kept; ``--key-store``, its logical name."""

from __future__ import annotations

from typing import Any, NoReturn

from encfields import keyrings
from encfields.errors import ConfigurationError
from encfields.keyrings import Keyring
from encfields.keys.dynamodb.store import DynamoDbKeyStore
from encfields.keys.sql.store import SqlKeyStore

DYNAMODB = "dynamodb:"
"""Prefix of ``--key-table`` for AWS's key store, in the KMS key's region."""

KEYRING_FORMS = (
    "kms:ARN[,ARN...], mrk:ARN[,ARN...] for multi-Region keys, "
    "discovery:ACCOUNT[,ACCOUNT...]@REGION[,REGION...], or local:PATH for development"
)


class NoKeyring(Keyring):
    """Stands in for a missing keyring: branch keys can be listed, but not opened."""

    can_wrap = False

    def __repr__(self) -> str:
        return "<NoKeyring>"

    def build(self) -> Any:
        """:raises ConfigurationError: always."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigurationError(
            f"this needs keys, and no keyring is given; give --keyring {KEYRING_FORMS}",
            reason="no-keyring",
        )


def parse_keyring(text: str | None) -> Keyring:
    """The keyring that `text` describes.

    :raises ConfigurationError: it is not valid.
    """
    if text is None:
        return NoKeyring()
    kind, _, rest = text.partition(":")
    if kind == "local" and rest:
        return keyrings.local(rest)
    if kind == "kms" and rest:
        return keyrings.aws_kms(*_split(rest))
    if kind == "mrk" and rest:
        return keyrings.aws_kms_mrk(*_split(rest))
    if kind == "discovery" and "@" in rest:
        accounts, _, regions = rest.partition("@")
        return keyrings.aws_kms_discovery(_split(accounts), regions=_split(regions))
    # Do not repeat the text: it may be a key given instead of a path.
    raise ConfigurationError(
        f"this is not a keyring; a keyring is one of {KEYRING_FORMS}", reason="keyring"
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def key_store_of(keyring: str | None, key_table: str, name: str | None = None) -> SqlKeyStore:
    """A key store, to be bound to an engine.

    :param keyring: as for ``--keyring``; ``None`` if keys are only listed.
    :param key_table: the key table, with its schema if it has one.
    :param name: the key store's logical name; default the one in the table.
    :raises ConfigurationError: the keyring is not usable, or the table is AWS's key store's.
    """
    if key_table.startswith(DYNAMODB):
        raise ConfigurationError(
            "this works on a key table of the database alone, not on AWS's key store; name one "
            "with --key-table",
            reason="key-table",
        )
    schema, _, table = key_table.rpartition(".")
    return SqlKeyStore(parse_keyring(keyring), name=name, table_name=table, schema=schema or None)


def any_key_store_of(
    keyring: str | None, key_table: str, name: str | None = None
) -> SqlKeyStore | DynamoDbKeyStore:
    """The same, or AWS's key store.

    :param key_table: also ``dynamodb:TABLE`` or ``dynamodb:TABLE@NAME``, which needs its keyring
        even to list keys, because that tells the region.
    """
    if not key_table.startswith(DYNAMODB):
        return key_store_of(keyring, key_table, name)
    if keyring is None:
        NoKeyring().build()
    table, _, store_name = key_table.removeprefix(DYNAMODB).partition("@")
    wrapping: Any = parse_keyring(keyring)
    return DynamoDbKeyStore(wrapping, table, name=store_name or None)
