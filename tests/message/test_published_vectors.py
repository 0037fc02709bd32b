"""AWS's published vectors: the valid one of our suite opens, every other message is refused."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from encfields.context import deserialize, serialize
from encfields.errors import DecryptionError, MalformedMessageError, TamperedError
from encfields.message import open_, open_with_data_key, read_header
from encfields.message.header import CONTEXT_OFFSET, read_any_header, read_field
from tests.message.published import published


class Vector:
    """One test of a manifest: its message and the context it is to be opened in."""

    def __init__(self, folder, name, test):
        self.suite = name[:4]
        self.message = self._file(folder, test["ciphertext"]).read_bytes()
        self.context = test["encryption-context"]
        self.plaintext = self._file(folder, test["result"]["output"]["plaintext"]).read_bytes()
        keys = json.loads((folder / "keys.json").read_text())["keys"]
        (master,) = test["master-keys"]
        assert (master["type"], master["encryption-algorithm"]) == ("raw", "aes")
        self.wrapping_key = base64.b64decode(keys[master["key"]]["material"])

    @staticmethod
    def _file(folder, uri):
        return folder / uri.removeprefix("file://")

    def open(self):
        """Open it with the data key that its raw AES keyring gives."""
        header = read_any_header(self.message)
        data_key = self._data_key(CONTEXT_OFFSET + len(header.context) + 2)
        stored = deserialize(header.context)
        unstored = {name: text for name, text in self.context.items() if name not in stored}
        return open_with_data_key(self.message, header, data_key, serialize(unstored))

    def _data_key(self, offset):
        """The raw AES keyring's unwrapping (specification, ``framework/raw-aes-keyring.md``)."""
        _, offset = read_field(self.message, offset)
        information, offset = read_field(self.message, offset)
        wrapped, _ = read_field(self.message, offset)
        cipher = AESGCM(self.wrapping_key)
        return cipher.decrypt(information[-12:], wrapped, serialize(self.context))


def vectors(folder_name):
    folder = published(folder_name)
    manifest = json.loads((folder / "manifest.json").read_text())
    return [Vector(folder, name, test) for name, test in manifest["tests"].items()]


@pytest.fixture(scope="module")
def valid():
    return vectors("valid-Net-4.0.0")


@pytest.fixture(scope="module")
def invalid():
    return vectors("invalid-Net-4.0.0")


def no_key(key_id, version):
    raise AssertionError("no key is asked for a message that is not ours")


def test_valid_vectors_of_our_suite_open(valid):
    ours = [vector for vector in valid if vector.suite == "0478"]
    assert len(ours) == 1
    for vector in ours:
        assert vector.open() == vector.plaintext


def test_valid_vectors_of_other_suites_are_refused_by_their_suites_name(valid):
    others = [vector for vector in valid if vector.suite != "0478"]
    assert len(others) == 4
    for vector in others:
        with pytest.raises(MalformedMessageError, match=f"0x{vector.suite}") as caught:
            read_header(vector.message)
        assert caught.value.reason == "suite"


def test_invalid_vectors_of_our_suite_fail_their_header_tag_under_the_right_data_key(invalid):
    ours = [vector for vector in invalid if vector.suite == "0478"]
    assert len(ours) == 2
    for vector in ours:
        with pytest.raises(TamperedError) as caught:
            vector.open()
        assert caught.value.reason == "header-tag"


def test_every_invalid_vector_is_refused_by_the_public_reader(invalid):
    assert len(invalid) == 28
    for vector in invalid:
        with pytest.raises(DecryptionError):
            open_(vector.message, serialize(vector.context), no_key, ("branch-key",))


def test_an_altered_byte_of_a_valid_vector_is_refused(valid):
    (vector,) = (vector for vector in valid if vector.suite == "0478")
    original = vector.message
    header = read_any_header(original)
    tag_and_body = range(header.tag_offset, len(original), 97)
    for offset in [*range(3, 35), *range(header.tag_offset - 37, header.tag_offset), *tag_and_body]:
        altered = bytearray(original)
        altered[offset] ^= 1
        vector.message = bytes(altered)
        with pytest.raises(DecryptionError):
            vector.open()
    vector.message = original
