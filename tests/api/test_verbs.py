"""One verb for one thing: in ``encryption.keys``, on the command line and in migrations."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from alembic.operations import Operations

import encfields.adopt
import encfields.alembic
from encfields import DynamoDbKeyStore, Encryption
from encfields.cli.main import parser
from encfields.keys.admin import KeyAdmin
from encfields.keys.many.many_keys import ManyKeys
from encfields.keys.store import KeyStore

assert encfields.alembic.__all__  # importing it registers the operations

KEYS = {
    # encryption.keys    encfields keys    op
    "create": ("create", "create_branch_key"),
    "rotate": ("rotate", "rotate_branch_key"),
    "retire": ("retire", "retire_branch_key"),
    "destroy": ("destroy", None),
    "rewrap": ("rewrap", None),
    "list": ("list", None),
    "count_values": ("count-values", None),
    "create_table": ("create-table", "create_encryption_keys_table"),
    "rotate_beacon": ("rotate-beacon", "rotate_beacon_key"),
    "retire_beacon": ("retire-beacon", "retire_beacon_key"),
    "list_beacons": ("list-beacons", None),
}
"""What is done to keys. No migration destroys a key: a downgrade could not bring it back. Nor does
one rewrap keys, which belongs to no revision of the schema; and what only looks is no operation."""

ONLY_STATUS = {"without_beacon"}
"""What the command ``status`` tells of keys, beside what it tells of values."""

MANY = {"create", "rotate", "rewrap", "destroy", "list"}
"""What is done to many keys at once, as ``encryption.keys.each(...)``."""

ONLY_COMMANDS = {"bring-over", "export"}
"""Between two key stores, or for the tables of development versions: things of a day."""

VALUES = {
    # encfields.bulk   encfields     op
    "Reencryption": ("reencrypt", "reencrypt"),
    "verify": ("verify", None),
    "census": ("status", None),
}
"""What is done to values. ``status`` is what a command is called that only looks."""

ONLY_OPERATIONS = {
    "convert_encrypted",  # what changes a declaration belongs to a revision
    "rebind",
    "decrypt_column",
    "ensure_encrypted",
    "fill_blind_index",
    "ensure_blind_index",
    "drop_encryption_keys_table",
    "create_message_check",
    "drop_message_check",
}


CHANGES = {
    # op                  encfields
    "convert_encrypted": "convert",
    "rebind": "rebind",
}
"""What makes values follow a changed declaration: by a migration, or by a command without one."""

ADOPTION = {
    # encfields.adopt     encfields adopt
    "begin_adoption": "begin",
    "adopt": "run",
    "ensure_adopted": "ensure",
    "close_plaintext": "close",
    "end_adoption": "end",
    "reopen_plaintext": "reopen",
    "refill_plaintext": "refill",
    "withdraw_adoption": "withdraw",
}
"""The steps of an adoption, which a migration has by the same names as Python."""


def command_of(*names: str) -> argparse.ArgumentParser:
    """A command's parser."""
    found = parser()
    for name in names:
        found = subcommands(found)[name]
    return found


def verbs_below(top: argparse.ArgumentParser, *names: str) -> set[str]:
    """The subcommands of a command."""
    for name in names:
        top = subcommands(top)[name]
    return set(subcommands(top))


def subcommands(of: argparse.ArgumentParser) -> dict[str, Any]:
    found = [one for one in of._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(found[0].choices)


def public_methods(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def registered_operations() -> set[str]:
    """Names of the library's operations, as migrations have them."""
    classes = {cls for cls, *_ in Operations._to_impl._registry if "encfields" in cls.__module__}
    return {
        name
        for cls in classes
        for name, method in vars(cls).items()
        if isinstance(method, classmethod) and hasattr(Operations, name)
    }


def test_keys_are_administered_by_the_same_verbs_everywhere():
    methods = public_methods(KeyAdmin) - {"store_name", "each"}

    verbs = set(KEYS) | ONLY_STATUS
    assert methods == verbs | {f"a{verb}" for verb in verbs}  # twins for coroutines
    commands = {command for command, _ in KEYS.values()}
    assert verbs_below(parser(), "keys") == commands | ONLY_COMMANDS


def test_many_keys_are_administered_by_the_same_verbs_as_one():
    methods = public_methods(ManyKeys)

    assert methods == MANY | {f"a{verb}" for verb in MANY}
    assert set(KEYS) >= MANY


@pytest.mark.parametrize("verb", sorted(MANY - {"list"}))
def test_a_command_on_many_keys_takes_ids_a_file_or_a_pattern(verb):
    options = {text for one in command_of("keys", verb)._actions for text in one.option_strings}

    assert "--file" in options
    assert ("--like" in options) == (verb != "create")


@pytest.mark.parametrize("verb", [one for one in KEYS if one != "count_values"])
def test_a_key_store_has_the_verb_by_the_same_name(verb):
    assert callable(getattr(KeyStore, verb))


def test_commands_and_operations_on_values_agree():
    commands = verbs_below(parser())

    assert {command for command, _ in VALUES.values()} <= commands
    assert commands - {command for command, _ in VALUES.values()} == {
        "keys",
        "index",
        "inspect",
        "completion",
        "adopt",
        "doctor",
        *CHANGES.values(),
    }
    assert set(CHANGES) <= ONLY_OPERATIONS


def test_the_steps_of_an_adoption_are_commands_and_operations():
    assert verbs_below(parser(), "adopt") == {*ADOPTION.values(), "status"}
    assert set(ADOPTION) <= set(encfields.adopt.__all__)


def test_operations_are_those_that_were_agreed():
    named = {one for _, one in (*KEYS.values(), *VALUES.values()) if one}

    assert registered_operations() == named | ONLY_OPERATIONS | set(ADOPTION)


@pytest.mark.parametrize("verb", [verb for verb, (_, op) in KEYS.items() if op])
def test_an_operation_is_named_by_its_verb(verb):
    operation = KEYS[verb][1]

    assert operation is not None
    assert operation.startswith(verb.partition("_")[0] + "_")
    assert operation.endswith("_key") or verb == "create_table"


# -- what is for this library's own use ------------------------------------------------------


def test_an_encryption_has_no_methods_of_the_librarys_own():
    assert public_methods(Encryption) == {
        "aprefetch",
        "detach",
        "key_store_name",
        "open",
        "prefetch",
        "seal",
    }


def test_a_key_store_in_dynamodb_adds_no_method_to_those_of_every_store():
    assert public_methods(DynamoDbKeyStore) == public_methods(KeyStore)
