"""Values outside SQLAlchemy: sealed for a context, and opened for no other."""

from __future__ import annotations

from typing import Any

import pytest

from encfields import Encryption, attach
from encfields.errors import (
    BindingError,
    ContextMismatchError,
    KeyNotFoundError,
    MalformedMessageError,
    TamperedError,
    ValueEncodingError,
)
from encfields.testing import attach_locally, local_store
from tests.servers.backends import Backend
from tests.turns import databases_by_turns

pytestmark = databases_by_turns

CONTEXT = {"file": "scan.pdf", "owner": "42"}


@pytest.fixture
def encryption(sqlite: Backend) -> Encryption:
    encryption = attach_locally(sqlite.create_engine())
    encryption.keys.create("files")
    return encryption


@pytest.mark.parametrize("plaintext", [b"", b"\0", b"scan", bytes(100_000)])
def test_what_was_sealed_opens(encryption: Encryption, plaintext: bytes) -> None:
    message = encryption.seal(plaintext, CONTEXT)
    assert type(message) is bytes
    assert plaintext == encryption.open(message, CONTEXT)


@pytest.mark.parametrize(
    "context", [{}, {"a": ""}, {"Žluť": "\N{GRINNING FACE}"}, {"b": "2", "a": "1"}]
)
def test_any_context_of_text_serves(encryption: Encryption, context: dict[str, str]) -> None:
    message = encryption.seal(b"scan", context)
    assert encryption.open(message, dict(reversed(context.items()))) == b"scan"


@pytest.mark.parametrize(
    "other", [{}, {"file": "scan.pdf"}, {**CONTEXT, "owner": "43"}, {**CONTEXT, "more": ""}]
)
def test_another_context_is_refused_and_both_are_named(
    encryption: Encryption, other: dict[str, str]
) -> None:
    message = encryption.seal(b"scan", CONTEXT)
    with pytest.raises(ContextMismatchError) as caught:
        encryption.open(message, other)
    assert (caught.value.expected, caught.value.found) == (other, CONTEXT)


@pytest.mark.parametrize(
    "context, reason",
    [
        ({"aws-crypto-public-key": "x"}, "context-reserved"),
        ({"aws-crypto-": "x"}, "context-reserved"),
        ({"a": "\ud800"}, "context-encoding"),
        ({"a": "x" * 70_000}, "context-too-long"),
        ({"a": 1}, "context-type"),
        ({1: "a"}, "context-type"),
    ],
)
def test_an_unusable_context_is_refused(encryption: Encryption, context: Any, reason: str) -> None:
    with pytest.raises(BindingError) as caught:
        encryption.seal(b"scan", context)
    assert caught.value.reason == reason
    with pytest.raises(BindingError):
        encryption.open(encryption.seal(b"scan", CONTEXT), context)


@pytest.mark.parametrize("plaintext", ["text", None, 5, ["scan"]])
def test_only_bytes_are_sealed(encryption: Encryption, plaintext: Any) -> None:
    with pytest.raises(ValueEncodingError, match=type(plaintext).__name__):
        encryption.seal(plaintext, CONTEXT)


def test_an_altered_message_is_refused(encryption: Encryption) -> None:
    message = bytearray(encryption.seal(b"scan", CONTEXT))
    message[-1] ^= 1
    with pytest.raises(TamperedError):
        encryption.open(bytes(message), CONTEXT)


@pytest.mark.parametrize("message", [b"", b"scan", b"\x02\x04\x78"])
def test_what_is_no_message_is_refused(encryption: Encryption, message: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        encryption.open(message, CONTEXT)


def test_a_value_is_sealed_under_the_key_that_is_named(encryption: Encryption) -> None:
    message = encryption.seal(b"scan", CONTEXT, key="files")
    assert b"files" in message
    assert encryption.open(message, CONTEXT, key="files") == b"scan"


def test_a_value_opens_only_under_the_named_key_or_a_former_one(
    encryption: Encryption,
) -> None:
    message = encryption.seal(b"scan", CONTEXT, key="files")
    assert encryption.open(message, CONTEXT, former_keys=["scans", "files"]) == b"scan"
    assert encryption.open(message, CONTEXT, former_keys="files") == b"scan"
    for key, former_keys in (("default", ()), ("default", ["file", "s"]), ("fil", "es")):
        with pytest.raises(TamperedError, match="'files'") as caught:
            encryption.open(message, CONTEXT, key, former_keys)
        assert caught.value.reason == "key-id"


def test_a_key_that_does_not_exist_is_refused(sqlite: Backend) -> None:
    engine = sqlite.create_engine()
    encryption = attach(engine, local_store())
    encryption.keys.create_table()
    with pytest.raises(KeyNotFoundError) as caught:
        encryption.seal(b"scan", CONTEXT, key="nowhere")
    assert caught.value.key_id == "nowhere"


def test_a_message_of_a_column_opens_with_its_context(encryption: Encryption) -> None:
    context = {"enc:column": "patient.ssn", "enc:row:id": "42"}
    assert encryption.open(encryption.seal(b"1", context), context) == b"1"


def test_what_was_sealed_before_a_rotation_still_opens(encryption: Encryption) -> None:
    before = encryption.seal(b"before", CONTEXT)
    encryption.keys.rotate("default")
    after = encryption.seal(b"after", CONTEXT)
    assert encryption.open(before, CONTEXT) == b"before"
    assert encryption.open(after, CONTEXT) == b"after"
