"""A budget for KMS calls."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from types import TracebackType

import pytest

from encfields.keys.aws.kms_requests import KmsRequest, observed_by


class kms_calls:
    """Counts the KMS calls of the block, and fails the test if there were more than allowed.

    It counts each request that this process sends to KMS through an encfields keyring or key
    store, on any thread, including retries. With a local keyring, each wrapping and unwrapping of a
    key counts as the KMS call that it replaces.

    :param max: most calls allowed; ``None`` to count only.
    """

    def __init__(self, max: int | None = None) -> None:
        self.max = max
        self._lock = threading.Lock()
        self._requests: list[KmsRequest] = []
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<kms_calls {dict(self.counts)}>"

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def requests(self) -> list[KmsRequest]:
        """The calls so far, in order."""
        with self._lock:
            return list(self._requests)

    @property
    def counts(self) -> Counter[str]:
        """The number of calls by operation: ``{"Decrypt": 1}``."""
        return Counter(request.operation for request in self.requests)

    def __enter__(self) -> kms_calls:
        self._stack.enter_context(observed_by(self._note))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        __tracebackhide__ = True
        self._stack.close()
        requests = self.requests
        # An error in the block takes precedence: it may be why there were so many.
        if error is None and self.max is not None and len(requests) > self.max:
            listed = "\n".join(f"  {request}" for request in requests)
            pytest.fail(f"{len(requests)} KMS calls, where {self.max} are allowed:\n{listed}")

    def _note(self, request: KmsRequest) -> None:
        with self._lock:
            self._requests.append(request)
