"""One tenant's key that fails stops no run over the others, which ends naming the tenant."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    select,
    text,
    update,
)

from encfields import BlindIndex, EncryptedType
from encfields.bulk import verify
from encfields.bulk.rows.run_keys import MOST_IN_A_ROW
from encfields.bulk.rows.spec import TableSpec
from encfields.errors import KeyAccessError
from tests.bulk.support import Clinic
from tests.turns import databases_by_turns, on_each_database

pytestmark = databases_by_turns

TENANTS = 4
ROWS = 80


def invoice_table(key: str = "tenant/{tenant_id}", **options: Any) -> Table:
    return Table(
        "invoice",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant_id", Integer),
        Column("body", EncryptedType(String, key=key, **options)),
    )


def filled(clinic: Clinic, invoices: Table, tenants: int = TENANTS) -> TableSpec:
    """Invoices of some tenants, all of whose keys were rotated since, and none of which is held."""
    ids = [f"tenant/{number}" for number in range(tenants)]
    clinic.encryption.keys.each(ids).create()
    invoices.create(clinic.engine)
    rows = [{"id": n, "tenant_id": n % tenants, "body": f"b{n}"} for n in range(1, ROWS + 1)]
    with clinic.engine.begin() as connection:
        connection.execute(insert(invoices), rows)
    clinic.encryption.keys.each(ids).rotate()
    clinic.encryption._cache.clear()
    return TableSpec.from_table(invoices)


class AlteredKey:
    """A key's rows in the key table, altered until they are restored."""

    def __init__(self, clinic: Clinic, key_id: str, purpose: str = "branch-key") -> None:
        self._clinic = clinic
        self._rows = {"key_id": key_id, "purpose": purpose}
        rows = "FROM encfields_keys WHERE key_id = :key_id AND purpose = :purpose"
        with clinic.engine.connect() as connection:
            found = connection.execute(text(f"SELECT version, wrapped {rows}"), self._rows)
            self._whole = {version: bytes(wrapped) for version, wrapped in found}
        self._store({v: w[:-4] + bytes(4) for v, w in self._whole.items()})

    def restore(self) -> None:
        self._store(self._whole)

    def _store(self, wrapped: dict[str, bytes]) -> None:
        statement = text(
            "UPDATE encfields_keys SET wrapped = :wrapped"
            " WHERE key_id = :key_id AND purpose = :purpose AND version = :version"
        )
        with self._clinic.engine.begin() as connection:
            for version, bytes_ in wrapped.items():
                connection.execute(statement, {**self._rows, "version": version, "wrapped": bytes_})
        self._clinic.encryption._cache.clear()


@on_each_database
@pytest.mark.parametrize("options", [{}, {"index": BlindIndex()}], ids=["plain", "indexed"])
def test_an_altered_key_stops_no_run_over_the_other_tenants(clinic, caplog, options):
    spec = filled(clinic, invoice_table(**options))
    altered = AlteredKey(clinic, "tenant/1")

    report = clinic.run(spec, max_quarantined=5, batch_rows=10).run()

    assert (report.state, report.finished) == ("quarantined", False)
    assert report.rows_written == ROWS - ROWS // TENANTS
    assert {(one.reason, int(one.key["id"]) % TENANTS) for one in report.quarantined} == {
        ("key-unusable", 1)
    }
    assert len(report.quarantined) == ROWS // TENANTS
    assert all("key 'tenant/1', KeyAccessError" in one.message for one in report.quarantined)
    told = [one.getMessage() for one in caplog.records if "key 'tenant/1'" in one.getMessage()]
    assert any("left as they are" in message for message in told)

    altered.restore()
    assert clinic.run(spec).run().rows_written == ROWS // TENANTS


@on_each_database
def test_an_altered_beacon_key_stops_no_run_over_the_other_tenants(clinic):
    invoices = invoice_table(index=BlindIndex())
    spec = filled(clinic, invoices)
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE invoice SET body_bidx = NULL"))
    altered = AlteredKey(clinic, "tenant/2", "beacon-key")

    report = clinic.run(spec, max_quarantined=5).run()

    assert {(one.reason, one.column) for one in report.quarantined} == {
        ("key-unusable", "body_bidx")
    }
    assert {int(one.key["id"]) % TENANTS for one in report.quarantined} == {2}
    altered.restore()
    assert clinic.run(spec).run().finished
    with clinic.engine.connect() as connection:
        unindexed = text("SELECT count(*) FROM invoice WHERE body_bidx IS NULL")
        assert connection.scalar(unindexed) == 0


