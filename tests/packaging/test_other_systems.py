"""Where there is no ``fork`` and none of Unix's other calls, as on Windows, encfields works; and
without greenlet, which SQLAlchemy 2.1 does not bring, but for asyncio."""

from __future__ import annotations

import os
from pathlib import Path

from tests import forked

ROOT = Path(__file__).parents[2]
MISSING = (
    *("register_at_fork", "fork", "forkpty", "geteuid", "getuid", "fchmod", "fchown", "chown"),
    *("killpg", "setsid", "wait3", "wait4", "mkfifo", "sched_getaffinity"),
)
WITHOUT = f"import os\nfor name in {MISSING!r}:\n    vars(os).pop(name, None)\n{forked.FORGET}"

TOUR = WITHOUT + "import runpy; runpy.run_path('examples/quickstart.py', run_name='__main__')"

COMMANDS = WITHOUT + (
    "import sys\n"
    "from sqlalchemy import create_engine\n"
    "from encfields import SqlKeyStore, attach, keyrings\n"
    "from encfields.cli.main import main\n"
    "folder = sys.argv[1]\n"
    "database, key = f'sqlite:///{folder}/clinic.db', f'{folder}/local.key'\n"
    "keyrings.generate_local_key(key)\n"
    "attach(create_engine(database), SqlKeyStore(keyrings.local(key)), create=True)\n"
    "at = ('--database', database, '--keyring', f'local:{key}')\n"
    "assert main(['keys', 'rotate', 'default', *at]) == 0\n"
    "main(['doctor', *at, '--json'])\n"
)

WITHOUT_GREENLET = f"""{forked.FORGET}
import importlib, pkgutil
sys.modules["sqlalchemy.ext.asyncio"] = None
import encfields
for module in pkgutil.walk_packages(encfields.__path__, "encfields."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def run(code: str, *arguments: str) -> str:
    done = forked.run(
        *("-c", code, *arguments),
        folder=ROOT,
        environment=os.environ,
        imported=["encfields.cli.main", "encfields.testing"],
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_an_application_runs():
    assert "123-45-6789" in run(TOUR)


def test_the_commands_run_and_doctor_leaves_out_the_fork(tmp_path):
    assert "this system does not fork" in run(COMMANDS, str(tmp_path))


def test_without_greenlet_every_module_is_imported():
    run(WITHOUT_GREENLET)
