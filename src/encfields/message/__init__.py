"""Messages: sealing a value for its row, and opening it there.

======================  ========================================================================
``sealing``             seals and opens one value; reads every other form of message too
``one_pass``            seals and opens the form that this library writes, in one pass
``core``, ``compiled``  chooses between Python and the compiled core
``header``              the public part of a message, read before any key is fetched
``body``                its frames
``keys``                derives a message's keys from the branch key
``data_key_cache``      what messages that were opened before are opened with
``index_code``          what a blind index is a part of
``suites``              the algorithm suites, and what is missing in messages of others
``cell``                a message in a result, after its row's key
``reseal``              moves values to another version of their key, in bulk
======================  ========================================================================
"""

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
