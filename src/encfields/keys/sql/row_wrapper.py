"""Wraps and unwraps the keys in the key table's rows with the store's keyrings."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress

from encfields.branch_key import BranchKey
from encfields.errors import EncFieldsError, KeyAccessError
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.keyrings.wrapping import KeyWrapper, Purpose, WrappingContext
from encfields.keys.sql.rows import BRANCH, KeyRow, NewRow, in_order
from encfields.keys.sql.store_name import require_of_store
from encfields.keys.sql.table import KeyTable
from encfields.keys.store import was_destroyed, was_retired
from encfields.keys.versions import BeaconKey, utc_now


class RowWrapper:
    """Wraps new keys for a key table, and unwraps those in it.

    :param keyring: wraps every new key.
    :param former: keyrings that wrapped keys before, and open those that are not rewrapped yet.
    :ivar current: of the keyring that wraps.
    """

    def __init__(self, table: KeyTable, keyring: Keyring, former: Sequence[Keyring]) -> None:
        self._table = table
        self.current = KeyWrapper(keyring)
        self.former = tuple(KeyWrapper(keyring) for keyring in former)

    def use(self, new: Keyring) -> None:
        """Wrap with another keyring from now on; the one before still opens."""
        self.current, self.former = KeyWrapper(new), (self.current, *self.former)

    def new_row(self, key_id: str, purpose: Purpose, number: int) -> NewRow:
        """A new key's row.

        :param number: of its version.
        """
        version = str(uuid.uuid4())
        context = WrappingContext(self._table.known_name(), key_id, version, number, purpose)
        return {
            "key_id": key_id,
            "version": version,
            "purpose": purpose,
            "wrapped": self.current.wrap_new(context),
            "active": number,
            "created_at": utc_now(),
            "destroyed_at": None,
        }

    def branch_key(self, row: KeyRow) -> BranchKey:
        """A row's branch key.

        :raises KeyDestroyedError: it was wiped, or is refused.
        :raises KeyAccessError: the row is malformed or of another key store, or does not open.
        :raises KeyUnavailableError: KMS is out of reach.
        """
        return BranchKey(row.key_id, row.version, self._unwrap(row), row.number)

    def beacon_key(self, row: KeyRow) -> BeaconKey:
        """A row's beacon key; raises as :meth:`branch_key`."""
        return BeaconKey(row.key_id, row.number, self._unwrap(row), row.created_at)

    def _unwrap(self, row: KeyRow) -> bytes:
        if row.wrapped is None or row.destroyed_at is not None:
            raise self._gone_error(row)
        self._table.gone.refuse(row)
        row.require_sound(self._table.fullname)
        name = self._table.known_name()
        require_of_store(row, name, self._table.table)
        return self.unwrap(row.wrapped, row.place(name))

    def _gone_error(self, row: KeyRow) -> EncFieldsError:
        rows = self._table.rows_of(row.key_id, BRANCH)
        if in_order(rows) and row.purpose == BRANCH:
            return was_retired(row.key_id, row.version, row.destroyed_at)
        self._table.gone.note(rows)
        return was_destroyed(row.key_id, row.destroyed_at)

    def unwrap(self, wrapped: bytes, context: WrappingContext) -> bytes:
        """Unwrap a key with the keyring, or with a former one if that wrapped it."""
        *first, last = (self.current, *self.former)
        for wrapper in first:
            with suppress(_WrongKeyring):
                return _unwrap_or_pass(wrapper, wrapped, context)
        return last.unwrap(wrapped, context)


def _unwrap_or_pass(wrapper: KeyWrapper, wrapped: bytes, context: WrappingContext) -> bytes:
    try:
        return wrapper.unwrap(wrapped, context)
    except KeyAccessError as error:
        if error.reason != "wrong-keyring":
            raise
    raise _WrongKeyring


class _WrongKeyring(Exception):
    """Another keyring wrapped it."""
