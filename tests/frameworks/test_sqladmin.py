"""sqladmin: a row is created and edited through its form, which shows the inner types."""

from __future__ import annotations

from typing import Any

import pytest
from sqladmin import Admin, ModelView
from sqlalchemy import Engine, or_
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.testclient import TestClient

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


class VisitAdmin(ModelView, model=Visit):  # type: ignore[call-arg]
    column_list = "__all__"
    column_searchable_list = ("ward",)

    def search_query(self, stmt: Any, term: str) -> Any:
        """Rows of a ward, or of a name: the latter is looked up in the blind index."""
        visit: Any = Visit
        return stmt.where(or_(visit.ward == term, visit.name == term))


class PlainVisitAdmin(ModelView, model=PlainVisit):  # type: ignore[call-arg]
    column_list = "__all__"


@pytest.fixture
def engine(sqlite: Backend) -> Engine:
    engine = sqlite.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine)
    return engine


@pytest.fixture
def client(engine: Engine) -> TestClient:
    app = Starlette()
    admin = Admin(app, engine)
    admin.add_view(VisitAdmin)
    admin.add_view(PlainVisitAdmin)
    return TestClient(app)


def _page(client: TestClient, path: str) -> str:
    page = client.get(f"/admin/{path}")
    assert page.status_code == 200, page.text
    return page.text


def _only(engine: Engine, model: Any) -> Any:
    with Session(engine) as session:
        return session.query(model).one()


def test_the_form_is_that_of_the_plain_columns(client: TestClient) -> None:
    encrypted = fields_of(_page(client, "visit/create"))
    assert encrypted == fields_of(_page(client, "plain-visit/create"))
    assert encrypted["notes"].startswith("textarea")
    assert "insured" in encrypted


def test_a_row_is_created_shown_listed_and_edited(client: TestClient, engine: Engine) -> None:
    made = client.post("/admin/visit/create", data=ADA_FORM, follow_redirects=False)
    assert made.status_code == 302, made.text
    assert values_of(_only(engine, Visit)) == ADA
    assert_sealed(engine, "visit", "name", "Ada")
    for path in ("visit/list", "visit/details/1", "visit/list?search=Ada"):
        assert "2026-11-28" in _page(client, path)
    assert "2026-11-28" not in _page(client, "visit/list?search=Bob")

    form = enclosing_form(_page(client, "visit/edit/1"))
    form["fee"] = "99.90"
    sent = client.post("/admin/visit/edit/1", data=form, follow_redirects=False)
    assert sent.status_code == 302, sent.text
    changed = values_of(_only(engine, Visit))
    assert str(changed["fee"]) == "99.90"
    assert {**changed, "fee": ADA["fee"]} == ADA


def test_a_value_that_the_inner_type_refuses_is_reported_beside_its_field(
    client: TestClient,
) -> None:
    for field, value in (("fee", "much"), ("seen", "yesterday"), ("notes", "{")):
        answer = client.post("/admin/visit/create", data={**ADA_FORM, field: value})
        assert answer.status_code == 400
        assert "2026" in answer.text


def test_a_row_is_deleted_and_the_list_exported(client: TestClient, engine: Engine) -> None:
    client.post("/admin/visit/create", data=ADA_FORM)
    exported = client.get("/admin/visit/export/csv").text
    assert "Ada" in exported
    assert "_bidx" not in exported
    assert client.delete("/admin/visit/delete?pks=1").status_code == 200
    with Session(engine) as session:
        assert session.query(Visit).count() == 0