def test_every_kind_of_run_goes_on(clinic):
    spec = filled(clinic, invoice_table())
    with clinic.engine.begin() as connection:
        connection.execute(text("ALTER TABLE invoice ADD COLUMN body_plain VARCHAR(20)"))
    AlteredKey(clinic, "tenant/3")

    report = clinic.run(spec, to_plaintext={"body": "body_plain"}).run()

    assert {one.reason for one in report.quarantined} == {"key-unusable"}
    assert report.rows_written == ROWS - ROWS // TENANTS
    with clinic.engine.connect() as connection:
        plain = text("SELECT count(*) FROM invoice WHERE body_plain IS NOT NULL")
        assert connection.scalar(plain) == ROWS - ROWS // TENANTS


def test_a_key_that_all_rows_share_stops_the_run(clinic):
    clinic.encryption.keys.create("clinical")
    spec = filled(clinic, invoice_table("clinical"))
    clinic.rotate("clinical")
    AlteredKey(clinic, "clinical")
    with pytest.raises(KeyAccessError, match="clinical"):
        clinic.run(spec).run()


def test_when_no_tenant_has_a_key_that_opens_the_run_stops_and_goes_on_later(clinic):
    tenants = MOST_IN_A_ROW + 5
    spec = filled(clinic, invoice_table(), tenants)
    altered = [AlteredKey(clinic, f"tenant/{number}") for number in range(tenants)]
    with pytest.raises(KeyAccessError):
        clinic.run(spec).run()
    for one in altered:
        one.restore()
    assert clinic.run(spec).run().finished


def test_rows_without_a_tenant_are_told_apart_and_stop_no_run(clinic):
    spec = filled(clinic, invoice_table())
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE invoice SET tenant_id = NULL WHERE id <= 2"))
        connection.execute(text("INSERT INTO invoice (id) VALUES (1000)"))

    report = clinic.run(spec).run()

    assert report.rows_written == ROWS - 2
    assert [(one.key, one.reason) for one in report.quarantined] == [
        ({"id": "1"}, "no-identity"),
        ({"id": "2"}, "no-identity"),
    ]
    assert dict(verify(clinic.engine, clinic.encryption, spec).failed) == {
        ("body", "no-identity"): 2
    }


def test_tenants_may_be_created_moved_and_destroyed_while_a_run_is_under_way(clinic, told):
    invoices = invoice_table()
    spec = filled(clinic, invoices)
    keys, late = clinic.encryption.keys, range(1_000, 1_010)
    steps = iter((0, 1, 2))

    def change(state: Any) -> None:
        step = next(steps, None)
        with clinic.engine.begin() as connection:
            if step == 0:
                keys.create("tenant/77")
                rows = [{"id": n, "tenant_id": 77, "body": f"b{n}"} for n in late]
                connection.execute(insert(invoices), rows)
            elif step == 1:
                moved = [{"row": n, "tenant_id": 2, "body": f"b{n}"} for n in (4, 76, 80)]
                own = update(invoices).where(invoices.c.id == bindparam("row"))
                connection.execute(own, moved)
            elif step == 2:
                keys.rotate("tenant/77")
                keys.destroy("tenant/3", confirm="tenant/3", specs=None, at_once=True)

    report = clinic.run(spec, batch_rows=10, range_rows=20, max_quarantined=0).run(progress=change)

    assert next(steps, None) is None
    assert {(one.reason, int(one.key["id"]) % TENANTS) for one in report.quarantined} == {
        ("destroyed", 3)
    }
    destroyed = {n for n in range(1, ROWS + 1) if n % TENANTS == 3}
    assert {int(one.key["id"]) for one in report.quarantined} == destroyed
    with clinic.engine.connect() as connection:
        read = select(invoices.c.id, invoices.c.tenant_id, invoices.c.body)
        rows = connection.execute(read.where(invoices.c.tenant_id != 3)).all()
    assert {row.id: row.body for row in rows} == {
        n: f"b{n}" for n in (*range(1, ROWS + 1), *late) if n not in destroyed
    }
    assert clinic.run(spec).dry_run().rows_to_rewrite == 0
