"""The search for leaked plaintexts finds them wherever they hide."""

from __future__ import annotations

import base64
import logging

import pytest

from encfields.testing import assert_absent

CANARY = "canary-4711-ä"


class Params(Exception):
    def __init__(self, params: object) -> None:
        super().__init__("refused")
        self.params = params


class Opaque:
    """Holds a value, and keeps it out of its text."""

    def __init__(self, value: str) -> None:
        self.value = value


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def _chained(*, suppressed: bool) -> Exception:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as inner:
            raise ValueError("refused") from (None if suppressed else inner)
    except ValueError as error:
        return error


def _noted() -> Exception:
    error = ValueError("refused")
    error.add_note(f"value was {CANARY}")
    return error


@pytest.mark.parametrize(
    "place",
    [
        CANARY,
        f"INSERT ... ({CANARY!r})",
        CANARY.encode(),
        repr(CANARY.encode()),
        CANARY.encode().hex(),
        base64.b64encode(CANARY.encode()).decode(),
        {"rows": [{"name": CANARY}]},
        {CANARY: 1},
        ValueError(CANARY),
        Params([{"name": CANARY}]),
        ExceptionGroup("several", [ValueError(CANARY)]),
        _noted(),
        _chained(suppressed=False),
        _chained(suppressed=True),
        logging.makeLogRecord({"msg": "value %s", "args": (CANARY,)}),
        logging.makeLogRecord(
            {"msg": "failed", "exc_info": (ValueError, ValueError(CANARY), None)}
        ),
    ],
    ids=lambda place: type(place).__name__,
)
def test_a_canary_is_found(place: object) -> None:
    with pytest.raises(AssertionError, match="the canary shows at") as caught:
        assert_absent(CANARY, "clean", place)
    assert CANARY not in str(caught.value)


def test_what_shows_no_canary_passes() -> None:
    assert_absent(CANARY, "clean", ValueError("clean"), {"params": [Opaque(CANARY)]})


def test_a_line_of_the_test_itself_is_no_leak() -> None:
    assert_absent("canary-in-source", _raised(ValueError("canary" + "-elsewhere")))


@pytest.mark.parametrize("places", [(), ([],)])
def test_a_search_of_nothing_is_an_error(places: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="no place at all"):
        assert_absent(CANARY, *places)


def test_a_canary_that_chance_could_bring_is_an_error() -> None:
    with pytest.raises(ValueError, match="by chance"):
        assert_absent("a", "banana")
