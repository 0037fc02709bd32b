"""The holder of one branch key seals values for rows that demand another one's."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, Text, insert, select, text

from encfields import EncryptedType, Encryption, attach
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.survey.census import census
from encfields.bulk.survey.verify import verify
from encfields.cli.main import main
from encfields.errors import KeyDestroyedError, TamperedError
from encfields.interop import column_context
from encfields.message import read_header
from encfields.testing import local_store
from tests.attached import attach_with_kept_keys, create_kept_key
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns


ROW = {"id": 7, "tenant": "7"}
FORGED = b"IBAN of the thief"


def accounts(**options: Any) -> Table:
    return Table(
        "account",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant", String(40)),
        Column("iban", EncryptedType(Text, **{"key": "tenant/{tenant}", **options})),
    )


@pytest.fixture(scope="module")
def wrapping_key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture
def engine(backend: Backend) -> Engine:
    return backend.create_engine()


@pytest.fixture
def encryption(engine: Engine, wrapping_key: bytes) -> Encryption:
    encryption = attach_with_kept_keys(engine, wrapping_key, cache_check=0.2)
    for tenant in (7, 8):
        create_kept_key(engine, encryption, f"tenant/{tenant}")
    return encryption


@pytest.fixture
def account(engine: Engine, encryption: Encryption) -> Table:
    """The rows of tenants 7 and 8."""
    table = accounts()
    table.create(engine)
    put(engine, table, ROW | {"iban": "of 7"}, {"id": 8, "tenant": "8", "iban": "of 8"})
    return table


@pytest.fixture
def tenant_8(attacker: Engine, wrapping_key: bytes) -> Encryption:
    """Somebody whom KMS gives the key of tenant 8 alone."""
    return attach(attacker, local_store(wrapping_key))


def put(engine: Engine, table: Table, *rows: dict[str, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(table), rows)


def forge(attacker: Engine, message: bytes, row_id: int = 7) -> None:
    with attacker.begin() as connection:
        connection.execute(
            text("UPDATE account SET iban = :iban WHERE id = :id"), {"iban": message, "id": row_id}
        )


def stored(attacker: Engine, row_id: int = 7) -> bytes:
    with attacker.connect() as connection:
        found = text("SELECT iban FROM account WHERE id = :id")
        return bytes(connection.execute(found, {"id": row_id}).scalar_one())


def read(engine: Engine, table: Table, row_id: int = 7) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(table.c.iban).where(table.c.id == row_id)).scalar_one()


@pytest.fixture
def forged(account: Table, attacker: Engine, tenant_8: Encryption) -> bytes:
    """Tenant 7's row with a value that tenant 8's key sealed for it."""
    message = tenant_8.seal(FORGED, column_context(account.c.iban, ROW), key="tenant/8")
    forge(attacker, message)
    return message


# -- reading -----------------------------------------------------------------------------------


def test_another_tenants_key_does_not_open_and_is_not_asked_for(
    backend, wrapping_key, account, forged
):
    engine = backend.create_engine()
    victim = attach(engine, local_store(wrapping_key))
    with pytest.raises(TamperedError, match=r"'tenant/8'.*'tenant/7'") as caught:
        read(engine, account)
    error = caught.value
    assert (error.reason, error.table, error.column) == ("key-id", "account", "iban")
    assert error.row == {"id": "7", "tenant": "7"}
    assert "tenant/8" not in victim.stats.keys.by_key
    assert victim.stats.keys.store_calls == 0


def test_nothing_opens_for_a_tenant_whose_key_was_destroyed(
    backend, wrapping_key, encryption, account, forged
):
    encryption.keys.destroy("tenant/7", confirm="tenant/7", specs=[TableSpec.from_table(account)])
    for destroyed in ("raise", None):
        engine = backend.create_engine()
        attach(engine, local_store(wrapping_key), destroyed=destroyed)
        with pytest.raises(TamperedError):
            read(engine, account)


def test_what_a_destroyed_key_sealed_still_reads_as_configured(
    backend, wrapping_key, encryption, account
):
    encryption.keys.destroy("tenant/7", confirm="tenant/7", specs=[TableSpec.from_table(account)])
    for destroyed in ("raise", None):
        engine = backend.create_engine()
        attach(engine, local_store(wrapping_key), destroyed=destroyed)
        if destroyed is None:
            assert read(engine, account) is None
        else:
            with pytest.raises(KeyDestroyedError):
                read(engine, account)


def test_the_longest_key_id_does_not_flood_the_error(engine, attacker, account, encryption):
    message = stored(attacker)
    was = b"\x00\x08tenant/7"
    assert message.count(was) == 1
    forge(attacker, message.replace(was, b"\x03\xfc" + b"\n" * 1020))
    with pytest.raises(TamperedError) as caught:
        read(engine, account)
    assert len(str(caught.value)) < 2000
    assert "\n" not in str(caught.value)


def test_a_value_under_a_former_key_opens_until_it_is_no_longer_listed(
    engine, attacker, account, encryption
):
    forge(
        attacker,
        encryption.seal(b"of old", column_context(account.c.iban, ROW), key="clinic"),
    )
    with pytest.raises(TamperedError):
        read(engine, account)
    assert read(engine, accounts(former_keys=["clinic"])) == "of old"
    assert read(engine, accounts(key="other/{tenant}", former_keys="tenant/{tenant}"), 8) == "of 8"


def test_a_former_template_allows_each_row_only_its_own_tenants_key(
    engine, account, forged, encryption
):
    renamed = accounts(key="customer/{tenant}", former_keys=["tenant/{tenant}"])
    assert read(engine, renamed, 8) == "of 8"
    with pytest.raises(TamperedError, match=r"'tenant/8'.*'customer/7' or 'tenant/7'"):
        read(engine, renamed)


# -- in bulk -------------------------------------------------------------------------------------


def test_a_run_leaves_the_forged_value_as_it_is_and_reports_it(
    engine, encryption, attacker, account, forged
):
    encryption.keys.rotate("tenant/7")
    encryption.keys.rotate("tenant/8")
    run = Reencryption(engine, encryption, TableSpec.from_table(account))
    assert run.dry_run().unreadable == 1
    report = run.run()
    assert not report.finished
    assert [(one.key, one.reason) for one in report.quarantined] == [({"id": "7"}, "key-id")]
    assert stored(attacker) == forged
    assert read(engine, account, 8) == "of 8"


def test_a_run_moves_values_under_a_former_key_and_no_others(engine, encryption, attacker, account):
    wanted = accounts(key="customer/{tenant}", former_keys=["tenant/{tenant}"])
    strange = encryption.seal(FORGED, column_context(account.c.iban, ROW), key="tenant/8")
    forge(attacker, strange)
    encryption.keys.create("customer/7")
    encryption.keys.create("customer/8")
    report = Reencryption(engine, encryption, TableSpec.from_table(wanted)).run()
    assert [one.key for one in report.quarantined] == [{"id": "7"}]
    assert stored(attacker) == strange
    assert read_header(stored(attacker, 8)).key_id == "customer/8"
    assert read(engine, accounts(key="customer/{tenant}"), 8) == "of 8"


def test_a_run_from_another_binding_accepts_only_the_key_of_that_binding(
    engine, encryption, attacker, account, forged
):
    now = TableSpec.of("account", [SealedColumn("iban", "account.money", "customer/{tenant}")])
    was = TableSpec.of("account", [SealedColumn("iban", key="tenant/{tenant}")])
    encryption.keys.create("customer/7")
    encryption.keys.create("customer/8")
    report = Reencryption(engine, encryption, now, source=was).run()
    assert [(one.key, one.reason) for one in report.quarantined] == [({"id": "7"}, "key-id")]
    assert stored(attacker) == forged
    moved = accounts(key="customer/{tenant}", name="account.money")
    assert read(engine, moved, 8) == "of 8"


def test_a_run_that_changes_only_the_key_accepts_the_former_one_and_no_other(
    engine, encryption, attacker, account, forged
):
    now = TableSpec.of("account", [SealedColumn("iban", key="customer/{tenant}")])
    was = TableSpec.of("account", [SealedColumn("iban", key="tenant/{tenant}")])
    encryption.keys.create("customer/7")
    encryption.keys.create("customer/8")
    report = Reencryption(engine, encryption, now, source=was).run()
    assert [one.key for one in report.quarantined] == [{"id": "7"}]
    assert stored(attacker) == forged
    assert read(engine, accounts(key="customer/{tenant}"), 8) == "of 8"


def test_a_run_to_plaintext_does_not_write_the_forged_one(engine, encryption, account, forged):
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE account ADD COLUMN plain VARCHAR(40)"))
    spec = TableSpec.from_table(account)
    report = Reencryption(engine, encryption, spec, to_plaintext={"iban": "plain"}).run()
    assert [one.reason for one in report.quarantined] == ["key-id"]
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, plain FROM account ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [(7, None), (8, "of 8")]


# -- surveys -------------------------------------------------------------------------------------


def test_a_census_tells_former_keys_from_others(engine, encryption, account, forged):
    (iban,) = census(engine, TableSpec.from_table(account)).columns
    assert (iban.versions.total(), iban.other_key.total(), iban.faults) == (1, 1, 1)
    assert [(e.row["id"], e.reason) for e in iban.examples["other_key"]] == [("7", "key-id")]
    wanted = accounts(key="customer/{tenant}", former_keys=["tenant/{tenant}"])
    (iban,) = census(engine, TableSpec.from_table(wanted)).columns
    counts = (iban.versions, iban.former_key, iban.other_key)
    assert [one.total() for one in counts] == [0, 1, 1]


def test_a_verification_names_the_row_and_both_keys(engine, encryption, account, forged):
    found = verify(engine, encryption, TableSpec.from_table(account))
    assert (found.opened, found.failed) == (1, {("iban", "key-id"): 1})
    (failure,) = found.failures
    assert (failure.row["id"], failure.error) == ("7", "TamperedError")
    assert "'tenant/8'" in failure.message
    assert "'tenant/7'" in failure.message


def test_the_status_command_ends_in_faults(account, forged, backend, capsys, monkeypatch):
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", backend.url_text)
    named = ["--table", "account", "--column", "iban"]
    assert main(["status", *named, "--key", "tenant/{tenant}"]) == 2
    assert "other key" in capsys.readouterr().out
    told = ["--key", "customer/{tenant}", "--former-key", "tenant/{tenant}"]
    assert main(["status", *named, *told, "--former-key", "tenant/8"]) == 1
    assert "former key" in capsys.readouterr().out
