"""Reads, creates and rotates branch key versions in the key table.

The newest version is the one whose wrapped key is bound to the highest number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from encfields.branch_key import BranchKey
from encfields.errors import KeyAccessError, KeyNotFoundError, KeyUnavailableError
from encfields.keys.sql.failures import no_such_key
from encfields.keys.sql.row_wrapper import RowWrapper
from encfields.keys.sql.rows import (
    BEACON,
    BRANCH,
    KeyRow,
    KeyRows,
    NewRow,
    by_key,
    in_order,
    key_version,
    read_row,
    require_one_order,
)
from encfields.keys.sql.table import KeyTable
from encfields.keys.store import MAX_TRIES, Conflict, already_exists, busy, was_destroyed
from encfields.keys.versions import (
    KeyVersion,
    KeyVersionList,
    WrappedKey,
    WrappedKeyList,
    check_key_id,
)


class BranchKeys:
    """The branch keys of a key table; see the methods of the same names of
    :class:`~encfields.keys.sql.store.SqlKeyStore`.

    :param table: the key table.
    :param wrapper: wraps and unwraps them.
    """

    def __init__(self, table: KeyTable, wrapper: RowWrapper) -> None:
        self._table = table
        self._wrapper = wrapper
        self._newest_seen: dict[str, int] = {}

    def active(self, key_id: str) -> BranchKey:
        return self._unwrap_newest(key_id, self._table.rows_of(key_id, BRANCH))

    def version(self, key_id: str, version: str) -> BranchKey:
        rows = self._table.rows_of(key_id, BRANCH, version=version)
        if not rows:
            raise KeyNotFoundError(
                f"the key table {self._table.fullname!r} has no version {version} of this key: the "
                "table is another database's, or the row was deleted; restore it from a backup",
                key_id=key_id,
                reason="no-version",
            )
        return self._wrapper.branch_key(rows[0])

    def versions_of(self, key_ids: Collection[str] | None) -> KeyVersionList:
        return [
            key_version(row, active=row in in_order(rows)[-1:])
            for _, rows in by_key(self._table.rows_of_many(BRANCH, key_ids))
            for row in sorted(rows, key=lambda one: (one.created_at, one.version))
        ]

    def newest_versions(self, key_ids: Collection[str]) -> Mapping[str, str]:
        table = self._table.table
        statement = select(table.c.key_id, table.c.version, table.c.active).where(
            table.c.purpose == BRANCH,
            table.c.wrapped.is_not(None),
            table.c.destroyed_at.is_(None),
            table.c.key_id.in_(sorted(key_ids)),
        )

        def read(engine: Engine) -> Any:
            with engine.connect() as connection:
                return list(connection.execute(statement))

        rows = [*self._table.run(read), *map(_as_confirmed, self._table.uncommitted)]
        ordered = sorted(rows, key=lambda row: row[2] if isinstance(row[2], int) else 0)
        return {key_id: version for key_id, version, _ in ordered}

    def wrapped(self, key_ids: Collection[str] | None) -> WrappedKeyList:
        return self.wrapped_in(self._table.rows_of_many(BRANCH, key_ids))

    def wrapped_in(self, rows_of_many: KeyRows) -> WrappedKeyList:
        """Key versions, still wrapped, from rows that were already read."""
        wrapped = []
        for key_id, rows in by_key(rows_of_many):
            newest = in_order(rows)[-1:]
            for row in rows:
                is_newest = row in newest
                unwrap = partial(self._wrapper.branch_key, row)
                if is_newest:
                    unwrap = partial(self._unwrap_newest, key_id, rows)
                wrapped.append(WrappedKey(key_version(row, active=is_newest), unwrap))
        return wrapped

    def _unwrap_newest(self, key_id: str, rows: KeyRows) -> BranchKey:
        newest = self._newest_of(key_id, rows)
        key = self._wrapper.branch_key(newest)
        if newest.number < self._newest_seen.get(key_id, 0):
            raise KeyAccessError(
                f"the newest version of this key in {self._table.fullname!r} has the number "
                f"{newest.number}, and this process has seen number {self._newest_seen[key_id]}: "
                "its row was deleted, or an older table put back; restore the row from a backup",
                key_id=key_id,
                reason="rolled-back",
            )
        # Only unwrapped keys are remembered, so that forged rows cannot make this grow.
        self._newest_seen[key_id] = newest.number
        return key

    def newest_row(self, key_id: str) -> KeyRow:
        """The row of the newest version.

        :raises KeyNotFoundError: there is no such key.
        :raises KeyDestroyedError: it was destroyed.
        :raises KeyAccessError: a row of the key is malformed, or two have one number.
        """
        return self._newest_of(key_id, self._table.rows_of(key_id, BRANCH))

    def _newest_of(self, key_id: str, rows: KeyRows) -> KeyRow:
        in_force = in_order(rows)
        if in_force:
            require_one_order(in_force, self._table.fullname, self._table.name_if_known)
            return in_force[-1]
        if rows:
            self._table.gone.note(rows)
            raise was_destroyed(key_id, rows[-1].destroyed_at)
        raise no_such_key(self._table.fullname, key_id)

    def create(self, key_id: str) -> KeyVersion:
        check_key_id(key_id)
        self._require_free(key_id)
        self._table.ensure_name()
        rows = [self._wrapper.new_row(key_id, purpose, 1) for purpose in (BRANCH, BEACON)]

        def add(connection: Connection) -> None:
            # Not a list of parameters: psycopg logs a refused one as an aborted pipeline too.
            connection.execute(insert(self._table.table).values(rows))

        try:
            self._table.add(add, rows)
        except Conflict:
            # A deadlock or lock time-out is a conflict too, but does not mean that another process
            # won.
            lost = bool(self._table.rows_of(key_id, BRANCH))
        else:
            return key_version(read_row(rows[0]), active=True)
        if lost:
            raise already_exists(key_id)
        raise KeyUnavailableError(
            "the database was busy with conflicting transactions; retry",
            key_id=key_id,
            reason="error",
        )

    def _require_free(self, key_id: str) -> None:
        rows = self._table.rows_of(key_id, BRANCH)
        if rows and not in_order(rows):
            # The id stays taken, because there may still be values that name it.
            raise was_destroyed(key_id, rows[-1].destroyed_at)
        if rows:
            raise already_exists(key_id)

    def rotate(self, key_id: str) -> KeyVersion:
        return self._rotate(key_id, partial(self.newest_row, key_id))

    def rotate_from(self, key_id: str, version: str) -> KeyVersion | None:
        def still_newest() -> KeyRow:
            newest = self.newest_row(key_id)
            if newest.version != version:
                raise _RotatedElsewhere
            return newest

        with suppress(_RotatedElsewhere):
            return self._rotate(key_id, still_newest)
        return None

    def _rotate(self, key_id: str, find_newest: Callable[[], KeyRow]) -> KeyVersion:
        for _ in range(MAX_TRIES):
            newest = find_newest()
            # Unwrapped, because the new version's number is to follow one that is authentic.
            self._wrapper.branch_key(newest)
            row = self._wrapper.new_row(key_id, BRANCH, newest.number + 1)
            with suppress(Conflict):
                self._table.add(partial(self._table.insert_after, newest, row), [row])
                return key_version(read_row(row), active=True)
        raise busy(key_id)


class _RotatedElsewhere(Exception):
    """Another process created a newer version."""


def _as_confirmed(row: NewRow) -> tuple[str, str, int]:
    return row["key_id"], row["version"], row["active"] if row["purpose"] == BRANCH else 0
