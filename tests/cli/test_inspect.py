"""``encfields inspect``: what a message says of itself, wherever it is taken from."""

from __future__ import annotations

import base64
import io
import sys
import uuid

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, Uuid, insert, text

from encfields import EncryptedType
from encfields.branch_key import BranchKey
from encfields.cli import exits
from encfields.context import serialize
from encfields.message import seal
from encfields.testing import assert_absent
from tests.census.clinic import SECRET, fill, overwrite, stored
from tests.cli.conftest import on_sqlite
from tests.legacy.by_hand import SUITES, encrypt
from tests.message import stock

VERSION = "0b1c2d3e-4f50-4a6b-8c7d-8e9fa0b1c2d3"
CONTEXT = {"enc:column": "patient.ssn", "enc:row:id": "42"}


def _message(key_id: str = "clinical", context: dict[str, str] | None = None) -> bytes:
    key = BranchKey(key_id, VERSION, bytes(range(32)))
    return seal(SECRET.encode(), serialize(context or CONTEXT), key)


@pytest.mark.parametrize("form", ["hex", "0x", r"\x", "base64", "file", "stdin"])
def test_a_message_in_any_form(command, form, tmp_path, monkeypatch):
    message = _message()
    (tmp_path / "value.bin").write_bytes(message)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(message)))
    argument = {
        "hex": message.hex(),
        "base64": base64.b64encode(message).decode(),
        "file": "value.bin",
        "stdin": "-",
    }.get(form, form + message.hex().upper())

    told = command("inspect", "--json", argument)

    assert told.code == exits.OK
    assert told.json == {
        "format": 2,
        "suite": "0x0478",
        "suite_name": "AES-256-GCM, HKDF-SHA512, key commitment, no signature",
        "keys": [{"key_id": "clinical", "version": VERSION}],
        "context": CONTEXT,
        "message_id": message[3:35].hex(),
        "frame_length": 4096,
        "bytes": len(message),
        "header_bytes": len(message) - 40 - len(SECRET),
        "frames": 1,
        "content_bytes": len(SECRET),
    }


def test_for_people(command):
    told = command("inspect", _message().hex())
    assert told.code == exits.OK
    for part in ("clinical", VERSION, "patient.ssn", "42", "0x0478"):
        assert part in told.out


def test_a_truncated_message_shows_its_header_and_its_fault(command):
    told = command("inspect", _message()[:-5].hex())
    assert told.code == exits.FAULTS
    assert "clinical" in told.out
    assert "the message ends inside its body" in told.out


@pytest.mark.parametrize("suite", SUITES)
def test_a_message_that_was_written_by_hand_says_what_a_legacy_reader_needs(command, suite):
    context = {"patient": "42", "purpose": "billing"}
    keyring = stock.raw_aes_keyring(b"k" * 32, "namespace", "wrapping key")
    message = encrypt(SECRET.encode(), keyring, context, SUITES[suite], 128)
    told = command("inspect", "--json", message.hex())
    assert told.code == exits.WORK_LEFT
    said = told.json
    assert said["format"] == message[0]
    assert said["suite"] == f"0x{SUITES[suite].algorithm_id:04x}"
    assert context.items() <= said["context"].items()
    (key,) = said["keys"]
    assert key["provider"] == "namespace"
    assert key["provider_info"].startswith("wrapping key")
    assert (said["bytes"], said["frame_length"]) == (len(message), 128)
    assert said["reason"] == ("keyring" if suite == "committed" else "suite")
    shown = command("inspect", message.hex())
    assert shown.code == exits.WORK_LEFT
    for part in ("namespace", "billing", "Not in our format"):
        assert part in shown.out
    assert_absent(SECRET, told.out, shown.out)


def test_a_legacy_message_that_is_cut_in_its_header_is_a_fault(command):
    message = encrypt(b"value", stock.raw_aes_keyring(b"k" * 32), {"a": "1"}, SUITES["signed"])
    told = command("inspect", "--json", message[:60].hex())
    assert told.code == exits.FAULTS
    assert told.json["reason"] == "suite"


