"""Messages: one stored value, sealed for its row and opened there."""

from __future__ import annotations

from encfields.message.body import MAX_CONTENT_BYTES
from encfields.message.header import MAGIC, BytesLike, Header, read_header
from encfields.message.sealing import open_, open_with_data_key, seal, sealed_size

__all__ = [
    "MAGIC",
    "MAX_CONTENT_BYTES",
    "BytesLike",
    "Header",
    "open_",
    "open_with_data_key",
    "read_header",
    "seal",
    "sealed_size",
]
