"""The plugin beside others: processes of pytest-xdist, event loops of pytest-asyncio and anyio,
tests that are run again, and unittest's."""

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


RUNS_AGAIN = """
import pytest
from _pytest.runner import runtestprotocol

pytest_plugins = ["encfields.testing"]

def pytest_runtest_protocol(item, nextitem):
    # As pytest-rerunfailures does it.
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for again in (True, False):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if again and any(report.failed for report in reports):
            continue
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        return True
"""


def test_a_test_that_is_run_again_answers_for_its_last_run_alone(
    project: pytest.Pytester,
) -> None:
    project.makeconftest(RUNS_AGAIN)
    project.makepyfile("""
        ran = set()

        def test_leaking_once(encfields_canary):
            ssn = encfields_canary("123-45-6789")
            if "once" not in ran:
                ran.add("once")
                print(ssn)

        def test_leaking_always(encfields_canary):
            print(encfields_canary("123-45-6789"))
        """)
    result = project.runpytest("-rA", "-p", "no:randomly")
    assert outcomes(result) == {"test_leaking_once": "PASSED", "test_leaking_always": "FAILED"}


def test_unittests_are_watched_alike(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import logging
        import unittest

        import pytest

        class SignUp(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def registered(self, encfields_canary):
                self.ssn = encfields_canary("123-45-6789")

            def leak(self):
                logging.getLogger("shop").warning("new %s", self.ssn)

            def test_sound(self):
                assert self.ssn

            def test_leaking(self):
                self.leak()

            def test_leaking_and_wrong(self):
                self.leak()
                self.assertEqual(1, 2)

            def test_leaking_and_skipped(self):
                self.leak()
                self.skipTest("later")

            def test_raising(self):
                raise ValueError(self.ssn)

            def test_catching(self):
                with self.assertRaises(ValueError):
                    raise ValueError(self.ssn)
        """)
    result = project.runpytest("-rA")
    assert outcomes(result) == {
        "test_sound": "PASSED",
        "test_leaking": "FAILED",
        "test_leaking_and_wrong": "FAILED",
        "test_leaking_and_skipped": "ERROR",
        "test_raising": "FAILED",
        "test_catching": "FAILED",
    }
    found = [line for line in result.outlines if "a plaintext shows where it must not:" in line]
    assert sum(not line.startswith(("FAILED", "ERROR")) for line in found) == 5
