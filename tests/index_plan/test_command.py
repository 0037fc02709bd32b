"""``encfields index plan``: figures that are right, refusals, and no value in what is said."""

from __future__ import annotations

import pytest

from encfields.cli import exits
from encfields.cli.main import main
from encfields.databases import MYSQL_NAMES
from encfields.testing import assert_absent
from tests.index_plan.people import COUNT, ROWS, SURNAMES
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


def secrets() -> list[str]:
    return [str(row[name]) for row in ROWS for name in ("ssn", "surname")]


def assert_no_value(told) -> None:
    for secret in dict.fromkeys(secrets()):
        assert_absent(secret, told.out, told.err)


def test_values_that_all_differ(plan, people, local_key):
    told = plan("--column", "ssn", "--keyring", local_key)

    assert told.code == exits.OK
    assert "480 values, 480 different" in told.out
    assert "recommended: BlindIndex();" in told.out
    assert_no_value(told)


@on_each_database
def test_the_figures_are_those_of_the_database(plan, people, local_key):
    told = plan("--json", "--column", "surname", "--keyring", local_key)

    one = told.only()
    assert (one["rows"], one["distinct"], one["nulls"]) == (COUNT, 43, 0)
    assert (one["encrypted"], one["plaintext"]) == (COUNT, 0)
    assert one["most_common_share"] == pytest.approx(200 / 480)
    assert one["insider_share"] == pytest.approx((200 + 120 + 40 + 3) / 480)
    assert one["unique_counts"] == 3
    assert one["repeated_share"] == 1
    full = one["lengths"][-1]
    assert (full["bits"], full["values_per_hash"]) == (128, pytest.approx(1))
    # Those three lie far apart.
    assert full["outsider_share"] == pytest.approx(360 / 480, abs=0.03)
    assert_no_value(told)


def test_uneven_values_are_refused(plan, people, local_key):
    told = plan("--column", "surname", "--keyring", local_key)

    assert told.code == exits.FAULTS
    assert "people.surname, transform exact: refused:" in told.out
    assert_no_value(told)


@pytest.mark.parametrize("column", ["smoker", "plain_smoker", "blood"])
def test_few_values_are_refused(plan, people, local_key, column):
    told = plan("--json", "--column", column, "--keyring", local_key)

    assert told.code == exits.FAULTS
    assert told.json["verdict"] == "refused"
    assert told.only()["refused"] is True
    assert told.only()["reason"] in ("boolean", "enum", "few-values")
    assert told.only()["recommended_bits"] is None


def test_a_refusal_is_overridden_in_writing(plan, people):
    why = "whoever reads the table may know who smokes"

    told = plan("--column", "plain_smoker", "--accept-leakage", why)
    document = plan("--json", "--column", "plain_smoker", "--accept-leakage", why)

    assert told.code == document.code == exits.OK
    assert "refused, but accepted" in told.out
    assert why in " ".join(told.out.split())
    assert document.json["verdict"] == "accepted"
    assert (document.only()["verdict"], document.only()["accepted"]) == ("refused", why)


def test_an_empty_reason_is_none(plan, people):
    told = plan("--column", "plain_smoker", "--accept-leakage", "  ")

    assert told.code == exits.FAILED
    assert "--accept-leakage says in words why" in told.err


def test_plaintext_columns_are_planned_without_a_keyring(plan, people):
    told = plan("--json", "--column", "plain_surname")

    assert told.only()["plaintext"] == COUNT
    assert told.only()["most_common_share"] == pytest.approx(max(SURNAMES.values()) / COUNT)
    assert_no_value(told)


def test_encrypted_columns_need_a_keyring(plan, people):
    told = plan("--column", "ssn")

    assert told.code == exits.FAILED
    assert "no keyring is given" in told.err


def test_several_transforms_of_several_columns(plan, people, local_key):
    told = plan(
        "--json", "--column", "ssn", "--column", "plain_surname", "--transform", "first_letter",
        "--transform", "digits.last4", "--keyring", local_key,
    )  # fmt: skip

    seen = {(one["column"], one["transform"]): one["distinct"] for one in told.json["indexes"]}
    assert seen == {
        ("ssn", "first_letter"): 1,  # none has a letter
        ("ssn", "digits.last4"): 480,
        ("plain_surname", "first_letter"): 4,
        ("plain_surname", "digits.last4"): 41,
    }


