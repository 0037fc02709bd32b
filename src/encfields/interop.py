"""Use encfields' key stores with the unmodified AWS Encryption SDK client.

::

    from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
    from encfields.interop import column_context, column_key, materials_manager

    client = EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    manager = materials_manager(
        SqlKeyStore(keyrings.aws_kms(ARN), engine=engine), key=column_key(Patient.ssn)
    )
    plaintext, header = client.decrypt(
        source=stored_bytes,
        materials_manager=manager,
        encryption_context=column_context(Patient.ssn, {"id": 42}),
    )

The client parses the message, derives its keys and checks its commitment and tags; the manager
only unwraps the data key, as AWS's hierarchical keyring does
(``framework/aws-kms/aws-kms-hierarchical-keyring.md``), with a branch key of our store. Importing
this module imports AWS's Material Providers Library, which takes half a second; nothing else of
this package imports it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aws_cryptographic_material_providers.mpl import models
from aws_cryptographic_material_providers.mpl.client import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.references import ICryptographicMaterialsManager

from encfields.arguments import kind
from encfields.branch_key import BranchKey
from encfields.context import ROW_KEY_PREFIX, difference, serialize
from encfields.engine import Encryption, engine_encryption
from encfields.errors import (
    ConfigurationError,
    ContextMismatchError,
    KeyNotFoundError,
    MalformedMessageError,
    TamperedError,
)
from encfields.expected_arguments import FLAG, ROW, takes
from encfields.identity import CANONICAL
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.store import KeyStore
from encfields.message.header import (
    MAX_DATA_KEYS,
    PROVIDER_ID,
    WRAPPED_KEY_BYTES,
    EncryptedDataKey,
    no_hierarchical_key,
)
from encfields.message.keys import Wrapping, openable
from encfields.message.suites import other_suite
from encfields.orm.declare.columns import ColumnBinding, binding_of, is_encrypted
from encfields.orm.declare.row_keys import kind_of
from encfields.orm.types import DEFAULT_KEY
from encfields.traces import leaves_no_trace

__all__ = ["EncfieldsMaterialsManager", "column_context", "column_key", "materials_manager"]

SUITE = "0x0478"
_PROVIDER = PROVIDER_ID.decode("ascii")
_NON_COMMITTING_POLICY = "FORBID_ENCRYPT_ALLOW_DECRYPT"

KeyChoice = str | Callable[[Mapping[str, str]], str]
"""A branch key id, or a function from the encryption context of a value to one."""


@takes(require_context=FLAG)
def materials_manager(
    keys: Encryption | KeyStore | KeyCache,
    *,
    key: KeyChoice = DEFAULT_KEY,
    former_keys: Sequence[KeyChoice] = (),
    require_context: bool = True,
) -> EncfieldsMaterialsManager:
    """A cryptographic materials manager for ``EncryptionSDKClient``'s ``materials_manager=``.

    It may be shared by threads and used for the life of the process.

    :param keys: an attached encryption, whose key cache is shared; or a key store.
    :param key: the branch key id that ``encrypt`` seals under, or a function from the encryption
        context to it: :func:`column_key`. ``decrypt`` opens only messages under this key: anybody
        with any other key could write a message that names that key.
    :param former_keys: further ids, or functions, that ``decrypt`` accepts, for keys used before
        `key`.
    :param require_context: require the message's whole encryption context for ``decrypt``. Without
        it the client opens a value that was moved here from another row.
    :returns: the manager.
    """
    choices = (key, *former_keys)
    if isinstance(keys, Encryption):
        encryption = engine_encryption(keys)
        return EncfieldsMaterialsManager(
            encryption.active_key, encryption.find_key, choices, require_context
        )
    cache = keys if isinstance(keys, KeyCache) else KeyCache(keys)
    return EncfieldsMaterialsManager(cache.active, cache.find, choices, require_context)


@takes(row=ROW)
def column_context(column: Any, row: Mapping[str, Any]) -> dict[str, str]:
    """The encryption context of an encrypted column's value in one row.

    :param column: a mapped attribute (``Patient.ssn``) or a table's column.
    :param row: the columns that identify the row, and those its key template names, by name.
    :returns: pairs for ``encryption_context=``, in no particular order.
    :raises ConfigurationError: the column is not encrypted.
    :raises UnknownIdentityError: `row` lacks a column, or its value is of another kind.
    """
    binding = _binding(column)
    values = binding.identity_in(row)
    texts = [
        CANONICAL[kind_of(column.type)](value)
        for column, value in zip(binding.identity, values, strict=True)
    ]
    return binding.context.as_dict(texts)


def column_key(column: Any) -> Callable[[Mapping[str, str]], str]:
    """Which branch key an encrypted column's values are under, for ``materials_manager(key=)``.

    :param column: as for :func:`column_context`.
    :returns: a function from a value's encryption context to the branch key id for its place. It
        raises :class:`~encfields.errors.ContextMismatchError` for a context that is not the
        column's.
    :raises ConfigurationError: the column is not encrypted.
    """
    binding = _binding(column)
    names = [ROW_KEY_PREFIX + column.name for column in binding.identity]

    def key_id(context: Mapping[str, str]) -> str:
        texts = [context[name] for name in names if name in context]
        if context != binding.context.as_dict(texts + [""] * (len(names) - len(texts))):
            raise ContextMismatchError(
                f"the value was sealed for {dict(context)}, which is not a place in "
                f"{binding.logical_name}",
                found=dict(context),
                reason="context",
            )
        return binding.key_id(texts)

    return key_id


def _binding(column: Any) -> ColumnBinding:
    (declared,) = getattr(getattr(column, "property", None), "columns", None) or (column,)
    if not is_encrypted(declared):
        raise ConfigurationError(
            f"a column of type EncryptedType is needed, not {kind(declared)}",
            reason="not-encrypted",
        )
    return binding_of(declared)


class EncfieldsMaterialsManager(ICryptographicMaterialsManager):  # type: ignore[misc]  # no types
    """Gives the client data keys wrapped as the hierarchical keyring wraps them.

    Failures are raised as this library's errors. Made by :func:`materials_manager`.
    """

    def __init__(
        self,
        active: Callable[[str], BranchKey],
        find: Callable[[str, str], BranchKey],
        keys: Sequence[KeyChoice],
        require_context: bool,
    ) -> None:
        self._active = active
        self._find = find
        self._keys = keys
        self._require_context = require_context
        providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
        self._suite = providers.get_algorithm_suite_info(bytes.fromhex(SUITE[2:]))

    def __repr__(self) -> str:
        return "<EncfieldsMaterialsManager>"

    @leaves_no_trace
    def get_encryption_materials(self, param: Any) -> Any:
        """A fresh data key, wrapped under the active branch key.

        :raises ConfigurationError: the client asks for another suite than 0x0478.
        :raises BindingError: the encryption context cannot be used.
        :raises KeyStoreError: the branch key cannot be fetched.
        """
        asked = param.algorithm_suite_id and param.algorithm_suite_id.value
        policy = param.commitment_policy.value
        if asked not in (None, SUITE) or policy == _NON_COMMITTING_POLICY:
            raise ConfigurationError(
                f"column values are written with algorithm suite {SUITE} alone; leave out "
                "algorithm= and use a commitment policy that requires commitment on encryption",
                reason="suite",
            )
        pairs = dict(param.encryption_context)
        pairs_bytes = serialize(pairs)
        key = self._active(_chosen(self._keys[0], pairs))
        random = os.urandom(60)
        data_key = random[:32]
        wrapped = Wrapping.of(key).wrap(data_key, random[32:48], random[48:], pairs_bytes)
        edk = models.EncryptedDataKey(
            key_provider_id=_PROVIDER, key_provider_info=key.id_bytes, ciphertext=wrapped
        )
        return models.GetEncryptionMaterialsOutput(
            encryption_materials=models.EncryptionMaterials(
                algorithm_suite=self._suite,
                encryption_context=pairs,
                encrypted_data_keys=[edk],
                required_encryption_context_keys=[],
                plaintext_data_key=data_key,
            )
        )

    @leaves_no_trace
    def decrypt_materials(self, param: Any) -> Any:
        """The data key of a message, if its context is the requested one.

        :raises MalformedMessageError: another suite, or no data key of a hierarchical keyring.
        :raises ContextMismatchError: the context differs, or was not given completely.
        :raises TamperedError: the data key does not authenticate, or is under another branch key.
        :raises KeyStoreError: the branch key cannot be fetched.
        """
        if param.algorithm_suite_id.value != SUITE:
            raise MalformedMessageError(
                f"a message of {other_suite(int(param.algorithm_suite_id.value, 16))}. Open this "
                "one with the keyring it was written with",
                offset=1,
                reason="suite",
            )
        found = dict(param.encryption_context)
        self._check_context(found, param.reproduced_encryption_context or {})
        edks = openable(
            _hierarchical(param.encrypted_data_keys),
            tuple(_chosen(key, found) for key in self._keys),
        )
        data_key = self._unwrap(edks, serialize(found))
        return models.DecryptMaterialsOutput(
            decryption_materials=models.DecryptionMaterials(
                algorithm_suite=self._suite,
                encryption_context=found,
                required_encryption_context_keys=[],
                plaintext_data_key=data_key,
            )
        )

    def _check_context(self, found: dict[str, str], expected: Mapping[str, str]) -> None:
        if self._require_context and found and not expected:
            raise ContextMismatchError(
                f"decrypt() was given no encryption_context=, so nothing tells whether the value "
                f"belongs here; it says that it was sealed for {found}. Give the context of the "
                "place it was read from: column_context(), or require_context=False",
                found=found,
                reason="no-context",
            )
        agrees = found == expected if self._require_context else expected.items() <= found.items()
        if not agrees:
            raise ContextMismatchError(
                difference(found, expected),
                expected=dict(expected),
                found=found,
                reason="context",
            )

    def _unwrap(self, edks: list[EncryptedDataKey], context: bytes) -> bytes:
        """The data key, from the first encrypted data key that opens."""
        for edk in edks[:-1]:
            with suppress(KeyNotFoundError, TamperedError):
                return Wrapping.of(self._find(edk.key_id, edk.version)).unwrap(edk, context)
        last = edks[-1]
        return Wrapping.of(self._find(last.key_id, last.version)).unwrap(last, context)


def _chosen(key: KeyChoice, context: Mapping[str, str]) -> str:
    return key if isinstance(key, str) else key(context)


def _hierarchical(edks: list[Any]) -> list[EncryptedDataKey]:
    """The encrypted data keys of the hierarchical keyring in a message."""
    ours = [edk for edk in edks if edk.key_provider_id == _PROVIDER]
    if len(edks) > MAX_DATA_KEYS:
        raise MalformedMessageError(
            f"{len(edks)} encrypted data keys, of which at most {MAX_DATA_KEYS} are tried",
            reason="too-many-keys",
        )
    if not ours:
        raise no_hierarchical_key([one.key_provider_id.encode() for one in edks], None)
    return [_read(edk) for edk in ours]


def _read(edk: Any) -> EncryptedDataKey:
    data = bytes(edk.ciphertext)
    if len(data) != WRAPPED_KEY_BYTES:
        raise MalformedMessageError(
            f"the encrypted data key has {len(data)} bytes, not {WRAPPED_KEY_BYTES}",
            reason="wrapped-key",
        )
    try:
        key_id = bytes(edk.key_provider_info).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMessageError("the branch key id is not UTF-8", reason="key-id") from None
    version = str(uuid.UUID(bytes=data[28:44]))
    return EncryptedDataKey(key_id, version, data[:16], data[16:28], data[44:])
