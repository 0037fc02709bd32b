"""The branch key that a row demands: two rows that differ never demand one by accident."""

from __future__ import annotations

import itertools
import unicodedata
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Date, Integer, LargeBinary, MetaData, String, Table, Uuid
from sqlalchemy.types import TypeEngine

from encfields import BlindIndex, CompoundBlindIndex, EncryptedType
from encfields.errors import BindingError, DeclarationError
from encfields.key_template import ENCODED, KeyTemplate
from encfields.keys.versions import check_key_id
from encfields.orm.declare.collisions import overlap
from encfields.orm.declare.columns import binding_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def table_of(
    metadata: MetaData, name: str, key: str, type_: TypeEngine[Any] | None = None, **options: Any
) -> Table:
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("a", type_ or String(20)),
        Column("b", String(20)),
        Column("v", EncryptedType(key=key, **options)),
    )


# -- what stands for a value -----------------------------------------------------------------------


@pytest.mark.parametrize("value", ["7", "-7", str(uuid.UUID(int=7)), "2026-01-31", "a.B_c-d~9", ""])
def test_plain_texts_stand_as_they_are(value):
    assert KeyTemplate("tenant/{a}").key_id({"a": value}) == f"tenant/{value}"


def test_all_else_is_percent_encoded_as_rfc_3986_has_it():
    assert KeyTemplate("{a}:x").key_id({"a": "b/c %é\n"}) == "b%2Fc%20%25%C3%A9%0A:x"


@given(one=st.tuples(texts, texts), other=st.tuples(texts, texts))
@pytest.mark.parametrize("template", ["org/{a}/{b}", "{a}:{b}", "{b}-/-{a}x", "x{a}/{b}y"])
def test_two_rows_have_one_key_only_if_they_are_alike(template, one, other):
    key = KeyTemplate(template)
    ids = [key.key_id(dict(zip("ab", row, strict=True))) for row in (one, other)]
    assert (ids[0] == ids[1]) == (one == other)


@pytest.mark.parametrize(
    "one,other",
    [
        ("A", "a"),
        ("a", "a "),
        ("é", unicodedata.normalize("NFD", "é")),
        ("ß", "ss"),
        ("%2F", "/"),
        ("", "%"),
    ],
)
def test_spellings_that_a_database_may_take_for_one_have_keys_of_their_own(one, other):
    key = KeyTemplate("tenant/{a}")
    assert key.key_id({"a": one}) != key.key_id({"a": other})


@given(text=texts)
def test_every_id_is_one_that_key_stores_hold_exactly(text):
    check_key_id(KeyTemplate("tenant/{a}").key_id({"a": text}))


def test_what_is_not_unicode_names_no_key():
    with pytest.raises(BindingError):
        KeyTemplate("tenant/{a}").key_id({"a": "\ud800"})


# -- templates that are refused ------------------------------------------------------------------


@pytest.mark.parametrize("template", ["{a}", "{a}{b}", "x{a}{b}", "{a}-{b}", "{a}xy{b}", "{a}%{b}"])
@pytest.mark.parametrize("option", ["key", "former_keys"])
def test_a_template_that_could_give_one_id_for_two_rows_is_refused(template, option):
    with pytest.raises(DeclarationError) as caught:
        EncryptedType(**{option: template})
    assert caught.value.reason == "key"


@pytest.mark.parametrize("template", ["x{a}", "{a}x", "{a}/{b}", "{a}/{a}", "{a}-:-{b}-c", "{{{a}"])
def test_a_template_whose_parts_can_be_told_apart_is_taken(template):
    KeyTemplate(template)


@pytest.mark.parametrize(
    "one,other",
    [
        ("tenant/{a}", "tenant/shared"),
        ("t{a}", "team"),
        ("t/{a}", "{a}/x"),
        ("org/{a}/{b}", "org/{a}/staff"),
        ("{a}/x", "y/{a}"),
    ],
)
def test_a_template_that_could_give_another_columns_key_is_refused(one, other):
    for first, second in itertools.permutations((one, other)):
        metadata = MetaData()
        table_of(metadata, "first", first)
        with pytest.raises(DeclarationError, match=r"first\.v") as caught:
            table_of(metadata, "second", second)
        assert (caught.value.table, caught.value.reason) == ("second", "key")


