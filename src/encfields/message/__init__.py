"""Messages: one stored value, sealed for its row and opened there."""

from __future__ import annotations

from encfields.message.sealing import (
    MAGIC,
    MAX_CONTENT_BYTES,
    BytesLike,
    Header,
    open_,
    open_with_data_key,
    read_header,
    seal,
    sealed_size,
)

__all__ = [
    "MAGIC",
    "BytesLike",
    "MAX_CONTENT_BYTES",
    "Header",
    "open_",
    "open_with_data_key",
    "read_header",
    "seal",
    "sealed_size",
]
