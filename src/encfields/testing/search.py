"""Search whatever a plaintext or a key could leak into."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
import pickletools
import traceback
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from itertools import pairwise
from pickle import dumps
from types import FrameType
from urllib.parse import quote

_MAXIMUM_DEPTH = 8

TEST_RUNNER = ("_pytest", "pluggy", "pytest_asyncio", "anyio")
"""Modules whose frames contain what a test passed to them."""

SQLALCHEMY = "sqlalchemy"
"""The same, because it must be given what is to be written."""


def assert_absent(canary: str | bytes, *places: object) -> None:
    """Fail if a canary shows in any of the places.

    It searches for the canary as text, as bytes, escaped, and in hex and Base64. Exceptions are
    searched with their text, ``repr``, arguments, attributes, notes, causes and contexts
    (including suppressed ones); log records with their message, arguments and attributes;
    containers with their members; any other object with its text and ``repr``.

    :param canary: the plaintext or key; at least 6 characters or bytes.
    :param places: exceptions, log records (``caplog.records``), strings, any object.
    :raises AssertionError: names the path to the find, not the canary.
    :raises ValueError: the canary is too short, or there is nothing to search.
    """
    __tracebackhide__ = True
    forms = _forms(canary)
    searched = 0
    for number, place in enumerate(places):
        for path, text in texts(place, f"place {number}"):
            searched += 1
            if shows(forms, text):
                raise AssertionError(f"the canary shows at {path}")
    if not searched:
        raise ValueError("nothing to search: the test looks at no place at all")


def assert_absent_from_frames(
    canary: str | bytes, error: BaseException, *, may_hold: Collection[str] = TEST_RUNNER
) -> None:
    """Fail if a canary shows in a local variable of a frame that an error passed through.

    It searches what an error tracker records: in every frame of the error and of those chained to
    it, containers with their members, and other objects by their ``repr``.

    :param canary: the plaintext to look for, a string or bytes.
    :param error: the exception that was caught.
    :param may_hold: modules and packages whose frames may hold it.
    :raises AssertionError: names the frame and the variable.
    :raises ValueError: the canary is too short.
    """
    __tracebackhide__ = True
    for place in frames_showing(_forms(canary), error, lambda frame: is_of(frame, may_hold)):
        raise AssertionError(f"the canary shows in {place}")


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error, its causes and contexts, and the members of groups."""
    seen: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen[id(one)] = one
            waiting += [one.__cause__, one.__context__]
            waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    yield from seen.values()


def shows(forms: Collection[bytes], text: bytes) -> bool:
    """Whether a text contains one of the forms."""
    return any(form in text for form in forms)


def frames_showing(
    forms: Collection[bytes], error: BaseException, is_exempt: Callable[[FrameType], bool]
) -> Iterator[str]:
    """The variables that show a canary, in the frames that an error and its causes passed."""
    for exception in chain_of(error):
        for frame, _ in traceback.walk_tb(exception.__traceback__):
            if is_exempt(frame):
                continue
            for name, value in list(frame.f_locals.items()):
                if shows(forms, _shown(value)):
                    yield f"{name!r} of {frame.f_code.co_filename}:{frame.f_code.co_qualname}"


def is_of(frame: FrameType, modules: Collection[str]) -> bool:
    """Whether a frame is of one of the modules, or of a package's."""
    name = str(frame.f_globals.get("__name__", ""))
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def texts(root: object, name: str) -> Iterator[tuple[str, bytes]]:
    """Every text reachable from an object, with the path to it."""
    seen: set[int] = set()
    # Kept so that an id is not reused for another object during the search.
    kept: list[object] = []
    queue: list[tuple[str, object, int]] = [(name, root, 0)]
    while queue:
        path, item, depth = queue.pop()
        if isinstance(item, str | bytes | bytearray | memoryview):
            yield path, _bytes(item)
        elif id(item) not in seen and depth <= _MAXIMUM_DEPTH:
            seen.add(id(item))
            kept.append(item)
            if not isinstance(item, Mapping | list | tuple | Set):
                yield f"str({path})", _text_of(str, item)
                yield f"repr({path})", _text_of(repr, item)
            queue.extend((step, part, depth + 1) for step, part in _parts(item, path))


def _forms(canary: str | bytes) -> frozenset[bytes]:
    if len(canary) < MINIMUM:
        raise ValueError("a canary this short could occur by chance")
    return spellings(canary)


def _bytes(item: str | bytes | bytearray | memoryview) -> bytes:
    return item.encode("utf-8", "surrogatepass") if isinstance(item, str) else bytes(item)


def _text_of(tell: Callable[[object], str], item: object) -> bytes:
    """An object's text; empty if it raises, which is not tested here."""
    try:
        return _bytes(tell(item))
    except Exception:
        return b""


