"""Values that come near to what MariaDB takes in one statement."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import LargeBinary, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType
from encfields.bulk.errors import ReencryptionError
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.context import serialize
from encfields.engine import engine_encryption
from encfields.message import seal
from tests.bulk.support import Clinic


class Base(DeclarativeBase):
    pass


class Scan(Base):
    __tablename__ = "scan"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image: Mapped[bytes] = mapped_column(EncryptedType(LargeBinary))


SCAN = TableSpec.from_table(Scan.__table__)  # type: ignore[arg-type]


@pytest.fixture
def packet(mariadb):
    """Bytes that the server takes in one statement."""
    engine = mariadb.create_engine()
    with engine.connect() as connection:
        size = connection.execute(text("SELECT @@max_allowed_packet")).scalar_one()
    engine.dispose()
    if size > 64 * 2**20:
        pytest.skip("the server takes statements of more than 64 MB")
    return int(size)


def store(clinic, key, message):
    """Put a value into a row in parts, as no statement takes it at once."""
    step = len(message) // 4
    with clinic.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO scan (id, image) VALUES (%s, '')", (key,))
        for start in range(0, len(message), step):
            part = message[start : start + step]
            connection.exec_driver_sql(
                "UPDATE scan SET image = CONCAT(image, %s) WHERE id = %s", (part, key)
            )


def sealed(clinic, key, image):
    context = serialize({"enc:column": "scan.image", "enc:row:id": str(key)})
    return seal(image, context, engine_encryption(clinic.encryption).active_key("default"))


@pytest.mark.parametrize("share", [0.45, 0.6, 0.95])
def test_a_value_that_no_statement_takes_at_once_is_stored_in_parts(mariadb, packet, share):
    clinic = Clinic(mariadb, Base)
    images = {1: b"small", 2: os.urandom(int(packet * share)), 3: b"small too"}
    for key, image in images.items():
        store(clinic, key, sealed(clinic, key, image))
    version = clinic.rotate()
    assert clinic.run(SCAN).run().finished
    assert clinic.versions(Scan) == {("default", version): 3}
    assert dict(clinic.values(Scan).values()) == images


def test_a_value_that_the_server_cannot_hold_is_named_with_what_to_do(mariadb, packet):
    """Under its new name it is longer."""
    clinic = Clinic(mariadb, Base)
    store(clinic, 7, sealed(clinic, 7, os.urandom(packet - 12_000)))
    longer = TableSpec.of("scan", [SealedColumn("image", "n" * 10_000)])
    with pytest.raises(ReencryptionError, match=r"id=7 .*max_allowed_packet") as caught:
        clinic.run(longer, source=SCAN).run()
    assert caught.value.reason == "max-allowed-packet"
