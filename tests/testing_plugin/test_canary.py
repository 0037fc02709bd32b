"""The canary fails a test by whichever way a plaintext gets out, and no test that lets out none."""

from __future__ import annotations

import re

import pytest

from tests.testing_plugin.conftest import outcomes

HEAD = """
import asyncio, base64, gc, io, json, logging, multiprocessing.reduction, pickle, subprocess, sys
import threading, warnings
import pytest
from sqlalchemy import create_engine, insert, column, table, text

SSN = "123-45-" + "6789"
log = logging.getLogger("shop")
silent = logging.getLogger("shop.silent")
silent.propagate = False

def memory(**options):
    engine = create_engine("sqlite://", **options)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    return engine

def helper(value):
    raise ValueError("refused")

def chained(value):
    try:
        raise KeyError(value)
    except KeyError:
        raise ValueError("refused") from None

def noted(value):
    error = ValueError("refused")
    error.add_note(f"it was {value}")
    raise error
"""

LEAKS = {
    "log": 'log.warning("new patient %s", ssn)',
    "log_attribute": 'log.warning("new", extra={"form": {"ssn": ssn}})',
    "log_without_handlers": 'silent.warning("new %s", ssn)',
    "log_of_exception": """
    try:
        raise ValueError(ssn)
    except ValueError:
        log.exception("failed")""",
    "log_of_exception_with_frames": """
    try:
        helper(ssn)
    except ValueError:
        log.warning("failed", exc_info=True)""",
    "log_of_exception_that_is_given": """
    try:
        helper(ssn)
    except ValueError as error:
        caught = error
    silent.error("failed", exc_info=caught)""",
    "end_of_thread": """
    thread = threading.Thread(target=helper, args=(ssn,))
    thread.start()
    thread.join()""",
    "task_that_nobody_awaits": """
    async def task(value): helper(value)
    async def main():
        asyncio.create_task(task(ssn))
        await asyncio.sleep(0)
    asyncio.run(main())
    gc.collect()""",
    "deleted": """
    class Deleted:
        def __del__(self): helper(ssn)
    Deleted()""",
    "json_in_log": 'log.warning(json.dumps({"name": canary("Zoë Größe")}))',
    "base64_in_log": 'log.warning(base64.b64encode(b"Basic " + ssn.encode()).decode())',
    "member_of_json": 'log.warning(canary({"a": [{"b": "member-0815"}]})["a"][0]["b"])',
    "date": 'log.warning("born %s", canary(__import__("datetime").date(1815, 12, 10)))',
    "time": 'log.warning(canary(__import__("datetime").datetime(1815, 12, 10, 8)).isoformat())',
    "uuid": 'log.warning(canary(__import__("uuid").UUID(int=7 << 99)).hex)',
    "stdout": "print(ssn)",
    "stderr": "print(ssn, file=sys.stderr)",
    "stdout_that_the_test_read": """
    print(ssn)
    capsys.readouterr()""",
    "stdout_of_another_process_that_the_test_read": """
    subprocess.run([sys.executable, "-c", f"print({ssn!r})"], check=True)
    capfd.readouterr()""",
    "stdout_of_another_process": """
    subprocess.run([sys.executable, "-c", f"print({ssn!r})"], check=True)""",
    "warning": 'warnings.warn(f"odd: {ssn}")',
    "exception": "raise ValueError(ssn)",
    "caught_exception": "with pytest.raises(ValueError): raise ValueError(ssn)",
    "context_of_exception": "with pytest.raises(ValueError): chained(ssn)",
    "note_of_exception": "with pytest.raises(ValueError): noted(ssn)",
    "frame_of_exception": "with pytest.raises(ValueError): helper(ssn)",
    "pickle_dumps": "pickle.dumps({'ssn': ssn})",
    "pickle_dump": "pickle.dump([ssn], io.BytesIO(), protocol=0)",
    "pickled_date": "pickle.dumps({'born': canary(__import__('datetime').date(1815, 12, 10))})",
    "pickled_number": "pickle.dumps([canary(18151210)])",
    "pickled_uuid": "pickle.dumps(canary({'a': [__import__('uuid').UUID(int=7 << 99)]}))",
    "pickler": "pickle.Pickler(io.BytesIO()).dump(ssn)",
    "sent_to_a_process": "multiprocessing.reduction.ForkingPickler.dumps(ssn)",
    "parameter": 'memory().connect().execute(text("INSERT INTO t VALUES (:x)"), {"x": ssn})',
    "parameters_of_many": """
    memory().connect().execute(insert(table("t", column("x"))), [{"x": "a"}, {"x": ssn}])""",
    "parameter_that_the_database_refused": """
    with pytest.raises(Exception):
        engine = memory(hide_parameters=True)
        engine.connect().execute(text("INSERT INTO u VALUES (:x)"), {"x": ssn})""",
    "literal": """memory().connect().execute(text(f"INSERT INTO t VALUES ('{ssn}')"))""",
    "sql_echo": """
    memory(echo=True).connect().execute(text("INSERT INTO t VALUES (:x)"), {"x": ssn})""",
    "looked_at": 'canary.look_at({"response": [ssn]})',
}
"""The bodies of tests that let a registered plaintext out."""


def _test(name: str, body: str) -> str:
    read = next((f", {fixture}" for fixture in ("capsys", "capfd") if fixture in body), "")
    return (
        f"def test_{name}(encfields_canary{read}):\n"
        "    canary = encfields_canary\n"
        "    ssn = canary(SSN)\n"
        f"    {body.strip()}\n"
    )


