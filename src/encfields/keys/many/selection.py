"""Which keys are meant: by their ids, or by a pattern that their ids match.

Patterns are matched here and never by a database, whose LIKE depends on collations and has
metacharacters of its own.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable

from encfields.errors import ConfigurationError
from encfields.keys.store import KeyStore
from encfields.keys.versions import KeyVersion, check_key_id


class Selection:
    """Some keys of a key store.

    :param key_ids: their ids; ``None`` for all.
    :param like: a pattern: ``*`` is any text, ``?`` any one character, and all else stands for
        itself, upper and lower case told apart.
    :raises ConfigurationError: both are given, or an empty one.
    """

    def __init__(self, key_ids: Iterable[str] | None, like: str | None) -> None:
        if key_ids is not None and like is not None:
            raise ConfigurationError(
                "keys are named by their ids or by a pattern, not by both", reason="selection"
            )
        if isinstance(key_ids, str):
            raise ConfigurationError(
                "key_ids is a list of ids, and one text was given", reason="selection"
            )
        self.key_ids = None if key_ids is None else tuple(dict.fromkeys(key_ids))
        self.like = like
        self._matches = None if like is None else _compiled(like).fullmatch

    def require_named(self) -> tuple[str, ...]:
        """The ids, for keys that need not be there.

        :raises ConfigurationError: they are not named.
        """
        if self.key_ids is None:
            raise ConfigurationError(
                "name the keys to create: a pattern finds only those that are there",
                reason="selection",
            )
        return self.key_ids

    def versions(self, store: KeyStore) -> list[KeyVersion]:
        """All versions of the keys that are meant, in one query where that is possible."""
        named = self.key_ids
        # What is no id may not even be text to the database, and would spoil the query.
        all_versions = store.versions_of(None if named is None else list(filter(_is_id, named)))
        if self._matches is None:
            return all_versions
        return [version for version in all_versions if self._matches(version.id)]

    def ids_among(self, present: Collection[str]) -> list[str]:
        """The ids that are named, there or not; else those that were found."""
        return sorted(present) if self.key_ids is None else list(self.key_ids)


def _is_id(text: str) -> bool:
    try:
        check_key_id(text)
    except ConfigurationError:
        return False
    return True


def _compiled(like: str) -> re.Pattern[str]:
    if not like:
        raise ConfigurationError("an empty pattern matches no key", reason="selection")
    # Python's own translation backtracks nowhere, however many stars meet a long id.
    return re.compile(fnmatch.translate(like.replace("[", "[[]")))
