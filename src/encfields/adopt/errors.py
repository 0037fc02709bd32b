"""What keeps an adoption from going on."""

from __future__ import annotations

from encfields.bulk.errors import ReencryptionError


class AdoptionError(ReencryptionError):
    """The adoption cannot take this step now; the message says what comes first."""
