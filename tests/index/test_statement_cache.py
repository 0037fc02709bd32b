"""Look-ups are found in SQLAlchemy's statement cache, and never with the value of before."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, func, lambda_stmt, or_, select, update
from sqlalchemy.engine.interfaces import CacheStats
from sqlalchemy.orm import aliased, joinedload, selectinload

from encfields import SqlKeyStore, attach, keyrings
from encfields.orm.write.hidden_values import Veiled, veil
from tests.index.clinic import Base, Claim, Patient, claim, fill, patient
from tests.turns import databases_by_turns

pytestmark = [databases_by_turns, pytest.mark.usefixtures("older_objects_stay")]


def _lambda(number: str) -> Any:
    return lambda_stmt(lambda: select(Patient.id).where(Patient.ssn == number))


def _subquery(number: str) -> Any:
    inner = select(patient.c.id, patient.c.ssn, patient.c.ssn.blind().label("k")).subquery()
    return select(inner.c.id).where(inner.c.ssn == number)


STATEMENTS: dict[str, Any] = {
    "==": lambda v: select(Patient.id).where(Patient.ssn == v),
    "in": lambda v: select(Patient.id).where(Patient.ssn.in_([v, "x"])),
    "in more": lambda v: select(Patient.id).where(Patient.ssn.in_([v] * (int(v[-1]) + 1))),
    "in with NULL": lambda v: select(Patient.id).where(Patient.ssn.in_([v, None])),
    "or": lambda v: select(Patient.id).where(or_(Patient.ssn == v, Patient.id == 9)),
    "blind": lambda v: select(Patient.id).where(Patient.ssn.blind() == v),
    "core": lambda v: select(patient.c.id).where(patient.c.ssn == v),
    "filtered": lambda v: select(Patient.id, Patient.ssn).where(Patient.ssn.blind("last1") == v),
    "lambda": _lambda,
    "subquery": _subquery,
    "exists": lambda v: select(Patient.id).where(
        select(1).where(Patient.ssn == v).correlate(Patient).exists()
    ),
    "joined load": lambda v: (
        select(Patient).options(joinedload(Patient.claims)).where(Patient.ssn == v)
    ),
    "select-in load": lambda v: (
        select(Patient).options(selectinload(Patient.claims)).where(Patient.ssn == v)
    ),
    "alias": lambda v: select((p := aliased(Patient, name="p")).id).where(p.ssn == v),
}


def _run(db: Any, statement: Any) -> tuple[list[int], list[Any]]:
    with db.session() as session, db.statements() as seen:
        found = [getattr(row, "id", row) for row in session.scalars(statement).unique()]
    return found, seen


@pytest.mark.parametrize("name", STATEMENTS)
def test_after_the_first_time_a_look_up_is_a_cache_hit_with_the_value_of_now(sqlite_clinic, name):
    make = STATEMENTS[name]
    # Once to compile what is asked, and twice what SQLAlchemy compiles for loaders.
    for n in (1, 2):
        assert _run(sqlite_clinic, make(f"ssn-{n}"))[0] == [n]
    for n in (3, 1, 2, 2):
        found, seen = _run(sqlite_clinic, make(f"ssn-{n}"))
        assert found == [n]
        assert seen
        for context in seen:
            assert context.cache_hit is CacheStats.CACHE_HIT, context.statement


def test_one_compiled_statement_serves_every_value(clinic):
    compiled: set[Any] = set()
    for n in (1, 2, 3, 1):
        found, (context,) = _run(clinic, select(Patient.id).where(Patient.ssn == f"ssn-{n}"))
        assert found == [n]
        compiled.add(context.compiled)
    assert len(compiled) == 1


def test_updates_and_deletes_are_cache_hits(clinic):
    for n, hit in ((1, False), (2, True), (3, True)):
        with clinic.begin() as connection, clinic.statements() as seen:
            done = connection.execute(
                update(patient).where(patient.c.ssn == f"ssn-{n}").values(name=f"new-{n}")
            )
            assert done.rowcount == 1
            done = connection.execute(delete(claim).where(claim.c.ssn == f"ssn-{n}"))
            assert done.rowcount == {1: 2, 2: 1, 3: 0}[n]
        assert [c.cache_hit is CacheStats.CACHE_HIT for c in seen] == [hit, hit]
    with clinic.session() as session:
        names = session.execute(select(Patient.id, Patient.name).order_by(Patient.id)).all()
    assert [tuple(row) for row in names][:3] == [(1, "new-1"), (2, "new-2"), (3, "new-3")]


def test_a_cache_of_the_application_s_own_serves_two_engines(backend, clinic):
    """Each dialect has compiled statements of its own in it."""
    other = backend.create_engine()
    attach(other, SqlKeyStore(keyrings.local(bytes(32))))
    cache: dict[Any, Any] = {}
    for engine in (clinic.engine, other, clinic.engine, other):
        with engine.connect() as connection:
            cached = connection.execution_options(compiled_cache=cache)
            found = cached.execute(select(patient.c.id).where(patient.c.ssn == "ssn-1"))
            assert found.scalars().all() == [1]
    assert len(cache) == 2


def test_different_indexes_of_a_column_are_different_statements():
    keys = [
        select(Patient.id).where(criterion)._generate_cache_key()
        for criterion in (
            Patient.ssn == "x",
            Patient.ssn.blind() == "x",
            Patient.ssn.blind("last1") == "x",
            Patient.ssn != "x",
            Claim.ssn == "x",
            Patient.name == "x",
        )
    ]
    assert len({key.key for key in keys if key is not None}) == len(keys)


def test_equal_comparisons_share_a_cache_key():
    for make in (
        lambda v: Patient.ssn == v,
        lambda v: Patient.ssn.in_([v]),
        lambda v: Patient.ssn.blind("last1") == v,
    ):
        one, two = (select(Patient.id).where(make(v))._generate_cache_key() for v in "ab")
        assert one is not None
        assert one == two


def test_a_value_is_there_at_every_moment_while_it_is_veiled():
    """A statement of a module is compiled by one thread while others execute it."""
    bind: Any = bindparam(None, "ssn-1", unique=True)
    seen: list[Any] = []

    def look(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code is veil.__code__:
            seen.append((bind.value, bind.effective_value))
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        veil(bind)
    finally:
        sys.settrace(before)
    assert len(seen) > 3
    assert set(seen) == {("ssn-1", "ssn-1")}
    assert "ssn-1" not in vars(bind).values()


@pytest.mark.parametrize("value", ["ssn-1", "", "é漢😀", "\ud800", "\ud83d\ude00", None, 7, b"ssn"])
def test_a_value_that_was_veiled_is_the_same_again(value):
    assert Veiled(value)() == value
    assert type(Veiled(value)()) is type(value)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_veils_no_value_as_its_parent_does():
    Veiled("leaves more initialisation vectors")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, Veiled("ssn-1")._sealed)
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) != Veiled("ssn-1")._sealed
    os.close(read)
    os.close(write)


def test_plans_do_not_grow_with_executions(sqlite_clinic):
    plans = sqlite_clinic.encryption._listeners.hook._plans

    def everything() -> None:
        for make in STATEMENTS.values():
            for n in (1, 2, 3):
                _run(sqlite_clinic, make(f"ssn-{n}"))

    everything()
    gc.collect()
    before = len(plans)
    everything()
    gc.collect()
    assert 0 < len(plans) <= before


def test_a_plan_and_its_types_go_with_the_statement(sqlite_db):
    """What a look-up notes of its statement keeps neither alive."""
    engine = sqlite_db.backend.create_engine(query_cache_size=0)
    encryption = attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    Base.metadata.create_all(engine)
    fill(sqlite_db)
    for n in (1, 2, 3):
        with engine.connect() as connection:
            statement = select(patient.c.id, patient.c.ssn)
            for criterion in (
                patient.c.ssn == f"ssn-{n}",
                patient.c.ssn.blind("last1") == str(n),
                patient.c.ssn.in_([f"ssn-{n}", None]),
            ):
                assert connection.execute(statement.where(criterion)).scalars().all() == [n]
    gc.collect()
    assert len(encryption._listeners.hook._plans) == 0
    kept = [type_ for type_ in engine.dialect._type_memos if "Lookup" in type(type_).__name__]
    assert kept == []


def test_an_execution_without_a_cache_is_answered(clinic):
    with clinic.engine.connect() as connection:
        uncached = connection.execution_options(compiled_cache=None)
        for n in (1, 2):
            statement = select(patient.c.id).where(patient.c.ssn == bindparam("q"))
            assert uncached.execute(statement, {"q": f"ssn-{n}"}).scalars().all() == [n]
        counted = select(func.count()).where(claim.c.ssn == "ssn-1")
        assert uncached.execute(counted).scalar_one() == 2


WORKED_OUT_ONCE = {
    "resolved",
    "bind_processor",
    "make_plan",
    "plan_lookups",
    "plan_filters",
    "forms",
    "whole_form",
    "statement_cache_key",
}
"""Functions whose results depend on no value."""


def _called(work: Any) -> set[str]:
    """Names of this library's functions that are called meanwhile."""
    called: set[str] = set()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and f"{os.sep}encfields{os.sep}" in frame.f_code.co_filename:
            called.add(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return called


def test_a_look_up_that_is_executed_again_works_nothing_out_anew(sqlite_clinic):
    with sqlite_clinic.engine.connect() as connection:

        def look_up(number: str) -> None:
            wanted = select(patient.c.id, patient.c.ssn).where(patient.c.ssn == number)
            assert [row.ssn for row in connection.execute(wanted)] == [number]

        assert _called(lambda: look_up("ssn-1")) >= WORKED_OUT_ONCE - {"statement_cache_key"}
        again = _called(lambda: look_up("ssn-2"))
    assert "index_value" in again
    assert not again & WORKED_OUT_ONCE


def test_expressions_with_hidden_values_are_compared_by_their_values():
    assert (patient.c.ssn == "ssn-1").compare(patient.c.ssn == "ssn-1")
    assert not (patient.c.ssn == "ssn-1").compare(patient.c.ssn == "ssn-2")
    assert not (patient.c.ssn == "ssn-1").compare(patient.c.ssn == b"ssn-1")
    assert patient.c.ssn.in_(["a", "b"]).compare(patient.c.ssn.in_(["a", "b"]))