def test_what_is_no_message_is_not_shown(command, tmp_path):
    (tmp_path / "plain").write_text(SECRET)
    for arguments in (("inspect", "plain"), ("inspect", "--json", "plain")):
        told = command(*arguments)
        assert told.code == exits.FAULTS
        assert "not a message of the AWS Encryption SDK" in told.out
        assert_absent(SECRET, told.out, told.err)


def test_an_argument_of_no_known_form_is_not_repeated(command):
    told = command("inspect", SECRET + "!")
    assert told.code == exits.FAILED
    assert "neither hexadecimal nor base64" in told.err
    assert_absent(SECRET, told.out, told.err)


def test_a_message_cannot_steer_the_terminal(command):
    message = _message("\x1b[31mkey", {"enc:column": "\x1b]0;title\x07[bold]x[/bold]"})
    told = command("inspect", message.hex())
    assert told.code == exits.OK
    assert "\x1b" not in told.out
    assert "\\x1b[31mkey" in told.out
    assert "[bold]x[/bold]" in told.out


def test_a_row_of_the_database(on_database, engine, patients):
    fill(engine, patients, range(1, 6))
    for key in (("3",), ("id=3",)):
        told = on_database("inspect", "--json", "patient.ssn", *key)
        assert told.code == exits.OK
        assert told.json["context"] == {"enc:column": "patient.ssn", "enc:row:id": "3"}
        assert told.json["bytes"] == len(stored(engine, 3))


def test_a_row_by_several_columns_or_a_uuid(on_database, engine, encryption):
    metadata = MetaData()
    seat = Table(
        "seat", metadata, Column("hall", String(20), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("guest", EncryptedType(String)),
    )  # fmt: skip
    parcel = Table(
        "parcel", metadata, Column("id", Uuid, primary_key=True),
        Column("content", EncryptedType(String)),
    )  # fmt: skip
    metadata.create_all(engine)
    key = uuid.uuid4()
    with engine.begin() as connection:
        connection.execute(insert(seat), {"hall": "A", "number": 7, "guest": SECRET})
        connection.execute(insert(parcel), {"id": key, "content": SECRET})
    for arguments in (("A", "7"), ("number=7", "hall=A")):
        told = on_database("inspect", "--json", "seat.guest", *arguments)
        assert told.json["context"]["enc:row:hall"] == "A"
    told = on_database("inspect", "--json", "parcel.content", str(key))
    assert told.json["context"]["enc:row:id"] == str(key)


def test_a_plaintext_in_the_database_is_not_shown(on_database, engine, patients):
    fill(engine, patients, range(1, 3))
    overwrite(engine, 1, SECRET.encode())
    with engine.begin() as connection:
        connection.execute(text("UPDATE patient SET name = :name"), {"name": SECRET})
    for place in ("patient.ssn", "patient.name", "patient.id"):
        told = on_database("inspect", place, "1")
        assert told.code == exits.FAULTS
        assert_absent(SECRET, told.out, told.err)


@on_sqlite
@pytest.mark.parametrize(
    "arguments, message",
    [
        (("nowhere.ssn", "1"), "no such table"),
        (("\udcff.ssn", "1"), "no such table"),
        (("patient.nickname", "1"), "no column nickname"),
        (("patient.ssn", "99"), "no such row"),
        (("patient.ssn", "9" * 20), "no such row"),
        (("patient.notes", "10"), "the value is NULL"),
        (("patient.ssn", "1", "2"), "the primary key has the columns id"),
        (("patient.ssn", "one"), "the key is no integer"),
    ],
)
def test_a_place_that_holds_no_value_is_named(on_database, engine, patients, arguments, message):
    fill(engine, patients, range(10, 11))
    told = on_database("inspect", *arguments)
    assert told.code == exits.FAILED
    assert message in told.err
