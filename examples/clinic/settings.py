"""Where the application keeps its rows and its keys: two variables of the environment."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url

ASYNC_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}


@dataclass(frozen=True)
class Settings:
    """What differs from one start to the next.

    :ivar database: URL of the database, with a synchronous driver. Its tables are made anew.
    :ivar kms: ``"file"`` for a wrapping key in a file, or ``"moto"`` for an emulator of AWS KMS.
    :ivar folder: for the key's file and SQLite's.
    :ivar visits: rows of the archive, which a rotation walks over.
    """

    database: URL
    kms: str = "file"
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="clinic-")))
    visits: int = 6_000

    @classmethod
    def of_environment(cls) -> Settings:
        """``CLINIC_DATABASE_URL`` (SQLite if it is not set) and ``CLINIC_KMS``."""
        folder = Path(tempfile.mkdtemp(prefix="clinic-"))
        url = os.environ.get("CLINIC_DATABASE_URL") or f"sqlite:///{folder}/clinic.db"
        kms = os.environ.get("CLINIC_KMS") or "file"
        if kms not in ("file", "moto"):
            raise SystemExit(f"CLINIC_KMS is 'file' or 'moto', not {kms!r}")
        database = make_url(url)
        if database.get_backend_name() not in ASYNC_DRIVERS:
            raise SystemExit("the clinic runs on SQLite and on PostgreSQL")
        return cls(database, kms, folder)

    @property
    def async_database(self) -> URL:
        """The same database with an asynchronous driver."""
        return self.database.set(drivername=ASYNC_DRIVERS[self.database.get_backend_name()])

    @property
    def on_sqlite(self) -> bool:
        return self.database.get_backend_name() == "sqlite"
