"""Search whatever a plaintext or a key could leak into."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

_MAXIMUM_DEPTH = 8

APPLICATION = (str(Path(__file__).parent), "_pytest", "pluggy")
"""Where the frames of the application are: it holds the values that it works with."""

SQLALCHEMY = "sqlalchemy"
"""Where those of SQLAlchemy are, which hold the parameters that the application gave it."""


def assert_absent(canary: str | bytes, *places: object) -> None:
    """Fail if a canary shows in any of the places.

    The canary is looked for as text, as bytes, and in hex and Base64. Exceptions are searched
    with their text, ``repr``, arguments, attributes, notes, causes and contexts (suppressed ones
    included); log records with their message, arguments and attributes; containers with their
    members; any other object with its text and ``repr``.

    :param canary: the plaintext or key; at least 6 characters or bytes, so that a find is no
        coincidence.
    :param places: exceptions, log records (``caplog.records``), strings, any object.
    :raises AssertionError: names the path to the find, not the canary.
    """
    __tracebackhide__ = True
    if len(canary) < 6:
        raise ValueError("a canary this short could occur by chance")
    forms = _forms(canary)
    searched = 0
    for number, place in enumerate(places):
        for path, text in _texts(place, f"place {number}"):
            searched += 1
            for form in forms:
                if form in text:
                    raise AssertionError(f"the canary shows at {path}")
    if not searched:
        raise ValueError("nothing to search: the test looks at no place at all")


def assert_absent_from_frames(
    canary: str | bytes, error: BaseException, *, but_of: tuple[str, ...] = ()
) -> None:
    """Fail if a canary shows in a local variable of a frame that an error passed through.

    What an error tracker records is searched: of every frame of the error and of those that it
    is chained to, containers with their members, and other objects by their ``repr``.

    :param but_of: parts of the file names of frames that may hold it, beside the application's.
    :raises AssertionError: names the frame and the variable.
    """
    __tracebackhide__ = True
    forms = _forms(canary)
    exempt = (*APPLICATION, *but_of)
    for one in chain_of(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if any(part in frame.f_code.co_filename for part in exempt):
                continue
            for name, value in frame.f_locals.items():
                shown = _shown(value)
                if any(form in shown for form in forms):
                    where = f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"
                    raise AssertionError(f"the canary shows in {name!r} of {where}")


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error, its causes, what it happened in the midst of, and the members of groups."""
    seen: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen[id(one)] = one
            waiting += [one.__cause__, one.__context__]
            waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    yield from seen.values()


def _shown(value: object, depth: int = 0) -> bytes:
    """What a recorder would keep of a variable."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if depth <= _MAXIMUM_DEPTH and isinstance(value, Mapping):
        return b" ".join(_shown(part, depth + 1) for pair in value.items() for part in pair)
    if depth <= _MAXIMUM_DEPTH and isinstance(value, list | tuple | Set):
        return b" ".join(_shown(part, depth + 1) for part in value)
    return repr(value).encode("utf-8", "surrogatepass")


def _forms(canary: str | bytes) -> set[bytes]:
    raw = canary.encode() if isinstance(canary, str) else canary
    escaped = repr(raw)[2:-1].encode()  # As repr() of bytes shows it.
    encoded = {raw.hex().encode(), raw.hex().upper().encode(), base64.b64encode(raw).rstrip(b"=")}
    return {raw, escaped, *encoded}


def _texts(root: object, name: str) -> Iterator[tuple[str, bytes]]:
    """Every text reachable from an object, with the path to it."""
    seen: set[int] = set()
    # Held so that an id is not given to another object while the search goes on.
    kept: list[object] = []
    queue: list[tuple[str, object, int]] = [(name, root, 0)]
    while queue:
        path, item, depth = queue.pop()
        if isinstance(item, str):
            yield path, item.encode("utf-8", "surrogatepass")
        elif isinstance(item, bytes | bytearray | memoryview):
            yield path, bytes(item)
        elif id(item) not in seen and depth <= _MAXIMUM_DEPTH:
            seen.add(id(item))
            kept.append(item)
            if not isinstance(item, Mapping | list | tuple | Set):
                yield f"str({path})", str(item).encode("utf-8", "surrogatepass")
                yield f"repr({path})", repr(item).encode("utf-8", "surrogatepass")
            queue.extend((step, part, depth + 1) for step, part in _parts(item, path))


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
        yield f"{path}.getMessage()", item.getMessage()
        yield f"{path}.__dict__", dict(vars(item))


def _exception_parts(error: BaseException, path: str) -> Iterator[tuple[str, object]]:
    # Without the traceback's source lines: a test that spells its canary out is no leak.
    yield f"{path} printed", "".join(traceback.format_exception_only(error))
    yield f"{path}.args", error.args
    yield f"{path}.__dict__", dict(vars(error))
    if error.__cause__ is not None:
        yield f"{path}.__cause__", error.__cause__
    # Suppressed by ``from None`` or not: error reporters walk it all the same.
    if error.__context__ is not None:
        yield f"{path}.__context__", error.__context__
    if isinstance(error, BaseExceptionGroup):
        yield f"{path}.exceptions", error.exceptions
