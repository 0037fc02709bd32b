"""Keys made from the row's own columns: one branch key for each tenant."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import (
    AmbiguousRowError,
    ContextMismatchError,
    DeclarationError,
    IdentityChangeError,
    KeyNotFoundError,
    KeyUnavailableError,
    UnknownIdentityError,
)
from tests.database import CANARY, Database
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns


class Base(DeclarativeBase):
    pass


class Invoice(Base):
    __tablename__ = "invoice"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[int]
    title: Mapped[str | None] = mapped_column(String(20))
    iban: Mapped[str | None] = mapped_column(EncryptedType(key="tenant/{tenant_id}"))
    memo: Mapped[str | None] = mapped_column(EncryptedType())


invoice: Any = Invoice.__table__


@pytest.fixture
def tenants(db):
    """Invoices 1 and 2 of tenant 10, and 3 of tenant 20."""
    db.create(Base.metadata)
    for tenant in (10, 20):
        db.create_key(f"tenant/{tenant}")
    with db.session() as session:
        session.add_all(
            Invoice(id=n, tenant_id=tenant, iban=f"iban-{n}", memo=f"memo-{n}")
            for n, tenant in ((1, 10), (2, 10), (3, 20))
        )
        session.commit()
    return db


def test_each_value_is_sealed_under_its_tenant_s_key(tenants):
    assert b"tenant/10" in tenants.stored(Invoice.iban, 1)
    assert b"tenant/20" in tenants.stored(Invoice.iban, 3)
    assert b"tenant/" not in tenants.stored(Invoice.memo, 1)
    with tenants.session() as session:
        for one in session.scalars(select(Invoice)):
            assert (one.iban, one.memo) == (f"iban-{one.id}", f"memo-{one.id}")


def test_a_value_set_back_under_another_tenant_is_refused(tenants):
    tenants.execute_plain("UPDATE invoice SET tenant_id = 20 WHERE id = 1")
    with tenants.session() as session, pytest.raises(ContextMismatchError) as caught:
        session.get(Invoice, 1)
    assert caught.value.expected == {
        "enc:column": "invoice.iban",
        "enc:row:id": "1",
        "enc:row:tenant_id": "20",
    }
    assert caught.value.found["enc:row:tenant_id"] == "10"


def test_another_tenant_s_value_is_refused(tenants):
    tenants.copy_cell(Invoice.iban, source=3, target=1)
    with tenants.session() as session, pytest.raises(ContextMismatchError) as caught:
        session.get(Invoice, 1)
    assert caught.value.found["enc:row:tenant_id"] == "20"


def test_an_object_of_a_tenant_can_be_changed(tenants):
    with tenants.session() as session:
        session.get_one(Invoice, 1).iban = "new"
        session.commit()
    with tenants.session() as session:
        assert session.get_one(Invoice, 1).iban == "new"
    assert b"tenant/10" in tenants.stored(Invoice.iban, 1)


def test_an_object_that_moves_to_another_tenant_is_sealed_under_that_one_s_key(tenants):
    with tenants.session() as session:
        session.get_one(Invoice, 1).tenant_id = 20
        session.commit()
    assert b"tenant/20" in tenants.stored(Invoice.iban, 1)
    with tenants.session() as session:
        assert session.get_one(Invoice, 1).iban == "iban-1"
        assert session.get_one(Invoice, 1).memo == "memo-1"


def test_a_core_update_must_pin_the_tenant_too(tenants):
    by_id = update(invoice).where(invoice.c.id == 1).values(iban=CANARY)
    with tenants.begin() as connection, tenants.refused(AmbiguousRowError, invoice) as caught:
        connection.execute(by_id)
    assert "tenant_id" in str(caught.value)
    with tenants.begin() as connection:
        connection.execute(by_id.where(invoice.c.tenant_id == 10))
        assert connection.scalar(select(invoice.c.iban).where(invoice.c.id == 1)) == CANARY


def test_a_core_update_may_set_the_tenant_with_the_value(tenants):
    with tenants.begin() as connection:
        connection.execute(
            update(invoice).where(invoice.c.id == 1).values(iban="new", tenant_id=20)
        )
        assert connection.scalar(select(invoice.c.iban).where(invoice.c.id == 1)) == "new"


def test_a_core_update_of_the_tenant_alone_is_refused(tenants):
    with tenants.begin() as connection, tenants.refused(IdentityChangeError, invoice):
        connection.execute(update(invoice).where(invoice.c.id == 1).values(tenant_id=20))
    with tenants.begin() as connection, tenants.refused(IdentityChangeError, invoice):
        connection.execute(update(invoice).values(tenant_id=20))


def test_a_core_update_that_pins_the_tenant_to_what_it_sets_is_fine(tenants):
    statement = (
        update(invoice)
        .where(invoice.c.id == 1, invoice.c.tenant_id == bindparam("was"))
        .values(tenant_id=bindparam("now"), title="t")
    )
    with tenants.begin() as connection:
        connection.execute(statement, {"was": 10, "now": 10})
        assert connection.scalar(select(invoice.c.iban).where(invoice.c.id == 1)) == "iban-1"


def test_a_value_for_no_tenant_is_refused(tenants):
    with tenants.begin() as connection, tenants.refused(UnknownIdentityError, invoice):
        connection.execute(insert(invoice).values(id=9, iban=CANARY))


def test_a_tenant_without_a_key_is_refused_and_nothing_is_stored(db):
    db.create(Base.metadata)
    db.encryption.detach()
    attach(db.engine, SqlKeyStore(keyrings.local(bytes(32))))
    with db.session() as session, db.refused(KeyNotFoundError, invoice) as caught:
        session.add(Invoice(id=1, tenant_id=99, iban=CANARY))
        session.flush()
    assert caught.value.key_id == "tenant/99"
    assert (caught.value.table, caught.value.column) == ("invoice", "iban")


def test_a_new_tenant_s_key_is_created_on_demand_with_create(db):
    db.create(Base.metadata)
    with db.session() as session:
        session.add_all(Invoice(id=n, tenant_id=n, iban=f"iban-{n}") for n in range(3))
        session.commit()
        assert session.get_one(Invoice, 2).iban == "iban-2"


@on_each_database
def test_a_key_made_on_demand_while_the_transaction_writes(backend):
    options = {"connect_args": {"timeout": 0.1}} if backend.name == "sqlite" else {}
    db = Database(backend, **options)
    db.create(Base.metadata)
    with db.session() as session:
        session.add(Invoice(id=1, tenant_id=1, iban="first"))
        session.flush()
        session.add(Invoice(id=2, tenant_id=2, iban="second"))
        if db.name == "sqlite":  # which has one writer, and that is this transaction
            with pytest.raises(KeyUnavailableError, match="create keys, and load them"):
                session.commit()
            return
        session.commit()
        assert session.get_one(Invoice, 2).iban == "second"


def test_text_tenants_are_bound_as_they_are_spelt(db):
    table = Table(
        "named",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", String(20)),
        Column("v", EncryptedType(key="t:{tenant}:{id}")),
    )
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"id": n, "tenant": "Żółw", "v": "v"} for n in (1, 2)])
        assert connection.scalars(select(table.c.v)).all() == ["v", "v"]
    assert b"t:%C5%BB%C3%B3%C5%82w:1" in db.stored(table.c.v, 1)


@pytest.mark.parametrize("key", ["", "t/{}", "t/{a.b}", "t/{a!r}", "t/{a:>5}", "t/{", "t/{0}"])
def test_a_template_that_is_not_plain_is_refused_as_declared(key):
    with pytest.raises(DeclarationError):
        EncryptedType(key=key)


def test_a_template_of_a_column_that_is_not_there_is_refused_as_declared():
    with pytest.raises(DeclarationError, match="tenant"):
        Table(
            "t",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("v", EncryptedType(key="t/{tenant}")),
        )


def test_with_a_generated_key_the_tenant_is_still_bound(db):
    table = Table(
        "generated",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant_id", Integer),
        Column("v", EncryptedType(key="tenant/{tenant_id}")),
    )
    db.create(table.metadata)
    with db.begin() as connection:
        connection.execute(insert(table), [{"tenant_id": n, "v": f"v-{n}"} for n in (1, 2)])
        rows = connection.execute(select(table.c.tenant_id, table.c.v)).all()
        assert sorted(tuple(row) for row in rows) == [(1, "v-1"), (2, "v-2")]
    with db.begin() as connection, db.refused(UnknownIdentityError, table):
        connection.execute(insert(table).values(v=CANARY))
