"""Whether the compiled core seals and opens values, and if not, why.

The compiled core is a distribution of its own, ``encfields-native``, which ``encfields[native]``
installs. It is looked for when this module is imported. It only makes things faster: what it does
not accept is left to Python, which raises every error. The environment variable
``ENCFIELDS_NATIVE`` is read then, too:

===========  ==============================================================================
not set      the compiled core is used if it is installed
``off``      it is not used
``require``  this module cannot be imported without it
===========  ==============================================================================

It is tested once against Python, before it seals or opens the application's first value. This is
not done at import, because AWS-LC's first random bytes take 20 ms.
"""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType
from typing import NamedTuple

from encfields.branch_key import BranchKey
from encfields.errors import ConfigurationError
from encfields.message import one_pass
from encfields.version import VERSION

__all__ = ["Status", "status"]

VARIABLE = "ENCFIELDS_NATIVE"
MODULE = "encfields_native"
_AT_ONCE = 8
"""Most values that the compiled core may seal and open together."""

_CHOICES = ("", "off", "require")
_DISAGREES = "encfields-native and Python do not read each other's values"


class Status(NamedTuple):
    """Which core is used.

    :ivar is_native: whether it is the compiled one.
    :ivar version: of ``encfields-native``; ``None`` if it was not looked for or not found.
    :ivar reason: why it is not used; ``""`` if it is.
    """

    is_native: bool
    version: str | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.is_native:
            return f"encfields-native {self.version}"
        return f"Python: {self.reason}"


def status() -> Status:
    """Which core seals and opens values in this process. The first call tests it.

    :raises ConfigurationError: it must be the compiled one, which failed the test.
    """
    return _require_choice(_tried.get(MODULE) or _tested_core())


def _core_for_choice(choice: str) -> Status:
    """The compiled core, if it is installed and belongs to this encfields.

    :param choice: the environment variable's value.
    :raises ConfigurationError: it is required but cannot be used, or the value is invalid.
    """
    if choice not in _CHOICES:
        raise ConfigurationError(
            f"{VARIABLE} is {choice!r}: it may be 'off' or 'require'", reason="native"
        )
    if choice == "off":
        return Status(False, reason=f"{VARIABLE} is off")
    return _require_choice(_import_core())


def _require_choice(core: Status) -> Status:
    """The core, if the environment variable accepts it.

    :raises ConfigurationError: the compiled core is required, but cannot be used.
    """
    if _CHOICE == "require" and not core.is_native:
        raise ConfigurationError(
            f"{VARIABLE} is 'require', and the compiled core cannot be used: {core.reason}",
            reason="native",
        )
    return core


def _import_core() -> Status:
    try:
        core = importlib.import_module(MODULE)
    except ModuleNotFoundError as error:
        if error.name == MODULE:
            return Status(False, reason="encfields-native is not installed")
        return _unusable(f"encfields-native cannot be imported: {error}")
    except ImportError as error:
        return _unusable(f"encfields-native cannot be imported: {error}")
    version = getattr(core, "__version__", None)
    if version != VERSION:
        mismatch = f"encfields-native {version} does not belong to encfields {VERSION}"
        return _unusable(f"{mismatch}: install 'encfields[native]' again", version)
    return Status(True, version)


def _tested_core() -> Status:
    """Which core is used from now on.

    Threads that call this at the same time may each test it, and all use the result of one. There
    is no lock, because a child that is forked meanwhile would find it locked for ever.
    """
    core = _FOUND
    if core.is_native and not _agrees_with_python(importlib.import_module(MODULE)):
        core = Status(False, core.version, _DISAGREES)
    first = _tried.setdefault(MODULE, core)
    if first is core and first is not _FOUND:
        _warn(first.reason)
    return first


def _agrees_with_python(core: ModuleType) -> bool:
    """Whether both cores open what the other one seals, on this machine."""
    try:
        return _read_each_other(core)
    except Exception:  # a core that was built wrongly may raise anything
        return False


def _read_each_other(core: ModuleType) -> bool:
    key = BranchKey("self-test", "00000000-0000-4000-8000-000000000000", bytes(32))

    def find(key_id: str, version: str) -> BranchKey:
        return key

    for sealing, opening in ((core, one_pass), (one_pass, core)):
        message = sealing.seal(b"self-test", b"", key)
        for open_ in (opening.open_, opening.open_kept):
            if open_(message, b"", key.id, find) != b"self-test":
                return False
    # Sealing many at once uses other code, which depends on the processor.
    plaintexts, contexts = [bytes(size) for size in range(_AT_ONCE)], [b""] * _AT_ONCE
    messages = core.seal_many(plaintexts, contexts, key)
    opened = [one_pass.open_(message, b"", key.id, find) for message in messages]
    if _hides_and_indexes(core, key.material) != _hides_and_indexes(one_pass, key.material):
        return False
    return bool(opened == plaintexts == core.open_many(messages, contexts, key.id, find))


def _hides_and_indexes(core: ModuleType, key: bytes) -> tuple[bytes | None, ...]:
    cipher, iv = core.Cipher(key), bytes(12)
    hidden = cipher.encrypt(iv, b"self-test", None)
    return hidden, cipher.decrypt(iv, hidden, None), core.index_code(key, b"self-test")


def _unusable(reason: str, version: str | None = None) -> Status:
    """The status of a core that cannot be used. Warns, because it was installed on purpose."""
    _warn(reason)
    return Status(False, version, reason)


def _warn(reason: str) -> None:
    warnings.warn(f"{reason}. Values are sealed and opened in Python", RuntimeWarning, stacklevel=3)


_tried: dict[str, Status] = {}
"""The result of the test, once it was run."""

_CHOICE = os.environ.get(VARIABLE, "")
_FOUND = _core_for_choice(_CHOICE)
"""Whether there is a compiled core that belongs to this encfields, and if not, why."""
