"""The bulk reader and writer: the same outcome as one by one, for every message there can be."""

from __future__ import annotations

import os
import uuid

import pytest

from encfields.branch_key import BranchKey
from encfields.context import RowContext, serialize
from encfields.errors import BindingError, ContextMismatchError, EncFieldsError, TamperedError
from encfields.message import open_, read_header, seal, sealed_size
from encfields.message.body import FRAME_LENGTH
from encfields.message.reseal import Resealer
from tests.message.conftest import KEY_IDS
from tests.message.fuzz import stock_forms
from tests.message.stock import client, hierarchical_keyring

SIZES = (0, 1, 250, FRAME_LENGTH, FRAME_LENGTH + 1, 100_000)


@pytest.fixture
def old(key):
    return BranchKey(key.id, str(uuid.uuid4()), os.urandom(32))


@pytest.fixture
def resealer(key, old):
    keys = {key.version: key, old.version: old}
    return Resealer(key, lambda key_id, version: keys[version])


def outcome(open_it):
    """The plaintext, or the error with what it tells."""
    try:
        return open_it()
    except EncFieldsError as error:
        return type(error), error.reason, error.message


@pytest.mark.parametrize("size", SIZES)
def test_what_it_seals_opens_one_by_one_and_has_the_exact_size(resealer, key, context, size):
    plaintext = os.urandom(size)
    message = resealer.seal(plaintext, context, resealer.frame(context))
    assert open_(message, context, lambda key_id, version: key, KEY_IDS) == plaintext
    assert len(message) == sealed_size(size, len(context), len(key.id_bytes))
    assert read_header(message).version == key.version


def test_what_it_seals_opens_in_the_stock_client(resealer, key, context):
    message = resealer.seal(b"123-45-6789", context, resealer.frame(context))
    plaintext, _ = client().decrypt(source=message, keyring=hierarchical_keyring(key))
    assert plaintext == b"123-45-6789"


@pytest.mark.parametrize("size", SIZES)
def test_it_opens_values_of_older_versions(resealer, old, context, size):
    plaintext = os.urandom(size)
    message = seal(plaintext, context, old)
    assert resealer.open_(message, context, resealer.frame(context), KEY_IDS) == plaintext


def test_it_opens_every_form_that_the_stock_client_writes(resealer, key, context, find_key):
    for message in stock_forms(key):
        there = read_header(message).context
        expected = open_(message, there, find_key, KEY_IDS)
        assert resealer.open_(message, there, resealer.frame(there), KEY_IDS) == expected


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_any_altered_byte_has_the_same_outcome_as_one_by_one(old, key, context, change):
    keys = {key.version: key, old.version: old}

    def find_key(key_id, version):
        return keys.get(version, key)

    resealer = Resealer(key, find_key)
    frame = resealer.frame(context)
    message = seal(b"value", context, old)
    for offset in range(len(message)):
        altered = bytearray(message)
        altered[offset] ^= change
        data = bytes(altered)
        expected = outcome(lambda data=data: open_(data, context, find_key, KEY_IDS))
        assert isinstance(expected, tuple)
        assert outcome(lambda data=data: resealer.open_(data, context, frame, KEY_IDS)) == expected


def test_any_cut_or_extension_has_the_same_outcome_as_one_by_one(resealer, old, key, context):
    keys = {key.version: key, old.version: old}
    frame = resealer.frame(context)
    message = seal(b"value", context, old)
    for data in [message[:size] for size in range(len(message))] + [message + b"\x00"]:
        expected = outcome(
            lambda data=data: open_(data, context, lambda key_id, version: keys[version], KEY_IDS)
        )
        assert isinstance(expected, tuple)
        assert outcome(lambda data=data: resealer.open_(data, context, frame, KEY_IDS)) == expected


def test_a_value_of_another_row_is_refused(resealer, old, context):
    elsewhere = serialize({"enc:column": "patient.ssn", "enc:row:id": "43"})
    message = seal(b"value", elsewhere, old)
    with pytest.raises(ContextMismatchError):
        resealer.open_(message, context, resealer.frame(context), KEY_IDS)


