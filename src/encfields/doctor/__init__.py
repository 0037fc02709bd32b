"""``encfields doctor``: what would fail in production, found before it does.

===============  =========================================
``libraries``    versions that work
``engine``       the application's engine, and its process
``kms_actions``  what this role may do with KMS
``key_table``    keys, and whether they open
``database``     the clock, and encrypted columns
``row_keys``     what the database itself changes of them
===============  =========================================
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; it never holds a key or a value.

    :ivar check: what was looked at.
    :ivar verdict: ``"ok"``; ``"warning"``: works, but see; ``"problem"``: does not work or will
        not; ``"skipped"``: could not be looked at.
    :ivar detail: what was found, and what to do about it.
    """

    check: str
    verdict: Severity
    detail: str

    def to_json(self) -> dict[str, str]:
        """The finding as plain data."""
        return asdict(self)
