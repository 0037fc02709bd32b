"""Search whatever a plaintext or a key could leak into."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Iterator, Mapping, Set

_MAXIMUM_DEPTH = 8


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
