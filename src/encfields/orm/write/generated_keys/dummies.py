"""Random bytes where a rehearsed INSERT would have a value or a blind index.

They have the size of what will be stored, no two are alike, and nobody ever reads them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from encfields.message.header import MAGIC
from encfields.orm.declare.stored_size import stored_size

if TYPE_CHECKING:
    from encfields.orm.declare.columns import ColumnBinding

REHEARSAL_OPTION = "encfields_rehearsal"
"""Execution option of a rehearsed INSERT."""


class Rehearsal:
    """The option's value: an object of ours, which no application can pass.

    :param reword: what the text of the INSERT becomes before it is sent.
    """

    def __init__(self, reword: Callable[[str], str] | None = None) -> None:
        self._reword = reword

    def reword(self, statement: str) -> str:
        """The text that is sent."""
        return statement if self._reword is None else self._reword(statement)


_LIKELY_TEXT = "0"
"""Stands for a part of the row's key that is not known yet."""


def rehearsal_of(execution_options: Mapping[str, Any]) -> Rehearsal | None:
    """What an execution is a rehearsal of: it will be undone; ``None`` for any other."""
    found = execution_options.get(REHEARSAL_OPTION)
    return found if isinstance(found, Rehearsal) else None


def dummy_value(binding: ColumnBinding, texts: Sequence[str | None], plaintext: bytes) -> bytes:
    """What a rehearsed INSERT has in the place of a sealed value.

    It begins as every value does, for a CHECK may demand that.
    """
    likely = [_LIKELY_TEXT if text is None else text for text in texts]
    return MAGIC + os.urandom(stored_size(binding, len(plaintext), likely) - len(MAGIC))


def dummy_index(length: int) -> bytes:
    """What a rehearsed INSERT has in the place of a blind index of so many bytes."""
    return os.urandom(length)
