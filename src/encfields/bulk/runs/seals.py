"""What tells the progress that a run's own workers noted from what somebody else wrote there."""

from __future__ import annotations

import hmac
import json

SECRET_BYTES = 32


class RunSeals:
    """Seals of one run's rows: a code over what a row says, under a secret from the run's job.

    Only a worker that opened the job has the secret. A row that was altered has no seal that
    fits; one that was put back as it was says what was true then, and leads to work done again.

    :param secret: the run's own.
    """

    __slots__ = ("_started",)

    def __init__(self, secret: bytes) -> None:
        self._started = hmac.new(secret, digestmod="sha256")

    def of(self, *parts: str | int | None) -> str:
        """The seal of what a row says."""
        code = self._started.copy()
        code.update(json.dumps(parts).encode("ascii"))
        return code.hexdigest()

    def fits(self, seal: object, *parts: str | int | None) -> bool:
        """Whether a seal is the one of what its row says."""
        if not isinstance(seal, str):
            return False
        return hmac.compare_digest(seal.encode("utf-8", "replace"), self.of(*parts).encode())
