"""The items of AWS's hierarchical key store in DynamoDB, attribute by attribute.

From AWS's specification ``framework/branch-key-store.md`` ("Record Format") and the Material
Providers Library, which writes the same. The table's partition key is ``branch-key-id`` and its
sort key ``type``. A branch key has one item for each version, a copy of the newest one under a
fixed sort key, and one item for its beacon key:

==================  =======================================================================
attribute           value
==================  =======================================================================
branch-key-id       S: the branch key id
type                S: ``branch:version:`` and the version's UUID, ``branch:ACTIVE``, or
                    ``beacon:ACTIVE``
version             S, ``branch:ACTIVE`` alone: the ``type`` of the item that it is a copy of
create-time         S: ``2026-01-31T23:59:59.000000Z``
kms-arn             S: the KMS key that wraps it
hierarchy-version   N: 1
aws-crypto-ec:NAME  S: a pair of the key's own encryption context
enc                 B: the 32 bytes of key, as KMS encrypts them
==================  =======================================================================

A destroyed key's items have the date instead of the key (see
:mod:`encfields.keys.dynamodb.removal`).

KMS encrypts them under an encryption context of all other attributes, as text, and ``tablename``,
the key store's logical name, which is not in any item.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from encfields.keys.versions import FIRST_VERSION, KeyVersion

KEY_ID, TYPE, VERSION, CREATED = "branch-key-id", "type", "version", "create-time"
KMS_ARN, HIERARCHY, WRAPPED, LOGICAL_NAME = "kms-arn", "hierarchy-version", "enc", "tablename"
OWN_PREFIX = "aws-crypto-ec:"
BEACON_NUMBER = "enc:beacon-version"
"""Name of a pair of a beacon key's own encryption context. Frozen."""
DESTROYED_AT = "encfields-destroyed-at"
"""Name of a tombstone's attribute. Frozen."""

ACTIVE_TYPE, BEACON_TYPE, VERSION_PREFIX = "branch:ACTIVE", "beacon:ACTIVE", "branch:version:"

Context = dict[str, str]
Item = dict[str, dict[str, Any]]
"""An item in the form of boto3's low-level client."""
Items = list[Item]


def version_context(
    made: KeyVersion, kms_arn: str, logical_name: str, own_context: Mapping[str, str]
) -> Context:
    """KMS's encryption context of the item of one version."""
    return {
        KEY_ID: made.id,
        TYPE: VERSION_PREFIX + made.version,
        CREATED: made.created_at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        LOGICAL_NAME: logical_name,
        KMS_ARN: kms_arn,
        HIERARCHY: "1",
        **{OWN_PREFIX + name: value for name, value in own_context.items()},
    }


def active_context(of_version: Context) -> Context:
    """KMS's encryption context of the active item, a copy of that version's."""
    return {**of_version, VERSION: of_version[TYPE], TYPE: ACTIVE_TYPE}


def beacon_context(of_version: Context, number: int = FIRST_VERSION) -> Context:
    """KMS's encryption context of the beacon key's item, created with that version.

    :param number: of the beacon key, if it was rotated before it was exported here; a pair of the
        item's own encryption context records it.
    """
    pair = {} if number == FIRST_VERSION else {OWN_PREFIX + BEACON_NUMBER: str(number)}
    return {**of_version, TYPE: BEACON_TYPE, **pair}


def beacon_number(own_context: Mapping[str, str]) -> int:
    """The beacon key's number, by the pairs of its item's own encryption context."""
    text = own_context.get(BEACON_NUMBER, "")
    return int(text) if text.isdecimal() else FIRST_VERSION


def own_context(item: Item) -> Context:
    """The pairs of an item's own encryption context."""
    return {
        name.removeprefix(OWN_PREFIX): _s(item, name)
        for name in item
        if name.startswith(OWN_PREFIX)
    }


def item(context: Context, wrapped: bytes) -> Item:
    """The item of a key.

    :param wrapped: the key, encrypted by KMS under exactly `context`.
    """
    made: Item = {name: {"S": text} for name, text in context.items() if name != LOGICAL_NAME}
    made[HIERARCHY] = {"N": context[HIERARCHY]}
    made[WRAPPED] = {"B": wrapped}
    return made


def replaces(version: str) -> dict[str, Any]:
    """The condition of a write that replaces the active item, if it is a copy of this version's."""
    return {
        "ConditionExpression": "#version = :version",
        "ExpressionAttributeNames": {"#version": VERSION},
        "ExpressionAttributeValues": {":version": {"S": VERSION_PREFIX + version}},
    }


def context_of(item: Item, logical_name: str) -> Context:
    """KMS's encryption context of an item, from its attributes."""
    texts = {
        name: str(next(iter(value.values()))) for name, value in item.items() if "B" not in value
    }
    return {**texts, LOGICAL_NAME: logical_name}


def tombstone(item: Item, when: dt.datetime) -> Item:
    """What remains of an item when its key is destroyed."""
    kept = {name: item[name] for name in (KEY_ID, TYPE, VERSION, CREATED) if name in item}
    return {**kept, DESTROYED_AT: {"S": when.astimezone(dt.UTC).isoformat()}}


def destroyed_at(item: Item) -> dt.datetime | None:
    """When an item's key was destroyed, in UTC; ``None`` if it was not."""
    return _time(_s(item, DESTROYED_AT)) if DESTROYED_AT in item else None


def versions(items: list[Item]) -> list[KeyVersion]:
    """The key versions that items describe, ordered by id and age."""
    active = {
        (_s(item, KEY_ID), _s(item, VERSION))
        for item in items
        if _s(item, TYPE) == ACTIVE_TYPE and DESTROYED_AT not in item
    }
    key_versions = [
        KeyVersion(
            _s(item, KEY_ID),
            _s(item, TYPE).removeprefix(VERSION_PREFIX),
            (_s(item, KEY_ID), _s(item, TYPE)) in active,
            _time(_s(item, CREATED)),
            destroyed_at(item),
            wiped=DESTROYED_AT in item,
        )
        for item in items
        if _s(item, TYPE).startswith(VERSION_PREFIX)
    ]
    return sorted(
        key_versions, key=lambda version: (version.id, version.created_at, version.version)
    )


def active_version(item: Item) -> KeyVersion:
    """The version that the active item is a copy of."""
    when = destroyed_at(item)
    return KeyVersion(
        _s(item, KEY_ID),
        version_of(item),
        when is None,
        _time(_s(item, CREATED)),
        when,
        wiped=when is not None,
    )


def version_of(item: Item) -> str:
    """The version that the active item is a copy of."""
    return _s(item, VERSION).removeprefix(VERSION_PREFIX)


def beacon_created(item: Item) -> dt.datetime:
    """When a beacon key was created."""
    return _time(_s(item, CREATED))


def _s(item: Item, name: str) -> str:
    return str(item.get(name, {}).get("S", ""))


def _time(text: str) -> dt.datetime:
    """A creation time. The AWS libraries of other languages write other fractions of a second."""
    try:
        read = dt.datetime.fromisoformat(text)
    except ValueError:
        return dt.datetime.fromtimestamp(0, dt.UTC)
    return read.replace(tzinfo=dt.UTC) if read.tzinfo is None else read.astimezone(dt.UTC)
