"""What does not open, what the error says, and what it never says."""

from __future__ import annotations

import base64
import os
import traceback
import uuid
from typing import Any

import pytest

from encfields.branch_key import BranchKey
from encfields.context import serialize
from encfields.errors import (
    BindingError,
    ContextMismatchError,
    EncFieldsError,
    KeyNotFoundError,
    KeyUnavailableError,
    MalformedMessageError,
    TamperedError,
)
from encfields.message import open_, open_with_data_key, read_header, seal
from tests.message.conftest import CONTEXT, KEY_IDS

CANARY = b"canary-plaintext-5f3a"


@pytest.fixture
def message(key, context):
    return seal(CANARY, context, key)


@pytest.fixture
def never():
    """A find_key that must not be called."""

    def find_key(key_id, version):
        raise AssertionError(f"key {key_id} was asked for")

    return find_key


class TestContext:
    def test_is_compared_before_any_key_is_asked_for(self, message, never):
        with pytest.raises(ContextMismatchError):
            open_(message, serialize({**CONTEXT, "enc:row:id": "43"}), never, KEY_IDS)

    def test_mismatch_names_both_places(self, message, key, never):
        elsewhere = {"enc:column": "patient.notes", "enc:row:id": "43"}
        with pytest.raises(ContextMismatchError) as caught:
            open_(message, serialize(elsewhere), never, KEY_IDS)
        assert caught.value.expected == elsewhere
        assert caught.value.found == CONTEXT
        assert caught.value.key_id == key.id
        for part in ("patient.ssn", "patient.notes", "42", "43"):
            assert part in str(caught.value)

    def test_empty_context_does_not_open_a_bound_message(self, message, never):
        with pytest.raises(ContextMismatchError):
            open_(message, b"", never, KEY_IDS)

    def test_unreadable_one_in_the_message_is_malformed_with_its_offset(self, key, context, never):
        broken = seal(b"value", b"\x00\x01\x00\x09short", key)
        with pytest.raises(MalformedMessageError) as caught:
            open_(broken, context, never, KEY_IDS)
        assert (caught.value.reason, caught.value.offset) == ("context", 37 + 2)

    @pytest.mark.parametrize("asked", [b"garbage", None, CONTEXT, "text"])
    def test_that_is_no_serialised_context_is_the_callers_error(self, message, never, asked):
        with pytest.raises(BindingError):
            open_(message, asked, never, KEY_IDS)

    def test_changed_in_message_and_request_alike_fails_the_key_wrap(self, message, find_key):
        moved = serialize({**CONTEXT, "enc:row:id": "43"})
        forged = message[:37] + moved + message[37 + len(moved) :]
        with pytest.raises(TamperedError) as caught:
            open_(forged, moved, find_key, KEY_IDS)
        assert caught.value.reason == "wrapped-key"


class TestKey:
    def test_is_asked_for_by_the_headers_id_and_version(self, message, context, key):
        asked = []

        def find_key(key_id, version):
            asked.append((key_id, version))
            return key

        assert open_(message, context, find_key, KEY_IDS) == CANARY
        assert asked == [(key.id, key.version)]

    def test_of_other_material_is_tampering(self, message, context, key):
        wrong = BranchKey(key.id, key.version, os.urandom(32))
        with pytest.raises(TamperedError) as caught:
            open_(message, context, lambda key_id, version: wrong, KEY_IDS)
        assert caught.value.reason == "wrapped-key"
        assert caught.value.key_id == key.id

    def test_of_another_version_does_not_open(self, message, context, key):
        wrong = BranchKey(key.id, str(uuid.uuid4()), key.material)
        with pytest.raises(TamperedError):
            open_(message, context, lambda key_id, version: wrong, KEY_IDS)

    def test_of_another_id_does_not_open(self, message, context, key):
        wrong = BranchKey(key.id + "x", key.version, key.material)
        with pytest.raises(TamperedError):
            open_(message, context, lambda key_id, version: wrong, KEY_IDS)

    @pytest.mark.parametrize("error", [KeyNotFoundError, KeyUnavailableError, RuntimeError])
    def test_errors_of_the_store_pass_through(self, message, context, error):
        raised = error("from the store")

        def find_key(key_id, version):
            raise raised

        with pytest.raises(error) as caught:
            open_(message, context, find_key, KEY_IDS)
        assert caught.value is raised

    def test_commitment_is_checked_against_the_data_key(self, message):
        header = read_header(message)
        with pytest.raises(TamperedError) as caught:
            open_with_data_key(message, header, os.urandom(32))
        assert caught.value.reason == "commitment"


