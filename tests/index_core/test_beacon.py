"""From a beacon key to a stored index: frozen bytes, derived a second time by other means."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfields.errors import DeclarationError
from encfields.index.hashing import (
    FULL_BITS,
    MAX_BITS,
    MIN_BITS,
    check_bits,
    compound,
    index_key,
    index_value,
    stored_bytes,
)

BEACON = bytes(range(32))

FROZEN_KEYS = [
    ("patient.ssn", "exact", "4123c94a4544ead38f9cc88b6acb2b0f0663785d687960a98681448f9c1717ad"),
    (
        "patient.ssn",
        "digits.last4",
        "651fffb17a62c23ee176a9fc31d10f203935ff90e0acd97ecedf22c777621ac0",
    ),
    ("patient.ss", "nexact", "bf9eeb8dc75e1e7948270533d61d16993b8b8b5a054f09e4257b6ba0c9cb57ac"),
    ("päßt", "year", "e817a85723d268d14b6c379282183c509396641f9f4ce11ffb623ae3b07441d2"),
]

FROZEN_VALUES = [
    (b"123-45-6789", 256, "fee677b2550ffab0d82058f6574f7c6cc485858d232523cb6ed967afed668e4c"),
    (b"123-45-6789", 128, "fee677b2550ffab0d82058f6574f7c6c"),
    (b"123-45-6789", 16, "fee6"),
    (b"123-45-6789", 13, "fee0"),
    (b"", 128, "8e241d7afab8fc52fdc3fcea4a8ae18d"),
]


def hkdf_by_hand(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, an empty salt and 32 bytes of output, from HMAC alone."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def info_by_hand(domain: str, transform: str) -> bytes:
    info = bytearray(b"encfields blind index 1")
    for name in (domain.encode("utf-8"), transform.encode("utf-8")):
        info.append(len(name) // 256)
        info.append(len(name) % 256)
        info.extend(name)
    return bytes(info)


@pytest.mark.parametrize(
    "domain, transform, key", FROZEN_KEYS, ids=["exact", "digits", "shifted", "unicode"]
)
def test_the_derivation_of_keys_is_frozen(domain, transform, key):
    assert index_key(BEACON, domain, transform).hex() == key


@pytest.mark.parametrize(
    "value, bits, stored", FROZEN_VALUES, ids=["256", "128", "16", "13", "empty"]
)
def test_what_is_stored_is_frozen(value, bits, stored):
    key = index_key(BEACON, "patient.ssn", "exact")

    assert index_value(key, value, bits).hex() == stored


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(beacon=st.binary(min_size=32, max_size=32), domain=names, transform=names)
def test_any_implementation_of_hkdf_derives_the_same_key(beacon, domain, transform):
    expected = hkdf_by_hand(beacon, info_by_hand(domain, transform))

    assert index_key(beacon, domain, transform) == expected


@given(one=st.tuples(names, names), other=st.tuples(names, names))
def test_two_indexes_have_two_keys(one, other):
    assert (index_key(BEACON, *one) == index_key(BEACON, *other)) is (one == other)


def test_a_beacon_key_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        index_key(bytes(31), "patient.ssn", "exact")


def test_a_name_too_long_for_its_length_is_refused():
    assert len(index_key(BEACON, "é" * 32_767, "exact")) == 32
    with pytest.raises(ValueError, match="65,535"):
        index_key(BEACON, "é" * 32_768, "exact")


# --- truncation ---


@pytest.mark.parametrize("bits", range(MIN_BITS, MAX_BITS + 1))
def test_a_truncated_index_is_the_beginning_of_the_full_one(bits):
    key = bytes(range(32))
    whole = int.from_bytes(hmac.new(key, b"value", hashlib.sha256).digest(), "big")

    stored = index_value(key, b"value", bits)

    assert len(stored) == stored_bytes(bits)
    unused = 8 * len(stored) - bits
    assert 0 <= unused < 8
    assert int.from_bytes(stored, "big") == whole >> (256 - bits) << unused


@pytest.mark.parametrize("bits", [4, 7, 8, 11])
def test_so_many_bits_take_so_many_values(bits):
    key = bytes(32)

    stored = {index_value(key, b"%d" % i, bits) for i in range(40 * 2**bits)}

    assert len(stored) == 2**bits


# --- several values as one ---


def test_the_form_of_several_values_is_frozen():
    assert compound([b"ab", b"", b"c"]).hex() == "000000026162000000000000000163"
    assert compound([]) == b""


parts = st.lists(st.binary(max_size=6) | st.just(b"\0\0\0\1"), max_size=4)


@given(one=parts, other=parts)
def test_several_values_are_told_from_any_others(one, other):
    assert (compound(one) == compound(other)) is (one == other)


# --- lengths ---


@pytest.mark.parametrize("bits", [MIN_BITS, 16, 127, FULL_BITS, MAX_BITS])
def test_lengths_that_an_index_can_have(bits):
    assert check_bits(bits) == bits


@pytest.mark.parametrize("bits", [0, 3, -16, 257], ids=str)
def test_a_length_out_of_range_is_refused(bits):
    with pytest.raises(DeclarationError, match="4 to 256 bits"):
        check_bits(bits)


@pytest.mark.parametrize("bits", [True, 16.0, "16", None], ids=repr)
def test_a_length_that_is_no_whole_number_is_refused(bits):
    with pytest.raises(DeclarationError, match="whole number"):
        check_bits(bits)


@given(key=st.binary(max_size=100), value=st.binary(max_size=200))
def test_any_implementation_of_hmac_gives_the_same_index(key, value):
    assert index_value(key, value, 256) == hmac.digest(key, value, "sha256")


@given(key=st.binary(min_size=32, max_size=32), value=st.binary(max_size=200))
def test_so_it_does_for_keys_of_the_length_that_they_have(key, value):
    assert index_value(key, value, 256) == hmac.digest(key, value, "sha256")
