"""A value or a key that is given in the wrong place shows nowhere in the error that says so."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Date, String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from encfields import (
    BlindIndex,
    CompoundBlindIndex,
    DynamoDbKeyStore,
    EncryptedType,
    Sealed,
    SqlKeyStore,
    attach,
    blind,
    encryption_of,
    keyrings,
)
from encfields.errors import ConfigurationError, EncFieldsError, UnsupportedOperationError
from encfields.index import casefold, year
from encfields.keys import BeaconKey, BranchKey
from encfields.testing import assert_absent, assert_absent_from_frames
from encfields.testing.search import SQLALCHEMY

SECRET = "canary-4711-ssn"
KEY = bytes(range(200, 232))
ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_FORMS = (KEY.hex(), base64.b64encode(KEY).decode(), repr(KEY)[2:-1])


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "misplaced_person"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(20), index=BlindIndex()))
    last: Mapped[str | None] = mapped_column(EncryptedType(String(20)))
    born: Mapped[dt.date | None] = mapped_column(EncryptedType(Date))
    __table_args__ = (CompoundBlindIndex("who", ("last", casefold), ("born", year)),)


COLUMN = Person.__table__.c.ssn


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda: Sealed.of("own") == SECRET, id="sealed-equal"),
        pytest.param(lambda: Sealed.of("own") != SECRET, id="sealed-unequal"),
        pytest.param(lambda: SECRET in [Sealed.of("own")], id="sealed-in-a-list"),
        pytest.param(lambda: blind(Person, "who").matches(last=SECRET), id="compound-missing"),
        pytest.param(
            lambda: blind(Person, "who").matches(last=SECRET, born=1, ssn=SECRET),
            id="compound-unknown",
        ),
        pytest.param(lambda: Person.ssn.in_(SECRET), id="in-a-text"),
        pytest.param(lambda: Person.ssn.not_in(SECRET.encode()), id="in-bytes"),
        pytest.param(lambda: aliased(Person).ssn.in_(SECRET), id="in-of-an-alias"),
        pytest.param(lambda: COLUMN.in_(SECRET), id="in-of-a-column"),
        pytest.param(lambda: Person.ssn.blind("exact").in_(SECRET), id="in-of-an-index"),
    ],
)
def test_a_value_that_is_asked_for_wrongly(ask: Callable[[], Any]) -> None:
    with pytest.raises(UnsupportedOperationError) as raised:
        ask()
    assert_absent(SECRET, raised.value)
    assert_absent_from_frames(SECRET, raised.value, may_hold=[__name__, SQLALCHEMY])


@pytest.mark.parametrize("given", [None, 5, object()])
def test_in_of_no_list_names_column_and_what_to_write(given: Any) -> None:
    with pytest.raises(UnsupportedOperationError, match=r"in_\(\[value\]\)") as raised:
        Person.ssn.in_(given)
    assert (raised.value.table, raised.value.column) == ("misplaced_person", "ssn")


def _file_of(content: bytes, tmp_path: Any) -> str:
    path = tmp_path / "wrong.key"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda _: keyrings.local(KEY + b"\n"), id="key-with-a-line-break"),
        pytest.param(lambda _: keyrings.local(KEY.hex()), id="hexadecimal-for-a-path"),
        pytest.param(lambda _: keyrings.local(KEY[:16].hex()), id="half-a-key-for-a-path"),
        pytest.param(
            lambda _: keyrings.local(base64.b64encode(KEY).decode()), id="base64-for-a-path"
        ),
        pytest.param(lambda at: keyrings.local(_file_of(KEY + b"x", at)), id="key-file"),
        pytest.param(lambda _: SqlKeyStore(KEY), id="key-for-a-keyring"),  # type: ignore[arg-type]
        pytest.param(
            lambda _: SqlKeyStore(keyrings.local(bytes(32)), former=KEY),  # type: ignore[arg-type]
            id="key-for-former-keyrings",
        ),
        pytest.param(
            lambda _: attach(create_engine("sqlite://"), KEY),  # type: ignore[arg-type]
            id="key-for-a-key-store",
        ),
        pytest.param(
            lambda _: keyrings.aws_kms(ARN, aws_secret_access_key=KEY.hex()),  # type: ignore[call-arg]
            id="credentials-for-a-keyring",
        ),
        pytest.param(
            lambda _: DynamoDbKeyStore(keyrings.aws_kms(ARN), "Keys", aws_session_token=KEY.hex()),  # type: ignore[call-arg]
            id="credentials-for-a-key-store",
        ),
        pytest.param(
            lambda _: encryption_of(f"postgresql://app:{KEY.hex()}@db/clinic"),  # type: ignore[arg-type]
            id="url-for-an-engine",
        ),
    ],
)
def test_a_key_that_is_given_wrongly(use: Callable[[Any], Any], tmp_path: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        use(tmp_path)
    for form in (*KEY_FORMS, KEY[:16].hex(), repr(KEY[:16])[2:-1]):
        assert_absent(form, raised.value)
        assert_absent_from_frames(form, raised.value, may_hold=[__name__, SQLALCHEMY])


def test_a_file_of_a_key_s_own_name_is_read(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / KEY.hex()).write_bytes(KEY)
    assert keyrings.local(KEY.hex()).name == keyrings.local(KEY).name


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: BranchKey("a", "no version", KEY), id="version"),
        pytest.param(
            lambda: BranchKey("a", "580780e0-505a-4eac-8705-cf4ad8666bd1", KEY[:31]), id="length"
        ),
        pytest.param(lambda: BranchKey(None, "x", KEY), id="no-id"),  # type: ignore[arg-type]
        pytest.param(lambda: BeaconKey("a", 1, KEY[:31]), id="beacon"),
    ],
)
def test_a_branch_key_of_a_store_of_one_s_own_that_is_none(make: Callable[[], Any]) -> None:
    with pytest.raises(EncFieldsError) as raised:
        make()
    for form in (*KEY_FORMS, repr(KEY[:31])[2:-1]):
        assert_absent(form, raised.value)
        assert_absent_from_frames(form, raised.value, may_hold=[__name__, SQLALCHEMY])
