"""Values sealed at once: each is what it would be by itself."""

from __future__ import annotations

import os
import uuid

import pytest

from encfields.branch_key import BranchKey
from encfields.context import MAX_FIELD_BYTES, serialize
from encfields.message import core, one_pass, open_, read_header

COUNT = 600
"""More than random bytes are drawn for at once."""

SEALERS = {"Python": one_pass.seal_many, "chosen": core.seal_many}


@pytest.fixture(params=SEALERS)
def seal_many(request):
    return SEALERS[request.param]


@pytest.fixture
def key() -> BranchKey:
    return BranchKey("default", str(uuid.uuid4()), os.urandom(32))


def test_each_is_sealed_for_its_own_context(seal_many, key):
    plaintexts = [b"value %d" % number for number in range(COUNT)]
    contexts = [serialize({"enc:row:id": str(number)}) for number in range(COUNT)]
    messages = seal_many(plaintexts, contexts, key)

    for message, context, plaintext in zip(messages, contexts, plaintexts, strict=True):
        assert open_(message, context, lambda key_id, version: key, (key.id,)) == plaintext


def test_no_two_have_random_bytes_in_common(seal_many, key):
    messages = seal_many([b"the same"] * COUNT, [b""] * COUNT, key)

    headers = [read_header(message) for message in messages]
    salts = {edk.salt for header in headers for edk in header.keys}
    ivs = {edk.iv for header in headers for edk in header.keys}
    ids = {header.message_id for header in headers}
    commitments = {header.commitment for header in headers}
    assert [len(found) for found in (salts, ivs, ids, commitments)] == [COUNT] * 4


def test_what_is_not_of_the_one_form_is_left_to_be_sealed_by_itself(seal_many, key):
    contexts = [b"", bytes(MAX_FIELD_BYTES + 1), b"", b""]
    messages = seal_many([b"a", b"b", bytearray(b"c"), b"d"], contexts, key)

    assert [message is None for message in messages] == [False, True, True, False]


def test_a_key_id_that_the_format_cannot_hold_seals_nothing(key):
    long = BranchKey("k" * (MAX_FIELD_BYTES + 1), key.version, key.material)
    assert one_pass.seal_many([b"a", b"b"], [b"", b""], long) == [None, None]