@pytest.mark.parametrize("template", ["d{a}", "{a}t", "def{a}lt"])
def test_no_template_gives_the_key_of_columns_that_name_none(template):
    with pytest.raises(DeclarationError, match="'default'"):
        table_of(MetaData(), "first", template)


def test_the_key_of_a_blind_index_is_a_key_too():
    index = BlindIndex(key="tenant/7")
    metadata = MetaData()
    table_of(metadata, "one", "tenant/{a}")
    with pytest.raises(DeclarationError, match="'tenant/7' can give"):
        table_of(metadata, "other", "clinic", index=index)
    with pytest.raises(DeclarationError, match="'tenant/7' can give"):
        table_of(MetaData(), "t", "tenant/{a}", index=index)
    shared = table_of(MetaData(), "t", "tenant/{a}", index=BlindIndex(key="shared"))
    assert "v_bidx" in shared.c


def test_so_is_that_of_a_compound_one():
    compound = CompoundBlindIndex("who", "v", "w", key="tenant/7")
    with pytest.raises(DeclarationError, match="'tenant/7' can give"):
        Table(
            "t",
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("a", String(20)),
            Column("v", EncryptedType(key="tenant/{a}")),
            Column("w", EncryptedType(key="tenant/{a}")),
            compound,
        )


def test_a_former_key_is_a_key_too():
    metadata = MetaData()
    table_of(metadata, "first", "tenant/{a}")
    with pytest.raises(DeclarationError):
        table_of(metadata, "second", "x", former_keys=["tenant/7"])


@pytest.mark.parametrize(
    "one,other,type_",
    [
        ("tenant/{a}", "tenant/{b}", None),
        ("tenant/{a}", "org/{a}", None),
        ("org/{a}", "org/{a}/{b}", None),
        ("tenant/{a}", "tenant/shared", Integer()),
        ("tenant/{a}", "tenant/shared", Uuid()),
        ("tenant/{a}", "tenant/shared", Date()),
        ("tenant/{a}", "tenant/shared", LargeBinary()),
        ("clinical", "default", None),
    ],
)
def test_keys_that_cannot_meet_or_are_the_same_stand_side_by_side(one, other, type_):
    metadata = MetaData()
    table_of(metadata, "first", one, type_)
    table_of(metadata, "second", other)


def test_a_declaration_that_is_no_longer_there_is_in_nobodys_way():
    metadata = MetaData()
    metadata.remove(table_of(metadata, "first", "tenant/shared"))
    table_of(metadata, "second", "tenant/{a}")


@given(
    st.lists(st.sampled_from([*"ab/", frozenset("ab")]), max_size=3),
    st.lists(st.sampled_from([*"ab/", frozenset("a"), ENCODED]), max_size=3),
)
def test_forms_overlap_exactly_if_some_text_is_of_both(one, other):
    assert overlap(one, other) == bool(_words(one) & _words(other))


def _words(form: list[str | frozenset[str]]) -> set[str]:
    """Texts of a form over ``a``, ``b`` and ``/``, each of its parts at most three long."""
    choices = [
        [
            "".join(word)
            for size in range(4)
            for word in itertools.product(sorted(part & {"a", "b"}), repeat=size)
        ]
        if isinstance(part, frozenset)
        else [part]
        for part in form
    ]
    return {"".join(word) for word in itertools.product(*choices)}


# -- former keys ---------------------------------------------------------------------------------


def test_a_rows_key_comes_first_and_former_ones_after_it():
    table = table_of(MetaData(), "first", "tenant/{a}", former_keys=["t/{a}", "old"])
    binding = binding_of(table.c.v)
    assert binding.key_ids(["1", "x/y"]) == ("tenant/x%2Fy", "t/x%2Fy", "old")
    assert binding_of(table_of(MetaData(), "t", "k").c.v).key_ids(["1"]) == ("k",)


def test_a_former_key_of_columns_that_no_value_is_bound_to_is_refused():
    with pytest.raises(DeclarationError, match="rebind") as caught:
        table_of(MetaData(), "first", "now", former_keys=["tenant/{a}"])
    assert caught.value.reason == "former_keys"


def test_former_keys_tell_types_apart_and_are_shown():
    one, other = EncryptedType(former_keys="old"), EncryptedType()
    assert one._static_cache_key != other._static_cache_key
    assert "former_keys=['old']" in repr(one)
    assert "former_keys" not in repr(other)
