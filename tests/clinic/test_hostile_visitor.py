"""The example application and whom it does not expect: every answer is a page in words."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from examples.clinic.app import create_app
from examples.clinic.guard import MAX_FORM_BYTES
from examples.clinic.messages import MAX_WAITING, Messages
from examples.clinic.settings import Settings
from tests.servers.backends import Backend
from tests.waiting import until as wait_until

ADA = "123-45-6789"
GOOD = {"name": "Emmy Noether", "clinic": "1", "ssn": "222-33-4444", "born": ""}


@pytest.fixture
def client(sqlite: Backend, tmp_path: Any) -> Iterator[TestClient]:
    app = create_app(Settings(sqlite.url, folder=tmp_path, visits=600))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """For what is refused and leaves nothing behind."""
    folder = tmp_path_factory.mktemp("clinic")
    settings = Settings(make_url(f"sqlite:///{folder}/clinic.db"), folder=folder, visits=10)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client
        seen, held = client.get("/").text.split('id="held-table"')
        assert ADA in seen
        assert held.count("<code") == 6 * 2 + 5


def demonstration(client: TestClient) -> Any:
    return client.app.state.demonstration  # type: ignore[attr-defined]


def test_what_one_visitor_did_is_not_told_to_another(client: TestClient) -> None:
    sent = client.post("/patients/flip", data={"first": "4"}, follow_redirects=False)
    address = sent.headers["location"]
    for page in ("/", "/keys", "/meter", "/keys/rotation"):  # another visitor, and what polls
        assert "The intruder" not in client.get(page).text
    assert "The intruder changed one bit of row 4" in client.get(address).text
    assert "The intruder" not in client.get(address).text  # loaded anew, or gone back to


def test_messages_that_nobody_asks_for_are_forgotten() -> None:
    messages = Messages()
    names = [messages.keep(str(number)) for number in range(MAX_WAITING + 1)]
    assert messages.take(names[0]) is None
    assert messages.take(names[-1]) == str(MAX_WAITING)
    assert messages.take("guessed") is None


@pytest.mark.parametrize(
    "form",
    [
        {"name": "x\x00y"},
        {"name": "\u202egnp.exe"},
        {"name": "'; DROP TABLE patient; --", "ssn": "' OR 1=1 --"},
        {"clinic": "9" * 5_000},
        {"ssn": "١٢٣-٤٥-٦٧٨٩"},
        {"born": "0000-00-00"},
        {"born": "9" * 5_000},
    ],
)
def test_what_is_typed_is_told_by_its_field_whatever_it_is(
    refusing: TestClient, form: dict[str, str]
) -> None:
    answer = refusing.post("/patients", data=GOOD | form)
    assert answer.status_code == 422
    assert "Emmy Noether" not in refusing.get("/").text.partition('id="held-table"')[0]
    assert ADA in refusing.get("/").text


@pytest.mark.parametrize("clinic", ["9" * 5_000, str(2**70), "-1", "\u0661", "1 OR 1=1", ""])
def test_a_look_up_in_no_clinic_says_how_to_look_up(refusing: TestClient, clinic: str) -> None:
    answer = refusing.get("/", params={"clinic": clinic, "ssn": ADA})
    assert answer.status_code == 422
    assert "is looked for in one clinic" in answer.text


@pytest.mark.parametrize("value", ["9" * 5_000, str(2**70), "0", "-1", "1e3", "x"])
@pytest.mark.parametrize(
    "path, field",
    [("/patients/flip", "first"), ("/keys/shred", "clinic"), ("/adoption/phone", "row")],
)
def test_a_number_of_no_row_changes_nothing(
    refusing: TestClient, path: str, field: str, value: str
) -> None:
    answer = refusing.post(path, data={field: value, "confirm": f"clinic/{value}", "phone": "123"})
    assert answer.status_code == 422
    assert "Nothing was done" in answer.text


@pytest.mark.parametrize("phone", ["   ", "+", "١٢٣٤", "1' OR 1=1", "5" * 21])
def test_what_is_no_telephone_number_is_not_taken_for_one(refusing: TestClient, phone: str) -> None:
    answer = refusing.post("/adoption/phone", data={"row": "1", "phone": phone})
    assert "That is no telephone number" in answer.text


def test_a_huge_form_is_refused_before_it_is_read(refusing: TestClient) -> None:
    answer = refusing.post("/patients", data=GOOD | {"name": "x" * MAX_FORM_BYTES})
    assert answer.status_code == 413
    assert len(answer.text) < MAX_FORM_BYTES
    pieces = refusing.post("/patients", content=(b"name=x" for _ in range(3)))
    assert pieces.status_code == 413  # of no stated length


def test_a_form_of_another_site_is_refused(client: TestClient) -> None:
    elsewhere = {"origin": "http://elsewhere.example"}
    answer = client.post("/keys/away", data={"away": "true"}, headers=elsewhere)
    assert answer.status_code == 403
    assert demonstration(client).wrapping.away is False
    own = {"origin": "http://testserver"}
    assert client.post("/patients", data=GOOD, headers=own).status_code == 200


@pytest.mark.parametrize("path", ["/patients/flip", "/adoption/step", "/keys/shred"])
def test_the_address_of_a_form_is_no_page(refusing: TestClient, path: str) -> None:
    answer = refusing.get(path)
    assert answer.status_code == 405
    assert "This address only takes a form" in answer.text


def test_a_button_pressed_twice_does_one_step(client: TestClient) -> None:
    def press(_: int) -> str:
        return client.post("/adoption/step", data={"step": "0"}).text

    with ThreadPoolExecutor(2) as threads:
        pages = list(threads.map(press, range(2)))
    assert sum("Done: Begin." in page for page in pages) == 1
    assert sum("Not twice" in page for page in pages) == 1
    assert demonstration(client).adoption.done == 1


def test_a_rotation_under_way_is_not_begun_again(client: TestClient) -> None:
    demo = demonstration(client)
    demo.rotation.standing.state = "running"
    versions = len(demo.database.of_operations.keys.list())
    assert "A rotation is under way" in client.post("/keys/rotate").text
    assert len(demo.database.of_operations.keys.list()) == versions


def test_going_back_twice_goes_back_once(client: TestClient) -> None:
    client.post("/adoption/step", data={"step": "0"})
    assert "The plaintext is back" in client.post("/adoption/back").text
    assert "Not twice" in client.post("/adoption/back").text


def test_keys_that_go_away_in_the_middle_of_a_step_leave_it_to_be_done_again(
    client: TestClient,
) -> None:
    client.post("/adoption/step", data={"step": "0"})
    client.post("/keys/away", data={"away": "true"})

    def refused() -> bool:  # once the caches have run out
        return "out of reach" in client.post("/patients", data=GOOD).text

    wait_until(refused)
    assert "out of reach" in client.post("/keys/rotate").text
    assert demonstration(client).rotation.standing.state == "idle"
    client.post("/keys/away", data={"away": "false"})
    assert "Done: Seal what is there." in client.post("/adoption/step", data={"step": "1"}).text
    assert client.post("/patients", data=GOOD).status_code == 200


def test_a_database_that_fails_is_told_without_its_words(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OperationalError("INSERT INTO patient", {"ssn": ADA}, Exception("disk full"))

    monkeypatch.setattr(demonstration(client).intruder, "flip", fails)
    page = client.post("/patients/flip", data={"first": "1"}).text
    assert "The database did not do it" in page
    assert "INSERT" not in page
    monkeypatch.setattr("examples.clinic.app._clinics", fails)
    answer = client.get("/")
    assert answer.status_code == 503
    assert "The database did not do it" in answer.text
    assert ADA not in answer.text


def test_a_fault_of_ours_is_a_page_too(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError(ADA)

    monkeypatch.setattr("examples.clinic.app._clinics", fails)
    answer = client.get("/")
    assert answer.status_code == 500
    assert "A fault of the application" in answer.text
    assert ADA not in answer.text
