"""A lazy value shows nothing, whatever is done with it but revealing it."""

from __future__ import annotations

import copy
import json
import pickle
import pprint
import traceback
from typing import Any

import pytest

from encfields import EncryptedType, Sealed
from encfields.errors import (
    ContextMismatchError,
    DeclarationError,
    KeyDestroyedError,
    NotAttachedError,
    UnsupportedOperationError,
)
from tests.lazy.model import Person


@pytest.fixture(params=["read", "revealed", "given"])
def sealed(request: pytest.FixtureRequest, ssn: Sealed[str]) -> Sealed[str]:
    if request.param == "given":
        return Sealed.of("ssn-1")
    if request.param == "revealed":
        assert ssn.reveal() == "ssn-1"
    return ssn


def test_no_text_shows_it(sealed):
    shown = [repr(sealed), str(sealed), f"{sealed}", f"{sealed:>40}", "%s" % sealed, f"{[sealed]}"]  # noqa: UP031
    assert set(shown) == {"<sealed value>", "[<sealed value>]"}
    assert "ssn-1" not in pprint.pformat({"ssn": sealed})


def test_no_json_pickle_or_copy_shows_it(sealed):
    with pytest.raises(TypeError):
        json.dumps({"ssn": sealed})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps([sealed], protocol)
    assert copy.copy(sealed) is sealed
    assert copy.deepcopy({"ssn": sealed})["ssn"] is sealed
    with pytest.raises(TypeError):
        vars(sealed)


def test_it_is_compared_with_nothing_but_itself(sealed):
    assert sealed == sealed
    assert sealed in {sealed, None}
    assert (sealed == None) is False  # noqa: E711
    for other in ("ssn-1", Sealed.of("ssn-1"), b"ssn-1", 0):
        with pytest.raises(UnsupportedOperationError, match="reveal"):
            sealed == other  # noqa: B015
        with pytest.raises(UnsupportedOperationError):
            sealed != other  # noqa: B015
    for ordering in (
        lambda: sealed < "x",
        lambda: sealed + "x",
        lambda: len(sealed),
        lambda: [*sealed],
    ):
        with pytest.raises(TypeError):
            ordering()


def test_an_object_with_lazy_values_shows_none_of_them(session):
    person = session.get_one(Person, 1)
    assert "ssn-1" not in pprint.pformat(vars(person))
    assert session.execute(Person.__table__.select().where(Person.id == 1)).one().ssn is not None


def test_the_error_of_one_that_does_not_open_shows_nothing_of_it(sqlite_db):
    sqlite_db.copy_cell(Person.ssn, source=2, target=1)
    with sqlite_db.session() as session:
        value = session.get_one(Person, 1).ssn
        with pytest.raises(ContextMismatchError) as caught:
            value.reveal()
    assert caught.value.row == {"id": "1"}
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert [one.f_code.co_name for one in frames] == ["reveal", "open", "open_cell", "door"]


def test_one_cannot_be_made_of_nothing():
    with pytest.raises(TypeError, match=r"Sealed\.of"):
        Sealed()
    nothing: Any = None
    for value in (nothing, Sealed.of("x")):
        with pytest.raises(TypeError):
            Sealed.of(value)


def test_a_destroyed_key_is_told_when_it_is_revealed(sqlite_db):
    with sqlite_db.session() as session:
        value = session.get_one(Person, 1).ssn
        sqlite_db.encryption.keys.destroy("default", confirm="default", specs=None, at_once=True)
        person = session.get_one(Person, 2)
        with pytest.raises(KeyDestroyedError):
            person.ssn.reveal()
        with pytest.raises(KeyDestroyedError):
            value.reveal()


def test_an_engine_that_was_detached_reveals_nothing(sqlite_db):
    with sqlite_db.session() as session:
        value = session.get_one(Person, 1).ssn
        sqlite_db.encryption.detach()
        with pytest.raises(NotAttachedError):
            value.reveal()


def test_a_column_in_adoption_is_not_lazy_yet():
    from encfields import Plaintext

    with pytest.raises(DeclarationError, match="adopts"):
        EncryptedType(lazy=True, adopts=Plaintext("ssn_plain", phase="write-both"))
