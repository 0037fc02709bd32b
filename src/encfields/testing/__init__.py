"""A pytest plugin for applications that encrypt with encfields: no AWS, canaries, KMS budgets.

Load it in the ``conftest.py`` at the root of your tests::

    pytest_plugins = ["encfields.testing"]

It adds fixtures, and does nothing to tests that do not use them:

- ``encfields_attach``: puts encryption with a local wrapping key on an engine,
- ``encfields_keyring``: that wrapping key,
- ``encfields_canary``: fails the test if a plaintext reaches a log, an exception, a statement's
  parameters, a pickle, a warning or the terminal;

and a budget to import, ``kms_calls``: ``with kms_calls(max=1): ...``.

Its modules:

============  ===================================================
``plugin``    the fixtures, and pytest's hooks
``local``     encryption with a local wrapping key
``canary``    plaintexts to search for, and where they were seen
``channels``  the ways by which they could leak
``search``    searches things for them
``budget``    ``kms_calls``
============  ===================================================
"""

from __future__ import annotations

from encfields.testing.budget import kms_calls
from encfields.testing.canary import Canary
from encfields.testing.local import (
    attach_locally,
    attach_locally_async,
    local_keyring,
    local_store,
)
from encfields.testing.plugin import (
    Attach,
    encfields_attach,
    encfields_canary,
    encfields_keyring,
)
from encfields.testing.plugin import pytest_addoption as pytest_addoption
from encfields.testing.plugin import pytest_encfields_runtest_call as pytest_encfields_runtest_call
from encfields.testing.plugin import pytest_runtest_call as pytest_runtest_call
from encfields.testing.search import assert_absent, assert_absent_from_frames

__all__ = [
    "Attach",
    "Canary",
    "assert_absent",
    "assert_absent_from_frames",
    "attach_locally",
    "attach_locally_async",
    "encfields_attach",
    "encfields_canary",
    "encfields_keyring",
    "kms_calls",
    "local_keyring",
    "local_store",
]
