"""Columns that other libraries encrypted, adopted through their own types, in use all the while."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from typing import Any, NamedTuple

import aws_encryption_sdk
import pytest
import sqlalchemy_encrypted_field as encrypted_field
from advanced_alchemy.types import EncryptedString
from advanced_alchemy.types.encrypted_string import PGCryptoBackend
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import AesWrappingAlg, CreateRawAesKeyringInput
from cryptography.fernet import Fernet
from sqlalchemy import (
    Column,
    LargeBinary,
    MetaData,
    String,
    Table,
    func,
    insert,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy import types as sa
from sqlalchemy.types import TypeDecorator
from sqlalchemy_encrypted_field.fields import EncryptedText
from sqlalchemy_utils import StringEncryptedType
from sqlalchemy_utils.types.encrypted.encrypted_type import AesEngine, AesGcmEngine, FernetEngine

from encfields import BlindIndex, EncryptedType, Plaintext
from encfields.adopt import (
    Adoption,
    AdoptionError,
    adopt,
    begin_adoption,
    close_plaintext,
    compare_adopted,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
)
from encfields.errors import UnsupportedOperationError
from tests.database import Database
from tests.servers.backends import Backend

SECRET = "the-other-library's-key-4711"


class FernetByHand(TypeDecorator[str]):
    """As in many a tutorial."""

    impl = LargeBinary
    cache_ok = True
    fernet = Fernet(Fernet.generate_key())

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return self.fernet.encrypt(value.encode())

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return self.fernet.decrypt(value).decode()


class SdkByHand(TypeDecorator[str]):
    """Messages of the AWS Encryption SDK, under a keyring of the application's."""

    impl = LargeBinary
    cache_ok = True
    client = aws_encryption_sdk.EncryptionSDKClient()
    keyring = AwsCryptographicMaterialProviders(
        config=MaterialProvidersConfig()
    ).create_raw_aes_keyring(
        CreateRawAesKeyringInput(
            key_namespace="by-hand",
            key_name="one",
            wrapping_key=bytes(32),
            wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
        )
    )

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        message, _ = self.client.encrypt(source=value.encode(), keyring=self.keyring)
        return message

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        plaintext, _ = self.client.decrypt(source=value, keyring=self.keyring)
        return plaintext.decode()


class PgpText(TypeDecorator[str]):
    """As SQLAlchemy's documentation shows it."""

    impl = LargeBinary
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return func.pgp_sym_encrypt(type_coerce(bindvalue, String), SECRET)

    def column_expression(self, column: Any) -> Any:
        return func.pgp_sym_decrypt(column, SECRET)


class AesOfServer(TypeDecorator[str]):
    """MariaDB's and MySQL's own function."""

    impl = LargeBinary
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return func.aes_encrypt(type_coerce(bindvalue, String), SECRET)

    def column_expression(self, column: Any) -> Any:
        return func.convert(func.aes_decrypt(column, SECRET).op("USING")(text("utf8mb4")))


class PlainField(EncryptedText):
    """What it hands out is an object; the application's attribute is to be the text."""

    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return super().process_result_value(value, dialect).decrypt()


class Kind(NamedTuple):
    """A column of another library.

    :ivar type: makes its type. :ivar compares: whether two ciphertexts of a value are the same, or
        the database decrypts. :ivar backends: that it works on.
    """

    type: Callable[[], Any]
    compares: bool = False
    backends: tuple[str, ...] = ("sqlite",)


ALL = ("sqlite", "postgresql", "mariadb", "mysql")

KINDS = {
    "utils-aes": Kind(
        lambda: StringEncryptedType(String, SECRET, AesEngine, "pkcs5", length=255), True, ALL
    ),
    "utils-gcm": Kind(lambda: StringEncryptedType(String, SECRET, AesGcmEngine, length=255)),
    "utils-fernet": Kind(
        lambda: StringEncryptedType(String, lambda: SECRET, FernetEngine, length=255)
    ),
    "advanced-alchemy": Kind(lambda: EncryptedString(key=SECRET)),
    "advanced-alchemy-pgcrypto": Kind(
        lambda: EncryptedString(key=SECRET, backend=PGCryptoBackend), True, ("postgresql",)
    ),
    "encrypted-field": Kind(PlainField),
    "fernet-by-hand": Kind(FernetByHand, backends=ALL),
    "sdk-by-hand": Kind(SdkByHand),
    "pgcrypto": Kind(PgpText, True, ("postgresql",)),
    "aes-of-server": Kind(AesOfServer, True, ("mariadb", "mysql")),
}


@pytest.fixture(autouse=True)
def keys() -> None:
    """Those of sqlalchemy-encrypted-field are the process's own."""
    encrypted_field.configure(base64.b64encode(bytes(32)).decode())


@pytest.fixture
def db(backend: Backend) -> Database:
    found = Database(backend)
    if backend.name == "postgresql":
        found.execute_plain("CREATE EXTENSION IF NOT EXISTS pgcrypto")
    return found


