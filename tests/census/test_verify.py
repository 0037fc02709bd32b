"""A verification opens every value and lists those that do not open, never what they hold."""

from __future__ import annotations

import json
import secrets
import uuid

import pytest
from sqlalchemy import Column, MetaData, String, Table, Uuid, insert, text

from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.verify import BATCH_BYTES, FIRST_BATCH_ROWS, _next_batch_rows, verify
from encfields.errors import KeyUnavailableError
from encfields.testing import assert_absent, local_store
from tests.census.clinic import SECRET, fill, overwrite, patient_table, spec_of, stored
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def test_values_that_open_are_counted_and_nulls_apart(engine, encryption, patients):
    fill(engine, patients, range(1, 251))
    told = verify(engine, encryption, spec_of(patients))
    assert told.ok
    assert (told.rows, told.opened, told.nulls, told.failures) == (250, 475, 25, [])


def test_values_under_every_version_open(engine, encryption, patients):
    fill(engine, patients, range(1, 11))
    encryption.keys.rotate("default")
    fill(engine, patients, range(11, 21))
    assert verify(engine, encryption, spec_of(patients)).ok


def test_a_swapped_value_is_listed_with_the_row_it_belongs_to(engine, encryption, patients):
    fill(engine, patients, range(1, 6))
    overwrite(engine, 1, stored(engine, 2))

    told = verify(engine, encryption, spec_of(patients))

    (failure,) = told.failures
    assert (failure.column, dict(failure.row)) == ("ssn", {"id": "1"})
    assert (failure.error, failure.reason) == ("ContextMismatchError", "context")
    assert dict(failure.belongs_to or {}) == {"enc:column": "patient.ssn", "enc:row:id": "2"}
    assert told.opened == 5 * 2 - 1


def test_a_moved_value_that_opens_nowhere_is_tampered_with(engine, encryption, patients):
    fill(engine, patients, range(1, 6))
    forged = stored(engine, 2).replace(b"\x00\x01" + b"2", b"\x00\x01" + b"3", 1)
    assert forged != stored(engine, 2)
    overwrite(engine, 1, forged)
    (failure,) = verify(engine, encryption, spec_of(patients)).failures
    assert (failure.error, failure.reason) == ("TamperedError", "wrapped-key")
    assert failure.belongs_to is None


@pytest.mark.parametrize(
    "alter, error, reason",
    [
        (lambda m: m[:-1], "MalformedMessageError", "truncated"),
        (lambda m: m[:-1] + bytes([m[-1] ^ 1]), "TamperedError", "body-tag"),
        (lambda m: m[:4] + bytes([m[4] ^ 1]) + m[5:], "TamperedError", "commitment"),
        (lambda m: SECRET.encode(), "MalformedMessageError", "not-a-message"),
    ],
    ids=["cut", "body", "message id", "plaintext"],
)
def test_what_does_not_open_is_listed_with_its_reason(
    engine, encryption, patients, alter, error, reason
):
    fill(engine, patients, range(1, 6))
    overwrite(engine, 4, alter(stored(engine, 4)))
    told = verify(engine, encryption, spec_of(patients))
    (failure,) = told.failures
    assert (failure.error, failure.reason, dict(failure.row)) == (error, reason, {"id": "4"})
    assert told.failed == {("ssn", reason): 1}
    assert not told.ok
    assert_absent(SECRET, repr(told), json.dumps(told.to_json()))


def test_a_missing_key_version_is_a_failure_of_the_values_under_it(engine, encryption, patients):
    fill(engine, patients, range(1, 4))
    old = encryption.keys.list()[0].version
    encryption.keys.rotate("default")
    fill(engine, patients, range(4, 6))
    with engine.begin() as connection:
        statement = text("DELETE FROM encfields_keys WHERE version = :version")
        connection.execute(statement, {"version": old})
    encryption._cache.clear()
    told = verify(engine, encryption, spec_of(patients))
    assert {f.error for f in told.failures} == {"KeyNotFoundError"}
    assert told.failed == {("ssn", "no-version"): 3, ("notes", "no-version"): 3}


def test_another_wrapping_key_opens_nothing_and_says_so(backend, engine, encryption, patients):
    fill(engine, patients, range(1, 4))
    other = backend.create_engine()
    told = verify(other, attach(other, local_store()), spec_of(patients))
    assert {f.error for f in told.failures} == {"KeyAccessError"}


def test_an_outage_of_kms_is_raised_and_blames_no_value(backend, kms, kms_proxy):
    engine = backend.create_engine()
    store = SqlKeyStore(keyrings.aws_kms(kms.create_key(), max_attempts=1))
    encryption = attach(engine, store, create=True)
    table = patient_table()
    table.create(engine)
    fill(engine, table, range(1, 4))
    encryption._cache.clear()
    kms_proxy.fail("refuse")
    with pytest.raises(KeyUnavailableError) as caught:
        verify(engine, encryption, TableSpec.from_table(table))
    assert (caught.value.table, caught.value.column) == ("patient", "ssn")


def test_failures_are_listed_up_to_a_limit_and_all_counted(engine, encryption, patients):
    fill(engine, patients, range(1, 31))
    with engine.begin() as connection:
        connection.execute(text("UPDATE patient SET ssn = notes WHERE notes IS NOT NULL"))
    told = verify(engine, encryption, spec_of(patients), max_failures=5)
    assert len(told.failures) == 5
    assert told.failed == {("ssn", "context"): 27}


@on_each_database
def test_uuid_keys_open_on_every_database(engine, encryption):
    table = Table(
        "parcel", MetaData(), Column("id", Uuid, primary_key=True),
        Column("content", EncryptedType(String)),
    )  # fmt: skip
    table.create(engine)
    with engine.begin() as connection:
        rows = [{"id": uuid.uuid4(), "content": SECRET} for _ in range(5)]
        connection.execute(insert(table), rows)
    told = verify(engine, encryption, TableSpec.from_table(table))
    assert (told.opened, told.failures) == (5, [])


@on_each_database
def test_a_text_column_is_plaintext_and_never_shown(engine, encryption, patients):
    fill(engine, patients, range(1, 3))
    with engine.begin() as connection:
        connection.execute(text("UPDATE patient SET name = :name"), {"name": SECRET})
    told = verify(engine, encryption, TableSpec.of("patient", ["name"]))
    assert told.failed == {("name", "not-bytes"): 2}
    assert_absent(SECRET, repr(told), json.dumps(told.to_json()))


def test_long_values_are_read_a_few_at_a_time():
    assert _next_batch_rows(0, 0, 2_000) == 2_000
    assert _next_batch_rows(300 * FIRST_BATCH_ROWS, FIRST_BATCH_ROWS, 2_000) == 2_000
    assert _next_batch_rows(BATCH_BYTES, 4, 2_000) == 4
    assert _next_batch_rows(BATCH_BYTES * 3, 1, 2_000) == 1


def test_the_json_form(engine, encryption: Encryption, patients):
    fill(engine, patients, range(1, 4))
    overwrite(engine, 1, secrets.token_bytes(40).replace(b"\x02", b"\x09"))
    told = json.loads(json.dumps(verify(engine, encryption, spec_of(patients)).to_json()))
    assert told["failed"] == [{"column": "ssn", "reason": "not-a-message", "values": 1}]
    assert told["failures"][0]["row"] == {"id": "1"}
    assert told["sample"] is None
