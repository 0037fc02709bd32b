"""The primitives of blind indexes know no database."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["transforms", "hashing"])
def test_the_primitives_do_not_know_sqlalchemy(module):
    """errors.py excepted, whose classes mix in one of SQLAlchemy's."""
    code = (
        "import sys, encfields.errors\n"
        "before = set(sys.modules)\n"
        f"import encfields.index.{module}\n"
        "new = set(sys.modules) - before\n"
        "assert not any(n.startswith('sqlalchemy.') for n in new), new"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
