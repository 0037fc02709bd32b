"""A slip in the arguments of a declaration is told as one of ours, by the argument's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine
from sqlalchemy.dialects.postgresql import CITEXT

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import (
    BindingError,
    ConfigurationError,
    DeclarationError,
    EncFieldsError,
)
from encfields.index.transforms import casefold, digits, transform_named
from encfields.testing import attach_locally

anything: Any = EncryptedType
index: Any = BlindIndex
compound: Any = CompoundBlindIndex
local: Any = keyrings.local
store: Any = SqlKeyStore
generate: Any = keyrings.generate_local_key


def attached(**options: Any) -> None:
    attach(create_engine("sqlite://"), SqlKeyStore(keyrings.local(bytes(32))), **options)


DECLARATIONS: dict[str, tuple[str, Callable[[], object]]] = {
    "Python's type": ("EncryptedType(String), not str", lambda: anything(str)),
    "the type's name": ("EncryptedType(String), not a str", lambda: anything("String")),
    "no type": ("not a NoneType", lambda: anything(None)),
    "key": ("the branch key id must be a string, not int", lambda: EncryptedType(key=5)),  # type: ignore[arg-type]
    "former keys": ("former_keys= takes a name", lambda: anything(former_keys=5)),
    "a former key": ("former_keys= takes a name", lambda: anything(former_keys=["a", 5])),
    "name": ("name= takes a string, not an int", lambda: anything(name=5)),
    "an empty name": ("name= takes a string, not an empty one", lambda: anything(name=" ")),
    "bind_to": ("bind_to= takes a name", lambda: anything(bind_to=5)),
    "a column": ("bind_to= takes a name", lambda: anything(bind_to=[String])),
    "index name": ("name= takes a string", lambda: index(name=5)),
    "index key": ("key= takes a string", lambda: index(key=5)),
    "index domain": ("domain= takes a string", lambda: index(domain=5)),
    "index versions": ("versions= takes one version", lambda: index(versions=2)),
    "index leakage": ("accept_leakage= takes a string", lambda: index(accept_leakage=True)),
    "compound leakage": (
        "accept_leakage= takes a string",
        lambda: compound("who", "a", "b", accept_leakage=True),
    ),
    "guard": ("guard= takes True or False, not a str", lambda: anything(guard="yes")),
    "lazy": ("lazy= takes True or False, not an int", lambda: anything(lazy=1)),
    "unique": ("unique= takes True or False, not a str", lambda: index(unique="no")),
    "a name without Unicode": ("name= takes valid Unicode", lambda: anything(name="a\ud800")),
    "a key without Unicode": ("id must be valid Unicode", lambda: anything(key="a\ud800")),
    "a column as key": ("the branch key id must be a string", lambda: anything(key=Column("a"))),
    "no compound name": ("made of letters", lambda: compound(None, "a", "b")),
    "transform": ("there is no transform 5", lambda: transform_named(5)),  # type: ignore[arg-type]
    "compound name": ("name= takes a string", lambda: compound(5, "a", "b")),
    "then": ("then() takes another transform", lambda: digits.then(4)),  # type: ignore[arg-type]
}

SETTINGS: dict[str, tuple[str, Callable[[], object]]] = {
    "ttl": ("cache_ttl= takes more than 0, not a str", lambda: attached(cache_ttl="5")),
    "no ttl": ("cache_ttl= takes more than 0, not 0", lambda: attached(cache_ttl=0)),
    "not a number": (
        "cache_ttl= takes more than 0, not nan",
        lambda: attached(cache_ttl=1e999 * 0),
    ),
    "grace": ("cache_grace= takes 0 or more, not -1", lambda: attached(cache_grace=-1)),
    "entries": ("cache_entries= takes 1 or more", lambda: attached(cache_entries=None)),
    "renewal": ("cache_renewal= takes 0 to half of cache_ttl", lambda: attached(cache_renewal=9e9)),
    "data keys": (
        "data_key_cache= takes True or False, not an int",
        lambda: attached(data_key_cache=0),
    ),
    "keyring": ("a key store takes a keyring", lambda: store(None)),
    "store name": ("a key store's name is printable", lambda: store(local(bytes(32)), name=5)),
    "local key": ("a local wrapping key is 32 bytes", lambda: local(None)),
    "descriptor": ("a local wrapping key is 32 bytes", lambda: local(0)),
    "half an entry": ("cache_entries= takes 1 or more", lambda: attached(cache_entries=1.5)),
    "legacy": ("legacy= takes a dictionary from a column", lambda: attached(legacy="x")),
    "table name": ("table_name= takes a name", lambda: store(local(bytes(32)), table_name=None)),
    "schema": ("schema= takes a name", lambda: store(local(bytes(32)), schema=5)),
    "engine": ("is bound to an Engine, not to a str", lambda: store(local(bytes(32)), engine="x")),
    "former": ("former= takes a list of keyrings", lambda: store(local(bytes(32)), former=5)),
    "key file": ("takes a path, not a list", lambda: generate(["x"])),
    "rewrapping": (
        "takes a keyring, such as",
        lambda: store(local(bytes(32)), engine=create_engine("sqlite://")).rewrap("x"),
    ),
    "path": ("cannot be used: ValueError", lambda: local("\0")),
}


@pytest.mark.parametrize("told, declare", DECLARATIONS.values(), ids=DECLARATIONS)
def test_what_a_declaration_does_not_take_is_told(told: str, declare: Callable[[], object]) -> None:
    with pytest.raises(DeclarationError, match=re.escape(told)):
        declare()


ENCRYPTION: dict[str, tuple[type[EncFieldsError], str, Callable[[Any], object]]] = {
    "no context": (BindingError, "is a dictionary of strings", lambda e: e.seal(b"", None)),
    "a list as context": (BindingError, "is a dictionary of strings", lambda e: e.open(b"", ["a"])),
    "key": (ConfigurationError, "a key id is text, not int", lambda e: e.seal(b"", {}, key=5)),
    "a list as key": (ConfigurationError, "not list", lambda e: e.seal(b"", {}, key=["a"])),
    "a key to rotate": (
        ConfigurationError,
        "key_id= takes a key's id, which is text, not an int",
        lambda e: e.keys.rotate(5),
    ),
    "no Unicode": (
        ConfigurationError,
        "a key id is text, not text with a lone surrogate",
        lambda e: e.seal(b"", {}, key="a\ud800"),
    ),
    "former keys": (
        ConfigurationError,
        "a key id is text, not NoneType",
        lambda e: e.open(b"", {}, former_keys=[None]),
    ),
    "keys to load": (ConfigurationError, "a key id is text, not int", lambda e: e.prefetch(5)),
    "a key to make": (
        ConfigurationError,
        "key_id= takes a key's id, which is text, not a list",
        lambda e: e.keys.create(["a"]),
    ),
}


@pytest.mark.parametrize("error, told, ask", ENCRYPTION.values(), ids=ENCRYPTION)
def test_what_an_encryption_does_not_take_is_told(error: Any, told: str, ask: Any) -> None:
    encryption = attach_locally(create_engine("sqlite://"))
    with pytest.raises(error, match=re.escape(told)):
        ask(encryption)


def test_one_key_is_loaded_by_its_id_alone() -> None:
    encryption = attach_locally(create_engine("sqlite://"))
    assert encryption.prefetch("default") == encryption.prefetch(["default"]) == 1


@pytest.mark.parametrize("told, make", SETTINGS.values(), ids=SETTINGS)
def test_what_a_setting_does_not_take_is_told(told: str, make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        make()


@pytest.mark.parametrize("type_", [String(collation="NOCASE"), String(collation="x_ci"), CITEXT()])
def test_an_exact_index_of_a_type_that_ignores_case_says_which_index_does(type_: Any) -> None:
    def table(*indexes: BlindIndex) -> Table:
        encrypted: Column[Any] = Column("mail", EncryptedType(type_, index=indexes))
        return Table("person", MetaData(), Column("id", Integer, primary_key=True), encrypted)

    with pytest.raises(DeclarationError, match=r"person\.mail: .*BlindIndex\(casefold\)") as caught:
        table(BlindIndex())
    assert caught.value.reason == "collation"
    assert "mail_casefold_bidx" in table(BlindIndex(casefold)).c
    assert "mail_bidx" in table(BlindIndex(), BlindIndex(casefold)).c


def test_a_collation_that_ignores_accents_alone_is_none_that_ignores_case() -> None:
    inner = String(collation="uca1400_ai_cs")
    encrypted: Column[Any] = Column("mail", EncryptedType(inner, index=BlindIndex()))
    table = Table("person", MetaData(), Column("id", Integer, primary_key=True), encrypted)
    assert "mail_bidx" in table.c
