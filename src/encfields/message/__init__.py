"""Messages: one stored value, sealed for its row and opened there.

======================  ========================================================================
``sealing``             seal and open one value; every other message of the SDK is read here too
``one_pass``            the form that this library writes, sealed and opened in one pass
``core``, ``compiled``  which of Python and the compiled core does so, and why
``header``              what a message says about itself, read before any key is fetched
``body``                its frames
``keys``                from the branch key to the key that encrypts
``suites``              the algorithm suites, and what a message of another one lacks
``cell``                a message as it is delivered, with its row's key before it
``reseal``              values moved to another version of their key, in bulk
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
