"""A column that was encrypted by hand is read as it is, and written in our format."""

from __future__ import annotations

import json
import os
import pickle
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from encfields import LegacyReader, attach, keyrings
from encfields.errors import (
    ConfigurationError,
    ContextMismatchError,
    EncFieldsError,
    KeyAccessError,
    KeyUnavailableError,
    MalformedMessageError,
    TamperedError,
    ValueDecodingError,
)
from encfields.message import read_header
from encfields.testing import assert_absent, local_store
from tests.interop.raw import stored
from tests.legacy.by_hand import (
    COMMITTED,
    SIGNED,
    SUITES,
    VERSION_1,
    Patient,
    encrypt,
    kms_keyring,
)
from tests.message import stock
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


CONTEXT = {"table": "patient", "patient": "42", "purpose": "billing"}


def attach_again(engine, **options):
    """Attach with the same keys however often."""
    return attach(engine, local_store(b"w" * 32), create=True, **options)


def demanded(row):
    """The part of it that tells the row."""
    return {"table": "patient", "patient": row["id"]}


def put(engine, message, *, key=42, column="ssn"):
    """Insert a row as the application used to."""
    with engine.begin() as connection:
        query = text(f"INSERT INTO patient (id, {column}) VALUES (:id, :message)")
        connection.execute(query, {"id": key, "message": message})


def read(engine, key=42):
    with Session(engine) as session:
        return session.scalars(select(Patient.ssn).where(Patient.id == key)).one()


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_length", [0, 128, 4096], ids=["unframed", "frames", "one-frame"])
@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_format_and_framing_is_read(engine, raw_keyring, suite, frame_length):
    value = "123-45-6789 č " * 30
    put(engine, encrypt(value.encode(), raw_keyring(), CONTEXT, SUITES[suite], frame_length))
    reader = LegacyReader(raw_keyring, context=demanded, allow_uncommitted=True)
    attach_again(engine, legacy={"patient.ssn": reader})
    assert read(engine) == value
    assert reader.opened == 1


@pytest.mark.parametrize("suite", SUITES)
def test_a_kms_keyrings_values_are_read(engine, kms, suite):
    arn = kms.create_key()
    put(engine, encrypt(b"value", kms_keyring(kms.url, arn), CONTEXT, SUITES[suite]))
    for keyring in (keyrings.aws_kms(arn), lambda: kms_keyring(kms.url, arn)):
        reader = LegacyReader(keyring, context=demanded, allow_uncommitted=True)
        encryption = attach_again(engine, legacy={"patient.ssn": reader})
        assert read(engine) == "value"
        encryption.detach()


def test_a_hierarchical_keyrings_values_under_a_context_of_their_own_are_read(engine):
    """They look like ours but for the context, which names no column of ours."""
    from encfields.branch_key import BranchKey

    key = BranchKey("theirs", "11111111-1111-4111-8111-111111111111", os.urandom(32))
    keyring = stock.hierarchical_keyring(key)
    put(engine, encrypt(b"value", keyring, CONTEXT, COMMITTED))
    attach_again(engine, legacy={"patient.ssn": LegacyReader(lambda: keyring, context=demanded)})
    assert read(engine) == "value"


def test_other_types_are_read_from_their_canonical_text_or_by_a_function(engine, raw_keyring):
    put(engine, encrypt(json.dumps({"a": 1}).encode(), raw_keyring(), CONTEXT), column="notes")
    put(engine, encrypt(b"a=2", raw_keyring(), {**CONTEXT, "patient": "7"}), key=7, column="notes")
    plain = LegacyReader(raw_keyring, context=demanded)
    encryption = attach_again(engine, legacy={"patient.notes": plain})
    with Session(engine) as session:
        assert session.get_one(Patient, 42).notes == {"a": 1}
    encryption.detach()
    parse = LegacyReader(
        raw_keyring, context=demanded, decode=lambda data: dict([data.decode().split("=")])
    )
    attach_again(engine, legacy={"patient.notes": parse})
    with Session(engine) as session:
        assert session.get_one(Patient, 7).notes == {"a": "2"}


@on_each_database
def test_ours_and_theirs_live_side_by_side_and_a_written_value_is_ours(engine, raw_keyring):
    put(engine, encrypt(b"old", raw_keyring(), CONTEXT))
    reader = LegacyReader(raw_keyring, context=demanded)
    attach_again(engine, legacy={"patient.ssn": reader})
    with Session(engine) as session:
        session.add(Patient(id=1, ssn="ours"))
        session.commit()
        assert session.scalars(select(Patient.ssn).order_by(Patient.id)).all() == ["ours", "old"]
        assert reader.opened == 1
        session.get_one(Patient, 42).ssn = "new"
        session.commit()
    assert read_header(stored(engine, "patient.ssn", 42)).key_id == "default"
    assert read(engine) == "new"
    assert reader.opened == 2  # the second for get_one() before the change


