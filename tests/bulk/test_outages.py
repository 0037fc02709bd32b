"""Connections cut, KMS away, the disk full: a run waits, goes on, and counts every row once."""

from __future__ import annotations

import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    make_url,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, SqlKeyStore, attach, encryption_of, keyrings
from encfields.bulk.errors import DatabaseUnavailableError
from encfields.bulk.reencryption import Options, Reencryption
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.survey.verify import verify
from encfields.errors import KeyUnavailableError
from tests.bulk.cut_proxy import CutProxy
from tests.bulk.support import PATIENT, ROWS, VALUES, Clinic, Patient, attach_to
from tests.waiting import until

CONNECTIONS = {
    "postgresql": (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()",
        "SELECT pg_terminate_backend({})",
    ),
    "mariadb": (
        "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
        " AND id <> CONNECTION_ID()",
        "KILL CONNECTION {}",
    ),
}


class Cutter:
    """Ends connections to the database that were made since it was made itself."""

    def __init__(self, clinic: Clinic) -> None:
        clinic.engine.dispose()
        clinic.backend.end_kept()
        self._engine = clinic.backend.create_engine()
        self._find, self._kill = CONNECTIONS[clinic.backend.name]
        with self._engine.connect() as connection:
            self._spared = set(connection.execute(text(self._find)).scalars())
        self.cuts = 0

    def cut(self) -> None:
        with self._engine.connect() as connection:
            for number in set(connection.execute(text(self._find)).scalars()) - self._spared:
                connection.execute(text(self._kill.format(int(number))))
                self.cuts += 1


def setup_that_meets_an_outage(marker: str, url: str) -> Any:
    """The first time, nobody listens where the database should be."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        create_engine(make_url(url).set(host="127.0.0.1", port=port)).connect()
    return attach_to(url)


both = pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)


@both
def test_connections_that_are_cut_are_made_anew(clinic, told):
    version = clinic.rotate()
    before = clinic.values()
    cutter = Cutter(clinic)

    def cut(state: Any) -> None:
        if cutter.cuts < 8:
            cutter.cut()

    report = clinic.run().run(progress=cut)
    assert cutter.cuts >= 8
    assert report.finished
    assert report.rows_written == ROWS
    assert clinic.versions() == {("default", version): VALUES}
    assert clinic.values() == before


@both
@pytest.mark.parametrize("commits", [1, 3, 4, 5, 7, 8])
def test_a_connection_cut_after_commit_was_sent_counts_each_row_once(clinic, commits):
    version = clinic.rotate()
    url = clinic.backend.url
    proxy = CutProxy(url.host, url.port)
    engine = create_engine(url.set(host="127.0.0.1", port=proxy.port))
    # A range that it took without hearing of it is not left alone until its lease is over.
    options = Options(batch_rows=20, range_rows=48, lease_seconds=3600)
    run = Reencryption(engine, clinic.encryption, PATIENT, options=options)
    run.record()
    proxy.cut_after_commits(commits)
    report = run.run()
    engine.dispose()
    proxy.stop()
    assert proxy.cuts == 1
    assert report.finished
    assert (report.rows_seen, report.rows_written) == (ROWS, ROWS)
    assert clinic.versions() == {("default", version): VALUES}


@both
def test_a_database_that_stays_away_ends_the_call_and_the_next_one_goes_on(
    clinic, told, monkeypatch, caplog
):
    monkeypatch.setattr("encfields.bulk.failures.QUIET_SECONDS", 0.2)
    clinic.rotate()
    url = clinic.backend.url
    proxy = CutProxy(url.host, url.port)
    engine = create_engine(url.set(host="127.0.0.1", port=proxy.port))
    cutter = Cutter(clinic)

    def away(state: Any) -> None:
        proxy.stop()
        cutter.cut()

    options = Options(batch_rows=20, range_rows=48, outage_seconds=0.5, lease_seconds=1)
    run = Reencryption(engine, clinic.encryption, PATIENT, options=options)
    with pytest.raises(DatabaseUnavailableError, match="continues where it stopped"):
        run.run(progress=away)
    engine.dispose()
    where = f"waiting for the database (127.0.0.1:{proxy.port}), 0.5 seconds at most: "
    assert [one.message.startswith(where) for one in caplog.records] == [True]
    report = clinic.run().run()
    assert report.finished
    assert report.rows_written == ROWS


class Base(DeclarativeBase):
    pass


class Account(Base):
    """Each tenant's key is asked for when the run comes to its first row."""

    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    secret: Mapped[str] = mapped_column(EncryptedType(String, key="tenant/{tenant}"))


