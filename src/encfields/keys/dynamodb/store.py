"""Branch keys in AWS's own hierarchical key store: a DynamoDB table, wrapped by one KMS key.

Every key is created, wrapped and opened by the Material Providers Library's ``KeyStore``, so that
every AWS Encryption SDK with the hierarchical keyring on the same table, in any language, opens
what these keys sealed, and vice versa.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NoReturn, Unpack

from encfields.branch_key import BranchKey
from encfields.errors import (
    ConfigurationError,
    KeyNotFoundError,
    KeyUnavailableError,
)
from encfields.keys.aws.clients import ClientArguments, client_options, preload
from encfields.keys.dynamodb import items
from encfields.keys.dynamodb.failures import no_such_key
from encfields.keys.dynamodb.opened_keys import OpenedKeys
from encfields.keys.dynamodb.removal import destroy_items, require_retirable, retire_item
from encfields.keys.dynamodb.rewrap import require_same_region, rewrap_items, rewrap_key
from encfields.keys.dynamodb.table import MAX_IN_BATCH, ItemTable, ThreadClients
from encfields.keys.fetching.loop_runner import LoopRunner
from encfields.keys.fetching.runner import Runner
from encfields.keys.keyrings.aws_kms import AwsKmsKeyring
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.store import (
    MAX_TRIES,
    Conflict,
    KeyStore,
    already_exists,
    was_destroyed,
)
from encfields.keys.versions import (
    BeaconKeyList,
    BeaconVersion,
    KeyVersion,
    KeyVersionList,
    OnRewrap,
    RewrapReport,
    WrappedBeacons,
    WrappedBeaconsList,
    WrappedKey,
    WrappedKeyList,
    check_key_id,
)
from encfields.traces import leaves_no_trace

OWN_CONTEXT: Mapping[str, str] = {"enc:purpose": "branch-key"}
"""Pairs with which a key is created: AWS's key store requires some if the id is given."""

MAX_QUERIES = 50
"""Most keys to query one by one; for more, a scan of the table is faster."""