def table(declared: Any, phase: str | None) -> Table:
    """The table of one version of the application."""
    if phase is None:
        column: Column[Any] = Column("email", declared, nullable=False)
    else:
        sealed = EncryptedType(
            String(80),
            name="t.email",
            index=BlindIndex(),
            adopts=Plaintext("email", declared, phase=phase),  # type: ignore[arg-type]
        )
        column = Column("email_enc", sealed, key="email", nullable=False)
    return Table("t", MetaData(), Column("id", sa.Integer, primary_key=True), column)


ROWS: list[dict[str, Any]] = [
    {"id": n, "email": f"{name}@example.org"} for n, name in enumerate(("ada", "Größe", ""), 1)
]


@pytest.mark.parametrize("name", KINDS)
def test_a_column_of_another_library_is_adopted_and_can_go_back(db: Database, name: str) -> None:
    kind = KINDS[name]
    if db.name not in kind.backends:
        pytest.skip(f"{name} is not for {db.name}")
    declared = kind.type()
    old, both = table(declared, None), table(declared, "write-both")
    pending, last = table(declared, "read-sealed"), table(declared, "write-sealed")
    old.create(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old), ROWS)
    adoption = Adoption.of(both.c.email)
    begin_adoption(db.engine, adoption)

    expected = [row["email"] for row in ROWS]
    for version in (both, pending):
        assert _read(db, version) == expected
        if kind.compares:
            assert _found(db, version, ROWS[1]["email"]) == [2]
        else:
            with pytest.raises(UnsupportedOperationError, match="write-sealed"):
                _found(db, version, ROWS[1]["email"])
    with db.begin() as connection:
        connection.execute(insert(both), {"id": 4, "email": "new@example.org"})
        connection.execute(update(pending).where(pending.c.id == 1).values(email="b@example.org"))
    expected = ["b@example.org", *expected[1:], "new@example.org"]
    assert _read(db, old, db.plain) == expected

    assert adopt(db.engine, db.encryption, adoption).rows_written == 2
    assert ensure_adopted(db.engine, db.encryption, adoption).both == 4
    assert _read(db, last) == expected
    assert _found(db, last, expected[1]) == [2]
    with db.begin() as connection:
        connection.execute(insert(last), {"id": 5, "email": "last@example.org"})
    assert close_plaintext(db.engine, db.encryption, adoption).sealed_only == 1

    assert refill_plaintext(db.engine, db.encryption, adoption).finished
    assert _read(db, old, db.plain) == [*expected, "last@example.org"]
    assert compare_adopted(db.engine, db.encryption, adoption).both == 5
    ensure_adopted(db.engine, db.encryption, adoption)
    close_plaintext(db.engine, db.encryption, adoption)
    end_adoption(db.engine, adoption)
    assert SECRET not in repr(both) + repr(adoption) + repr(both.c.email.type)


def _read(db: Database, version: Table, engine: Any = None) -> list[str]:
    with (engine or db.engine).connect() as connection:
        return list(connection.scalars(select(version.c.email).order_by(version.c.id)))


def _found(db: Database, version: Table, value: str) -> list[int]:
    with db.engine.connect() as connection:
        return list(connection.scalars(select(version.c.id).where(version.c.email == value)))


@pytest.mark.parametrize("name", ["utils-gcm", "pgcrypto", "aes-of-server"])
def test_what_the_other_library_cannot_read_is_named_and_not_passed_over(
    db: Database, name: str
) -> None:
    kind = KINDS[name]
    if db.name not in kind.backends:
        pytest.skip(f"{name} is not for {db.name}")
    declared = kind.type()
    old, both = table(declared, None), table(declared, "write-both")
    old.create(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old), ROWS)
    db.execute_plain("UPDATE t SET email = 'canary, and no ciphertext' WHERE id = 2")
    adoption = Adoption.of(both.c.email)
    begin_adoption(db.engine, adoption)

    report = adopt(db.engine, db.encryption, adoption)

    assert not report.finished
    assert [fault.key for fault in report.quarantined] == [{"id": "2"}]
    assert report.rows_written == 2
    with pytest.raises(AdoptionError, match="unreadable plaintext 1") as raised:
        ensure_adopted(db.engine, db.encryption, adoption)
    assert "canary" not in str(raised.value) + str(report)


def test_values_of_other_types_are_sealed_as_the_column_declares(sqlite: Backend) -> None:
    db = Database(sqlite)
    day = dt.date(1815, 12, 10)
    legacy = StringEncryptedType(sa.Date, SECRET, AesEngine, "pkcs5", length=255)
    old = Table("p", MetaData(), Column("id", sa.Integer, primary_key=True), Column("born", legacy))
    sealed = EncryptedType(
        sa.Date(), name="p.born", adopts=Plaintext("born", legacy, phase="read-sealed")
    )
    new = Table(
        "p",
        MetaData(),
        Column("id", sa.Integer, primary_key=True),
        Column("born_enc", sealed, key="born"),
    )
    old.create(db.plain)
    with db.plain.begin() as connection:
        connection.execute(insert(old), [{"id": 1, "born": day}, {"id": 2, "born": None}])
    adoption = Adoption.of(new.c.born)
    begin_adoption(db.engine, adoption)

    adopt(db.engine, db.encryption, adoption)

    assert ensure_adopted(db.engine, db.encryption, adoption).both == 1
    with db.engine.connect() as connection:
        assert connection.scalars(select(new.c.born).order_by(new.c.id)).all() == [day, None]
