"""``encfields index plan --models``: the indexes that an application declares are judged."""

from __future__ import annotations

import sys

import pytest

from encfields.cli import exits
from tests.servers.backends import Backend

MODELS = """
from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Date, Integer, MetaData, String, Table

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.index import digits, first_letter, last

metadata = MetaData()
people = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column(
        "ssn",
        EncryptedType(
            String(11), index=[BlindIndex(unique=True), BlindIndex(digits.then(last(4)), bits=6)]
        ),
    ),
    Column("surname", EncryptedType(String(40), index=BlindIndex(first_letter, bits=8))),
    Column("plain_surname", String(40)),
    Column("smoker", EncryptedType(Boolean, index=BlindIndex(accept_leakage="it is on the door"))),
    Column("notes", EncryptedType(String)),
    CompoundBlindIndex("who", ("surname", first_letter), "ssn", bits=12),
)
other = Table(
    "other",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("body", EncryptedType(String)),
    Column("extra", EncryptedType(JSON)),
)
"""


@pytest.fixture
def backend(sqlite: Backend) -> Backend:
    """What each database counts is tested beside this."""
    return sqlite


@pytest.fixture
def models(tmp_path, monkeypatch):
    """``--models`` for them."""
    (tmp_path / "clinic_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "clinic_models:metadata"
    sys.modules.pop("clinic_models", None)


def test_each_declared_index_is_judged_by_its_own_length(plan, people, models, local_key):
    told = plan("--json", "--models", models, "--keyring", local_key)

    seen = {
        (one["column"], one["transform"]): (one["bits"], one["verdict"], one["refused"])
        for one in told.json["indexes"]
    }
    assert seen == {
        ("ssn", "exact"): (128, "good", False),
        ("ssn", "digits.last4"): (6, "good", False),
        ("surname", "first_letter"): (8, "refused", True),
        ("smoker", "exact"): (128, "refused", False),
        ("surname+ssn", "first_letter+exact"): (12, "good", False),
    }
    assert told.code == exits.FAULTS


def test_an_index_over_several_columns_is_told_by_its_name(plan, people, models, local_key):
    told = plan("--models", models, "--keyring", local_key)

    said = " ".join(told.out.split())
    assert "people, compound index who (surname first_letter, ssn exact): 480 values" in said
    assert 'CompoundBlindIndex("who", ("surname", first_letter), "ssn", bits=12);' in said


def test_what_the_declaration_accepts_is_told_with_its_reason(plan, people, models, local_key):
    told = plan("--models", models, "--column", "smoker", "--keyring", local_key)

    assert told.code == exits.OK
    assert "refused, but accepted" in told.out
    assert "it is on the door" in " ".join(told.out.split())


def test_another_transform_can_be_asked_about(plan, people, models, local_key):
    told = plan(
        "--json", "--models", models, "--column", "ssn", "--transform", "last4", "--keyring",
        local_key,
    )  # fmt: skip

    assert (told.only()["transform"], told.only()["bits"]) == ("last4", None)
    assert told.only()["distinct"] == 480


def test_a_column_that_is_not_encrypted_yet_is_planned_ahead(plan, people, models):
    told = plan("--json", "--models", models, "--column", "plain_surname")

    assert told.only()["plaintext"] == 480


def test_a_transform_that_is_not_for_the_declared_type_is_refused(plan, people, models, local_key):
    told = plan(
        "--models", models, "--column", "smoker", "--transform", "last4", "--keyring", local_key
    )

    assert told.code == exits.FAILED
    assert "people.smoker: the transform 'last4' is not for the values of" in told.err


def test_models_without_an_index_say_what_to_give(command, engine, encryption, models, backend):
    encrypted = ("--models", models, "--table", "other")

    told = command("index", "plan", *encrypted)
    assert told.code == exits.FAILED
    assert "declare no blind index" in told.err


def test_a_transform_for_every_column_that_can_have_it(command, engine, encryption, models):
    sys.path_importer_cache.clear()
    import clinic_models  # type: ignore[import-not-found]

    clinic_models.other.create(engine)

    told = command("index", "plan", "--json", "--models", models, "--table", "other",
                   "--transform", "exact")  # fmt: skip

    assert [one["column"] for one in told.json["indexes"]] == ["body"]


def test_the_key_of_most_rows_is_judged(command, engine, encryption, tmp_path, local_key):
    (tmp_path / "encfields.toml").write_text(
        '[[tables]]\nname = "visit"\ncolumns = [{ name = "code", key = "clinic/{clinic}" }]\n'
    )
    from sqlalchemy import Column, Integer, MetaData, String, Table, insert

    from encfields import EncryptedType

    visit = Table(
        "visit", MetaData(), Column("id", Integer, primary_key=True, autoincrement=False),
        Column("clinic", String(10)), Column("code", EncryptedType(key="clinic/{clinic}")),
    )  # fmt: skip
    visit.create(engine)
    rows = [
        {"id": i, "clinic": "north" if i < 200 else "south", "code": f"c{i}"} for i in range(300)
    ]
    for clinic in ("north", "south"):
        encryption.keys.create(f"clinic/{clinic}")
    with engine.begin() as connection:
        connection.execute(insert(visit), rows)

    told = command("index", "plan", "--keyring", local_key)

    assert told.code == exits.OK
    assert "200 values, 200 different" in told.out
    said = " ".join(told.out.split())
    assert "values are under 2 keys" in said
    assert "the figures of clinic/north" in said
