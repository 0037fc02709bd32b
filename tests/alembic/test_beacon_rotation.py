"""Rotation of the beacon key: at every step, look-ups find every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, LargeBinary, MetaData, Table, insert, inspect, select

from encfields import BlindIndex, attach
from encfields.alembic import MigrationError
from encfields.bulk.errors import UnfinishedError
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.census import census
from encfields.errors import ConfigurationError
from tests.alembic.project import SECRET, Clinic, Project, patient_table, store
from tests.servers.backends import Backend


def _declared(*versions: int, **options: Any) -> MetaData:
    metadata = MetaData()
    patient_table(metadata, index=BlindIndex(versions=versions, **options))
    return metadata


def _found(clinic: Clinic, metadata: MetaData, value: str) -> Sequence[int]:
    """Ids of the rows with a value, as an application with these models finds them."""
    table = metadata.tables["patient"]
    with clinic.engine.connect() as connection:
        return connection.execute(select(table.c.id).where(table.c.ssn == value)).scalars().all()


def _columns(clinic: Clinic) -> set[str]:
    return {c["name"] for c in inspect(clinic.engine).get_columns("patient")}


def _beacons(clinic: Clinic) -> list[int]:
    return [one.version for one in clinic.encryption.keys.list_beacons("default")]


def _missing(clinic: Clinic, metadata: MetaData) -> dict[int, int]:
    told = census(clinic.engine, TableSpec.from_table(metadata.tables["patient"]))
    return {index.version: index.missing for index in told.indexes}


def test_the_whole_walk(project: Project, backend: Backend) -> None:
    clinic = Clinic(backend, index=BlindIndex())
    one, both, two = _declared(1), _declared(1, 2), _declared(2)
    seventh = f"{SECRET} 7"

    project.revision("op.rotate_beacon_key('default', 2)")
    project.upgrade()
    assert _beacons(clinic) == [1, 2]
    assert _found(clinic, one, seventh) == [7]

    assert "op.add_column" in project.autogenerate(both)
    project.upgrade()
    assert _missing(clinic, both) == {1: 0, 2: 30}
    clinic.deploy()
    with clinic.engine.begin() as connection:  # the application that declares both goes on writing
        connection.execute(insert(both.tables["patient"]), {"id": 40, "ssn": "meanwhile"})
    for metadata in (one, both):
        assert _found(clinic, metadata, seventh) == [7]
        assert _found(clinic, metadata, "meanwhile") == [40]
    ensure = project.revision("op.ensure_blind_index('patient', ['ssn_bidx_v2'])")
    with pytest.raises(UnfinishedError, match="30 rows not in ssn_bidx_v2"):
        project.upgrade()
    project.drop(ensure)

    assert "op.fill_blind_index('patient', ['ssn_bidx_v2'])" in project.autogenerate(both)
    project.revision("op.ensure_blind_index('patient', ['ssn_bidx_v2'])")
    project.upgrade()
    assert _missing(clinic, both) == {1: 0, 2: 0}
    assert [_found(clinic, m, seventh) for m in (one, both, two)] == [[7], [7], [7]]

    retire = project.revision("op.retire_beacon_key('default', 1)")
    project.config.attributes["metadata"] = two
    with pytest.raises(MigrationError, match=r"indexes under it: patient\.ssn_bidx\."):
        project.upgrade()
    assert _beacons(clinic) == [1, 2]
    project.drop(retire)

    assert "op.drop_column('patient', 'ssn_bidx')" in project.autogenerate(two)
    project.revision("op.retire_beacon_key('default', 1)")
    project.upgrade()
    assert _beacons(clinic) == [2]
    assert _columns(clinic) == {"id", "ssn", "notes", "ssn_bidx_v2"}
    assert _found(clinic, two, seventh) == [7]
    assert "op." not in project.autogenerate(two, keep=False)


def test_the_walk_is_possible_on_a_database_made_anew(tmp_path: Path, sqlite: Backend) -> None:
    """Nothing waits for other processes there, and no row is in the way."""
    project = Project(tmp_path, sqlite)
    attach(sqlite.create_engine(), store(), create=True)
    project.config.attributes["metadata"] = _declared(2)
    project.autogenerate(_declared(1))
    project.revision("op.rotate_beacon_key('default', 2)")
    project.revision("op.add_column('patient', sa.Column('ssn_bidx_v2', sa.LargeBinary))")
    project.revision("op.fill_blind_index('patient', ['ssn_bidx_v2'])")
    project.revision(
        "op.drop_index('ix_patient_ssn_bidx', 'patient')\nop.drop_column('patient', 'ssn_bidx')"
    )
    project.revision("op.retire_beacon_key('default', 1)")
    project.config.attributes["metadata"] = _declared(2)
    project.upgrade()


def test_what_was_done_before_it_was_written_down_is_not_done_twice(
    tmp_path: Path, sqlite: Backend
) -> None:
    """As after a revision that was killed between the key store and the version number."""
    clinic = Clinic(sqlite)
    clinic.encryption.keys.rotate_beacon("default")
    project = Project(tmp_path, sqlite)
    project.revision("op.rotate_beacon_key('default', 2)")
    project.upgrade()
    assert _beacons(clinic) == [1, 2]
    clinic.encryption.keys.retire_beacon("default", 1, at_once=True)
    project.revision("op.retire_beacon_key('default', 1)")
    project.upgrade()
    assert _beacons(clinic) == [2]


def test_a_version_that_does_not_come_next_is_refused(tmp_path: Path, sqlite: Backend) -> None:
    clinic = Clinic(sqlite)
    project = Project(tmp_path, sqlite)
    project.revision("op.rotate_beacon_key('default', 3)")
    with pytest.raises(MigrationError, match="the newest beacon key has version 1"):
        project.upgrade()
    assert _beacons(clinic) == [1]


def test_the_newest_version_is_not_retired(tmp_path: Path, sqlite: Backend) -> None:
    Clinic(sqlite)
    project = Project(tmp_path, sqlite)
    project.revision("op.retire_beacon_key('default', 1)")
    with pytest.raises(ConfigurationError, match="newest"):
        project.upgrade()


@pytest.mark.parametrize(
    "declared, refused",
    [
        (None, True),
        (_declared(1), True),
        (_declared(1, 2), True),
        (_declared(1, key="clinical"), False),
        (_declared(1, key="clinical", domain="d"), False),
    ],
    ids=["nothing", "one", "both", "of-another-key", "of-another-key-and-domain"],
)
def test_indexes_under_the_version_are_told_by_their_key(
    tmp_path: Path, sqlite: Backend, declared: MetaData | None, refused: bool
) -> None:
    """What is declared says its key; what is declared nowhere may be of any."""
    clinic = Clinic(sqlite, index=BlindIndex())
    clinic.encryption.keys.rotate_beacon("default")
    project = Project(tmp_path, sqlite)
    project.config.attributes["metadata"] = declared
    project.revision("op.retire_beacon_key('default', 1)")
    if not refused:
        project.upgrade()
        assert _beacons(clinic) == [2]
        return
    with pytest.raises(MigrationError, match=r"patient\.ssn_bidx") as caught:
        project.upgrade()
    assert caught.value.reason == "indexes-left"
    assert _beacons(clinic) == [1, 2]


def test_columns_that_only_look_like_an_index_are_named(project: Project, backend: Backend) -> None:
    clinic = Clinic(backend)
    clinic.encryption.keys.rotate_beacon("default")
    Table("other", MetaData(), Column("x_bidx", LargeBinary(16))).create(clinic.engine)
    other = project.revision("op.retire_beacon_key('default', 1)")
    with pytest.raises(MigrationError, match=r"other\.x_bidx"):
        project.upgrade()
    project.drop(other)
    project.revision("op.retire_beacon_key('default', 1, except_columns=('other.x_bidx',))")
    project.upgrade()
    assert _beacons(clinic) == [2]
