"""A column's values follow its declaration: another key type, another binding, another type."""

from __future__ import annotations

import datetime as dt
import uuid
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    insert,
    select,
    update,
)

from encfields import BlindIndex, EncryptedType
from encfields.bulk import (
    Options,
    Reencryption,
    SealedColumn,
    TableSpec,
    conversion,
    rebinding,
)
from encfields.cli import exits
from encfields.cli.main import main
from encfields.errors import DecryptionError, EncFieldsError
from tests.alembic.project import WRAPPING_KEY, Project
from tests.attached import attach_with_kept_keys
from tests.database import Database
from tests.servers.backends import Backend

ROWS = {1: "ada", 2: "eve"}


def document(*key: Any, **options: Any) -> Table:
    """The table of one version of the application, with such key columns."""
    sealed = EncryptedType(String(40), name="doc.body", index=BlindIndex(), **options)
    return Table("doc", MetaData(), *key, Column("body", sealed))


def numbered(kind: Any = Integer, **options: Any) -> Table:
    uid: Column[Any] = Column("uid", Uuid, nullable=False, unique=True)
    return document(Column("id", kind, primary_key=True, autoincrement=False), uid, **options)


def read(engine: Any, table: Table) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.scalars(select(table.c.body)))


def fill(db: Database, table: Table) -> None:
    table.create(db.engine)
    with db.begin() as connection:
        rows = [{"id": n, "uid": uuid.UUID(int=n), "body": body} for n, body in ROWS.items()]
        connection.execute(insert(table), rows)


def test_a_wider_integer_key_changes_nothing(tmp_path: Path, postgresql: Backend) -> None:
    db = Database(postgresql)
    fill(db, numbered())
    db.execute_plain("ALTER TABLE doc ALTER COLUMN id TYPE BIGINT")
    assert read(db.engine, numbered(BigInteger)) == ["ada", "eve"]
    code = Project(tmp_path, postgresql).autogenerate(numbered(BigInteger).metadata)
    assert "op.rebind" not in code


def test_integer_keys_become_uuids(postgresql: Backend) -> None:
    db = Database(postgresql)
    fill(db, numbered())
    bound = numbered(bind_to="uid")
    with pytest.raises(DecryptionError):
        read(db.engine, bound)

    was = SealedColumn("body", "doc.body", bind_to=("id",))
    run = rebinding(db.engine, db.encryption, bound.c.body, was=was)
    assert run.run().rows_written == 2
    assert read(db.engine, bound) == ["ada", "eve"]

    db.execute_plain("ALTER TABLE doc DROP CONSTRAINT doc_pkey, DROP COLUMN id")
    db.execute_plain("ALTER TABLE doc ADD PRIMARY KEY (uid)")
    keyed = document(Column("uid", Uuid, primary_key=True))
    assert read(db.engine, keyed) == ["ada", "eve"]
    db.execute_plain("ALTER TABLE doc RENAME COLUMN uid TO id")
    renamed = document(Column("id", Uuid, primary_key=True))
    was = SealedColumn("body", "doc.body", context_names=("uid",))
    assert rebinding(db.engine, db.encryption, renamed.c.body, was=was).run().rows_written == 2
    assert read(db.engine, renamed) == ["ada", "eve"]
    with db.engine.connect() as connection:
        found = connection.scalars(select(renamed.c.id).where(renamed.c.body == "eve"))
        assert found.all() == [uuid.UUID(int=2)]


def test_a_rebinding_goes_on_where_it_was_stopped_and_takes_what_came_since(
    sqlite: Backend,
) -> None:
    db = Database(sqlite)
    old, new = numbered(), numbered(bind_to="uid")
    fill(db, old)
    was = SealedColumn("body", "doc.body", bind_to=("id",))
    stopped = Event()
    stopped.set()
    run = rebinding(db.engine, db.encryption, new.c.body, was=was, options=Options(batch_rows=1))
    assert not run.run(stop=stopped).finished
    with db.begin() as connection:
        connection.execute(update(old).where(old.c.id == 2).values(body="bob"))
    assert run.run().finished
    assert read(db.engine, new) == ["ada", "bob"]


def test_a_value_stays_bound_to_its_uuid_as_it_was_spelt(sqlite: Backend) -> None:
    db = Database(sqlite)

    def version(name: str) -> Table:
        key: Column[Any] = Column("id", Uuid, primary_key=True)
        return Table("doc", MetaData(), key, Column("body", EncryptedType(String(9), name=name)))

    version("a.b").create(db.engine)
    with db.begin() as connection:
        connection.execute(insert(version("a.b")), {"id": uuid.UUID(int=2**120), "body": "ada"})
    # As a migration states it, which knows nothing of the key.
    was, now = (TableSpec.of("doc", [SealedColumn("body", one)]) for one in ("a.b", "c.d"))
    Reencryption(db.engine, db.encryption, now, source=was).run()
    assert read(db.engine, version("c.d")) == ["ada"]


def test_a_value_of_another_row_is_not_rebound(sqlite: Backend) -> None:
    db = Database(sqlite)
    fill(db, numbered())
    db.execute_plain("UPDATE doc SET body = (SELECT body FROM doc WHERE id = 1) WHERE id = 2")
    new = numbered(bind_to="uid")
    was = SealedColumn("body", "doc.body", bind_to=("id",))
    report = rebinding(db.engine, db.encryption, new.c.body, was=was).run()
    assert [fault.key for fault in report.quarantined] == [{"id": "2"}]


