"""``encfields doctor``: finds what would fail in production before it does.

===============  =========================================
``libraries``    supported versions
``engine``       the application's engine, and its process
``kms_actions``  what this role may do in KMS
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
    """The result of one check; never contains a key or a value.

    :ivar check: what was checked.
    :ivar verdict: ``"ok"``; ``"warning"``: works, but see the detail; ``"problem"``: does not or
        will not work; ``"skipped"``: could not be checked.
    :ivar detail: what was found, and what to do about it.
    """

    check: str
    verdict: Severity
    detail: str

    def to_json(self) -> dict[str, str]:
        """The finding as plain data."""
        return asdict(self)
