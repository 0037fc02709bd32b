"""Transforms: what each leaves of a value, that it leaves the same of what it left, its name."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import hashlib
import pickle
import unicodedata
import uuid
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from encfields.codecs import codec_for
from encfields.errors import DeclarationError, ValueEncodingError
from encfields.index.transforms import (
    casefold,
    digits,
    exact,
    first,
    first_letter,
    last,
    transform_named,
    year,
)
from tests.codecs.support import SQLITE, everything_said_by


def encoder(type_):
    codec = codec_for(type_)
    return lambda value: codec.encode(value, SQLITE)


TEXT = encoder(sa.String())
DATE = encoder(sa.Date())
DATETIME = encoder(sa.DateTime())

FROZEN = [
    (exact, "123-45-6789", b"123-45-6789"),
    (exact, "e\u0301", b"e\xcc\x81"),  # as it is encrypted
    (exact, "", b""),
    (casefold, "Straße", b"strasse"),
    (casefold, "STRASSE", b"strasse"),
    (casefold, "ZOE\u0308", b"zo\xc3\xab"),
    (casefold, "zo\u00eb", b"zo\xc3\xab"),
    (casefold, "\u01f0", b"\xc7\xb0"),  # folds to two characters, which compose again
    (casefold, "\u212a", b"k"),  # the Kelvin sign
    (casefold, " a ", b" a "),  # not trimmed
    (digits, "123-45-6789", b"123456789"),
    (digits, "+49 (0)30 / 1234", b"490301234"),
    (digits, "\u0663\u0664 \uff15 \U0001d7d8", b"3450"),
    (digits, "\u00b2 \u2460 \u00bd", b""),  # digits, but none that counts in tens
    (digits, "none", b""),
    (first(4), "Müller", "Müll".encode()),
    (first(4), "Mu\u0308ller", "Müll".encode()),
    (first(4), "ab", b"ab"),
    (last(4), "123-45-6789", b"6789"),
    (last(4), "789", b"789"),
    (last(1), "Rene\u0301", "é".encode()),
    (last(4), "", b""),
    (first_letter, "Zimmer", b"z"),
    (first_letter, "  'Élan", "é".encode()),
    (first_letter, "ßa", b"s"),
    (first_letter, "42", b""),
    (digits.then(last(4)), "123-45-67 89", b"6789"),
    (casefold.then(first(2)), "ß-", b"ss"),
    (casefold.then(digits).then(last(2)), "A1b2C3", b"23"),
]


@pytest.mark.parametrize(
    "transform, value, normalised", FROZEN, ids=[str(i) for i in range(len(FROZEN))]
)
def test_the_normalised_value_is_frozen(transform, value, normalised):
    assert transform.apply(value, TEXT) == normalised


def test_the_year_of_a_date_and_of_a_datetime():
    cet = dt.timezone(dt.timedelta(hours=1))
    assert year.apply(dt.date(1984, 2, 29), DATE) == b"1984"
    assert year.apply(dt.date(33, 4, 3), DATE) == b"0033"
    assert year.apply(dt.datetime(2024, 1, 1, 0, 30, tzinfo=cet), DATETIME) == b"2024"


def test_a_year_looked_up_as_a_number_or_as_a_date_of_the_other_kind():
    assert year.apply(1984, DATE) == b"1984"
    assert year.apply(33, DATETIME) == b"0033"
    assert year.apply(dt.datetime(1984, 5, 6), DATE) == b"1984"
    assert year.apply(dt.date(1984, 5, 6), DATETIME) == b"1984"


TEXT_TRANSFORMS = [
    exact,
    casefold,
    digits,
    first(1),
    first(4),
    last(1),
    last(4),
    first_letter,
    digits.then(last(4)),
    digits.then(first(2)).then(last(1)),
    casefold.then(first(3)),
    casefold.then(last(3)),
    casefold.then(digits),
    casefold.then(first_letter),
    last(4).then(digits),
    first(4).then(last(2)),
    last(4).then(first_letter),
]
each_text_transform = pytest.mark.parametrize("transform", TEXT_TRANSFORMS, ids=lambda t: t.name)

# What changes under normalisation and case folding, and whatever else there is.
odd = st.sampled_from(
    "aA\u0131\u0130\u00df\u1e9e\u0345\u0301\u0308\u030c\u0323j\u01f0\u0149\u0390\u03b0\u1fb3\u1fbc\u03c2\u03a3\u03c3\u03a9\u00c5K\u00e9\u00c9\ufb03\u0531\u0587\u0661\uff11\u00b2\u00bd\u02bc"
)
texts = st.text(odd | st.characters(exclude_categories=["Cs"]), max_size=12)


@each_text_transform
@given(text=texts)
def test_what_is_transformed_already_stays_as_it_is(transform, text):
    once = transform.apply(text, TEXT)

    assert transform.apply(once.decode(), TEXT) == once


@pytest.mark.parametrize(
    "transform", [casefold, digits, first(1), last(1), first_letter], ids=lambda t: t.name
)
def test_so_does_every_character_but_later_ideographs(transform):
    for one in map(chr, range(0x20000)):
        if not "\ud800" <= one <= "\udfff":
            once = transform.apply(one, TEXT)
            assert transform.apply(once.decode(), TEXT) == once


@pytest.mark.parametrize("transform", [casefold, first(3), last(3)], ids=lambda t: t.name)
@given(text=texts)
def test_it_does_not_matter_whether_accents_are_composed(transform, text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))

    assert transform.apply(composed, TEXT) == transform.apply(decomposed, TEXT)


@given(day=st.dates())
def test_a_year_stays_a_year(day):
    once = year.apply(day, DATE)

    assert year.apply(int(once), DATE) == once


def test_folding_and_digits_of_what_unicode_3_2_knew_are_the_same_on_every_python():
    """Unicode promises it; here it is held to, with every character assigned in 2002."""
    known = [
        one
        for one in map(chr, range(0x110000))
        if unicodedata.ucd_3_2_0.category(one) not in ("Cn", "Cs", "Co")
    ]
    told = hashlib.sha256()
    for one in known:
        told.update(casefold.apply(one, TEXT) + b"|" + digits.apply(one, TEXT) + b"\n")

    assert len(known) == 95_221
    assert told.hexdigest() == ("c4a3281e823465daf3daf8dad5241533fc599cec6c9940e8cc22cec4b67240a8")


# --- which columns ---


class Colour(enum.Enum):
    RED = 1


SCALARS = [
    str, bytes, int, float, Decimal, bool, dt.date, dt.datetime, dt.time, dt.timedelta,
    uuid.UUID, Colour,
]  # fmt: skip


@pytest.mark.parametrize("python_type", SCALARS, ids=lambda t: t.__name__)
def test_exact_is_of_any_scalar(python_type):
    assert exact.accepts(python_type)


@pytest.mark.parametrize("python_type", [dict, list, tuple, set, object], ids=lambda t: t.__name__)
@pytest.mark.parametrize("transform", [*TEXT_TRANSFORMS, year], ids=lambda t: t.name)
def test_nothing_is_of_json_and_arrays(transform, python_type):
    assert not transform.accepts(python_type)


@pytest.mark.parametrize("type_", [sa.JSON(), sa.ARRAY(sa.String)], ids=["json", "array"])
def test_so_are_sqlalchemys_own(type_):
    """Whose Python type is not the same in all its versions."""
    assert not exact.accepts(type_.python_type)


@each_text_transform
def test_what_is_about_text_is_of_text(transform):
    assert transform.accepts(str)
    if transform is not exact:
        assert not any(map(transform.accepts, [t for t in SCALARS if t is not str]))


def test_the_year_is_of_dates_and_datetimes():
    accepted = {t for t in SCALARS if year.accepts(t)}

    assert accepted == {dt.date, dt.datetime}


# --- values that have none ---


@pytest.mark.parametrize("transform", TEXT_TRANSFORMS, ids=lambda t: t.name)
def test_a_value_of_another_type_is_refused_without_being_shown(transform):
    number = int("123456")

    with pytest.raises(ValueEncodingError, match="not int") as caught:
        transform.apply(number, TEXT)

    assert str(number) not in everything_said_by(caught.value)


@pytest.mark.parametrize("value", [True, 0, 10_000, -1, "1984", 19.84, None], ids=repr)
def test_what_is_no_year_is_refused_without_being_shown(value):
    with pytest.raises(ValueEncodingError):
        year.apply(value, DATE)


@pytest.mark.parametrize("transform", TEXT_TRANSFORMS, ids=lambda t: t.name)
def test_a_lone_surrogate_is_refused_without_being_shown(transform):
    secret = "".join(["SEC", "RET"])

    with pytest.raises(ValueEncodingError, match="surrogate") as caught:
        transform.apply(secret + "\ud800", TEXT)

    assert secret not in everything_said_by(caught.value)


# --- types of the user's own ---


class Shouted(sa.types.TypeDecorator[str]):
    """Stores upper case, and insists on ten characters."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value, dialect):
        if len(value) != 10:
            raise ValueError(value)
        return value.upper()

    def process_result_value(self, value, dialect):
        return value