def test_reading_changes_nothing(engine, raw_keyring):
    message = encrypt(b"old", raw_keyring(), CONTEXT)
    put(engine, message)
    attach_again(engine, legacy={"patient.ssn": LegacyReader(raw_keyring, context=demanded)})
    with Session(engine) as session:
        session.get_one(Patient, 42)
        session.commit()
    assert stored(engine, "patient.ssn", 42) == message


# -- it is asked for -------------------------------------------------------------------------------


def test_without_a_reader_or_with_another_columns_it_is_refused(engine, raw_keyring):
    put(engine, encrypt(b"value", raw_keyring(), CONTEXT))
    reader = LegacyReader(raw_keyring, context=demanded)
    for options in ({}, {"legacy": {"patient.notes": reader}}):
        encryption = attach_again(engine, **options)
        with pytest.raises(MalformedMessageError) as caught:
            read(engine)
        assert (caught.value.table, caught.value.column) == ("patient", "ssn")
        assert "legacy={'patient.ssn': LegacyReader(" in str(caught.value)
        encryption.detach()
    assert reader.opened == 0


def test_what_is_ours_is_never_given_to_the_legacy_reader(engine, raw_keyring):
    """A value of ours that was moved or altered stays refused, whatever the reader accepts."""
    reader = LegacyReader(raw_keyring, context={})
    attach_again(engine, legacy={"patient.ssn": reader})
    with Session(engine) as session:
        session.add_all([Patient(id=1, ssn="one"), Patient(id=2, ssn="two")])
        session.commit()
    message = stored(engine, "patient.ssn", 2)
    with engine.begin() as connection:
        query = text("UPDATE patient SET ssn = :m WHERE id = 1")
        connection.execute(query, {"m": message})
        query = text("UPDATE patient SET ssn = :m WHERE id = 2")
        connection.execute(query, {"m": message[:-1] + bytes([message[-1] ^ 1])})
    with pytest.raises(ContextMismatchError):
        read(engine, 1)
    with pytest.raises(TamperedError):
        read(engine, 2)
    assert reader.opened == 0


@pytest.mark.parametrize("stored_bytes", [b"123-45-6789", b"", b"\x02\x04", b"AgR4AAAA"])
def test_plaintext_and_garbage_stay_refused(engine, raw_keyring, stored_bytes):
    put(engine, stored_bytes)
    reader = LegacyReader(raw_keyring, context={})
    attach_again(engine, legacy={"patient.ssn": reader})
    with pytest.raises(MalformedMessageError):
        read(engine)


def test_uncommitted_messages_are_asked_for_by_name(engine, raw_keyring):
    put(engine, encrypt(b"value", raw_keyring(), CONTEXT, VERSION_1))
    reader = LegacyReader(raw_keyring, context=demanded)
    attach_again(engine, legacy={"patient.ssn": reader})
    with pytest.raises(MalformedMessageError, match="allow_uncommitted") as caught:
        read(engine)
    assert caught.value.reason == "uncommitted"


@pytest.mark.parametrize("keyring", [None, b"k" * 32, "arn:aws:kms:..."])
def test_what_is_no_keyring_is_refused(keyring):
    with pytest.raises(ConfigurationError):
        LegacyReader(keyring, context={})


# -- the context is demanded -----------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_a_value_moved_to_another_row_is_refused(engine, raw_keyring, suite):
    put(engine, encrypt(b"value", raw_keyring(), CONTEXT, SUITES[suite]), key=43)
    reader = LegacyReader(raw_keyring, context=demanded, allow_uncommitted=True)
    attach_again(engine, legacy={"patient.ssn": reader})
    with pytest.raises(ContextMismatchError) as caught:
        read(engine, 43)
    assert caught.value.expected == {"table": "patient", "patient": "43"}
    assert caught.value.row == {"id": "43"}


@pytest.mark.parametrize("suite", SUITES)
def test_a_value_that_lacks_a_demanded_pair_is_refused(engine, raw_keyring, suite):
    put(engine, encrypt(b"value", raw_keyring(), {"table": "patient"}, SUITES[suite]))
    reader = LegacyReader(raw_keyring, context=demanded, allow_uncommitted=True)
    attach_again(engine, legacy={"patient.ssn": reader})
    with pytest.raises((KeyAccessError, TamperedError, ContextMismatchError)):
        read(engine)


def test_what_is_not_demanded_binds_nothing(engine, raw_keyring):
    put(engine, encrypt(b"value", raw_keyring(), CONTEXT), key=43)
    attach_again(
        engine,
        legacy={"patient.ssn": LegacyReader(raw_keyring, context={"table": "patient"})},
    )
    assert read(engine, 43) == "value"


