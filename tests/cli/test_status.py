"""``encfields status``: counts without a key, and an exit status that a script can act on."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from encfields.cli import exits
from encfields.cli.commands.status import MAX_ALIKE, ValueKind, share_of, shown_kinds
from encfields.testing import assert_absent
from tests.census.clinic import SECRET, fill, overwrite, stored
from tests.cli.conftest import on_sqlite
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


COLUMNS = ("--table", "patient", "--column", "ssn", "--column", "notes")


@on_each_database
def test_all_under_the_active_version(on_database, engine, encryption, patients):
    fill(engine, patients, range(1, 21))
    version = encryption.keys.list()[0].version

    told = on_database("status", *COLUMNS)

    assert told.code == exits.OK
    assert "patient: 20 rows" in told.out
    assert "current" in told.out
    assert version in told.out
    assert "Every value is under the active version of its key." in told.out
    assert told.err == ""


def test_work_is_left_after_a_rotation(on_database, engine, encryption, patients):
    fill(engine, patients, range(1, 21))
    new = encryption.keys.rotate("default").version
    fill(engine, patients, range(21, 26))

    told = on_database("status", *COLUMNS)
    assert told.code == exits.WORK_LEFT
    assert "older version" in told.out

    document = on_database("status", "--json", *COLUMNS).json
    ssn, notes = document["tables"][0]["columns"]
    assert document["verdict"] == "work-left"
    assert document["active"] == {"default": new}
    assert (ssn["current"], ssn["rows"], notes["nulls"]) == (5, 25, 2)


@on_each_database
@pytest.mark.parametrize("fault", ["misplaced", "damaged", "plaintext"])
def test_faults_are_named_with_their_rows(on_database, engine, patients, fault):
    fill(engine, patients, range(1, 6))
    value = {
        "misplaced": stored(engine, 2),
        "damaged": stored(engine, 1)[:-3],
        "plaintext": SECRET.encode(),
    }[fault]
    overwrite(engine, 1, value)

    told = on_database("status", *COLUMNS)

    assert told.code == exits.FAULTS
    assert f"ssn, row id=1: {fault}" in told.out
    assert ("sealed for enc:column=patient.ssn, enc:row:id=2" in told.out) is (fault == "misplaced")
    assert_absent(SECRET, told.out, told.err)
    document = on_database("status", "--json", *COLUMNS).json
    assert document["verdict"] == "faults"
    assert_absent(SECRET, str(document))


def test_a_former_key_and_another_format_are_work_left_and_another_key_is_a_fault(
    on_database, engine, encryption, patients
):
    fill(engine, patients, range(1, 6))
    encryption.keys.create("clinical")
    column = ("--table", "patient", "--column", "ssn", "--key", "clinical")
    told = on_database("status", *column, "--former-key", "default")
    assert told.code == exits.WORK_LEFT
    assert "former key" in told.out
    told = on_database("status", *column)
    assert told.code == exits.FAULTS
    assert "other key" in told.out
    overwrite(engine, 1, b"\x02\x05\x78" + stored(engine, 1)[3:])
    told = on_database("status", "--table", "patient", "--column", "ssn")
    assert told.code == exits.WORK_LEFT
    assert "other format: suite" in told.out


def test_a_sample_says_what_was_drawn(on_database, engine, patients):
    fill(engine, patients, range(1, 1_001))
    told = on_database("status", *COLUMNS, "--sample", "200")
    assert told.code == exits.OK
    assert "in all, about" in told.out
    assert "of 1,000 rows were looked at" in told.out
    document = on_database("status", "--json", *COLUMNS, "--sample", "200").json
    assert document["tables"][0]["sample"]["total_rows"] == 1_000
    assert document["tables"][0]["columns"][0]["versions"][0]["estimated"] == 1_000


def test_without_a_key_table_the_active_version_is_not_known(on_database, engine, patients):
    fill(engine, patients, range(1, 6))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE encfields_keys"))
    told = on_database("status", *COLUMNS)
    assert told.code == exits.WORK_LEFT
    assert "no key table" in told.out
    assert "version unknown" in told.out
    assert on_database("status", "--json", *COLUMNS).json["active"] is None


def test_an_empty_table_has_nothing_left(on_database, patients):
    assert on_database("status", *COLUMNS).code == exits.OK


def test_several_tables_and_the_worst_of_them_counts(on_database, engine, patients):
    fill(engine, patients, range(1, 4))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE other (id INTEGER PRIMARY KEY, c VARCHAR(20))"))
        connection.execute(text("INSERT INTO other VALUES (1, 'x')"))
    told = on_database("status", "--json", *COLUMNS, "--table", "other", "--column", "c")
    assert told.code == exits.FAULTS
    assert [table["table"] for table in told.json["tables"]] == ["patient", "other"]


def test_a_missing_table_is_a_message_and_what_to_do(on_database, patients):
    told = on_database("status", "--table", "nowhere", "--column", "ssn")
    assert told.code == exits.FAILED
    assert told.err == (
        "encfields: nowhere: the database has no such table\n"
        "encfields: what to do: run the migration that makes it, or name its schema: --schema NAME "
        "after --table, schema.table elsewhere\n"
    )
    assert told.out == ""
    elsewhere = on_database("status", "--table", "nowhere", "--column", "ssn", "--schema", "main")
    assert elsewhere.err.startswith("encfields: main.nowhere: the database has no such table\n")


@on_sqlite
def test_with_json_an_error_is_a_document_too(on_database, patients):
    told = on_database("status", "--json", "--table", "nowhere", "--column", "ssn")
    assert told.code == exits.FAILED
    assert told.json["error"]["type"] == "DeclarationError"
    assert (told.json["error"]["table"], told.json["error"]["reason"]) == ("nowhere", "no-table")
    assert "run the migration that makes it" in told.json["error"]["advice"]


@on_sqlite
@pytest.mark.parametrize("rows", ["0", "-5"])
def test_a_sample_of_no_rows_is_refused(on_database, rows):
    told = on_database("status", *COLUMNS, "--sample", rows)
    assert told.code == exits.FAILED
    assert "1 or more" in told.err


def test_what_is_nearly_all_or_nearly_nothing_is_not_told_as_all_or_nothing():
    assert share_of(0, 10) == "0.0%"
    assert share_of(1, 20_000) == "<0.1%"
    assert share_of(19_999, 20_000) == ">99.9%"
    assert share_of(20_000, 20_000) == "100.0%"


def test_ten_thousand_key_versions_do_not_hide_what_is_wrong_with_one():
    lines = [ValueKind("current", f"tenant/{n}", str(n), n) for n in range(10_000)]
    lines += [ValueKind("plaintext", "", "", 1), ValueKind("misplaced", "tenant/7", "7", 2)]
    shown = list(shown_kinds(lines))
    assert len(shown) == MAX_ALIKE + 2
    assert shown[0] == ValueKind("current", "tenant/9999", "9999", 9_999)
    assert shown[MAX_ALIKE - 1].key_id == "and 9,991 more"
    assert {ValueKind("plaintext", "", "", 1), ValueKind("misplaced", "tenant/7", "7", 2)} <= set(
        shown
    )
    assert sum(kind.values for kind in shown) == sum(kind.values for kind in lines)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_it_closes_with_one_sentence_on_all_tables(on_database, engine, patients):
    fill(engine, patients, range(1, 21))
    overwrite(engine, 1, SECRET.encode())
    told = on_database("status", *COLUMNS).out
    assert "38 values in 2 columns of 1 table: 37 current, 1 plaintext." in told
    assert told.splitlines()[-1].startswith("There are values that do not open where they are")
