"""A slip in the arguments of a declaration is told as one of ours, by the argument's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import String, create_engine

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import ConfigurationError, DeclarationError
from encfields.index.transforms import digits

anything: Any = EncryptedType
index: Any = BlindIndex
compound: Any = CompoundBlindIndex
local: Any = keyrings.local
store: Any = SqlKeyStore


def attached(**options: Any) -> None:
    attach(create_engine("sqlite://"), SqlKeyStore(keyrings.local(bytes(32))), **options)


DECLARATIONS: dict[str, tuple[str, Callable[[], object]]] = {
    "Python's type": ("EncryptedType(String), not str", lambda: anything(str)),
    "the type's name": ("EncryptedType(String), not a str", lambda: anything("String")),
    "no type": ("not a NoneType", lambda: anything(None)),
    "key": ("the branch key id is a text, not int", lambda: EncryptedType(key=5)),  # type: ignore[arg-type]
    "former keys": ("former_keys= takes a name", lambda: anything(former_keys=5)),
    "a former key": ("former_keys= takes a name", lambda: anything(former_keys=["a", 5])),
    "name": ("name= takes a text, not a int", lambda: anything(name=5)),
    "an empty name": ("name= takes a text, not an empty one", lambda: anything(name=" ")),
    "bind_to": ("bind_to= takes a name", lambda: anything(bind_to=5)),
    "a column": ("bind_to= takes a name", lambda: anything(bind_to=[String])),
    "index name": ("name= takes a text", lambda: index(name=5)),
    "index key": ("key= takes a text", lambda: index(key=5)),
    "index domain": ("domain= takes a text", lambda: index(domain=5)),
    "index versions": ("versions= names one version", lambda: index(versions=2)),
    "index leakage": ("accept_leakage= takes a text", lambda: index(accept_leakage=True)),
    "compound leakage": (
        "accept_leakage= takes a text",
        lambda: compound("who", "a", "b", accept_leakage=True),
    ),
    "compound name": ("name= takes a text", lambda: compound(5, "a", "b")),
    "then": ("then() takes another transform", lambda: digits.then(4)),  # type: ignore[arg-type]
}

SETTINGS: dict[str, tuple[str, Callable[[], object]]] = {
    "ttl": ("cache_ttl= takes more than 0, not '5'", lambda: attached(cache_ttl="5")),
    "no ttl": ("cache_ttl= takes more than 0, not 0", lambda: attached(cache_ttl=0)),
    "not a number": (
        "cache_ttl= takes more than 0, not nan",
        lambda: attached(cache_ttl=1e999 * 0),
    ),
    "grace": ("cache_grace= takes 0 or more, not -1", lambda: attached(cache_grace=-1)),
    "entries": ("cache_entries= takes 1 or more", lambda: attached(cache_entries=None)),
    "renewal": ("cache_renewal= takes 0 to half of cache_ttl", lambda: attached(cache_renewal=9e9)),
    "keyring": ("a key store takes a keyring", lambda: store(None)),
    "store name": ("a key store's name is printable", lambda: store(local(bytes(32)), name=5)),
    "local key": ("a local wrapping key is 32 bytes", lambda: local(None)),
    "descriptor": ("a local wrapping key is 32 bytes", lambda: local(0)),
    "path": ("cannot be used: ValueError", lambda: local("\0")),
}


@pytest.mark.parametrize("told, declare", DECLARATIONS.values(), ids=DECLARATIONS)
def test_what_a_declaration_does_not_take_is_told(told: str, declare: Callable[[], object]) -> None:
    with pytest.raises(DeclarationError, match=re.escape(told)):
        declare()


@pytest.mark.parametrize("told, make", SETTINGS.values(), ids=SETTINGS)
def test_what_a_setting_does_not_take_is_told(told: str, make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        make()
