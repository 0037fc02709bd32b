"""The model whose secrets the leak tests look for, and the secrets."""

from __future__ import annotations

import datetime as dt
import traceback
from typing import Any

from sqlalchemy import JSON, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.testing import assert_absent, assert_absent_from_frames
from encfields.testing.search import SQLALCHEMY, TEST_RUNNER

SSN = "canary-4711-ssn"
NOTE = "canary-0815-note"
SCAN = b"canary-\x00\xff-scan"
APPLICATION = (*TEST_RUNNER, "tests")
"""Whose frames are the application's: it holds the values that it works with."""

CANARIES: tuple[str | bytes, ...] = (SSN, NOTE, SCAN)


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(10), unique=True)
    born: Mapped[dt.date | None]
    ssn: Mapped[Any] = mapped_column(EncryptedType(String), nullable=True)
    notes: Mapped[Any] = mapped_column(EncryptedType(JSON), nullable=True)
    scan: Mapped[Any] = mapped_column(EncryptedType(LargeBinary), nullable=True)


def secrets_of_a_patient() -> dict[str, Any]:
    """Values for the encrypted columns, every one of them a canary."""
    return {"ssn": SSN, "notes": {"note": NOTE}, "scan": SCAN}


def assert_nothing_shows(*places: object, but_of: tuple[str, ...] = (SQLALCHEMY,)) -> None:
    """No canary shows in any of the places; of an exception, its printed traceback and the
    variables of the frames that it passed through as well.

    :param but_of: whose frames may hold them: by default SQLAlchemy's, which has to be given
        what is to be written. Of an error while reading, nobody's may: ``()``.
    """
    __tracebackhide__ = True
    printed = [
        "".join(traceback.format_exception(one)) for one in places if isinstance(one, BaseException)
    ]
    for canary in CANARIES:
        assert_absent(canary, *places, *printed)
        for one in places:
            if isinstance(one, BaseException):
                assert_absent_from_frames(canary, one, may_hold=(*APPLICATION, *but_of))
