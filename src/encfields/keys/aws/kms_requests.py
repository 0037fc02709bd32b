"""Lets observers count requests to KMS.

A local wrapping key announces its operations as the KMS calls that would replace them, so that
tests without AWS count what production would pay for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from encfields.errors import shortened


class KmsRequest(NamedTuple):
    """One request to KMS; each retry counts separately.

    :ivar operation: for instance ``"Decrypt"``.
    :ivar wrapping_key: ARN of the KMS key, or the local wrapping key's name.
    :ivar key_id: the branch key in its encryption context, if any.
    """

    operation: str
    wrapping_key: str | None
    key_id: str | None

    def __str__(self) -> str:
        by = f" by {shortened(self.wrapping_key)}" if self.wrapping_key else ""
        return f"{self.operation}{by}{f' of key {self.key_id!r}' if self.key_id else ''}"


_KEY_ID_PAIRS = ("enc:key-id", "branch-key-id")
"""Context keys that name the branch key, in wraps of the SQL key store and of AWS's hierarchical
one."""


def key_id_in(context: Mapping[str, str]) -> str | None:
    """The branch key named in a wrap's encryption context."""
    return next((context[name] for name in _KEY_ID_PAIRS if name in context), None)


RequestObserver = Callable[[KmsRequest], None]

_observers: list[RequestObserver] = []


@contextmanager
def observed_by(observer: RequestObserver) -> Iterator[None]:
    """Call `observer` with each request of this process, on the requesting thread."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def announce(operation: str, wrapping_key: str | None, key_id: str | None) -> None:
    """Tell observers of a request about to be made."""
    for observer in tuple(_observers):
        observer(KmsRequest(operation, wrapping_key, key_id))