@pytest.mark.parametrize("transform", TEXT_TRANSFORMS, ids=lambda t: t.name)
def test_the_index_is_of_what_is_stored(transform):
    """So that an index made again from the decrypted value is the same."""
    codec = codec_for(Shouted())
    given_value = "abc-de6789"
    stored = codec.decode(codec.encode(given_value, SQLITE), SQLITE)

    assert stored != given_value
    assert transform.apply(stored, encoder(Shouted())) == transform.apply(
        given_value, encoder(Shouted())
    )


def test_a_query_may_give_what_the_type_itself_does_not_take():
    assert last(4).apply("6789", encoder(Shouted())) == b"6789"
    assert last(4).apply("12345", encoder(sa.String(4))) == b"2345"
    with pytest.raises(ValueEncodingError):
        exact.apply("6789", encoder(Shouted()))


# --- names ---


@pytest.mark.parametrize("transform", [*TEXT_TRANSFORMS, year], ids=lambda t: t.name)
def test_a_transform_is_had_by_its_name(transform):
    found = transform_named(transform.name)
    value = dt.date(1984, 5, 6) if transform is year else "A1-b2-c3-d4-e5"
    encode = DATE if transform is year else TEXT

    assert found == transform
    assert found.apply(value, encode) == transform.apply(value, encode) != b""


