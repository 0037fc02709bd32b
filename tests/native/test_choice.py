"""Which core runs, and who says so."""

from __future__ import annotations

import os

import pytest

from tests import forked

ANEW = forked.FORGET + "import warnings; warnings.simplefilter('always', RuntimeWarning)\n"
SHOW = "from encfields import native_core; print(native_core.status())"
IMPORTED = ["aws_encryption_sdk", "cryptography", "sqlalchemy.orm"]


@pytest.fixture
def run(tmp_path):
    """Run Python with the compiled core replaced by a module of some content."""

    def run(code: str = SHOW, *, module: str | None = None, choice: str | None = None):
        environment = {**os.environ}
        environment.pop("ENCFIELDS_NATIVE", None)
        if choice is not None:
            environment["ENCFIELDS_NATIVE"] = choice
        if module is not None:
            (tmp_path / "encfields_native.py").write_text(module)
        return forked.run(
            *("-c", ANEW + code), folder=tmp_path, environment=environment, imported=IMPORTED
        )

    return run


def test_it_is_used_where_it_is_installed(native, run):
    done = run()
    assert (done.stdout, done.stderr) == (f"encfields-native {native.__version__}\n", "")
    assert run(choice="require").stdout == done.stdout


def test_it_can_be_turned_off(run):
    done = run(choice="off")
    assert (done.stdout, done.stderr) == ("Python: ENCFIELDS_NATIVE is off\n", "")


def test_a_misspelt_choice_is_refused(run):
    done = run(choice="of")
    assert done.returncode
    assert (
        "ConfigurationError: ENCFIELDS_NATIVE is 'of': it may be 'off' or 'require'" in done.stderr
    )


UNUSABLE = {
    "of another version": ("__version__ = '0.0.1'", "0.0.1 does not belong to encfields"),
    "that does not load": ("raise ImportError('no such symbol')", "no such symbol"),
    "that wants another module": ("import missing_one", "No module named 'missing_one'"),
    "that does not agree": (
        "from encfields.version import VERSION as __version__\n"
        "def seal(plaintext, context, key): return b'sealed'\n"
        "def open_(message, context, key_id, find_key): return b'self-test'\n",
        "do not read each other's values",
    ),
    "that has nothing to try": (
        "from encfields.version import VERSION as __version__\n",
        "do not read each other's values",
    ),
}


SEAL = (
    "from encfields.branch_key import BranchKey\n"
    "from encfields.message import open_, seal\n"
    "key = BranchKey('k', '00000000-0000-4000-8000-000000000000', bytes(32))\n"
    "assert open_(seal(b'a', b'', key), b'', lambda *_: key, ('k',)) == b'a'\n"
)


@pytest.mark.parametrize("module, reason", UNUSABLE.values(), ids=UNUSABLE)
def test_one_that_cannot_be_used_is_warned_of_once_and_python_goes_on(run, module, reason):
    done = run(f"{SEAL}\n{SHOW}", module=module)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Python: ")
    assert reason in done.stdout
    assert done.stderr.count("RuntimeWarning") == 1
    assert reason in done.stderr


@pytest.mark.parametrize("module, reason", UNUSABLE.values(), ids=UNUSABLE)
def test_where_it_is_required_nothing_goes_on_without(run, module, reason):
    done = run(module=module, choice="require")
    assert done.returncode
    assert "ConfigurationError: ENCFIELDS_NATIVE is 'require'" in done.stderr
    assert reason in done.stderr.splitlines()[-1]


def test_where_it_is_required_and_fails_its_trial_no_value_is_sealed(run):
    module, _ = UNUSABLE["that does not agree"]
    done = run(
        "from encfields import errors\n"
        "for _ in range(2):\n"
        "    try:\n        exec(code)\n"
        "    except errors.ConfigurationError as error: print(error.reason)\n".replace(
            "code", repr(SEAL)
        ),
        module=module,
        choice="require",
    )
    assert (done.stdout, done.returncode) == ("native\nnative\n", 0), done.stderr


def test_it_is_tried_before_its_first_use_and_not_by_a_program_that_starts(run):
    """The trial draws random bytes, and the first ones take AWS-LC a fiftieth of a second."""
    module, _ = UNUSABLE["that does not agree"]
    started = (
        "from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings\n"
        "import encfields.bulk.reencryption\n"
        "from sqlalchemy import Column, Integer, MetaData, String, Table, select\n"
        "ssn = Column('ssn', EncryptedType(String, index=BlindIndex()))\n"
        "patient = Table('patient', MetaData(), Column('id', Integer, primary_key=True), ssn)\n"
        "found = select(patient).where(ssn == 'hidden', ssn.in_(['hidden', 'too']))\n"
        "print('started')\n"
    )
    shouting = module.replace("return b'sealed'", "print('tried')")
    done = run(started + SEAL, module=shouting)
    assert (done.stdout, done.returncode) == ("started\ntried\n", 0), done.stderr
