"""Flask-Admin: a row is created and edited through its form, which shows the inner types."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_admin.contrib.sqla.filters import (
    FilterEmpty,
    FilterEqual,
    FilterInList,
    FilterNotEqual,
)
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine
from sqlalchemy.orm import Session

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
    column_sortable_list = ("ward",)
    column_searchable_list = ("ward",)


of_visits: Any = Visit


class FilteredView(VisitView):
    column_filters = tuple(
        filter_(of_visits.name, "Name")
        for filter_ in (FilterEqual, FilterNotEqual, FilterInList, FilterEmpty)
    )


@pytest.fixture
def app(sqlite: Backend) -> Flask:
    app = Flask("clinic")
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite.create_engine().url
    app.secret_key = "of this session"
    db = SQLAlchemy(app)
    admin = Admin(app)
    for model, view in ((Visit, FilteredView), (PlainVisit, VisitView)):
        admin.add_view(view(model, db))
    with app.app_context():
        attach_locally(db.engine)
        Base.metadata.create_all(db.engine)
    return app


@pytest.fixture
def engine(app: Flask) -> Engine:
    with app.app_context():
        found: Engine = app.extensions["sqlalchemy"].engine
    return found


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def _page(client: FlaskClient, path: str) -> str:
    page = client.get(f"/admin/{path}")
    assert page.status_code == 200, page.text
    return page.text


def _only(engine: Engine) -> Any:
    with Session(engine) as session:
        return session.query(Visit).one()


def test_the_form_is_that_of_the_plain_columns(client: FlaskClient) -> None:
    encrypted = fields_of(_page(client, "visit/new/"))
    assert encrypted == fields_of(_page(client, "plainvisit/new/"))
    assert encrypted["notes"].startswith("textarea")
    assert "data-role=datepicker" in encrypted["seen"]


def test_a_row_is_created_shown_listed_and_edited(client: FlaskClient, engine: Engine) -> None:
    made = client.post("/admin/visit/new/", data=ADA_FORM)
    assert made.status_code == 302, made.text
    assert values_of(_only(engine)) == ADA
    assert_sealed(engine, "visit", "name", "Ada")
    for path in ("visit/", "visit/?sort=0", "visit/?search=north"):
        assert "2026-11-28" in _page(client, path)

    form = enclosing_form(_page(client, "visit/edit/?id=1"))
    form["fee"] = "99.90"
    sent = client.post("/admin/visit/edit/?id=1", data=form)
    assert sent.status_code == 302, sent.text
    assert values_of(_only(engine)) == {**ADA, "fee": type(ADA["fee"])("99.90")}


def test_a_list_is_filtered_by_what_the_blind_index_answers(
    client: FlaskClient, engine: Engine
) -> None:
    with Session(engine) as session:
        session.add_all(Visit(ward=f"of {name}", name=name) for name in ("Ada", "Bob", "Cy"))
        session.commit()
    asked = {
        "flt0_0=Ada": ["Ada"],
        "flt0_1=Ada": ["Bob", "Cy"],
        "flt0_2=Ada,Cy": ["Ada", "Cy"],
        "flt0_3=1": [],
        "flt0_3=0": ["Ada", "Bob", "Cy"],
    }
    for query, expected in asked.items():
        page = _page(client, f"visit/?{query}")
        assert [name for name in ("Ada", "Bob", "Cy") if f"of {name}" in page] == expected, query