def test_each_way_out_fails_the_test_that_lets_a_plaintext_out(project: pytest.Pytester) -> None:
    tests = [_test(name, body) for name, body in LEAKS.items()]
    project.makepyfile("\n".join([HEAD, *tests]))
    result = project.runpytest("-rA")
    assert outcomes(result) == {f"test_{name}": "FAILED" for name in LEAKS}
    told = result.stdout.str()
    assert told.count("a plaintext shows where it must not") >= len(LEAKS)
    for place in ("log record of 'shop' (WARNING", "a pickle", "stdout", "'value' of"):
        assert re.search(rf"^E? *.*{re.escape(place)}", told, re.MULTILINE), place


def test_the_reason_of_a_skipped_test_is_searched(project: pytest.Pytester) -> None:
    tests = [_test(name, f'pytest.{name}(f"no {{ssn}}")') for name in ("skip", "xfail")]
    project.makepyfile("\n".join([HEAD, *tests]))
    told = project.runpytest("-rE").stdout.str()
    assert told.count("str(the reason why the test ended)") == 2


def test_what_a_fixture_lets_out_when_it_ends_is_an_error(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import logging, pytest

        @pytest.fixture
        def patient(encfields_canary):
            ssn = encfields_canary("123-45-6789")
            yield ssn
            logging.getLogger("shop").warning("left over: %s", ssn)

        def test_patient(patient):
            pass
        """
    )
    result = project.runpytest("-rA")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*a plaintext shows where it must not*", "*'shop'*"])


SOUND = """
import logging, pickle
import pytest
from sqlalchemy import String, create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from encfields import BlindIndex, EncryptedType

class Base(DeclarativeBase): pass

class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String, index=BlindIndex(unique=True)))

def test_patients(tmp_path, encfields_attach, encfields_canary, caplog):
    caplog.set_level(logging.DEBUG)
    engine = create_engine(f"sqlite:///{tmp_path}/db", echo=True)
    encryption = encfields_attach(engine)
    Base.metadata.create_all(engine)
    ssn = encfields_canary("123-45-" + "6789")
    with Session(engine) as session:
        session.add(Patient(name="Ada", ssn=ssn))
        session.commit()
        assert session.scalars(select(Patient).where(Patient.ssn == ssn)).one().ssn == ssn
        session.add(Patient(name="Ada", ssn=ssn))
        with pytest.raises(IntegrityError):
            session.flush()
    pickle.dumps(encryption.seal(ssn.encode(), {"file": "a"}))
    print("done"); logging.getLogger("shop").warning("done: %s", encryption)
"""


def test_an_application_that_encrypts_passes(project: pytest.Pytester) -> None:
    project.makepyfile(SOUND)
    project.runpytest("-rA").assert_outcomes(passed=1)


def test_a_plain_column_where_the_application_forgot_to_encrypt_fails(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(SOUND.replace("EncryptedType(String, index=BlindIndex(unique=True))", ""))
    result = project.runpytest("-rA")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the parameters sent to the database driver*"])


def test_frames_of_modules_that_may_hold_it_are_left_out(project: pytest.Pytester) -> None:
    project.makepyfile(forms="def submit(ssn):\n    raise ValueError('refused')\n")
    project.makepyfile(
        """
        import forms, pytest

        def test_submit(encfields_canary):
            ssn = encfields_canary("123-45-6789")
            with pytest.raises(ValueError):
                forms.submit(ssn)

        def test_allowed(encfields_canary):
            encfields_canary.may_hold("forms")
            ssn = encfields_canary("123-45-6789")
            with pytest.raises(ValueError):
                forms.submit(ssn)
        """
    )
    result = project.runpytest("-rA")
    assert outcomes(result) == {"test_submit": "FAILED", "test_allowed": "PASSED"}
    result.stdout.fnmatch_lines(["*'ssn' of *forms.py:submit*"])
    allowed = project.runpytest("-k", "submit", "-o", "encfields_canary_may_hold=forms")
    allowed.assert_outcomes(passed=1)


def test_a_test_without_a_canary_is_left_alone(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import logging, pickle, sys, warnings

        ORIGINAL = logging.Logger.callHandlers, pickle.dumps, pickle.Pickler

        def test_nothing_is_replaced():
            assert ORIGINAL == (logging.Logger.callHandlers, pickle.dumps, pickle.Pickler)
            print("123-45-6789")
        """
    )
    project.runpytest().assert_outcomes(passed=1)


def test_output_and_warnings_still_arrive_where_they_belong(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import warnings

        def test_prints(encfields_canary):
            encfields_canary("123-45-6789")
            print("a line of output")
            warnings.warn("a warning of the test")
        """
    )
    result = project.runpytest("-rA", "-W", "default")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*a warning of the test*", "*a line of output*"])


def test_a_failure_keeps_its_own_message_and_gets_the_finding_as_a_note(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        """
        import logging

        def test_patient(encfields_canary):
            logging.getLogger("shop").warning(encfields_canary("123-45-6789"))
            assert 1 + 1 == 3
        """
    )
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *assert (1 + 1) == 3", "E *a plaintext shows where*"])


def test_a_plaintext_that_chance_could_bring_is_refused(encfields_canary) -> None:
    for short in ("abc", 12, b"12345", {"a": ["b"]}, None):
        with pytest.raises(ValueError, match="by chance"):
            encfields_canary(short)