@on_each_database
def test_the_year_of_a_date(plan, people):
    told = plan("--column", "born", "--transform", "year")

    assert "480 values, 40 different" in told.out
    assert "recommended: BlindIndex(year);" in told.out
    assert told.code == exits.OK


def test_a_length_that_is_asked_about_is_judged(plan, people, local_key):
    told = plan("--json", "--column", "ssn", "--bits", "13", "--keyring", local_key)

    one = told.only()
    assert (one["bits"], one["recommended_bits"], one["verdict"]) == (13, 128, "good")
    (row,) = [row for row in one["lengths"] if row["bits"] == 13]
    assert row["extra_rows"] == pytest.approx(479 / 2**13)
    text = plan("--column", "ssn", "--bits", "6", "--keyring", local_key).out
    assert "BlindIndex(bits=6); counting names" in text
    assert "left out after decryption" in " ".join(text.split())


@on_each_database
def test_a_sample_says_what_it_is_worth(plan, people):
    told = plan("--column", "plain_surname", "--sample", "200")

    said = " ".join(told.out.split())
    assert "about 480 values" in said
    assert "of 480 rows were looked at" in said
    assert "Totals are extrapolated" in said
    document = plan("--json", "--column", "plain_surname", "--sample", "200").only()
    assert document["rows"] == COUNT
    assert document["counted_rows"] < COUNT
    assert document["insider_share"] is None
    assert "Totals are extrapolated" in document["sample"]["caveat"]


def test_too_few_rows_are_not_judged(plan, engine, people):
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM people WHERE id > 50")

    told = plan("--column", "plain_surname")

    assert told.code == exits.OK
    assert "not judged" in told.out


@on_each_database
def test_an_empty_table(plan, engine, people):
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM people")

    told = plan("--column", "ssn")

    assert told.code == exits.OK
    assert "0 values" in told.out
    assert "not judged" in told.out
    # MariaDB's boolean is a small integer, of which only the values could tell.
    refused = exits.OK if engine.dialect.name in MYSQL_NAMES else exits.FAULTS
    assert plan("--column", "plain_smoker").code == refused


def test_a_transform_that_no_value_is_for(plan, people):
    told = plan("--column", "plain_surname", "--transform", "year")

    assert told.code == exits.FAILED
    assert "cannot be applied to any of the column's values" in told.err
    assert_no_value(told)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "options, said",
    [
        (["--transform", "rot13"], "there is no transform 'rot13'"),
        (["--bits", "3"], "4 to 256 bits"),
        (["--sample", "0"], "1 or more"),
    ],
    ids=["transform", "bits", "sample"],
)
def test_options_that_cannot_be_had(plan, people, options, said):
    told = plan("--column", "plain_surname", *options)

    assert told.code == exits.FAILED
    assert said in told.err


def test_its_help_is_there(capsys):
    assert main(["index", "plan", "--help"]) == exits.OK
    assert "--accept-leakage WHY" in capsys.readouterr().out


@on_each_database
def test_a_value_that_the_driver_cannot_read_is_not_shown(request, tmp_path, monkeypatch, capsys):
    """SQLite lets a text into a column of dates, and SQLAlchemy's error repeats it."""
    backend = request.getfixturevalue("sqlite")
    with backend.create_engine().begin() as connection:
        connection.exec_driver_sql("CREATE TABLE birth (id INTEGER PRIMARY KEY, born DATE)")
        connection.exec_driver_sql("INSERT INTO birth VALUES (1, 'canary of 1984')")
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", backend.url_text)
    monkeypatch.chdir(tmp_path)

    code = main(["index", "plan", "--table", "birth", "--column", "born"])

    captured = capsys.readouterr()
    assert code == exits.FAILED
    assert_absent("canary of 1984", captured.out, captured.err)


@on_each_database
def test_an_unreadable_value_is_told_and_not_counted(plan, engine, people, local_key):
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE people SET ssn = (SELECT o.s FROM (SELECT ssn AS s FROM people "
            "WHERE id = 1) AS o) WHERE id = 2"
        )

    told = plan("--column", "ssn", "--keyring", local_key)

    assert "479 values" in told.out
    assert "not counted: 1 unreadable" in told.out