def test_a_value_under_a_former_key_is_opened_under_that_key(key, context):
    other = BranchKey("tenant/43", str(uuid.uuid4()), os.urandom(32))
    resealer = Resealer(key, lambda key_id, version: {"tenant/43": other}[key_id])
    message = seal(b"value", context, other)
    key_ids = (*KEY_IDS, "tenant/43")
    assert resealer.open_(message, context, resealer.frame(context), key_ids) == b"value"


def test_a_value_under_a_key_that_is_not_allowed_is_refused_without_fetching_a_key(key, context):
    def no_key(key_id, version):
        raise AssertionError("no key is asked for")

    resealer = Resealer(key, no_key)
    frame = resealer.frame(context)
    elsewhere = BranchKey("tenant/43", str(uuid.uuid4()), os.urandom(32))
    with pytest.raises(TamperedError, match=r"tenant/43.*tenant/42") as caught:
        resealer.open_(seal(b"value", context, elsewhere), context, frame, KEY_IDS)
    assert caught.value.reason == "key-id"
    with pytest.raises(TamperedError) as caught:
        resealer.open_(seal(b"value", context, key), context, frame, ("tenant/43",))
    assert caught.value.reason == "key-id"


def test_current_means_this_context_key_and_version(resealer, old, key, context):
    elsewhere = serialize({"enc:column": "patient.ssn", "enc:row:id": "43"})
    stranger = BranchKey("tenant/43", key.version, key.material)
    assert resealer.is_current(seal(b"value", context, key), context)
    assert not resealer.is_current(seal(b"value", context, old), context)
    assert not resealer.is_current(seal(b"value", elsewhere, key), context)
    assert not resealer.is_current(seal(b"value", context, stranger), context)
    assert not resealer.is_current(b"", context)


def test_stale_are_of_many_those_that_are_not_current(resealer, old, key, context):
    elsewhere = serialize({"enc:column": "patient.ssn", "enc:row:id": "43"})
    messages = [
        seal(b"value", context, key),
        seal(b"value", context, old),
        seal(b"value", elsewhere, key),
        b"",
        seal(b"value", elsewhere, key),
        # The version's bytes where they would be, in what is no message at all.
        b"\0" + seal(b"value", context, key)[1:],
    ]
    contexts = [context, context, context, context, elsewhere, context]
    assert [*map(resealer.is_current, messages, contexts)] == [
        True, False, False, False, True, False
    ]  # fmt: skip
    assert resealer.stale(range(6), messages, contexts) == [1, 2, 3, 5]
    assert resealer.stale([0, 3], messages, contexts) == [3]


def test_no_two_messages_share_their_random_bytes(resealer, context):
    frame = resealer.frame(context)
    messages = [resealer.seal(b"", context, frame) for _ in range(1000)]
    headers = [read_header(message) for message in messages]
    for part in ("message_id", "commitment", "tag"):
        assert len({getattr(header, part) for header in headers}) == 1000
    for part in ("salt", "iv", "wrapped"):
        assert len({getattr(header.keys[0], part) for header in headers}) == 1000


def test_a_context_that_the_format_cannot_hold_is_refused(resealer):
    with pytest.raises(BindingError):
        resealer.frame(bytes(65_536))


@pytest.mark.parametrize("odd", ["", "9" * 63, "9" * 64, "é", "9" * 40_000])
def test_contexts_of_many_rows_are_those_of_each(odd):
    row = RowContext("patient.ssn", ["id"])
    texts = ["1", odd, "42"]
    assert row.serialize_each(texts) == [row.serialize([text]) for text in texts]
    assert row.serialize_each([]) == []


@pytest.mark.parametrize("odd", ["\ud800", "9" * 70_000])
def test_contexts_of_many_rows_are_refused_as_those_of_each(odd):
    row = RowContext("patient.ssn", ["id"])
    with pytest.raises(BindingError) as one:
        row.serialize([odd])
    with pytest.raises(BindingError) as many:
        row.serialize_each(["1", odd])
    assert many.value.reason == one.value.reason
