"""The example application's pages: both sides of the table, and every wrong form in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from examples.clinic.app import create_app
from examples.clinic.settings import Settings
from tests.servers.backends import Backend
from tests.waiting import until as wait_until

ADA = "123-45-6789"


@pytest.fixture
def client(sqlite: Backend, tmp_path: Any) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(sqlite.url, folder=tmp_path, visits=600))) as client:
        yield client


def _sent(client: TestClient, path: str, **form: object) -> str:
    return client.post(path, data={name: str(value) for name, value in form.items()}).text


def test_the_application_sees_values_and_the_database_holds_none(client: TestClient) -> None:
    page = client.get("/").text
    seen, held = page.split('id="held-table"')
    assert ADA in seen
    assert "1815-12-10" in seen
    assert ADA not in held
    assert held.count("<code") == 6 * 2 + 5


def test_a_number_is_found_by_blind_index_in_its_clinic_alone(client: TestClient) -> None:
    assert "Ada Lovelace" in client.get("/", params={"clinic": 1, "ssn": ADA}).text
    assert "Nobody." in client.get("/", params={"clinic": 2, "ssn": ADA}).text


def test_what_an_intruder_does_is_reported_by_row_and_undone_from_the_backup(
    client: TestClient,
) -> None:
    assert _sent(client, "/patients/swap", first=1, second=2).count("belongs to another row") == 2
    assert _sent(client, "/patients/flip", first=4).count("was altered") == 1
    assert _sent(client, "/patients/copy", first=5, second=6).count("belongs to another row") == 3
    page = _sent(client, "/patients/undo")
    assert "4 rows restored" in page
    assert 'class="bad"' not in page


@pytest.mark.parametrize(
    "form, told",
    [
        ({"name": ""}, "Name:"),
        ({"name": "x" * 81}, "Name:"),
        ({"clinic": "9"}, "Clinic:"),
        ({"clinic": "' OR 1=1"}, "Clinic:"),
        ({"ssn": "123456789"}, "Number:"),
        ({"born": "yesterday"}, "Born:"),
    ],
)
def test_a_wrong_form_reports_the_error_at_its_field_and_keeps_what_was_typed(
    client: TestClient, form: dict[str, str], told: str
) -> None:
    good = {"name": "Emmy Noether", "clinic": "1", "ssn": "222-33-4444", "born": "1882-03-23"}
    answer = client.post("/patients", data=good | form)
    assert answer.status_code == 422
    assert told in answer.text
    kept = (good | form)["name"]
    assert f'value="{kept}"' in answer.text
    assert client.get("/").text.count("Emmy Noether") == 0


def test_what_is_typed_is_shown_as_text(client: TestClient) -> None:
    page = _sent(client, "/patients", name="<b>x</b>", clinic=1, ssn="222-33-4444", born="")
    assert "<b>x" not in page
    assert "&lt;b&gt;x" in page


@pytest.mark.parametrize("path", ["/patients/flip", "/patients/swap", "/adoption/phone"])
def test_a_form_that_no_page_sends_changes_nothing(client: TestClient, path: str) -> None:
    answer = client.post(path, data={"first": "x", "row": "x"})
    assert answer.status_code == 422
    assert "Nothing was done" in answer.text
    assert "No such row" in _sent(client, path, first=99, second=99, row=99, phone="+1 555")


def test_a_page_that_does_not_exist_says_so(client: TestClient) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert "There is no such page" in answer.text


def test_without_keys_reads_go_on_for_a_while_and_nothing_is_written(client: TestClient) -> None:
    _sent(client, "/keys/away", away=True)
    form = {"name": "Emmy Noether", "clinic": 1, "ssn": "222-33-4444", "born": ""}

    def refused() -> bool:
        return "The keys are out of reach" in _sent(client, "/patients", **form)

    wait_until(refused)
    assert ADA in client.get("/").text
    wait_until(lambda: ADA not in client.get("/").text)
    page = client.get("/").text
    assert "The keys are out of reach" in page
    assert "Ada Lovelace" in page
    assert "out of reach" in _sent(client, "/keys/rotate")

    _sent(client, "/keys/away", away=False)
    assert ADA in client.get("/").text
    stored = _stored(client, "SELECT count(*) FROM patient WHERE ssn LIKE '%222-33%'")
    assert stored == 0


def test_a_key_that_is_missing_is_named(client: TestClient) -> None:
    _stored(client, "INSERT INTO clinic (id, name) VALUES (3, 'East Clinic') RETURNING id")
    form = {"name": "Emmy Noether", "clinic": 3, "ssn": "222-33-4444", "born": ""}
    page = _sent(client, "/patients", **form)
    assert "There is no such key" in page
    assert "clinic/3" in page


def test_a_rotation_moves_every_row_while_a_writer_goes_on(client: TestClient) -> None:
    assert "A new key version is in force" in _sent(client, "/keys/rotate")
    wait_until(lambda: "Finished" in client.get("/keys/rotation").text)
    panel = client.get("/keys/rotation").text
    assert re.search(r"6\d\d of 6\d\d rows", panel)
    assert 'role="alert"' not in panel


def test_a_clinic_is_shredded_only_by_its_keys_id_and_stays_so(client: TestClient) -> None:
    assert "Nothing was destroyed" in _sent(client, "/keys/shred", clinic=2, confirm="clinic/1")
    assert client.get("/").text.count("111-22-3333") == 1
    assert "is destroyed" in _sent(client, "/keys/shred", clinic=2, confirm="clinic/2")
    wait_until(lambda: client.get("/").text.count("Shredded") == 3)
    assert ADA in client.get("/").text


def test_a_plaintext_column_is_adopted_given_back_and_adopted_for_good(client: TestClient) -> None:
    def seen() -> int:
        return client.get("/adoption").text.partition('id="columns-table"')[0].count("+1 555 01")

    for step in ("Begin", "Seal what is there"):
        assert f"Done: {step}." in _sent(client, "/adoption/step")
        assert seen() == 4
    assert "NULL: pending" in _sent(client, "/adoption/old")
    assert "+1 555 7777" in _sent(client, "/adoption/phone", row=2, phone="+1 555 7777")
    assert "telephone number" in _sent(client, "/adoption/phone", row=2, phone="abc")
    for step in ("Read what is sealed", "Close the plaintext"):
        assert f"Done: {step}." in _sent(client, "/adoption/step")
    assert "+1 555" not in client.get("/adoption").text.partition('id="columns-table"')[2]
    assert "The database refuses it" in _sent(client, "/adoption/old")
    assert "The plaintext is back" in _sent(client, "/adoption/back")
    assert "+1 555 7777" in client.get("/adoption").text.partition('id="columns-table"')[2]
    for _ in range(5):
        assert "Done: " in _sent(client, "/adoption/step")
    page = client.get("/adoption").text
    assert "Where plaintext remains" in page
    assert "+1 555 7777" in page.partition('id="columns-table"')[0]


def _stored(client: TestClient, statement: str) -> Any:
    engine = client.app.state.demonstration.database.outsider  # type: ignore[attr-defined]
    with engine.begin() as connection:
        return connection.scalar(text(statement))