class TestParts:
    """Each authenticated part, altered, is told by its name."""

    @pytest.mark.parametrize(
        "part, reason",
        [
            ("message-id", "commitment"),
            ("wrapped-key", "wrapped-key"),
            ("commitment", "commitment"),
            ("frame-length", "header-tag"),
            ("header-tag", "header-tag"),
            ("body-iv", "body-tag"),
            ("content", "body-tag"),
            ("body-tag", "body-tag"),
        ],
    )
    def test_altered_is_tampering(self, message, context, find_key, part, reason):
        header = read_header(message)
        offset = {
            "message-id": 3,
            "wrapped-key": header.tag_offset - 37 - 48,
            "commitment": header.tag_offset - 1,
            "frame-length": header.tag_offset - 34,
            "header-tag": header.tag_offset,
            "body-iv": header.body_offset + 8,
            "content": header.body_offset + 24,
            "body-tag": len(message) - 1,
        }[part]
        altered = message[:offset] + bytes([message[offset] ^ 1]) + message[offset + 1 :]
        with pytest.raises(TamperedError) as caught:
            open_(altered, context, find_key, KEY_IDS)
        assert caught.value.reason == reason


class TestMalformed:
    def refused(self, message, context, never):
        with pytest.raises(MalformedMessageError) as caught:
            open_(message, context, never, KEY_IDS)
        return caught.value

    def test_trailing_bytes_are_refused(self, message, context, never):
        for tail in (b"\x00", b" ", b"garbage", message):
            error = self.refused(message + tail, context, never)
            assert (error.reason, error.offset) == ("trailing", len(message))

    def test_truncation_says_where_the_message_ends(self, message, context, never):
        for size in (1, 3, 36, 40, 150, len(message) - 1):
            error = self.refused(message[:size], context, never)
            assert (error.reason, error.offset) == ("truncated", size)

    def test_what_a_server_put_in_the_place_of_a_value_is_told_apart(self, context, never):
        error = self.refused(b"", context, never)
        assert (error.reason, error.offset) == ("empty", 0)
        assert "NOT NULL" in str(error)

    def test_plaintext_is_told_apart_and_not_shown(self, context, never):
        error = self.refused(CANARY, context, never)
        assert error.reason == "not-a-message"
        assert "canary" not in str(error)

    def test_base64_text_is_told(self, message, context, never):
        assert self.refused(base64.b64encode(message), context, never).reason == "base64"

    @pytest.mark.parametrize("value", [None, "text", 7, object()])
    def test_what_is_not_bytes_is_named_by_type(self, context, never, value):
        error = self.refused(value, context, never)
        assert error.reason == "not-bytes"
        assert type(value).__name__ in str(error)

    def test_released_memoryview(self, message, context, never):
        view = memoryview(message)
        view.release()
        assert self.refused(view, context, never).reason == "not-bytes"

    @pytest.mark.parametrize(
        "head, named", [(b"\x02\x05\x78", "0x0578"), (b"\x01\x80\x03\x78", "0x0378")]
    )
    def test_another_suite_is_named(self, message, context, never, head, named):
        error = self.refused(head + message[len(head) :], context, never)
        assert error.reason == "suite"
        assert named in str(error)

    @pytest.mark.parametrize(
        "back, value, reason",
        [
            (37, b"\x01", "content-type"),  # unframed, with a frame length
            (37, b"\x03", "content-type"),
            (36, bytes(4), "content-type"),  # framed, without one
            (36, b"\x00\x00\x00\x01", "frame-length"),  # shorter than the content
            (-20, b"\x00\x00\x00\x02", "sequence"),
        ],
    )
    def test_impossible_fields_are_named(self, message, context, never, back, value, reason):
        offset = read_header(message).tag_offset - back
        altered = message[:offset] + value + message[offset + len(value) :]
        assert self.refused(altered, context, never).reason == reason

    def test_data_key_of_the_wrong_length(self, message, context, never, key):
        offset = 37 + len(context) + 21 + 2 + len(key.id_bytes)
        altered = message[:offset] + b"\x00\x5b" + message[offset + 2 :]
        error = self.refused(altered, context, never)
        assert (error.reason, error.offset) == ("wrapped-key", offset)

    def test_key_id_that_is_not_utf8(self, message, context, never):
        offset = 37 + len(context) + 21 + 2
        altered = message[:offset] + b"\xff" + message[offset + 1 :]
        error = self.refused(altered, context, never)
        assert (error.reason, error.offset) == ("key-id", offset)

    def test_no_data_key_at_all(self, message, context, never):
        offset = 37 + len(context)
        tail = read_header(message).tag_offset - 37
        altered = message[:offset] + bytes(2) + message[tail:]
        assert self.refused(altered, context, never).reason == "keyring"

    def test_more_data_keys_than_any_keyring_writes(self, message, context, never):
        start, end = 37 + len(context) + 2, read_header(message).tag_offset - 37
        many = 17
        altered = message[: start - 2] + many.to_bytes(2, "big") + message[start:end] * many
        error = self.refused(altered + message[end:], context, never)
        assert (error.reason, error.offset) == ("too-many-keys", start - 2)

    def test_unprintable_provider_is_not_echoed(self, message, context, never):
        altered = message.replace(b"aws-kms-hierarchy", b"aws\n\x1b[31m-hierarc")
        error = self.refused(altered, context, never)
        assert error.reason == "keyring"
        assert str(error).isprintable()