class DynamoDbKeyStore(KeyStore):
    """AWS's hierarchical key store.

    By AWS's design its reads are eventually consistent: for a moment after a key was created or
    rotated, another process may not find it, or find the previous version.

    :param keyring: ``keyrings.aws_kms(arn)`` or ``keyrings.aws_kms_mrk(arn)``, with one key.
    :param table_name: the DynamoDB table.
    :param name: the key store's logical name, which is in KMS's encryption context
        (``tablename``), permanently bound to every key; by default `table_name`. It must be the
        same for everybody who uses the table, and stays the same when the table is restored under
        another name.
    :param region: AWS region of the table; by default the KMS key's.
    :param context: pairs of every new key's own encryption context, at least one.
    :param former: keyrings, with one KMS key each, that open keys that are not rewrapped yet.
    :param logical_name: the former name of `name`.
    :param options: options of the DynamoDB client: see
        :class:`~encfields.keys.aws.clients.ClientOptions`. The keyring has its own for KMS.
    :raises ConfigurationError: the keyring does not have exactly one KMS key, or an argument is
        unusable.
    """

    confirms_at_once = MAX_IN_BATCH
    """See :class:`~encfields.keys.store.KeyStore`: so many take one request."""

    @leaves_no_trace
    def __init__(
        self,
        keyring: AwsKmsKeyring,
        table_name: str,
        *,
        name: str | None = None,
        region: str | None = None,
        context: Mapping[str, str] = OWN_CONTEXT,
        former: Sequence[AwsKmsKeyring] = (),
        logical_name: str | None = None,
        **options: Unpack[ClientArguments],
    ) -> None:
        if name is not None and logical_name is not None and name != logical_name:
            raise ConfigurationError(
                "name= and logical_name= mean the same, and differ: give name= alone",
                reason="name",
            )
        for each_keyring in (keyring, *former):
            _of_one_key(each_keyring)
        if not 3 <= len(table_name) <= 255 or not context:
            raise ConfigurationError(
                "a DynamoDB table's name has 3 to 255 characters, and context= at least one pair",
                reason="table-name" if context else "context",
            )
        self.table_name = table_name
        self.logical_name = name or logical_name or table_name
        self.context = dict(context)
        self.region = region or keyring.arns[0].split(":")[3]
        self._options = client_options(options)
        self._use(keyring, former)

    def _use(self, keyring: AwsKmsKeyring, former: Sequence[AwsKmsKeyring]) -> None:
        (self.kms_arn,) = keyring.arns
        self.keyring = keyring
        self.former = tuple(former)
        self._item_table = ItemTable(
            (keyring, *former), self.table_name, self.logical_name, self.region, self._options
        )
        self._keys = OpenedKeys(self._item_table, keyrings=1 + len(self.former))

    def __repr__(self) -> str:
        return f"<DynamoDbKeyStore table={self.table_name!r} {self.region} {self.kms_arn}>"

    @property
    def name(self) -> str:
        """The key store's logical name, which KMS binds to every key."""
        return self.logical_name

    @property
    def runner(self) -> Runner:
        """How the cache runs fetches from this store: beside an event loop, if there is one."""
        return LoopRunner()

    def preload(self) -> None:
        """Import the modules that open keys now, not when the first one is fetched."""
        from aws_cryptographic_material_providers.keystore import client  # noqa: F401

        preload("kms", "dynamodb")

    def active(self, key_id: str) -> BranchKey:
        """See :meth:`KeyStore.active <encfields.keys.store.KeyStore.active>`."""
        return self._keys.active(key_id)

    def version(self, key_id: str, version: str) -> BranchKey:
        """See :meth:`KeyStore.version <encfields.keys.store.KeyStore.version>`."""
        return self._keys.version(key_id, version)

    def beacon(self, key_id: str) -> bytes:
        """See :meth:`KeyStore.beacon <encfields.keys.store.KeyStore.beacon>`."""
        return self.beacons(key_id)[0].material

    def beacons(self, key_id: str) -> BeaconKeyList:
        """The one beacon key: version 1, or the number under which it was exported here."""
        return self._keys.beacons(key_id)

    def list_beacons(self, key_id: str) -> list[BeaconVersion]:
        """Its public data.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        """
        item = self._item_table.item_at(key_id, items.BEACON_TYPE)
        if item is None:
            raise no_such_key(self.table_name, key_id)
        when = items.destroyed_at(item)
        if when is not None:
            raise was_destroyed(key_id, when)
        number = items.beacon_number(items.own_context(item))
        return [BeaconVersion(key_id, number, items.beacon_created(item))]

    def rotate_beacon(self, key_id: str) -> NoReturn:
        """Refused: AWS's key store has one permanent beacon key for each key.

        :raises ConfigurationError: always.
        """
        raise _one_beacon(key_id)

    def retire_beacon(self, key_id: str, version: int) -> NoReturn:
        """As :meth:`rotate_beacon`.

        :raises ConfigurationError: always.
        """
        raise _one_beacon(key_id)

    def create(self, key_id: str) -> KeyVersion:
        """Create a new key, its first version and its beacon key, in one transaction.

        KMS is called for ``kms:GenerateDataKeyWithoutPlaintext`` and ``kms:ReEncrypt*``.

        :raises ConfigurationError: the id is unusable, or the table is missing.
        :raises KeyExistsError: there is a key with that id.
        """
        check_key_id(key_id)
        self._keys.refuse_destroyed(key_id)
        if self._item_table.versions_of(key_id):
            raise already_exists(key_id)

        def make(tools: ThreadClients) -> None:
            tools.library.create_key(
                tools.models.CreateKeyInput(
                    branch_key_identifier=key_id, encryption_context=self.context
                )
            )

        try:
            self._item_table.run(make, key_id)
        except Conflict:
            raise already_exists(key_id) from None
        return self._active_of(key_id)

    def rotate(self, key_id: str) -> KeyVersion:
        """See :meth:`KeyStore.rotate <encfields.keys.store.KeyStore.rotate>`.

        Concurrent rotations each create a version; the last one stays active, and is returned.
        """

        def make(tools: ThreadClients) -> None:
            tools.library.version_key(tools.models.VersionKeyInput(branch_key_identifier=key_id))

        self._keys.refuse_destroyed(key_id)
        for _ in range(MAX_TRIES):
            try:
                self._item_table.run(make, key_id)
            except Conflict:
                continue
            return self._active_of(key_id)
        raise KeyUnavailableError(
            "other processes kept rotating this key at the same time; retry",
            key_id=key_id,
            reason="error",
        )

    def rotate_from(self, key_id: str, version: str) -> KeyVersion | None:
        """See :meth:`KeyStore.rotate_from <encfields.keys.store.KeyStore.rotate_from>`. Of many
        concurrent calls, one creates a version: DynamoDB writes it only if the replaced one is
        still in force."""

        def make(tools: ThreadClients) -> None:
            with tools.dynamodb.replacing(version):
                tools.library.version_key(
                    tools.models.VersionKeyInput(branch_key_identifier=key_id)
                )

        self._keys.refuse_destroyed(key_id)
        try:
            self._item_table.run(make, key_id)
        except Conflict:
            return None
        return self._active_of(key_id)

    def list(self) -> list[KeyVersion]:
        """See :meth:`KeyStore.list <encfields.keys.store.KeyStore.list>`. It scans the table."""
        return items.versions(self._item_table.scan())

    def destroy(self, key_id: str) -> KeyVersionList:
        """Wipe every version of a key, and its beacon key; a dated item without a key remains of
        each. Only a backup of the table can bring it back.

        :returns: the branch key versions that were wiped.
        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed before.
        """
        return destroy_items(self._item_table, key_id)

    def rewrap(self, new: Keyring, *, progress: OnRewrap | None = None) -> RewrapReport:
        """Move every key to another KMS key of the same region, without touching a value.

        If it is killed at any time, the next call continues where it left off. Keys stay readable
        throughout for stores with both, ``DynamoDbKeyStore(new, ..., former=[old])``; this one has
        both from now on. Other AWS libraries on the table need the new KMS key's ARN once their
        keys have moved. KMS is called for ``kms:ReEncrypt*`` and, to verify, ``kms:Decrypt`` by the
        new keyring's client.

        :param new: with one KMS key.
        :raises ConfigurationError: it does not have one KMS key, or one of another region.
        :raises KeyAccessError: a key does not open, before or after; its item was not changed.
        :raises KeyUnavailableError: KMS or DynamoDB is out of reach; call it again.
        """
        former = self._move_to(new)
        return rewrap_items(self._item_table, former, progress)

    def mover_to(self, new: Keyring) -> Callable[[str], RewrapReport]:
        """See :meth:`KeyStore.mover_to <encfields.keys.store.KeyStore.mover_to>`."""
        former = self._move_to(new)
        return partial(rewrap_key, self._item_table, former)

    def _move_to(self, new: Keyring) -> Sequence[str]:
        """Wrap with another KMS key from now on.

        :returns: the ARNs of the former ones.
        """
        keyring = _of_one_key(new)
        (arn,) = keyring.arns
        before = [keyring for keyring in (self.keyring, *self.former) if keyring.arns != (arn,)]
        former = [one.arns[0] for one in before]
        require_same_region(arn, former)
        self._use(keyring, before)
        return former

    def retire(self, key_id: str, version: str) -> None:
        """Wipe a version other than the active one. Values under it can no longer be read.

        :raises ConfigurationError: it is the active one.
        :raises KeyNotFoundError: there is no such version.
        :raises KeyDestroyedError: it was retired before.
        """
        self.require_retirable(key_id, version)
        retire_item(self._item_table, key_id, version)

    def require_retirable(self, key_id: str, version: str) -> None:
        """Raise as :meth:`retire` would, and change nothing."""
        require_retirable(key_id, version, self._item_table.versions_of(key_id))

    def newest_versions(self, key_ids: Collection[str]) -> Mapping[str, str]:
        """See :meth:`KeyStore.newest_versions
        <encfields.keys.store.KeyStore.newest_versions>`."""
        return self._keys.newest_versions(key_ids)

    def versions_of(self, key_ids: Collection[str] | None) -> KeyVersionList:
        """See :meth:`KeyStore.versions_of <encfields.keys.store.KeyStore.versions_of>`.

        A query for each id, or a scan of the table for more than :data:`MAX_QUERIES`.
        """
        if key_ids is None or len(key_ids) > MAX_QUERIES:
            return [version for version in self.list() if key_ids is None or version.id in key_ids]
        return [item for key_id in sorted(key_ids) for item in self._item_table.versions_of(key_id)]

    def wrapped_many(self, key_ids: Collection[str] | None) -> WrappedKeyList:
        """See :meth:`KeyStore.wrapped_many
        <encfields.keys.store.KeyStore.wrapped_many>`.

        For named keys only the active versions, a hundred in a request: older ones are fetched when
        something is read under them. All keys take a scan of the table.
        """
        if key_ids is None:
            return [
                WrappedKey(version, partial(self.version, version.id, version.version))
                for version in self.list()
            ]
        active = self._item_table.items_at(key_ids, items.ACTIVE_TYPE)
        return [
            WrappedKey(items.active_version(item), partial(self._keys.active, key_id, item))
            for key_id, item in active.items()
        ]

    def wrapped_beacons(self, key_ids: Collection[str]) -> WrappedBeaconsList:
        """See :meth:`KeyStore.wrapped_beacons <encfields.keys.store.KeyStore.wrapped_beacons>`.

        A hundred in a request.
        """
        beacons = self._item_table.items_at(key_ids, items.BEACON_TYPE)
        return [
            WrappedBeacons(key_id, partial(self._keys.beacons, key_id, item))
            for key_id, item in beacons.items()
            if items.destroyed_at(item) is None
        ]

    def create_table(self) -> None:
        """Create the table unless it exists (on demand, not provisioned), and wait for it."""
        self._item_table.create()

    def _active_of(self, key_id: str) -> KeyVersion:
        for item in self._item_table.versions_of(key_id):
            if item.active:
                return item
        raise KeyNotFoundError(
            "the key was removed from the table at the same time", key_id=key_id, reason="no-key"
        )


def item_table_of(store: DynamoDbKeyStore) -> ItemTable:
    """The items of a key store, for the library's own modules."""
    return store._item_table


def _of_one_key(keyring: object) -> AwsKmsKeyring:
    if isinstance(keyring, AwsKmsKeyring) and len(keyring.arns) == 1:
        return keyring
    raise ConfigurationError(
        "AWS's key store wraps with exactly one KMS key: give keyrings.aws_kms(arn) or "
        "keyrings.aws_kms_mrk(arn). For several keys, discovery or a local key use SqlKeyStore",
        reason="keyring",
    )


def _one_beacon(key_id: str) -> ConfigurationError:
    return ConfigurationError(
        "AWS's key store has exactly one beacon key for each key, which stays as it is: other "
        "AWS libraries know of no second one. To index under another secret, seal the column "
        "under another key id; SqlKeyStore rotates beacon keys",
        key_id=key_id,
        reason="one-beacon",
    )
