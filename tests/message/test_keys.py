"""The keys of a message, against the same derivations as the `cryptography` library has them."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from encfields.branch_key import BranchKey
from encfields.message import open_, read_header, seal
from encfields.message.keys import derive


def unwrap(message: bytes, context: bytes, key: BranchKey) -> bytes:
    """The data key by the specification's steps, none of our code in them."""
    edk = read_header(message).keys[0]
    wrapping_key = KBKDFHMAC(
        algorithm=SHA256(),
        mode=Mode.CounterMode,
        length=32,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=b"aws-kms-hierarchy",
        context=edk.salt,
        fixed=None,
    ).derive(key.material)
    aad = b"aws-kms-hierarchy" + key.id.encode() + uuid.UUID(key.version).bytes + context
    return AESGCM(wrapping_key).decrypt(edk.iv, edk.wrapped, aad)


def hkdf(data_key: bytes, message_id: bytes, info: bytes) -> bytes:
    return HKDF(SHA512(), 32, message_id, info).derive(data_key)


def test_the_data_key_is_wrapped_under_a_kdf_in_counter_mode(key, context):
    message = seal(b"value", context, key)
    header = read_header(message)
    data_key = unwrap(message, context, key)
    assert hkdf(data_key, header.message_id, b"COMMITKEY") == header.commitment


def test_the_content_is_under_hkdf_sha512_of_the_data_key(key, context):
    message = seal(b"value", context, key)
    header = read_header(message)
    cipher = AESGCM(hkdf(unwrap(message, context, key), header.message_id, b"\x04\x78DERIVEKEY"))
    assert cipher.decrypt(bytes(12), header.tag, message[: header.tag_offset]) == b""


@pytest.mark.parametrize("_", range(20))
def test_derivation_equals_the_librarys_hkdf(_):
    data_key, message_id = os.urandom(32), os.urandom(32)
    cipher, commitment = derive(data_key, message_id)
    assert commitment == hkdf(data_key, message_id, b"COMMITKEY")
    same = AESGCM(hkdf(data_key, message_id, b"\x04\x78DERIVEKEY"))
    assert same.decrypt(bytes(12), cipher.encrypt(bytes(12), b"value", None), None) == b"value"


def test_each_message_has_a_data_key_of_its_own(key, context):
    data_keys = {unwrap(seal(b"value", context, key), context, key) for _ in range(100)}
    assert len(data_keys) == 100


def test_one_branch_key_serves_many_threads(context):
    key = BranchKey("default", str(uuid.uuid4()), os.urandom(32))

    def work(number: int) -> bool:
        values = [f"{number}-{i}".encode() for i in range(300)]
        sealed = [seal(value, context, key) for value in values]
        return [open_(message, context, lambda *_: key, (key.id,)) for message in sealed] == values

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))
