"""A run's job and its end as sealed messages: nobody without keys can set up a run.

The encryption context names the run, its kind and the message's purpose, so one run's message is of
no use in another. The worker chooses the branch key it accepts, not the message.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from encfields.bulk.errors import RunRefusedError
from encfields.bulk.rows.job import Job
from encfields.bulk.runs.run_row import SECRET_BYTES, Run, RunSeals
from encfields.context import RUN_KEY, serialize
from encfields.engine import engine_encryption
from encfields.errors import (
    BindingError,
    ConfigurationError,
    DecryptionError,
    EncFieldsError,
    KeyDestroyedError,
    KeyNotFoundError,
)
from encfields.message import open_, read_header, seal

if TYPE_CHECKING:
    from encfields.bulk.options import Options
    from encfields.engine import Encryption
_JOB, _END = "job", "end"


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run whose job was opened and matches its row.

    :ivar seals: of its rows. :ivar created_at: when it was recorded, in UTC.
    """

    id: str
    job: Job
    created_at: dt.datetime
    seals: RunSeals


class JobSealer:
    """Seals and opens the jobs of runs.

    :param encryption: gives the keys.
    :param options: for ``run_key`` and ``max_age_days``.
    """

    def __init__(self, encryption: Encryption, options: Options) -> None:
        self._encryption = encryption
        self._key_id = options.run_key
        self._max_age_days = options.max_age_days

    # -- jobs ----------------------------------------------------------------------------------

    def seal_job(self, run_id: str, job: Job, created_at: dt.datetime) -> tuple[str, RunSeals]:
        """A new run's sealed job, and the seals of the run's rows.

        :raises ConfigurationError: the key that seals jobs is missing.
        :raises KeyStoreError: it cannot be fetched.
        """
        secret = secrets.token_bytes(SECRET_BYTES)
        content = {"job": job.to_json(), "created_at": _text(created_at), "secret": secret.hex()}
        return self._seal(run_id, job.kind, _JOB, content), RunSeals(secret)

    def open_job(self, run: Run) -> OpenedRun:
        """The job of a run under way.

        :raises RunRefusedError: it was not sealed for this run under ``run_key``, the row differs
            from it, or the run is too old.
        :raises KeyStoreError: the key cannot be fetched.
        """
        opened = _opened(run, self._open(run, _JOB))
        _require_same(run, opened)
        self._require_young(run, opened.created_at)
        return opened

    def require_same_job(self, run: Run, job: Job) -> None:
        """Check that a run has this job; the fingerprint in its row is not proof.

        :raises RunRefusedError: it has another, or :meth:`open_job` refuses it.
        """
        if self.open_job(run).job.to_json() != job.to_json():
            problem = "it belongs to another job"
            raise RunRefusedError(run.id, "fingerprint", problem, reason="altered")

    def _require_young(self, run: Run, created_at: dt.datetime) -> None:
        age = dt.datetime.now(dt.UTC) - created_at
        if age.total_seconds() > self._max_age_days * 86_400:
            raise RunRefusedError(
                run.id,
                "created_at",
                f"it was recorded {age.days} days ago, and runs older than {self._max_age_days:g} "
                "days are not continued (max_age_days)",
                reason="run-age",
            )

    # -- ends ----------------------------------------------------------------------------------

    def seal_end(self, run: Run, state: str, error: str | None) -> str:
        """What replaces the job when a run ends, so that nobody can continue it.

        :raises KeyStoreError: the key cannot be fetched.
        """
        return self._seal(run.id, run.kind or "", _END, {"state": state, "error": error})

    def require_end(self, run: Run) -> None:
        """Check that a worker wrote the end in a run's row.

        :raises RunRefusedError: no worker did.
        :raises KeyStoreError: the key cannot be fetched.
        """
        content = self._open(run, _END)
        if content.get("state") != run.state or content.get("error") != run.error:
            problem = "its state, or its error, is not what its worker recorded"
            raise RunRefusedError(run.id, "state", problem, reason="run-state")

    # -- messages ------------------------------------------------------------------------------

    def _context(self, run_id: str, kind: str, purpose: str) -> bytes:
        return serialize(
            {
                RUN_KEY: run_id,
                f"{RUN_KEY}:kind": kind,
                f"{RUN_KEY}:purpose": purpose,
                f"{RUN_KEY}:key-store": self._encryption.key_store_name,
            }
        )

    def _seal(self, run_id: str, kind: str, purpose: str, content: dict[str, Any]) -> str:
        try:
            key = engine_encryption(self._encryption).active_key(self._key_id)
        except (KeyNotFoundError, KeyDestroyedError) as error:
            raise ConfigurationError(
                "the job of a run is sealed under this branch key, which cannot be used "
                f"({type(error).__name__}): make it with keys.create({self._key_id!r}) or "
                f"`encfields keys create {self._key_id}`, or name another one in "
                "Options(run_key=...) or --run-key, the same for all workers",
                key_id=self._key_id,
                reason="run-key",
            ) from None
        message = seal(json.dumps(content).encode(), self._context(run_id, kind, purpose), key)
        return base64.b64encode(message).decode("ascii")

    def _open(self, run: Run, purpose: str) -> dict[str, Any]:
        field = "job" if purpose == _JOB else "state"
        try:
            message = base64.b64decode(run.sealed, validate=True)
            named = read_header(message).key_id
        except (binascii.Error, ValueError, DecryptionError):
            raise RunRefusedError(
                run.id, field, "it is not a sealed message", reason="not-sealed"
            ) from None
        if named != self._key_id:
            problem = f"it is not sealed under the branch key {self._key_id!r} (run_key)"
            raise RunRefusedError(run.id, field, problem, reason="run-key")
        try:
            context = self._context(run.id, run.kind or "", purpose)
            content = open_(
                message, context, engine_encryption(self._encryption).find_key, (self._key_id,)
            )
            opened: dict[str, Any] = json.loads(content)
        except (DecryptionError, BindingError, KeyNotFoundError, KeyDestroyedError) as error:
            problem = (
                f"it was not sealed for this field of this run and its kind, {run.kind!r} "
                f"({type(error).__name__}, {error.reason})"
            )
            raise RunRefusedError(
                run.id, field, problem, reason="not-sealed", key_id=self._key_id
            ) from None
        return opened


def _opened(run: Run, content: dict[str, Any]) -> OpenedRun:
    try:
        return OpenedRun(
            run.id,
            Job.from_json(content["job"]),
            dt.datetime.fromisoformat(content["created_at"]),
            RunSeals(bytes.fromhex(content["secret"])),
        )
    except (KeyError, TypeError, ValueError, EncFieldsError) as error:
        content.clear()  # keep the secret out of the error's frames
        problem = f"another version of this library wrote it ({type(error).__name__})"
    raise RunRefusedError(run.id, "job", problem, reason="job")


def _require_same(run: Run, opened: OpenedRun) -> None:
    """Check that the clear columns of a row match what was sealed."""
    job = opened.job
    sealed = {
        "table_name": (run.table_name, job.table_name),
        "kind": (run.kind, job.kind),
        "fingerprint": (run.fingerprint, job.fingerprint()),
        "created_at": (run.created_at, opened.created_at),
    }
    for field, (stands, expected) in sealed.items():
        if stands != expected:
            problem = "it differs from what was sealed with the job"
            raise RunRefusedError(run.id, field, problem, reason="altered")


def _text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat()
