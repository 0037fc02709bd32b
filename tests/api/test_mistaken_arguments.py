"""A mistaken argument of a public function is told when the function is called, by its name."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Column, Date, Integer, MetaData, String, Table, create_engine

from encfields import (
    BlindIndex,
    EncFieldsError,
    EncryptedType,
    Encryption,
    Formerly,
    LegacyReader,
    Plaintext,
    SqlKeyStore,
    adopt,
    attach,
    blind,
    bulk,
    interop,
    keyrings,
    sizes,
    telemetry,
)
from encfields.adopt import Adoption
from encfields.bulk import Options, Reencryption, SealedColumn, TableSpec
from encfields.errors import KeyNotFoundError
from encfields.testing import attach_locally

SECRET = "kX7-secret-in-the-wrong-place"
WRONG: tuple[Any, ...] = (SECRET, SECRET.encode(), 1.5, [SECRET], object(), object, 0, True, "")
"""None is not among them: for most it means that the argument is left out."""

patients = Table(
    "patient",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("ssn", EncryptedType(String(11), index=BlindIndex())),
    Column("born", EncryptedType(Date)),
    Column("mail_enc", EncryptedType(name="m", adopts=Plaintext("mail", phase="write-both"))),
)
spec = TableSpec.from_table(patients)
adoption = Adoption.of(patients.c.mail_enc)
was = SealedColumn("ssn", "patient.social")
day = dt.datetime.now(dt.UTC)


class Call:
    """A call with good arguments, and which of them are replaced by wrong ones.

    :param takes: by argument, those of `WRONG` that are right for it.
    """

    def __init__(self, function: Any, *good: Any, takes: dict[str, tuple[Any, ...]]) -> None:
        self.function, self.good, self.takes = function, good, takes

    def with_one_wrong(self) -> Iterator[tuple[str, Any, Callable[[], object]]]:
        parameters = list(inspect.signature(self.function).parameters)
        for name, right in self.takes.items():
            for wrong in WRONG:
                if any(
                    wrong is each or (wrong == each and type(wrong) is type(each)) for each in right
                ):
                    continue
                given = dict(zip(parameters, self.good, strict=False)) | {name: wrong}
                yield name, wrong, lambda given=given: self.function(**given)  # type: ignore[misc]


TEXTS = (SECRET,)
NUMBERS = (1.5,)
FLAGS = (True,)
LISTS: tuple[Any, ...] = ([SECRET], SECRET, "")


def calls(engine: Any, encryption: Encryption) -> dict[str, Call]:
    keys, store = encryption.keys, SqlKeyStore(keyrings.local(bytes(32)))
    nothing: tuple[Any, ...] = ()
    run = dict.fromkeys(("encryption", "options"), nothing)
    works = dict.fromkeys(("progress", "stop"), nothing) | {"progress": (object,)}
    adopting = {"encryption": nothing, "adoption": nothing}
    counts = {"sample": nothing, "batch_rows": nothing, "progress": (object,), "spec": nothing}
    reader = LegacyReader(keyrings.local(bytes(32)), context={})
    return {
        "attach": Call(
            attach,
            create_engine("sqlite://"),
            store,
            takes={"create": FLAGS, "legacy": nothing, "on_reveal": (object,)},
        ),
        "LegacyReader": Call(
            LegacyReader,
            keyrings.local(bytes(32)),
            {},
            takes={"context": (object,), "decode": (object,), "allow_uncommitted": FLAGS},
        ),
        "reader": Call(attach, create_engine("sqlite://"), store, takes={"legacy": (reader,)}),
        "Formerly": Call(
            lambda inner: Formerly(inner=inner, phase="write-new"), takes={"inner": nothing}
        ),
        "Plaintext": Call(
            lambda type_: Plaintext("ssn", type_, phase="write-both"), takes={"type_": nothing}
        ),
        "blind": Call(blind, patients, "who", takes={"name": TEXTS}),
        "stored_bytes": Call(
            sizes.stored_bytes,
            patients.c.ssn,
            3,
            {"id": "1"},
            takes={"plaintext_bytes": (0,), "row": nothing},
        ),
        "column_context": Call(
            interop.column_context, patients.c.ssn, {"id": 1}, takes={"row": nothing}
        ),
        "instrument": Call(telemetry.instrument, encryption, takes={"encryption": nothing}),
        "SealedColumn": Call(
            SealedColumn,
            "ssn",
            takes={
                "name": TEXTS,
                "logical_name": TEXTS,
                "key": TEXTS,
                "bind_to": LISTS,
                "uuids": LISTS,
            },
        ),
        "TableSpec": Call(
            TableSpec,
            "patient",
            ("ssn",),
            takes={
                "table": (SECRET, ""),
                "columns": LISTS,
                "schema": TEXTS,
                "indexes": nothing,
                "reindex": FLAGS,
            },
        ),
        "from_table": Call(TableSpec.from_table, patients, takes={"table": nothing}),
        "Options": Call(
            Options,
            takes={
                "setup": (object,),
                "pause_for_vacuum": FLAGS,
                "run_key": TEXTS,
                "declared_types": nothing,
            },
        ),
        "Reencryption": Call(
            Reencryption,
            engine,
            encryption,
            spec,
            takes=run
            | {"spec": nothing, "source": nothing, "to_plaintext": nothing, "conversions": nothing},
        ),
        "run": Call(Reencryption(engine, encryption, spec).run, takes=works),
        "rebinding": Call(
            bulk.rebinding,
            engine,
            encryption,
            patients.c.ssn,
            takes=run | {"column": nothing, "was": nothing},
        ),
        "conversion": Call(
            bulk.conversion,
            engine,
            encryption,
            patients.c.ssn,
            takes=run | {"column": nothing, "was": nothing},
        ),
        "work": Call(bulk.work, engine, encryption, takes=run | works | {"run_id": TEXTS}),
        "report_of": Call(bulk.report_of, engine, "x", takes=run | {"run_id": TEXTS}),
        "pause": Call(bulk.pause, engine, "x", takes={"run_id": TEXTS, "paused": FLAGS}),
        "abandon": Call(bulk.abandon, engine, "x", takes={"run_id": TEXTS}),
        "census": Call(bulk.census, engine, spec, takes=counts | {"bind": nothing}),
        "verify": Call(
            bulk.verify,
            engine,
            encryption,
            spec,
            takes=counts | {"encryption": nothing, "max_failures": (0,)},
        ),
        "Adoption.of": Call(Adoption.of, patients.c.mail_enc, takes={"column": nothing}),
        "begin_adoption": Call(adopt.begin_adoption, engine, adoption, takes={"adoption": nothing}),
        "adopt": Call(adopt.adopt, engine, encryption, adoption, takes=adopting | works | run),
        "close": Call(adopt.close_plaintext, engine, encryption, adoption, takes=adopting),
        "create": Call(keys.create, "x", takes={"key_id": (SECRET, "")}),
        "list_beacons": Call(keys.list_beacons, "x", takes={"key_id": (SECRET, "")}),
        "without_beacon": Call(keys.without_beacon, ["x"], takes={"key_ids": LISTS}),
        "count_values": Call(keys.count_values, "x", [spec], takes={"specs": nothing}),
        "destroy": Call(
            lambda specs, at_once=False: keys.destroy(
                "x", confirm="x", specs=specs, at_once=at_once
            ),
            None,
            takes={"specs": nothing, "at_once": FLAGS},
        ),
        "each": Call(keys.each, takes={"key_ids": ([SECRET],), "like": TEXTS}),
        "many": Call(
            keys.each(["x"]).rotate, takes={"made_before": nothing, "progress": (object,)}
        ),
        "prefetch": Call(encryption.prefetch, [], takes={"beacons": FLAGS}),
    }


@pytest.fixture(scope="module")
def encryption(tmp_path_factory: Any) -> Iterator[tuple[Any, Encryption]]:
    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('arguments')}/x.db")
    yield engine, attach_locally(engine)
    engine.dispose()


@pytest.mark.parametrize(
    "name", calls(create_engine("sqlite://"), attach_locally(create_engine("sqlite://")))
)
def test_a_mistaken_argument_is_told_by_its_name_and_not_shown(encryption: Any, name: str) -> None:
    called = calls(*encryption)[name]
    told = 0
    for argument, wrong, call in called.with_one_wrong():
        with pytest.raises(EncFieldsError) as caught:
            call()
        said = str(caught.value)
        assert argument in said or (argument == "key_ids" and "a key id" in said), (argument, wrong)
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value.__cause__) + repr(caught.value.__context__)
        told += 1
    assert told


@pytest.mark.parametrize("legacy", [{"patient.ssn": None}, {1: 2}, {"patient.ssn": LegacyReader}])
def test_what_is_no_legacy_reader_is_told_when_it_is_attached(legacy: Any) -> None:
    with pytest.raises(EncFieldsError, match=r"LegacyReader\(\.\.\.\)"):
        attach(create_engine("sqlite://"), SqlKeyStore(keyrings.local(bytes(32))), legacy=legacy)


def test_one_former_key_given_by_itself_is_one_key_after_the_job_was_recorded() -> None:
    given: Any = "former"
    alone = TableSpec("patient", (SealedColumn("ssn", former_keys=given),))
    assert TableSpec.from_json(alone.to_json()) == alone
    assert alone.columns[0].former_keys == ("former",)


def test_an_error_about_a_key_whose_id_is_no_text_can_be_printed() -> None:
    assert "key '5'" in str(KeyNotFoundError("there is none", key_id=5))  # type: ignore[arg-type]


def test_a_mapped_attribute_names_its_column_for_a_run_as_the_table_does() -> None:
    from sqlalchemy.orm import registry

    class Patient:
        ssn: Any

    registry().map_imperatively(Patient, patients)
    engine = create_engine("sqlite://")
    run = bulk.rebinding(engine, attach_locally(engine), Patient.ssn, was=was)
    assert run._job == bulk.rebinding(engine, run._encryption, patients.c.ssn, was=was)._job
