"""Making and rotating one key or several in a migration."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from encfields.alembic.errors import MigrationError
from encfields.alembic.key_operations import KeyIds
from encfields.errors import KeyExistsError
from encfields.keys.admin import KeyAdmin
from encfields.keys.many.report import KeysReport

MAX_FAILURES_TOLD = 5

log = logging.getLogger("encfields.alembic")


def each_of(key_id: KeyIds) -> Sequence[str]:
    """The ids."""
    return [key_id] if isinstance(key_id, str) else key_id


def create_keys(keys: KeyAdmin, key_id: KeyIds) -> None:
    """Make the keys that are not there.

    :raises MigrationError: some of several failed.
    :raises KeyStoreError: the one key failed.
    """
    if not isinstance(key_id, str):
        report = keys.each(key_id).create()
        log.info("%d branch keys were made, %d there already", *_counts(report))
        _require_all(report)
        return
    try:
        keys.create(key_id)
    except KeyExistsError:
        log.info("branch key %r is there already", key_id)


def rotate_keys(keys: KeyAdmin, key_id: KeyIds) -> None:
    """Make a new version of each key; raises as :func:`create_keys`."""
    if isinstance(key_id, str):
        keys.rotate(key_id)
    else:
        _require_all(keys.each(key_id).rotate())


def _counts(report: KeysReport) -> tuple[int, int]:
    return len(report.done), len(report.already)


def _require_all(report: KeysReport) -> None:
    if report.is_complete:
        return
    told = [f"{one.key_id!r:.80} ({one.message})" for one in report.failed[:MAX_FAILURES_TOLD]]
    more = len(report.failed) + len(report.left) - len(told)
    raise MigrationError(
        "some keys failed, and the others are done: "
        + "; ".join(told)
        + (f"; and {more:,} more" if more else "")
        + ". Run the revision again when that is mended",
        reason="keys",
    )
