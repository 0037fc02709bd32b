"""Which texts may be branch key ids."""

from __future__ import annotations

from encfields.errors import ConfigurationError
from encfields.keys.key_table import MAX_KEY_ID_CHARS


def check_key_id(key_id: str) -> None:
    """Refuse an id that some key store, database or message could not hold exactly.

    :raises ConfigurationError: says what an id is.
    """
    if not 1 <= len(key_id) <= MAX_KEY_ID_CHARS:
        raise ConfigurationError(
            f"a key id is text of 1 to {MAX_KEY_ID_CHARS} characters", reason="key-id"
        )
    if not key_id.isprintable() or key_id != key_id.strip():
        raise ConfigurationError(
            "a key id is printable text without blanks around it", reason="key-id"
        )
