"""The keys that a run, or a verification, asks for: what fails for good concerns its own rows.

Whoever can write to the key table can alter one tenant's row, and a policy can deny one tenant's
key. Neither may hold up the rotation of all the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from encfields.branch_key import BranchKey
from encfields.engine import engine_encryption
from encfields.errors import (
    KeyAccessError,
    KeyDestroyedError,
    KeyNotFoundError,
    KeyStoreError,
    KeyUnavailableError,
    shortened,
)
from encfields.keys.cache.outages import is_outage

if TYPE_CHECKING:
    from encfields.engine import Encryption
    from encfields.index.definition import IndexDefinition
    from encfields.orm.declare.columns import ColumnBinding

log = logging.getLogger("encfields.bulk")

KEY_UNUSABLE = "key-unusable"
"""The reason of a value whose key was set aside, which is no sign of a wrong description."""

ASKED_AGAIN_SECONDS = 30.0
"""Seconds for which a key that was set aside is not asked for: its row may have been restored, or
its policy mended, since."""

MOST_IN_A_ROW = 25
"""Keys that may fail with none between that works: then it is the keyring, or the whole policy."""

_T = TypeVar("_T")

_Asked = tuple[str, str | None]
"""A key id, and one of its versions, or the text that is empty for the active one; ``None`` for its
beacon key."""


class SetAsideError(KeyStoreError):
    """A key fails for good, and the rows of other keys go on without it.

    :ivar failure: how it fails.
    """

    def __init__(self, failure: KeyStoreError) -> None:
        key_id = shortened(failure.key_id or "")
        what = f"key {key_id!r}, {type(failure).__name__}: {failure.message}"
        super().__init__(what, reason=KEY_UNUSABLE)
        self.failure = failure


class RunKeys:
    """The branch and beacon keys of a table's columns.

    A key that all rows of a column share stops the run when it fails.

    :param encryption: gives the keys.
    :param bindings: of the columns, as they will be and as they are.
    :param indexes: the blind indexes that are computed.
    """

    def __init__(
        self,
        encryption: Encryption,
        bindings: Iterable[ColumnBinding],
        indexes: Iterable[IndexDefinition] = (),
    ) -> None:
        self._keys = engine_encryption(encryption)
        templates = [each for one in bindings for each in (one.key, *one.former_keys)]
        shared = {template.fixed_id for template in templates}
        self._shared = shared | {index.key for index in indexes}
        self._set_aside: dict[_Asked, tuple[float, KeyStoreError]] = {}
        self._failed: set[str] = set()
        self._worked: tuple[str, str] | None = None
        self._worked_before: tuple[str, str] | None = None

    def active_key(self, key_id: str) -> BranchKey:
        """The branch key version that seals new values.

        :raises SetAsideError: it fails for good. :raises KeyStoreError: it cannot be fetched.
        """
        return self._fetched((key_id, ""), lambda: self._keys.active_key(key_id))

    def find_key(self, key_id: str, version: str) -> BranchKey:
        """The branch key version that a message names.

        :raises SetAsideError: it fails for good. :raises KeyStoreError: it cannot be fetched.
        """
        return self._fetched((key_id, version), lambda: self._keys.find_key(key_id, version))

    def index_key(
        self, key_id: str, version: int, domain: str, derivation: str, *, for_writing: bool
    ) -> bytes:
        """The key of a blind index.

        :raises SetAsideError: it fails for good. :raises KeyStoreError: it cannot be fetched.
        """
        asked = (key_id, version, domain, derivation)
        return self._fetched(
            (key_id, None), lambda: self._keys.index_key(*asked, for_writing=for_writing)
        )

    def is_of_some_rows(self, error: KeyStoreError) -> bool:
        """Whether the rows of other keys need not meet an error."""
        is_gone = isinstance(error, KeyNotFoundError | KeyDestroyedError)
        return isinstance(error, SetAsideError) or (is_gone and error.key_id not in self._shared)

    def _fetched(self, asked: _Asked, fetch: Callable[[], _T]) -> _T:
        if self._set_aside:
            self._refuse_set_aside(asked)
        try:
            fetched = fetch()
        except (KeyAccessError, KeyUnavailableError) as error:
            failure: KeyStoreError = error
        else:
            if self._failed:
                self._failed.clear()
            if isinstance(fetched, BranchKey):
                if self._worked is not None and self._worked[0] != fetched.id:
                    self._worked_before = self._worked
                self._worked = fetched.id, fetched.version
            return fetched
        # Outside the ``except``: an exception keeps the one being handled when it is raised.
        raise self._judged(asked, failure)

    def _another_works(self, key_id: str, error: KeyStoreError) -> bool:
        """Whether KMS still opens another key, the last that it opened: else it may deny all."""
        worked = self._worked
        if worked is not None and worked[0] == key_id:
            worked = self._worked_before
        if worked is None or isinstance(error, KeyAccessError):
            return True
        try:
            self._keys.key_store.version(*worked)
        except KeyUnavailableError:
            return False
        except KeyStoreError:  # which says nothing of KMS
            return True
        return True

    def _refuse_set_aside(self, asked: _Asked) -> None:
        noted = self._set_aside.get(asked)
        if noted is not None and monotonic() - noted[0] < ASKED_AGAIN_SECONDS:
            raise SetAsideError(noted[1])

    def _judged(self, asked: _Asked, error: KeyStoreError) -> KeyStoreError:
        """What to raise for a failure."""
        key_id = asked[0]
        if is_outage(error) or key_id in self._shared:
            return error
        self._failed.add(key_id)
        if len(self._failed) >= MOST_IN_A_ROW or not self._another_works(key_id, error):
            return error
        # A new one, without the frames of the one that was raised.
        kind_of_error = KeyAccessError if isinstance(error, KeyAccessError) else KeyUnavailableError
        failure = kind_of_error(error.message, key_id=key_id, reason=error.reason)
        set_aside = SetAsideError(failure)
        if asked not in self._set_aside:
            log.warning("values of one key are left as they are, and listed: %s", set_aside.message)
        self._set_aside[asked] = monotonic(), failure
        return set_aside
