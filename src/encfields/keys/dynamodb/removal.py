"""Destroys a key in AWS's key store: wipes its items, and keeps only their dates.

A destroyed item has the attribute ``encfields-destroyed-at`` and no longer ``enc``. AWS's own
libraries treat it as malformed and open nothing; its id stays taken for them too. DynamoDB's
point-in-time recovery and backups keep the wrapped key until they expire.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import replace
from typing import Any

from encfields.errors import KeyUnavailableError
from encfields.keys.dynamodb import items
from encfields.keys.dynamodb.failures import no_such_key
from encfields.keys.dynamodb.table import ItemTable, ThreadClients
from encfields.keys.store import (
    MAX_TRIES,
    Conflict,
    newest_version,
    no_version,
    was_destroyed,
    was_retired,
)
from encfields.keys.versions import KeyVersion, utc_now

MAX_IN_TRANSACTION = 100
"""Most items that one DynamoDB transaction writes."""


def destroy_items(table: ItemTable, key_id: str) -> list[KeyVersion]:
    """See :meth:`DynamoDbKeyStore.destroy`."""
    when, wiped = utc_now(), []  # type: dt.datetime, list[KeyVersion]
    for _ in range(MAX_TRIES):
        all_items = table.items_of(key_id)
        left = [one for one in all_items if items.destroyed_at(one) is None]
        if not all_items:
            raise no_such_key(table.name, key_id)
        if not left and not wiped:
            raise was_destroyed(key_id, max(filter(None, map(items.destroyed_at, all_items))))
        if not left:
            return wiped
        # Again afterwards: a rotation may have written a version meanwhile.
        with suppress(Conflict):
            _wipe(table, key_id, left, when)
            wiped += [
                replace(item, active=False, destroyed_at=when, wiped=True)
                for item in items.versions(left)
            ]
    raise KeyUnavailableError(
        "other processes kept changing this key at the same time; the versions that are left are "
        "still in force. Retry",
        key_id=key_id,
        reason="error",
    )


def _wipe(table: ItemTable, key_id: str, left: items.Items, when: dt.datetime) -> None:
    # Active and beacon items first, so that nothing new is sealed under a partly destroyed key.
    ordered = sorted(left, key=lambda item: item[items.TYPE]["S"].startswith(items.VERSION_PREFIX))

    def write(tools: ThreadClients) -> None:
        for start in range(0, len(ordered), MAX_IN_TRANSACTION):
            part = ordered[start : start + MAX_IN_TRANSACTION]
            tools.dynamodb.transact_write_items(
                TransactItems=[{"Put": _put(table.name, item, when)} for item in part]
            )

    table.run(write, key_id)


def _put(table_name: str, item: items.Item, when: dt.datetime) -> dict[str, Any]:
    return {
        "TableName": table_name,
        "Item": items.tombstone(item, when),
        "ConditionExpression": "attribute_exists(#id)",
        "ExpressionAttributeNames": {"#id": items.KEY_ID},
    }


def require_retirable(key_id: str, version: str, versions: list[KeyVersion]) -> None:
    """See :meth:`DynamoDbKeyStore.require_retirable`."""
    named = next((known for known in versions if known.version == version), None)
    if named is None:
        raise no_version(key_id, version)
    if named.destroyed_at is not None:
        raise was_retired(key_id, version, named.destroyed_at)
    if named.active:
        raise newest_version(key_id, version)


def retire_item(table: ItemTable, key_id: str, version: str) -> None:
    """Wipe one version's item."""
    name = items.VERSION_PREFIX + version
    left = [item for item in table.items_of(key_id) if item[items.TYPE]["S"] == name]
    _wipe(table, key_id, left, utc_now())
