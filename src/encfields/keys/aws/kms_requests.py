"""Requests to KMS, for those who count them.

A local wrapping key has no KMS, and its wrapping operations are announced as the calls that would
take their place; so a test without AWS counts what production would pay for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from encfields.errors import shortened


class KmsRequest(NamedTuple):
    """One request to KMS, repeated attempts each on their own.

    :ivar operation: for instance ``"Decrypt"``.
    :ivar wrapping_key: ARN of the KMS key, or the local wrapping key's name.
    :ivar key_id: the branch key that it was about, where its encryption context names one.
    """

    operation: str
    wrapping_key: str | None
    key_id: str | None

    def __str__(self) -> str:
        by = f" by {shortened(self.wrapping_key)}" if self.wrapping_key else ""
        return f"{self.operation}{by}{f' of key {self.key_id!r}' if self.key_id else ''}"


_KEY_ID_PAIRS = ("enc:key-id", "branch-key-id")
"""What the pair is called that names the branch key, in a wrap of the SQL key store and of AWS's
own hierarchical one."""


def key_id_in(context: Mapping[str, str]) -> str | None:
    """The branch key that an encryption context of a wrap names."""
    return next((context[name] for name in _KEY_ID_PAIRS if name in context), None)


RequestObserver = Callable[[KmsRequest], None]

_observers: list[RequestObserver] = []


@contextmanager
def observed_by(observer: RequestObserver) -> Iterator[None]:
    """Call `observer` with each request of this process, on the thread that makes it."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def announce(operation: str, wrapping_key: str | None, key_id: str | None) -> None:
    """A request is about to be made."""
    for observer in tuple(_observers):
        observer(KmsRequest(operation, wrapping_key, key_id))