TENANTS = 4


@pytest.fixture
def tenants(postgresql, kms, kms_proxy):
    """Tenants with keys in KMS, all rotated, and a run that has no key at hand."""
    clients = {"endpoint_url": kms_proxy.url, "max_attempts": 1, "connect_timeout": 0.5}
    keyring = keyrings.aws_kms(kms.create_key(), **clients)
    engine = postgresql.create_engine()
    Base.metadata.create_all(engine)
    encryption = attach(engine, SqlKeyStore(keyring))
    encryption.keys.create_table()
    encryption.keys.create("default")  # under which the jobs of runs are sealed
    for tenant in range(TENANTS):
        encryption.keys.create(f"tenant/{tenant}")
    with Session(engine) as session:
        session.add_all(
            [Account(id=i, tenant=i // 50, secret=f"secret {i}") for i in range(50 * TENANTS)]
        )
        session.commit()
    for tenant in range(TENANTS):
        encryption.keys.rotate(f"tenant/{tenant}")
    encryption._cache.clear()
    kms_proxy.reset()
    spec = TableSpec.from_table(Account.__table__)  # type: ignore[arg-type]

    def run(**options: Any) -> Reencryption:
        chosen = Options(**{"batch_rows": 50, "range_rows": 100, **options})
        return Reencryption(engine, encryption, spec, options=chosen)

    run.engine = engine  # type: ignore[attr-defined]
    run.verify = lambda: verify(engine, encryption, spec)  # type: ignore[attr-defined]
    return run


def secrets_of(engine: Any) -> dict[int, str]:
    with Session(engine) as session:
        return {account.id: account.secret for account in session.query(Account)}


@pytest.mark.parametrize("failure", ["refuse", "throttle", "error"])
def test_while_kms_is_away_a_run_waits_and_holds_no_lock(tenants, kms_proxy, told, failure):
    free: list[bool] = []

    def holds_none() -> bool:
        """Whether it has held no lock for a while, after whatever it was at when KMS went."""
        statement = text(
            "SELECT count(*) FROM pg_locks JOIN pg_class ON relation = pg_class.oid"
            " WHERE relname = 'account' AND mode <> 'AccessShareLock'"
        )
        with tenants.engine.connect() as connection:
            free.append(connection.execute(statement).scalar_one() == 0)
        return len(free) >= 50 and all(free[-50:])

    def heal() -> None:
        try:
            until(holds_none)
        finally:
            kms_proxy.heal()

    healer = threading.Thread(target=heal)

    def fail(state: Any) -> None:
        if not healer.ident:
            kms_proxy.fail(failure)
            healer.start()

    report = tenants().run(progress=fail)
    healer.join()
    assert len(free) >= 50
    assert all(free[-50:])
    assert report.finished
    assert report.rows_written == 50 * TENANTS
    assert secrets_of(tenants.engine) == {i: f"secret {i}" for i in range(50 * TENANTS)}


def test_where_kms_denies_a_run_ends_at_once_and_the_next_one_goes_on(tenants, kms_proxy, told):
    def deny(state: Any) -> None:
        kms_proxy.fail("deny")

    began = time.monotonic()
    with pytest.raises(KeyUnavailableError) as caught:
        tenants().run(progress=deny)
    assert caught.value.reason == "denied"
    assert time.monotonic() - began < Options().outage_seconds / 3
    kms_proxy.heal()
    report = tenants().run()
    assert report.finished
    assert report.rows_written == 50 * TENANTS
    assert report.quarantined == ()


@pytest.mark.parametrize("failure, reason", [("deny", "denied"), ("disabled", "disabled")])
def test_a_tenant_whose_key_kms_denies_holds_up_none_of_the_others(
    tenants, kms_proxy, failure, reason
):
    kms_proxy.fail(failure, branch_keys=["tenant/0", "tenant/2"])
    report = tenants(max_quarantined=5).run()

    assert report.state == "quarantined"
    assert report.rows_written == 50 * (TENANTS - 2)
    told = {one.message.partition(":")[0] for one in report.quarantined}
    assert told == {f"key 'tenant/{number}', KeyUnavailableError" for number in (0, 2)}
    # Once each for what seals and what opens, and again for none of their other values.
    failed = [call for call in kms_proxy.calls if call.branch_key in ("tenant/0", "tenant/2")]
    assert len(failed) <= 4

    verified = tenants.verify()
    assert dict(verified.failed) == {("secret", reason): 100}
    assert {one.error for one in verified.failures} == {"KeyUnavailableError"}
    kms_proxy.heal()
    assert tenants().run().rows_written == 100
    assert tenants.verify().opened == 50 * TENANTS


def test_a_tenant_whose_key_kms_denies_while_its_rows_are_worked_at_holds_up_no_other(
    tenants, kms_proxy, told
):
    told_before: list[Any] = []

    def deny(state: Any) -> None:
        if not told_before:
            kms_proxy.fail("deny", branch_keys=["tenant/0"])
            encryption_of(tenants.engine)._cache.clear()  # as it would expire
        told_before.append(state)

    report = tenants(batch_rows=5).run(progress=deny)

    assert report.state == "quarantined"
    assert {one.message.partition(":")[0] for one in report.quarantined} == {
        "key 'tenant/0', KeyUnavailableError"
    }
    kms_proxy.heal()
    assert tenants().run().finished
    assert tenants.verify().opened == 50 * TENANTS


def test_a_run_asks_kms_once_for_each_key_version_and_pass(tenants, kms_proxy):
    report = tenants().run()
    assert report.passes == 2
    # Each tenant's old version once, and its active one once a pass; the key that seals the job
    # once to seal it and once to work at it.
    assert kms_proxy.counts == {"Decrypt": TENANTS + 2 * TENANTS + 2}


def test_a_full_disk_is_waited_for(sqlite, told):
    clinic = Clinic(sqlite)
    clinic.fill(ROWS)
    with Session(clinic.engine) as session:
        before = set(map(tuple, session.execute(select(Patient.id, Patient.ssn))))
    full: list[int] = []
    limit = ["PRAGMA max_page_count = 1"]  # cannot go below the present size: no page more

    def connected(connection: Any, record: Any) -> None:
        connection.execute(limit[0])
        if limit[0].endswith(" 1"):
            full.append(1)

    engine = clinic.backend.create_engine()
    event.listen(engine.pool, "connect", connected)
    long_name = "k" * 200  # so that values grow
    clinic.encryption.keys.create(long_name)
    run = Reencryption(
        engine,
        clinic.encryption,
        TableSpec.of("patient", [SealedColumn("ssn", key=long_name, former_keys=("default",))]),
        options=Options(batch_rows=80, range_rows=ROWS, outage_seconds=0.3),
    )
    limit[0] = "PRAGMA max_page_count = 1000000"
    run.record()
    limit[0] = "PRAGMA max_page_count = 1"
    with pytest.raises(DatabaseUnavailableError):
        run.run()
    assert full
    limit[0] = "PRAGMA max_page_count = 1000000"
    assert run.run().finished
    assert {key for key, _ in clinic.versions()} == {"default", long_name}
    declared = Table(
        "patient",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("ssn", EncryptedType(key=long_name)),
    )
    with clinic.engine.connect() as connection:
        after = set(map(tuple, connection.execute(select(declared))))
    assert after == before


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)  # nothing reaches a database
def test_a_worker_process_waits_for_a_database_that_is_away_when_it_starts(clinic, tmp_path):
    version = clinic.rotate()
    marker = tmp_path / "met"
    setup = partial(setup_that_meets_an_outage, str(marker), clinic.backend.url_text)
    report = clinic.run(workers=2, setup=setup).run()
    assert marker.exists()
    assert report.finished
    assert clinic.versions() == {("default", version): VALUES}
