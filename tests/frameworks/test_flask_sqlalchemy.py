"""Flask-SQLAlchemy: an application factory, and several binds with encryptions of their own."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort, jsonify, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, Date, String, event, inspect
from sqlalchemy.orm import Mapped, mapped_column

from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, encryption_of, keyrings
from encfields.errors import KeyNotFoundError, NotAttachedError
from encfields.testing import local_store
from tests.frameworks.stored import assert_sealed
from tests.servers.backends import Backend

db = SQLAlchemy()


class Patient(db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(11), index=BlindIndex(unique=True)))
    notes: Mapped[dict[str, Any] | None] = mapped_column(EncryptedType(JSON))

    def to_dict(self) -> dict[str, Any]:
        """As ``docs/frameworks/index.md`` has it: what the model maps, blind indexes left out."""
        mapper: Any = inspect(type(self))
        return {one.key: getattr(self, one.key) for one in mapper.column_attrs}


class Invoice(db.Model):  # type: ignore[name-defined, misc]
    __bind_key__ = "billing"
    id: Mapped[int] = mapped_column(primary_key=True)
    iban: Mapped[str] = mapped_column(EncryptedType(index=BlindIndex()))
    due: Mapped[Any] = mapped_column(EncryptedType(Date), nullable=True)


class Audit(db.Model):  # type: ignore[name-defined, misc]
    __bind_key__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[str] = mapped_column(String(50))


def create_app(clinic: str, billing: str, audit: str) -> Flask:
    """The application factory: engines exist once ``init_app`` has run, in the context."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = clinic
    app.config["SQLALCHEMY_BINDS"] = {"billing": billing, "audit": audit}
    db.init_app(app)
    with app.app_context():
        attach(db.engine, local_store(), create=True)
        attach(db.engines["billing"], local_store(), create=True)
        db.create_all()

    @app.post("/patients")
    def add() -> Any:
        patient = Patient(**request.get_json())
        db.session.add(patient)
        db.session.commit()
        return jsonify(patient.to_dict()), 201

    @app.get("/patients/<ssn>")
    def find(ssn: str) -> Any:
        patient = db.session.execute(db.select(Patient).filter_by(ssn=ssn)).scalar_one_or_none()
        return jsonify(patient.to_dict()) if patient else abort(404)

    @app.get("/patients")
    def page() -> Any:
        found = db.paginate(db.select(Patient).order_by(Patient.name), per_page=2)
        return jsonify(total=found.total, items=[one.to_dict() for one in found])

    return app


@pytest.fixture
def app(clinic: str, tmp_path: Path) -> Any:
    app = create_app(clinic, f"sqlite:///{tmp_path}/billing.db", f"sqlite:///{tmp_path}/audit.db")
    yield app
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


@pytest.fixture
def clinic(request: pytest.FixtureRequest) -> str:
    """The URL of the application's own database; a test that takes ``backend`` has each."""
    name = "backend" if "backend" in request.fixturenames else "sqlite"
    return str(request.getfixturevalue(name).url_text)


@pytest.mark.usefixtures("backend")
def test_a_row_is_added_read_found_and_paged_over_http(app: Flask) -> None:
    client = app.test_client()
    sent: list[Any] = [
        {"name": f"n{i}", "ssn": f"123-45-678{i}", "notes": {"i": i}} for i in range(3)
    ]
    for one in sent:
        assert client.post("/patients", json=one).status_code == 201
    assert client.get("/patients/123-45-6781").get_json() == {"id": 2, **sent[1]}
    assert client.get("/patients/000-00-0000").status_code == 404
    page = client.get("/patients?page=2").get_json()
    assert page == {"total": 3, "items": [{"id": 3, **sent[2]}]}
    with app.app_context():
        assert_sealed(db.engine, "patient", "ssn", *(one["ssn"] for one in sent))


def test_the_query_property_of_old_finds_a_row_or_404(app: Flask) -> None:
    with app.app_context():
        db.session.add(Patient(name="Ada", ssn="123-45-6789"))
        db.session.commit()
        assert Patient.query.filter_by(ssn="123-45-6789").first_or_404().name == "Ada"
        assert db.get_or_404(Patient, 1).ssn == "123-45-6789"
        assert db.one_or_404(db.select(Patient).filter_by(ssn="123-45-6789")).name == "Ada"


def test_each_bind_has_its_own_encryption_and_keys(app: Flask) -> None:
    with app.app_context():
        db.session.add_all([Patient(name="Ada", ssn="1"), Invoice(iban="DE1"), Audit(line="x")])
        db.session.commit()
        db.session.expunge_all()
        assert db.session.scalars(db.select(Invoice).filter_by(iban="DE1")).one().iban == "DE1"
        clinic, billing = encryption_of(db.engine), encryption_of(db.engines["billing"])
        assert clinic is not billing
        assert (clinic.stats.sealed, billing.stats.sealed) == (1, 1)
        assert encryption_of(db.session.get_bind(Invoice.__mapper__)) is billing
        with pytest.raises(NotAttachedError):
            encryption_of(db.engines["audit"])


def test_two_applications_of_one_process_do_not_mix(app: Flask, clinic: str) -> None:
    """The models are one, the engines and so the keys are each application's own."""
    with app.app_context():
        db.session.add(Patient(name="Ada", ssn="123-45-6789"))
        db.session.commit()
    other = Flask("other")
    other.config["SQLALCHEMY_DATABASE_URI"] = clinic
    other.config["SQLALCHEMY_BINDS"] = {"billing": "sqlite://", "audit": "sqlite://"}
    db.init_app(other)
    with other.app_context():
        with pytest.raises(NotAttachedError):
            db.session.get(Patient, 1)
        store = SqlKeyStore(keyrings.local(secrets.token_bytes(32)), table_name="other_keys")
        attach(db.engine, store, create=True)
        with pytest.raises(KeyNotFoundError):
            db.session.get(Patient, 1)
        db.session.rollback()
        db.engine.dispose()


def test_recorded_queries_hold_no_plaintext(sqlite: Backend) -> None:
    """SQLALCHEMY_RECORD_QUERIES keeps each statement's parameters, as debug toolbars show them."""
    from flask_sqlalchemy.record_queries import get_recorded_queries

    app = Flask("recording")
    app.config.update(SQLALCHEMY_DATABASE_URI=sqlite.url_text, SQLALCHEMY_RECORD_QUERIES=True)
    db.init_app(app)
    # The other models' binds are not this application's: the one table is enough.
    app.config["SQLALCHEMY_BINDS"] = {}
    with app.app_context():
        attach(db.engine, local_store(), create=True)
        Patient.__table__.create(db.engine)
        db.session.add(Patient(name="Ada", ssn="123-45-6789"))
        db.session.commit()
        db.session.scalars(db.select(Patient).filter_by(ssn="123-45-6789")).one()
        recorded = get_recorded_queries()
        assert any("INSERT INTO patient" in one.statement for one in recorded)
        for one in recorded:
            assert "123-45-6789" not in f"{one.statement} {one.parameters!r}"
        db.session.remove()
        db.engine.dispose()


def test_listeners_of_flask_sqlalchemy_stay(app: Flask) -> None:
    with app.app_context():
        seen: list[str] = []
        event.listen(db.engine, "after_cursor_execute", lambda *a: seen.append(a[2]))
        db.session.add(Patient(name="Ada", ssn="1"))
        db.session.commit()
        assert any(one.startswith("INSERT INTO patient") for one in seen)
