"""The plugin beside others: processes of pytest-xdist, event loops of pytest-asyncio and anyio."""

from __future__ import annotations

import importlib.util

import pytest

from tests.testing_plugin.conftest import outcomes

LOOPS = [name for name in ("asyncio", "anyio") if importlib.util.find_spec(name)]
"""Marks that run a coroutine; anyio's is there where a framework brought it."""

TESTS = """
import logging
import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.ext.asyncio import create_async_engine
from encfields import EncryptedType
from encfields.testing import attach_locally_async, kms_calls

pytestmark = pytest.mark.{loop}
patient = Table(
    "patient",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("ssn", EncryptedType(String)),
)

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.parametrize("number", range(3))
async def test_sound(number, tmp_path, encfields_keyring, encfields_canary):
    ssn = encfields_canary(f"123-45-678{{number}}")
    engine = create_async_engine(f"sqlite+aiosqlite:///{{tmp_path}}/db")
    await attach_locally_async(engine, encfields_keyring)
    async with engine.begin() as connection:
        await connection.run_sync(patient.metadata.create_all)
        with kms_calls(max=1):
            await connection.execute(insert(patient), [{{"id": 1, "ssn": ssn}}])
            assert (await connection.scalars(select(patient.c.ssn))).all() == [ssn]
    await engine.dispose()

async def test_attached_by_the_fixture(tmp_path, encfields_attach, encfields_canary):
    ssn = encfields_canary("123-45-6789")
    engine = create_async_engine(f"sqlite+aiosqlite:///{{tmp_path}}/db")
    encfields_attach(engine)
    async with engine.begin() as connection:
        await connection.run_sync(patient.metadata.create_all)
    async with engine.begin() as connection:
        await connection.execute(insert(patient), [{{"id": 1, "ssn": ssn}}])
        assert (await connection.scalars(select(patient.c.ssn))).all() == [ssn]
    await engine.dispose()

async def test_leaking(encfields_canary):
    logging.getLogger("shop").warning("new %s", encfields_canary("123-45-6789"))

async def test_raising(encfields_canary):
    ssn = encfields_canary("123-45-6789")
    with pytest.raises(ValueError):
        raise ValueError(ssn)

async def test_dear(tmp_path, encfields_keyring):
    engine = create_async_engine(f"sqlite+aiosqlite:///{{tmp_path}}/db")
    with kms_calls(max=0):
        await attach_locally_async(engine, encfields_keyring)
"""


OUTCOMES = {
    "test_sound": "PASSED",
    "test_attached_by_the_fixture": "PASSED",
    "test_leaking": "FAILED",
    "test_raising": "FAILED",
    "test_dear": "FAILED",
}


def test_coroutines_in_several_processes(project: pytest.Pytester) -> None:
    # All loops in one run: most of the time it takes to start its processes.
    project.makepyfile(**{f"test_{loop}": TESTS.format(loop=loop) for loop in LOOPS})
    result = project.runpytest_subprocess("-rA", "-n", "2")
    found = {
        (loop, name.partition("[")[0]): outcome
        for loop in LOOPS
        for name, outcome in outcomes(result, f"test_{loop}.py").items()
    }
    assert found == {(loop, name): outcome for loop in LOOPS for name, outcome in OUTCOMES.items()}
    for loop in LOOPS:
        result.stdout.fnmatch_lines_random([f"*log record of 'shop' (WARNING, test_{loop}.py)*"])
    shown = [line.strip() for line in result.outlines]
    assert shown.count("str(an exception (ValueError))") == len(LOOPS)
    dear = [line for line in shown if line.startswith("E ") and "where 0 are allowed" in line]
    assert len(dear) == len(LOOPS)