def _shown(value: object, depth: int = 0) -> bytes:
    """What an error tracker would record of a variable."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return _bytes(value)
    if depth <= _MAXIMUM_DEPTH and isinstance(value, Mapping):
        return b" ".join(_shown(part, depth + 1) for pair in value.items() for part in pair)
    if depth <= _MAXIMUM_DEPTH and isinstance(value, list | tuple | Set):
        return b" ".join(_shown(part, depth + 1) for part in value)
    return _text_of(repr, value)


def _parts(item: object, path: str) -> Iterator[tuple[str, object]]:
    """What to search inside an object.

    Attributes are opened only where they are shown to people: of exceptions and log records.
    Any other object may hold the value (a key must), and has to keep it out of its text.
    """
    if isinstance(item, Mapping):
        for key, value in item.items():
            yield f"{path} key", key
            yield f"{path}[{type(key).__name__}]", value
    elif isinstance(item, list | tuple | Set):
        for number, member in enumerate(item):
            yield f"{path}[{number}]", member
    elif isinstance(item, BaseException):
        yield from _exception_parts(item, path)
    elif isinstance(item, logging.LogRecord):
        yield f"{path}.getMessage()", _text_of(lambda _: item.getMessage(), item)
        yield f"{path}.__dict__", dict(vars(item))


def _exception_parts(error: BaseException, path: str) -> Iterator[tuple[str, object]]:
    # Without the traceback's source lines, since a test that contains its canary is not a leak.
    yield f"{path} printed", "".join(traceback.format_exception_only(error))
    yield f"{path}.args", error.args
    yield f"{path}.__dict__", dict(vars(error))
    if error.__cause__ is not None:
        yield f"{path}.__cause__", error.__cause__
    # Even if suppressed by ``from None``, because error reporters follow it nevertheless.
    if error.__context__ is not None:
        yield f"{path}.__context__", error.__context__
    if isinstance(error, BaseExceptionGroup):
        yield f"{path}.exceptions", error.exceptions


MINIMUM = 6
"""Fewest characters or bytes of a plaintext to search for, to rule out coincidence."""


def texts_of(plaintext: object) -> list[str | bytes]:
    """The texts to search for: a container's members, or the text of a date or number, except parts
    that are too short.

    :raises ValueError: no part of it is long enough.
    """
    found = [text for text in _leaves(plaintext) if len(text) >= MINIMUM]
    if not found:
        raise ValueError(
            f"a canary this short could occur by chance: it needs {MINIMUM} characters or bytes"
        )
    return found


def pickled_forms(plaintext: object) -> frozenset[bytes]:
    """What a pickle has of the numbers, dates and UUIDs in it, which are no texts there."""
    return frozenset(
        form
        for member in _members(plaintext)
        if isinstance(member, _PICKLED_AS_BYTES) and len(str(member)) >= MINIMUM
        for form in _pickled(member)
    )


_PICKLED_AS_BYTES = (int, float, dt.date, dt.time, uuid.UUID)
_OPCODES = ("BININT", "LONG1", "BINFLOAT", "SHORT_BINBYTES")
"""Of pickles since protocol 3, with 4 bytes of a value or more."""


def _pickled(value: object) -> Iterator[bytes]:
    data = dumps(value, protocol=4)
    places = [(opcode.name, place) for opcode, _, place in pickletools.genops(data)]
    for (name, start), (_, end) in pairwise(places):
        if name in _OPCODES and start is not None:
            yield data[start:end]


def _leaves(plaintext: object) -> Iterator[str | bytes]:
    for member in _members(plaintext):
        if isinstance(member, str):
            yield member
        elif isinstance(member, bytes | bytearray | memoryview):
            yield bytes(member)
        elif member is not None:
            yield from dict.fromkeys((str(member), repr(member)))
            if isinstance(member, dt.datetime | dt.time):
                yield member.isoformat()
            elif isinstance(member, uuid.UUID):
                yield member.bytes


def _members(plaintext: object) -> Iterator[object]:
    """Values in a container and the containers in it, or the value itself."""
    if isinstance(plaintext, Mapping):
        for member in plaintext.values():
            yield from _members(member)
    elif isinstance(plaintext, list | tuple | Set):
        for member in plaintext:
            yield from _members(member)
    else:
        yield plaintext


def spellings(text: str | bytes) -> frozenset[bytes]:
    """Every form that is searched for: raw, escaped as ``repr()``, JSON and URLs escape it, in
    hexadecimal, and in Base64 at any position of a longer text."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    forms = {raw, repr(raw)[2:-1].encode(), raw.hex().encode(), raw.hex().upper().encode()}
    forms.update(_base64(raw))
    forms.add(quote(raw).encode())
    if isinstance(text, str):
        forms.add(json.dumps(text)[1:-1].encode())
        forms.add(text.encode("unicode_escape"))
    return frozenset(forms)


def _base64(raw: bytes) -> Iterator[bytes]:
    """The characters that depend only on these bytes, at each of the three alignments."""
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        padded = bytes(before) + raw
        yield base64.b64encode(padded)[first:last]
        yield base64.urlsafe_b64encode(padded)[first:last]
