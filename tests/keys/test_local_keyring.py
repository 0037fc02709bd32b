"""A local keyring wraps keys with 32 bytes of the application's own."""

from __future__ import annotations

import base64
import os
import pickle
import secrets
import stat
import uuid
from pathlib import Path

import pytest

from encfields import keyrings
from encfields.context import deserialize
from encfields.errors import ConfigurationError, KeyAccessError
from encfields.keys.keyrings.wrapping import KeyWrapper, WrappingContext
from encfields.message.header import read_any_header
from encfields.testing import assert_absent

VERSION = str(uuid.uuid4())
PLACE = WrappingContext("clinic", "default", VERSION, 1, "branch-key")


def test_a_wrapped_key_opens_to_the_same_32_bytes_every_time(keyring):
    wrapper = KeyWrapper(keyring)
    wrapped = wrapper.wrap_new(PLACE)

    material = wrapper.unwrap(wrapped, PLACE)

    assert len(material) == 32
    assert material == wrapper.unwrap(wrapped, PLACE)
    assert material not in wrapped


def test_every_new_key_is_another_one(keyring):
    wrapper = KeyWrapper(keyring)
    keys = {wrapper.unwrap(wrapper.wrap_new(PLACE), PLACE) for _ in range(5)}

    assert len(keys) == 5


def test_the_wrap_is_a_committing_message_that_names_all_that_it_is_bound_to(keyring):
    place = WrappingContext("clinic", "tenant/42", VERSION, 7, "beacon-key")
    wrapped = KeyWrapper(keyring).wrap_new(place)

    assert wrapped[:3] == b"\x02\x04\x78"
    assert deserialize(read_any_header(wrapped).context) == {
        "enc:key-store": "clinic",
        "enc:key-id": "tenant/42",
        "enc:key-version": VERSION,
        "enc:key-number": "7",
        "enc:purpose": "beacon-key",
    }


@pytest.mark.parametrize(
    "other",
    [
        {"store": "staging"},
        {"key_id": "other"},
        {"version": str(uuid.uuid4())},
        {"number": 2},
        {"purpose": "beacon-key"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_wrap_moved_to_another_place_is_refused(keyring, other):
    wrapper = KeyWrapper(keyring)
    wrapped = wrapper.wrap_new(PLACE)
    asked = PLACE._replace(**other)

    with pytest.raises(KeyAccessError) as caught:
        wrapper.unwrap(wrapped, asked)

    assert caught.value.reason == "tampered"
    assert caught.value.key_id == asked.key_id


def test_another_local_key_cannot_open_it(keyring):
    wrapped = KeyWrapper(keyring).wrap_new(PLACE)
    other = KeyWrapper(keyrings.local(secrets.token_bytes(32)))

    with pytest.raises(KeyAccessError, match="none of the keyring's wrapping keys") as caught:
        other.unwrap(wrapped, PLACE)

    assert caught.value.reason == "wrong-keyring"


def test_an_altered_bit_anywhere_is_refused_as_no_outage(keyring):
    wrapper = KeyWrapper(keyring)
    wrapped = wrapper.wrap_new(PLACE)

    for position in range(len(wrapped)):
        altered = bytearray(wrapped)
        altered[position] ^= 1 << (position % 8)
        with pytest.raises(KeyAccessError):
            wrapper.unwrap(bytes(altered), PLACE)


@pytest.mark.parametrize("content", [b"", b"\x02", b"plain text", bytes(range(256))])
def test_what_is_no_message_is_refused_as_altered(keyring, content):
    with pytest.raises(KeyAccessError) as caught:
        KeyWrapper(keyring).unwrap(content, PLACE)

    assert caught.value.reason == "tampered"


def test_a_wrap_cut_short_is_refused(keyring):
    wrapper = KeyWrapper(keyring)
    wrapped = wrapper.wrap_new(PLACE)

    for length in range(0, len(wrapped), 7):
        with pytest.raises(KeyAccessError):
            wrapper.unwrap(wrapped[:length], PLACE)


def test_a_generated_key_file_is_readable_only_by_its_owner_and_can_be_used(tmp_path: Path):
    path = tmp_path / "local.key"
    keyrings.generate_local_key(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    wrapped = KeyWrapper(keyrings.local(path)).wrap_new(PLACE)
    # Read anew, as after a restart.
    assert KeyWrapper(keyrings.local(str(path))).unwrap(wrapped, PLACE)


def test_a_key_file_is_never_overwritten(tmp_path: Path):
    path = tmp_path / "local.key"
    keyrings.generate_local_key(path)
    before = path.read_bytes()

    with pytest.raises(ConfigurationError, match="never overwritten"):
        keyrings.generate_local_key(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "encode",
    [
        bytes,
        lambda key: key.hex().encode(),
        lambda key: key.hex().upper().encode() + b"\n",
        lambda key: base64.b64encode(key) + b"\r\n",
        base64.urlsafe_b64encode,
    ],
    ids=["raw", "hex", "HEX", "base64", "urlsafe"],
)
def test_a_key_file_is_read_raw_in_hexadecimal_or_in_base64(tmp_path: Path, encode):
    key = secrets.token_bytes(32)
    path = tmp_path / "local.key"
    path.write_bytes(encode(key))

    assert keyrings.local(path).name == keyrings.local(key).name


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"correct horse battery staple pass",
        b"0123456789abcdef0123456789abcdef",
        bytes(range(100, 131)),
        bytes(range(100, 133)),
        bytes(range(100, 116)).hex().encode(),
    ],
)
def test_a_key_file_without_32_random_bytes_is_refused(tmp_path: Path, content):
    path = tmp_path / "local.key"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        keyrings.local(path)

    assert str(path) in str(caught.value)
    if content:
        assert_absent(content, caught.value)


def test_a_missing_key_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"absent\.key.*No such file"):
        keyrings.local(tmp_path / "absent.key")


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ConfigurationError, match="32 bytes, not 16"):
        keyrings.local(os.urandom(16))


def test_neither_repr_nor_name_shows_the_key_and_it_is_never_pickled():
    key = secrets.token_bytes(32)
    keyring = keyrings.local(key)

    assert_absent(key, repr(keyring), keyring.name, repr(KeyWrapper(keyring)))
    with pytest.raises(TypeError, match="never pickled") as caught:
        pickle.dumps(keyring)
    assert_absent(key, caught.value)
