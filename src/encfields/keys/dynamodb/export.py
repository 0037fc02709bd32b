"""Copies branch keys into AWS's key store, so that a team can start embedded and grow.

Ids, versions and material stay the same, so every stored value opens under the copy as under the
original: no value is read, written or sealed again. Each key is unwrapped by the source's keyring,
encrypted by the target's KMS key under the encryption context that AWS's hierarchical key store
requires, and read back through AWS's ``KeyStore`` before it is reported.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from encfields.errors import ConfigurationError, KeyAccessError, KeyExistsError, KeyNotFoundError
from encfields.keys.dynamodb import items
from encfields.keys.dynamodb.store import DynamoDbKeyStore, item_table_of
from encfields.keys.dynamodb.table import ThreadClients
from encfields.keys.store import Conflict, KeyStore
from encfields.keys.versions import BeaconKey, KeyVersion, check_key_id

MAX_READ_TRIES = 20
READ_PAUSE = 0.25
"""Attempts to find a written key, and seconds between them: AWS's key store reads DynamoDB
eventually consistently."""


@dataclass(frozen=True, slots=True)
class ExportedKey:
    """One key, every version of which was found in the target with the same material.

    :ivar id: branch key id.
    :ivar active: its active version.
    :ivar versions: number of its versions in the target.
    :ivar written: number of those that the target did not have before.
    """

    id: str
    active: str
    versions: int
    written: int


def export_keys(
    source: KeyStore, target: DynamoDbKeyStore, key_ids: Collection[str] | None = None
) -> Iterator[ExportedKey]:
    """Copy keys, one after the other; each is complete and verified when it is yielded.

    If it is interrupted, run it again: existing copies are verified and left alone, and rotations
    at the source since the last run are copied. Destroyed versions are omitted.
    The target's KMS key is called for ``kms:Encrypt`` and ``kms:Decrypt``.

    :param source: the key store with the keys under which values are sealed now.
    :param target: its table must exist.
    :param key_ids: by default all keys.
    :raises KeyNotFoundError: the source has no such key.
    :raises ConfigurationError: the key has two beacon keys.
    :raises KeyExistsError: the target has another key of the same id, or was rotated by itself;
        nothing of that key was changed.
    :raises KeyStoreError: a key cannot be read, or a store is out of reach.
    """
    readable: dict[str, list[KeyVersion]] = {}
    for version in source.list():
        if version.destroyed_at is None:
            readable.setdefault(version.id, []).append(version)
    wanted = list(readable) if key_ids is None else list(dict.fromkeys(key_ids))
    for key_id in wanted:
        versions = readable.get(key_id, [])
        if not any(known.active for known in versions):
            raise KeyNotFoundError(
                "the source has no active version of this key", key_id=key_id, reason="no-key"
            )
    for key_id in wanted:
        check_key_id(key_id)
        yield _Export(source, target, readable[key_id]).run()


class _Export:
    """The copy of one key."""

    def __init__(
        self, source: KeyStore, target: DynamoDbKeyStore, versions: list[KeyVersion]
    ) -> None:
        self._source = source
        self._target = target
        self._table = item_table_of(target)
        self._versions = sorted(versions, key=lambda known: (known.created_at, known.version))
        self._key_id = versions[0].id
        self._active = next(version for version in versions if version.active)
        self._unwrapped: dict[str, bytes] = {}
        self._beacon: BeaconKey | None = None

    def run(self) -> ExportedKey:
        self._beacon_key()
        present = {item["type"]["S"]: item for item in self._table.items_of(self._key_id)}
        self._refuse_foreign(present)
        beacon_is_new = items.BEACON_TYPE not in present
        if not beacon_is_new:
            self._check_beacon()
        missing = [
            version
            for version in self._versions
            if items.VERSION_PREFIX + version.version not in present
        ]
        # Existing items are compared before anything is added to them.
        for version in self._versions:
            if version not in missing:
                self._check_version(version)
        for exported in missing:
            self._put_version(exported)
        self._put_active(present.get(items.ACTIVE_TYPE), with_beacon=beacon_is_new)
        for exported in missing:
            self._check_version(exported)
        self._check_beacon()
        self._check_active()
        return ExportedKey(self._key_id, self._active.version, len(self._versions), len(missing))

    def _refuse_foreign(self, present: dict[str, items.Item]) -> None:
        known = {items.VERSION_PREFIX + version.version for version in self._versions}
        strange = [
            name for name in present if name.startswith(items.VERSION_PREFIX) and name not in known
        ]
        if strange:
            raise self._other(f"it has a version that the source lacks ({strange[0]})")

    def _put_version(self, version: KeyVersion) -> None:
        self._write([(self._context(version), self._material(version), _NEW, {})])

    def _put_active(self, present: items.Item | None, *, with_beacon: bool) -> None:
        """Write the active item, and the beacon key's if it is missing, in one transaction."""
        name = items.VERSION_PREFIX + self._active.version
        puts: list[Any] = []
        if present is None:
            puts.append((*self._active_item(), _NEW, {}))
        elif present[items.VERSION]["S"] != name:
            puts.append((*self._active_item(), _UNCHANGED, {":before": present[items.VERSION]}))
        if with_beacon:
            beacon = self._beacon_key()
            context = items.beacon_context(self._context(self._versions[0]), beacon.version)
            puts.append((context, beacon.material, _NEW, {}))
        if puts:
            self._write(puts)

    def _active_item(self) -> tuple[items.Context, bytes]:
        return items.active_context(self._context(self._active)), self._material(self._active)

    def _material(self, version: KeyVersion) -> bytes:
        """The source's key, unwrapped once."""
        if version.version not in self._unwrapped:
            branch_key = self._source.version(self._key_id, version.version)
            self._unwrapped[version.version] = branch_key.material
        return self._unwrapped[version.version]

    def _beacon_key(self) -> BeaconKey:
        """The source's one beacon key, unwrapped once."""
        if self._beacon is None:
            beacons = self._source.beacons(self._key_id)
            if len(beacons) > 1:
                raise ConfigurationError(
                    "this key has two beacon keys, and AWS's key store holds only one: index all "
                    f"values under version {beacons[-1].version}, then "
                    f"retire_beacon({self._key_id!r}, {beacons[0].version})",
                    key_id=self._key_id,
                    reason="two-beacons",
                )
            self._beacon = beacons[0]
        return self._beacon

    def _context(self, version: KeyVersion) -> items.Context:
        table = self._table
        return items.version_context(
            version, table.kms_arn, table.logical_name, self._target.context
        )

    def _write(self, puts: list[Any]) -> None:
        """Encrypt some keys with KMS and put their items: all of them, or none."""

        def work(tools: ThreadClients) -> None:
            tools.dynamodb.transact_write_items(
                TransactItems=[
                    {"Put": self._put(tools, context, key, condition, values)}
                    for context, key, condition, values in puts
                ]
            )

        try:
            self._table.run(work, self._key_id)
        except Conflict:
            failure = self._other("another process changed it at the same time")
        else:
            return
        raise failure

    def _put(
        self,
        tools: ThreadClients,
        context: items.Context,
        key: bytes,
        condition: str,
        values: items.Item,
    ) -> dict[str, Any]:
        wrapped = tools.kms.encrypt(
            KeyId=self._table.kms_arn, Plaintext=key, EncryptionContext=context
        )
        put: dict[str, Any] = {
            "TableName": self._table.name,
            "Item": items.item(context, wrapped["CiphertextBlob"]),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#name": items.VERSION if values else items.KEY_ID},
        }
        return {**put, "ExpressionAttributeValues": values} if values else put

    def _check_version(self, version: KeyVersion) -> None:
        target = self._patiently(lambda: self._target.version(self._key_id, version.version))
        if not hmac.compare_digest(self._material(version), target.material):
            raise self._other(f"its version {version.version} holds another key")

    def _check_beacon(self) -> None:
        source = self._beacon_key()
        (target,) = self._patiently(lambda: self._target.beacons(self._key_id))
        same = hmac.compare_digest(source.material, target.material)
        if not same or source.version != target.version:
            raise self._other("its beacon key is a different one")

    def _check_active(self) -> None:
        for _ in range(MAX_READ_TRIES):
            target = self._patiently(lambda: self._target.active(self._key_id))
            if target.version == self._active.version:
                if hmac.compare_digest(self._material(self._active), target.material):
                    return
                raise self._other("its active version holds another key")
            time.sleep(READ_PAUSE)
        raise self._other("its active version is a different one")

    def _patiently(self, read: Any) -> Any:
        """Read what was written, even if it is not visible at once."""
        for _ in range(MAX_READ_TRIES):
            try:
                return read()
            except KeyNotFoundError:
                time.sleep(READ_PAUSE)
            except KeyAccessError as error:
                failure = self._other(f"what it holds does not open: {error.message}")
                break
        else:
            failure = self._other("what was written to it cannot be found")
        raise failure

    def _other(self, what: str) -> KeyExistsError:
        return KeyExistsError(
            f"{self._table.name!r} has a key of this id that is not a copy of the "
            f"source's: {what}. Give the copy a table of its own",
            key_id=self._key_id,
            reason="exists",
        )


_NEW = "attribute_not_exists(#name)"
_UNCHANGED = "#name = :before"