modest = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda word: not word.startswith("aws-crypto-")
)


@modest
@given(
    pairs=st.dictionaries(words, words, max_size=4),
    asked=st.dictionaries(words, words, max_size=2),
    suite=st.sampled_from(sorted(SUITES)),
)
def test_it_opens_exactly_if_all_demanded_pairs_are_there(raw_keyring, pairs, asked, suite):
    message = encrypt(b"value", raw_keyring(), pairs, SUITES[suite])
    for wanted in (asked, dict(list(pairs.items())[:1])):
        reader = LegacyReader(raw_keyring, context=wanted, allow_uncommitted=True)
        if wanted.items() <= pairs.items():
            assert reader.open(message, {}) == b"value"
        else:
            with pytest.raises(EncFieldsError):
                reader.open(message, {})


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", ["signed", "version-1"])
def test_every_altered_and_cut_message_is_our_error(raw_keyring, suite):
    message = encrypt(b"value", raw_keyring(), CONTEXT, SUITES[suite])
    reader = LegacyReader(raw_keyring, context={"table": "patient"}, allow_uncommitted=True)
    for place in range(len(message)):
        altered = bytearray(message)
        altered[place] ^= 1
        with pytest.raises(EncFieldsError):
            reader.open(bytes(altered), {})
    for end in range(0, len(message), 7):
        with pytest.raises(EncFieldsError):
            reader.open(message[:end], {})
    assert reader.opened == 0


@pytest.mark.parametrize("suite", SUITES)
def test_bytes_behind_the_message_are_refused(raw_keyring, suite):
    """The stock client alone would not see them."""
    message = encrypt(b"value", raw_keyring(), CONTEXT, SUITES[suite])
    reader = LegacyReader(raw_keyring, context={}, allow_uncommitted=True)
    with pytest.raises(MalformedMessageError) as caught:
        reader.open(message + b"\0", {})
    assert (caught.value.reason, caught.value.offset) == ("trailing", len(message))


def test_another_wrapping_key_is_told_from_an_outage(engine, kms, kms_proxy):
    arn, other = kms.create_key(), kms.create_key()
    message = encrypt(b"value", kms_keyring(kms.url, arn), CONTEXT, SIGNED)
    wrong = LegacyReader(keyrings.aws_kms(other), context={})
    with pytest.raises(KeyAccessError):
        wrong.open(message, {})
    right = LegacyReader(keyrings.aws_kms(arn, max_attempts=1), context={})
    for failure, reason in [
        ("refuse", "unreachable"),
        ("throttle", "throttled"),
        ("deny", "denied"),
        ("disabled", "disabled"),
        ("error", "error"),
    ]:
        kms_proxy.fail(failure)
        with pytest.raises(KeyUnavailableError) as caught:
            right.open(message, {})
        assert caught.value.reason == reason
        kms_proxy.heal()
        assert right.open(message, {}) == b"value"


def test_a_value_that_the_type_cannot_read_is_said_so(engine, raw_keyring):
    put(engine, encrypt(b"\xff secret plaintext", raw_keyring(), CONTEXT))

    def fail(data):
        raise ValueError(data)

    for decode in (None, fail):
        reader = LegacyReader(raw_keyring, context=demanded, decode=decode)
        encryption = attach_again(engine, legacy={"patient.ssn": reader})
        with pytest.raises(ValueDecodingError) as caught:
            read(engine)
        assert caught.value.column == "ssn"
        assert_absent("secret plaintext", caught.value)
        encryption.detach()


def test_threads_have_a_keyring_of_their_own(raw_keyring):
    made: list[int] = []
    found: list[bytes] = []
    together = threading.Barrier(3)

    def build():
        made.append(threading.get_ident())
        return raw_keyring()

    reader = LegacyReader(build, context={})
    message = encrypt(b"value", raw_keyring(), CONTEXT)

    def work():
        found.extend(reader.open(message, {}) for _ in range(3))
        together.wait()  # an ended thread's number would be given to the next

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"value"] * 9
    assert len(made) == len(set(made)) == 3


def test_no_key_and_no_value_show(raw_keyring, caplog):
    key = os.urandom(32)
    reader = LegacyReader(lambda: stock.raw_aes_keyring(key), context={"a": "1"})
    message = encrypt(b"secret plaintext", stock.raw_aes_keyring(key), {"a": "2"})
    with caplog.at_level("DEBUG"), pytest.raises(ContextMismatchError) as caught:
        reader.open(message, {})
    assert_absent(key, repr(reader), reader, caught.value, *caplog.records, "nothing")
    assert_absent("secret plaintext", caught.value, *caplog.records, "nothing")
    with pytest.raises(TypeError):
        pickle.dumps(reader)
