"""Reading a message with AWS's own client, quietly where it does not open."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stock_stream(client: Any, source: bytes | io.BytesIO, **arguments: Any) -> Iterator[Any]:
    """AWS's stream that decrypts `source`, closed at the end whether it opened or not.

    :param client: an ``EncryptionSDKClient``. :param arguments: as its ``stream()`` takes them.
    """
    stream = client.stream(mode="decrypt", source=source, **arguments)
    try:
        yield stream
    finally:
        # Its own close() raises where the message was not read to its end, and is called again
        # when it is collected: Python 3.13 and newer then write a traceback to stderr.
        io.IOBase.close(stream)
