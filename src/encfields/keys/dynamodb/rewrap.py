"""Moves the keys of AWS's key store to another KMS key, one item after the other.

KMS itself re-encrypts each (``kms:ReEncrypt*``), from the item's encryption context to the same one
with the new ``kms-arn``, as AWS's own "mutation" of a branch key does. Before the new item replaces
the old one, both are opened and compared.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any

from encfields.errors import ConfigurationError, KeyAccessError, KeyUnavailableError
from encfields.keys.dynamodb import items
from encfields.keys.dynamodb.failures import no_such_key
from encfields.keys.dynamodb.table import ItemTable, ThreadClients
from encfields.keys.store import MAX_TRIES, Conflict
from encfields.keys.versions import OnRewrap, RewrapReport

ItemKey = tuple[str, str]
"""An item's branch key id and ``type``."""


def require_same_region(new: str, former: Collection[str]) -> None:
    """Check the regions, since KMS re-encrypts only within one.

    :raises ConfigurationError: a former KMS key is in another region than the new one.
    """
    region = new.split(":")[3]
    for arn in former:
        if arn.split(":")[3] != region:
            raise ConfigurationError(
                f"KMS cannot move keys between regions, from {arn} to {new}. Copy them into a "
                "table of their own with `encfields keys export`, or give a replica of the old "
                "multi-Region key",
                reason="region",
            )


def rewrap_items(
    table: ItemTable, former: Collection[str], progress: OnRewrap | None
) -> RewrapReport:
    """See :meth:`DynamoDbKeyStore.rewrap`.

    :param store: already has the new KMS key.
    :param former: ARNs of the KMS keys to move from.
    """
    report, seen = RewrapReport(), set()  # type: RewrapReport, set[ItemKey]
    # Repeated until nothing new is found, because older processes still rotate with the old KMS
    # key.
    while places := [place for place in table.places() if place not in seen]:
        for place in places:
            seen.add(place)
            report = _rewrap_item(table, former, place, report)
            if progress is not None:
                progress(report)
    return report


def rewrap_key(table: ItemTable, former: Collection[str], key_id: str) -> RewrapReport:
    """Move all items of one key.

    :raises KeyNotFoundError: there is no such key.
    """
    all_items = table.items_of(key_id)
    if not all_items:
        raise no_such_key(table.name, key_id)
    report = RewrapReport()
    for item in all_items:
        report = _rewrap_item(table, former, (key_id, item[items.TYPE]["S"]), report)
    return report


def _rewrap_item(
    table: ItemTable, former: Collection[str], place: ItemKey, report: RewrapReport
) -> RewrapReport:
    for _ in range(MAX_TRIES):
        item = table.item_at(*place)
        if item is None:
            return report
        if items.destroyed_at(item) is not None:
            return replace(report, destroyed=report.destroyed + 1)
        wrapped_by = item.get(items.KMS_ARN, {}).get("S", "")
        if wrapped_by == table.kms_arn:
            return replace(report, already=report.already + 1)
        _check(item, wrapped_by, former)
        with suppress(Conflict):
            _move(table, item, wrapped_by)
            return replace(report, moved=report.moved + 1)
        # Moved by another run, rotated or destroyed since it was read, so read it again.
    raise KeyUnavailableError(
        "other processes kept changing this key at the same time; run it again",
        key_id=place[0],
        reason="error",
    )


def _check(item: items.Item, wrapped_by: str, former: Collection[str]) -> None:
    key_id = item[items.KEY_ID]["S"]
    if wrapped_by not in former:
        raise KeyAccessError(
            f"this key is wrapped by {wrapped_by or 'a KMS key that is not named'}, which is "
            "neither the keyring's nor a former one's; give it in former=[...]",
            key_id=key_id,
            reason="wrong-keyring",
        )
    if item.get(items.HIERARCHY) != {"N": "1"}:
        raise ConfigurationError(
            "this key is of a later version of AWS's key store than this library moves; use "
            "AWS's own KeyStoreAdmin",
            key_id=key_id,
            reason="hierarchy-version",
        )


def _move(table: ItemTable, item: items.Item, wrapped_by: str) -> None:
    key_id, old = item[items.KEY_ID]["S"], item[items.WRAPPED]["B"]
    before = items.context_of(item, table.logical_name)
    after = {**before, items.KMS_ARN: table.kms_arn}

    def work(tools: ThreadClients) -> bool:
        made = tools.kms.re_encrypt(
            CiphertextBlob=old,
            SourceKeyId=wrapped_by,
            SourceEncryptionContext=before,
            DestinationKeyId=table.kms_arn,
            DestinationEncryptionContext=after,
        )["CiphertextBlob"]
        if not hmac.compare_digest(
            _opened(tools, wrapped_by, old, before), _opened(tools, table.kms_arn, made, after)
        ):
            return False
        tools.dynamodb.put_item(
            TableName=table.name,
            Item=items.item(after, made),
            ConditionExpression="#enc = :old AND #arn = :arn",
            ExpressionAttributeNames={"#enc": items.WRAPPED, "#arn": items.KMS_ARN},
            ExpressionAttributeValues={":old": {"B": old}, ":arn": {"S": wrapped_by}},
        )
        return True

    if not table.run(work, key_id):
        raise KeyAccessError(
            f"{table.kms_arn} opened the new wrap to another key; nothing was replaced",
            key_id=key_id,
            reason="tampered",
        )


def _opened(tools: ThreadClients, arn: str, wrapped: bytes, context: items.Context) -> bytes:
    answer: dict[str, Any] = tools.kms.decrypt(
        KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=context
    )
    return bytes(answer["Plaintext"])
