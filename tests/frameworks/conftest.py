"""Frameworks in which encrypted columns are used: a file for each, with the real framework.

The frameworks are installed by ``make test-frameworks``, in an environment of their own. Elsewhere
the files of those that are missing are left out.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

NEEDS = {
    "test_adopting.py": "sqlalchemy_encrypted_field",
    "test_advanced_alchemy.py": "advanced_alchemy",
    "test_celery.py": "celery",
    "test_documented_pages.py": "sqladmin",
    "test_factory_boy.py": "factory",
    "test_flask_admin.py": "flask_admin",
    "test_flask_migrate.py": "flask_migrate",
    "test_flask_sqlalchemy.py": "flask_sqlalchemy",
    "test_gunicorn.py": "gunicorn",
    "test_litestar.py": "litestar",
    "test_marshmallow.py": "marshmallow_sqlalchemy",
    "test_pandas.py": "pandas",
    "test_sqladmin.py": "sqladmin",
    "test_sqlalchemy_utils.py": "sqlalchemy_utils",
    "test_sqlmodel.py": "sqlmodel",
    "test_starlette_admin.py": "starlette_admin",
}

collect_ignore = [file for file, module in NEEDS.items() if find_spec(module) is None]

if collect_ignore and os.environ.get("ENCFIELDS_TEST_FRAMEWORKS") == "all":
    raise pytest.UsageError(f"no framework for {', '.join(collect_ignore)}: make test-frameworks")
