"""starlette-admin: a row is created and edited through its form, which shows the inner types."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette_admin.contrib.sqla import Admin, ModelView

from encfields.testing import attach_locally
from tests.frameworks.forms import (
    ADA,
    ADA_FORM,
    Base,
    PlainVisit,
    Visit,
    enclosing_form,
    fields_of,
    values_of,
)
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend


class VisitView(ModelView):
    # What would be sorted, filtered or searched in SQL; by default every field.
    searchable_fields = ("ward",)
    sortable_fields = ("id", "ward")


@pytest.fixture
def engine(sqlite: Backend) -> Engine:
    engine = sqlite.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine)
    return engine


@pytest.fixture
def client(engine: Engine) -> TestClient:
    app = Starlette()
    admin = Admin(engine, secret_key="of this test")
    admin.add_view(VisitView(Visit))
    admin.add_view(ModelView(PlainVisit))
    admin.mount_to(app)
    return TestClient(app)


def _page(client: TestClient, path: str) -> str:
    page = client.get(f"/admin/{path}")
    assert page.status_code == 200, path
    return page.text


def _send(client: TestClient, path: str, form: dict[str, str]) -> Any:
    _page(client, path)  # which sets the cookie
    headers = {"X-CSRFToken": client.cookies["starlette_admin_csrftoken"]}
    return client.post(f"/admin/{path}", data=form, headers=headers, follow_redirects=False)


def _only(engine: Engine) -> dict[str, Any]:
    with Session(engine) as session:
        return values_of(session.query(Visit).one())


def test_the_form_is_that_of_the_plain_columns(client: TestClient) -> None:
    encrypted = fields_of(_page(client, "visit/create"))
    plain = fields_of(_page(client, "plain-visit/create"))
    # A length is shown of a String alone, by isinstance(); it is enforced when it is written.
    plain["name"] = plain["name"].replace("maxlength=50 ", "")
    assert encrypted == plain


def test_a_row_is_created_shown_listed_and_edited(client: TestClient, engine: Engine) -> None:
    made = _send(client, "visit/create", ADA_FORM)
    assert made.status_code == 303
    assert _only(engine) == ADA
    assert_sealed(engine, "visit", "name", "Ada")
    assert "Ada" in _page(client, "visit/detail?pk=1")
    assert "Ada" in _page(client, "visit/list?q=north")
    assert "Ada" not in _page(client, "visit/list?q=south")

    form = enclosing_form(_page(client, "visit/edit?pk=1"))
    form["fee"] = "99.90"
    sent = _send(client, "visit/edit?pk=1", form)
    assert sent.status_code == 303
    changed = _only(engine)
    assert str(changed["fee"]) == "99.90"
    assert {**changed, "fee": ADA["fee"]} == ADA