def test_the_names_are_frozen():
    assert [t.name for t in TEXT_TRANSFORMS] == [
        "exact", "casefold", "digits", "first1", "first4", "last1", "last4", "first_letter",
        "digits.last4", "digits.first2.last1", "casefold.first3", "casefold.last3",
        "casefold.digits", "casefold.first_letter", "last4.digits", "first4.last2",
        "last4.first_letter",
    ]  # fmt: skip
    assert year.name == "year"


@pytest.mark.parametrize(
    "name",
    ["", ".", "Exact", "rot13", "last", "last0", "last04", "last-1", "last\u0664", "digits.",
     "digits..last4"],
)  # fmt: skip
def test_there_is_no_transform_of_another_name(name):
    with pytest.raises(DeclarationError, match=r"as in digits\.last4"):
        transform_named(name)


def test_equal_by_name():
    assert last(4) == last(4) != last(5)
    assert hash(digits.then(last(4))) == hash(transform_named("digits.last4"))
    assert last(4) != "last4"
    assert digits.then(last(4).then(first(2))) == digits.then(last(4)).then(first(2))


@pytest.mark.parametrize("transform", [*TEXT_TRANSFORMS, year], ids=lambda t: t.name)
def test_immutable_copied_and_pickled(transform):
    with pytest.raises(AttributeError):
        transform.name = "other"
    assert pickle.loads(pickle.dumps(transform)) == transform == copy.deepcopy(transform)
    assert repr(transform) == f"<Transform {transform.name}>"


def test_only_exact_tells_all_values_apart():
    assert [t.name for t in [*TEXT_TRANSFORMS, year] if not t.lossy] == ["exact"]


@pytest.mark.parametrize("name", ["exact.last4", "digits.exact", "year.last2", "digits.year"])
def test_exact_and_year_stand_alone(name):
    with pytest.raises(DeclarationError, match="cannot be combined"):
        transform_named(name)


@pytest.mark.parametrize("name", ["last4.casefold", "digits.casefold", "last4.casefold.first2"])
def test_folding_comes_first(name):
    """Folded after a cut, ``aß`` of two characters would become ``ass``, which cuts to ``ss``."""
    with pytest.raises(DeclarationError, match="put casefold first"):
        transform_named(name)


@pytest.mark.parametrize("count", [0, -1, True, 1.0, "4"], ids=repr)
@pytest.mark.parametrize("cut", [first, last], ids=lambda c: c.__name__)
def test_a_cut_has_a_number_of_characters(cut, count):
    with pytest.raises(DeclarationError, match="number of 1 or more"):
        cut(count)