def test_was_names_the_same_column(sqlite: Backend) -> None:
    db = Database(sqlite)
    fill(db, numbered())
    with pytest.raises(EncFieldsError, match="present name"):
        rebinding(db.engine, db.encryption, numbered().c.body, was=SealedColumn("note"))


def visit(kind: Any, **options: Any) -> Table:
    options = options or {"index": BlindIndex()}
    day: Column[Any] = Column("day", EncryptedType(kind, name="visit.day", **options))
    return Table("visit", MetaData(), Column("id", Integer, primary_key=True), day)


def test_dates_become_datetimes(sqlite: Backend) -> None:
    db = Database(sqlite)
    old, new = visit(Date()), visit(DateTime())
    old.create(db.engine)
    with db.begin() as connection:
        connection.execute(insert(old), {"id": 1, "day": dt.date(2020, 1, 2)})

    run = conversion(db.engine, db.encryption, new.c.day, was=Date())
    assert run.run().rows_written == 1

    midnight = dt.datetime(2020, 1, 2)
    with db.engine.connect() as connection:
        asked = select(new.c.day).where(new.c.day == midnight)
        assert connection.scalars(asked).all() == [midnight]


def test_a_wider_type_reads_what_the_narrower_one_wrote(sqlite: Backend) -> None:
    db = Database(sqlite)
    old, new = visit(Integer()), visit(BigInteger())
    old.create(db.engine)
    with db.begin() as connection:
        connection.execute(insert(old), {"id": 1, "day": 7})
    with db.engine.connect() as connection:
        assert connection.scalars(select(new.c.day).where(new.c.day == 7)).all() == [7]


MODELS = """
from tests.bulk.test_changes import numbered, visit
from sqlalchemy import DateTime
bound = numbered(bind_to="uid").metadata
dated = visit(DateTime()).metadata
from sqlalchemy import Date
from encfields import Formerly
under_way = visit(DateTime(), formerly=Formerly(inner=Date, phase="write-new")).metadata
"""


@pytest.fixture
def command(tmp_path: Path, sqlite: Backend, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, in a folder with the models."""
    (tmp_path / "changed_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ENCFIELDS_DATABASE_URL", sqlite.url_text)
    (tmp_path / "key").write_bytes(WRAPPING_KEY)
    monkeypatch.setenv("ENCFIELDS_KEYRING", f"local:{tmp_path / 'key'}")

    def run(*words: str) -> int:
        return main([*words])

    return run


def test_the_commands_take_the_new_state_from_the_models(command: Any, sqlite: Backend) -> None:
    engine = sqlite.create_engine()
    attach_with_kept_keys(engine, WRAPPING_KEY)
    numbered().create(engine)
    visit(Date()).create(engine)
    with engine.begin() as connection:
        connection.execute(insert(numbered()), {"id": 1, "uid": uuid.UUID(int=1), "body": "ada"})
        connection.execute(insert(visit(Date())), {"id": 1, "day": dt.date(2020, 1, 2)})

    bound, dated = "--models=changed_models:bound", "--models=changed_models:dated"
    assert command("rebind", "doc.body", bound, "--was-bind-to=id") == 0
    assert command("convert", "visit.day", dated, "--was=Date") == 0

    assert read(engine, numbered(bind_to="uid")) == ["ada"]
    with engine.connect() as connection:
        assert connection.scalars(select(visit(DateTime()).c.day)).all() == [
            dt.datetime(2020, 1, 2)
        ]


def test_verify_tells_what_is_left_to_convert(
    command: Any, sqlite: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dates open in their places, and the declaration without formerly= could not read them."""
    engine = sqlite.create_engine()
    attach_with_kept_keys(engine, WRAPPING_KEY)
    visit(Date(), index=None).create(engine)
    with engine.begin() as connection:
        connection.execute(insert(visit(Date(), index=None)), {"id": 1, "day": dt.date(2020, 1, 2)})

    under_way = "--models=changed_models:under_way"
    assert command("verify", under_way) == exits.WORK_LEFT
    told = " ".join(capsys.readouterr().out.split())  # wherever the terminal's width breaks it
    assert "visit.day: 1 values are yet to be converted" in told
    assert "`encfields convert visit.day`" in told
    assert command("verify", "--json", under_way) == exits.WORK_LEFT
    assert '"unconverted": {' in capsys.readouterr().out
    assert command("status", under_way) == 0
    assert "visit.day is being changed (formerly=)" in capsys.readouterr().out
    assert command("convert", "visit.day", under_way) == 0
    assert command("verify", under_way) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("rebind", "doc.body"),
        ("rebind", "doc.note", "--was-bind-to=id"),
        ("convert", "visit.day", "--was=PickleType"),
        ("convert", "visit.day", "--was=Date; drop table visit"),
        ("convert", "visit.day", "--was=Date(3)"),
        ("convert", "visit.day", "--was-name=visit.date"),
    ],
)
def test_what_says_nothing_of_before_is_refused(
    command: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    place = "bound" if words[0] == "rebind" else "dated"
    assert command(*words, f"--models=changed_models:{place}") == exits.FAILED
    assert "encfields: " in capsys.readouterr().err
