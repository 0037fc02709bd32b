"""Values that AWS's SDKs of other languages wrote open, and only in their places."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.errors import ContextMismatchError, EncFieldsError, MalformedMessageError
from encfields.message import open_, read_header

FILES = sorted(Path(__file__).parent.glob("others/*.json"))


def _values(file: Path) -> list[tuple[bytes, BranchKey, dict[str, str], bytes]]:
    golden: dict[str, Any] = json.loads(file.read_text())
    values = []
    for one in golden["values"]:
        message = base64.b64decode(one["message"])
        header = read_header(message)
        material = bytes.fromhex(golden["keys"][f"{one['key_id']} {header.version}"])
        key = BranchKey(one["key_id"], header.version, material)
        values.append((message, key, one["context"], base64.b64decode(one["plaintext"])))
    return values


def test_there_are_values_of_each_language() -> None:
    assert {file.stem for file in FILES} >= {"go", "java", "javascript", "rust"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_value_opens_in_its_place(file: Path) -> None:
    for message, key, context, plaintext in _values(file):
        place = serialize(context)
        assert open_(message, place, lambda *_, key=key: key, (key.id,)) == plaintext


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_value_opens_in_another_place(file: Path) -> None:
    values = _values(file)
    contexts = [serialize(context) for _, _, context, _ in values]
    for number, (message, key, _, _) in enumerate(values):
        with pytest.raises(EncFieldsError):
            open_(message, contexts[number - 1], lambda *_, key=key: key, (key.id,))


def _of_javascript() -> tuple[bytes, BranchKey, dict[str, str], bytes]:
    file = next(file for file in FILES if file.stem == "javascript")
    return next(one for one in _values(file) if len(one[2]) > 3)


def test_a_context_that_was_sorted_by_locale_is_told_as_such() -> None:
    """As AWS's SDK for JavaScript does by default."""
    message, key, context, _ = _of_javascript()
    in_order = serialize(context)
    pairs = sorted(context.items(), reverse=True)
    by_locale = in_order[:2] + b"".join(serialize(dict([pair]))[2:] for pair in pairs)
    with pytest.raises(ContextMismatchError, match="utf8Sorting: true") as caught:
        open_(message.replace(in_order, by_locale), in_order, lambda *_: key, (key.id,))
    assert caught.value.reason == "context-order"


def test_a_signed_message_is_told_the_suite_to_name() -> None:
    message, key, context, _ = _of_javascript()
    signed = b"\x02\x05\x78" + message[3:]
    with pytest.raises(
        MalformedMessageError, match=r"0x0578.*ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY"
    ):
        open_(signed, serialize(context), lambda *_: key, (key.id,))
