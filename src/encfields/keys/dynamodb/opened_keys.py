"""The keys of AWS's key store, opened by its library with any of the store's KMS keys."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from encfields.branch_key import BranchKey
from encfields.errors import KeyAccessError, KeyNotFoundError, KeyUnavailableError
from encfields.keys.dynamodb import items
from encfields.keys.dynamodb.table import ItemTable, ThreadClients
from encfields.keys.store import was_destroyed, was_retired
from encfields.keys.versions import BeaconKey

T = TypeVar("T")

Ask = Callable[[Any, Any], T]
"""Requests a key from AWS's library; the second argument is its module of argument classes."""


class OpenedKeys:
    """Opens the keys of a table.

    :param table: their items.
    :param keyrings: number of the table's keyrings, including the one that wraps.
    """

    def __init__(self, table: ItemTable, *, keyrings: int) -> None:
        self._table = table
        self._keyrings = keyrings

    def active(self, key_id: str, given: items.Item | None = None) -> BranchKey:
        """The active version of a key.

        :param given: its item, if it was read already.
        """

        def ask(library: Any, models: Any) -> BranchKey:
            asked = models.GetActiveBranchKeyInput(branch_key_identifier=key_id)
            return _branch_key(library.get_active_branch_key(asked))

        return self._open(ask, key_id, items.ACTIVE_TYPE, given)

    def version(self, key_id: str, version: str) -> BranchKey:
        """One version of a key."""

        def ask(library: Any, models: Any) -> BranchKey:
            asked = models.GetBranchKeyVersionInput(
                branch_key_identifier=key_id, branch_key_version=version
            )
            return _branch_key(library.get_branch_key_version(asked))

        return self._open(ask, key_id, items.VERSION_PREFIX + version)

    def beacons(self, key_id: str, given: items.Item | None = None) -> list[BeaconKey]:
        """The one beacon key of a key.

        :param given: its item, if it was read already.
        """

        def ask(library: Any, models: Any) -> BeaconKey:
            asked = models.GetBeaconKeyInput(branch_key_identifier=key_id)
            materials = library.get_beacon_key(asked).beacon_key_materials
            number = items.beacon_number(materials.encryption_context)
            return BeaconKey(key_id, number, bytes(materials.beacon_key))

        return [self._open(ask, key_id, items.BEACON_TYPE, given)]

    def newest_versions(self, key_ids: Collection[str]) -> Mapping[str, str]:
        """The active version of each key in force, without opening it."""
        active = self._table.items_at(key_ids, items.ACTIVE_TYPE)
        return {
            key_id: items.version_of(item)
            for key_id, item in active.items()
            if items.destroyed_at(item) is None
        }

    def _open(self, ask: Ask[T], key_id: str, name: str, given: items.Item | None = None) -> T:
        """A key, opened with the KMS key that wraps or a former one.

        :param name: the item's ``type``.
        :param given: the item, if it was read already.
        """
        for number in range(self._keyrings):
            try:
                return self._table.run(partial(_ask, ask, number), key_id, given=given)
            except (KeyNotFoundError, KeyAccessError, KeyUnavailableError) as error:
                failure = error
            if failure.reason != "wrong-keyring":
                break
        if not isinstance(failure, KeyUnavailableError) or failure.reason == "error":
            # AWS's library does not know tombstones.
            with suppress(KeyUnavailableError):
                self.refuse_destroyed(key_id, name)
        raise failure

    def refuse_destroyed(self, key_id: str, name: str = items.ACTIVE_TYPE) -> None:
        """Refuse an item of which only a tombstone is left.

        :param name: the item's ``type``.
        :raises KeyDestroyedError: the key was destroyed, or that version retired.
        """
        item = self._table.item_at(key_id, name)
        when = items.destroyed_at(item) if item is not None else None
        if when is None:
            return
        if name.startswith(items.VERSION_PREFIX) and self.newest_versions([key_id]):
            raise was_retired(key_id, name.removeprefix(items.VERSION_PREFIX), when)
        raise was_destroyed(key_id, when)


def _ask(ask: Ask[T], number: int, tools: ThreadClients) -> T:
    return ask(tools.libraries[number], tools.models)


def _branch_key(answer: Any) -> BranchKey:
    materials = answer.branch_key_materials
    version = str(uuid.UUID(materials.branch_key_version))
    return BranchKey(materials.branch_key_identifier, version, bytes(materials.branch_key))