def test_no_error_shows_plaintext_or_key_anywhere_in_its_chain(key, context, find_key):
    message = seal(CANARY, context, key)
    wrong = BranchKey(key.id, key.version, os.urandom(32))
    attempts = [
        (message, context, lambda *_: wrong),
        (message, serialize({"enc:column": "other"}), find_key),
        (CANARY, context, find_key),
        *((message[:size], context, find_key) for size in range(0, len(message), 7)),
        *((message[:i] + b"\x55" + message[i + 1 :], context, find_key)
          for i in range(0, len(message), 5)),
    ]  # fmt: skip
    secrets = [CANARY, key.material, wrong.material]
    shown = [form(s) for s in secrets for form in (repr, bytes.hex, base64.b64encode)]
    refused = 0
    for attempt in attempts:
        try:
            open_(*attempt, KEY_IDS)
        except EncFieldsError as error:
            refused += 1
            chain = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
            for context_error in (error.__cause__, error.__context__):
                chain += repr(context_error)
            assert not any(str(secret) in chain for secret in shown)
            assert "canary" not in chain
    assert refused >= len(attempts) - 2  # 0x55 may be what stood there


def test_refusing_to_seal_shows_no_plaintext(key, context):
    bad: Any
    for bad in (CANARY.decode(), [CANARY], {"v": CANARY}):
        with pytest.raises(EncFieldsError) as caught:
            seal(bad, context, key)
        assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_header_and_branch_key_show_no_material(key, context):
    header = read_header(seal(CANARY, context, key))
    assert repr(header) == f"<Header key_id={key.id!r} version={key.version}>"
    assert repr(key.material) not in repr(key)
