"""What SQLAlchemy's tests come to with encrypted columns is sorted into what has to be read."""

from __future__ import annotations

import pytest

from tests.sqlalchemy_suite.encrypted import kind_of

_SQL = """AssertionError: "SELECT CAST('3dbe50:' || users.name AS BLOB) AS name" != 'SELECT name'"""
_REFUSED = "encfields.errors.UnsupportedOperationError: users.name: .. cannot answer 'like()'"


@pytest.mark.parametrize(
    "told, kind",
    [
        (f"Traceback\n{_SQL}\n", "compares the statements"),
        (f"Traceback\n{_REFUSED}\n", "refused"),
        ("Traceback\nAttributeError: get_children\n", "AttributeError: get_children"),
        ("Traceback\nAssertionError: [] != [1]\n", "AssertionError: [] != [1]"),
        # What was refused on the way is no excuse for what came of it.
        (f"{_REFUSED}\nTraceback\nKeyError: 'name'\n", "KeyError: 'name'"),
    ],
)
def test_an_error_that_is_none_of_ours_and_another_answer_are_told_of(told: str, kind: str) -> None:
    assert kind_of(told) == kind
