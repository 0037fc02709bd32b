"""AWS's own client, unmodified, on the values of an encrypted column.

    python examples/interop.py

It opens what a column holds, writes a value that the application then reads, and is refused when
a value is not in its own row. SQLite and a local key stand for your database and AWS KMS.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, SqlKeyStore, attach, errors, keyrings
from encfields.interop import column_context, materials_manager


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType())


def stored(engine: Engine, patient_id: int) -> bytes:
    """The bytes in the database, past everything of ours."""
    with engine.connect() as connection:
        query = text("SELECT ssn FROM patient WHERE id = :id")
        return bytes(connection.execute(query, {"id": patient_id}).scalar_one())


def store(engine: Engine, patient_id: int, message: bytes) -> None:
    """Put bytes into the database, past everything of ours."""
    with engine.begin() as connection:
        query = text("UPDATE patient SET ssn = :ssn WHERE id = :id")
        connection.execute(query, {"ssn": message, "id": patient_id})


def main(folder: Path) -> None:
    keyrings.generate_local_key(folder / "local.key")
    keyring = keyrings.local(folder / "local.key")
    engine = create_engine(f"sqlite:///{folder / 'clinic.db'}")
    Base.metadata.create_all(engine)
    attach(engine, SqlKeyStore(keyring), create=True)
    with Session(engine) as session:
        session.add_all([Patient(id=1, ssn="123-45-6789"), Patient(id=2, ssn="987-65-4321")])
        session.commit()

    # The stock client logs a traceback for each message that it does not open.
    logging.getLogger("aws_encryption_sdk").setLevel(logging.CRITICAL)

    # Another process: AWS's client, and a key store on the same table of keys.
    client = EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    manager = materials_manager(SqlKeyStore(keyring, engine=create_engine(engine.url)))
    ada = column_context(Patient.ssn, {"id": 1})
    print("encryption context:", ada)  # {'enc:column': 'patient.ssn', 'enc:row:id': '1'}

    plaintext, header = client.decrypt(
        source=stored(engine, 1), materials_manager=manager, encryption_context=ada
    )
    print("the stock client opens:", plaintext.decode(), f"(suite {header.algorithm.name})")

    message, _ = client.encrypt(
        source=b"111-22-3333", materials_manager=manager, encryption_context=ada
    )
    store(engine, 1, message)
    with Session(engine) as session:
        print("the application reads what it wrote:", session.get_one(Patient, 1).ssn)

    try:
        client.decrypt(source=stored(engine, 2), materials_manager=manager, encryption_context=ada)
    except errors.ContextMismatchError as error:
        print("refused:", error)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
