"""The former name of :mod:`encfields.bulk`, kept until 1.0 for programs that import it."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module

from encfields.bulk import *  # noqa: F403

warnings.warn("encfields.reencrypt is encfields.bulk now", PendingDeprecationWarning, stacklevel=2)

_MODULES = {
    "engine": "reencryption",
    "options": "options",
    "run_store": "runs.store",
    "run_tables": "runs.tables",
    "coordinator": "runs.worker_setup",
    "spec": "rows.spec",
    "census": "survey.census",
    "verify": "survey.verify",
}
for _old, _new in _MODULES.items():
    sys.modules[f"{__name__}.{_old}"] = import_module(f"encfields.bulk.{_new}")
