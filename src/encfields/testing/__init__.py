"""A pytest plugin for applications that encrypt with encfields: no AWS, canaries, KMS budgets.

Take it in by the ``conftest.py`` at the root of your tests::

    pytest_plugins = ["encfields.testing"]

It adds fixtures, and does nothing to a test that asks for none of them:

- ``encfields_attach``: puts encryption with a local wrapping key on an engine,
- ``encfields_keyring``: that wrapping key,
- ``encfields_canary``: fails the test if a plaintext reaches a log, an exception, a statement's
  parameters, a pickle, a warning or the terminal;

and to import ``kms_calls``, a budget: ``with kms_calls(max=1): ...``.

What it is made of:

============  ===================================================
``plugin``    the fixtures, and what pytest calls
``local``     encryption with a local wrapping key
``canary``    plaintext that is looked for, and where it was seen
``channels``  the ways it could leave by
``search``    looking through one of them
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
