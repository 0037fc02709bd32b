"""AWS's local keyring, with each data key opened once.

What opens a branch key first opens the key of its message, by code that is translated from Dafny:
four fifths of what it takes to unwrap a branch key, and tests open the same few thousands of times.
What is imported here changes how long it takes and nothing else: only what was opened is
remembered, by all that it was opened with. The message itself is read and verified each time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from aws_cryptographic_material_providers.internaldafny.generated.RawAESKeyring import RawAESKeyring
from aws_cryptographic_material_providers.mpl import references

_Manager = references.CryptographicMaterialsManager
_open: Callable[[Any, Any], Any] = _Manager.decrypt_materials
_known: dict[Hashable, Any] = {}


def _once(manager: Any, wanted: Any) -> Any:
    keyring = getattr(manager._impl, "keyring", None)
    if type(keyring) is not RawAESKeyring:  # KMS is to be asked
        return _open(manager, wanted)
    all_of_it = _value_of(wanted.as_dict()), *_given_to(keyring)
    if all_of_it not in _known:
        _known[all_of_it] = _open(manager, wanted)
    return _known[all_of_it]


def _given_to(keyring: Any) -> tuple[Hashable, ...]:
    made_with = keyring.keyNamespace, keyring.keyName, keyring.wrappingKey
    return *map(tuple, made_with), keyring.wrappingAlgorithm


def _value_of(part: Any) -> Hashable:
    if isinstance(part, dict):
        return tuple((name, _value_of(one)) for name, one in part.items())
    return tuple(map(_value_of, part)) if isinstance(part, list) else part


def remember_data_keys() -> None:
    """Have this process open each of the data keys of local keyrings once."""
    _Manager.decrypt_materials = _once
