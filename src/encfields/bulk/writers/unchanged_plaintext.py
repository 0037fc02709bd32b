"""The plaintext that a run has sealed must still be what stands in its column.

On servers it is compared by its SHA-256, so that no statement that the run sends, and no log of
statements, holds a value that the application is just about to have encrypted.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from encfields.orm.adoption.text_form import TextForm
from encfields.orm.declare.row_keys import MYSQL_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from encfields.bulk.rows.job import PreparedJob


class UnchangedPlaintext:
    """Compares the plaintext columns of a run that adopts; of any other run there are none.

    :param prepared: the job. :param alias: of the table, before a column's name.
    :ivar forms: SQL for what is compared of each.
    """

    def __init__(self, prepared: PreparedJob, alias: str = "") -> None:
        dialect = prepared.dialect
        quote = dialect.identifier_preparer.quote
        self._hashes = dialect.name != "sqlite"
        self.forms: Sequence[str] = ()
        if prepared.job.adopted is not None:
            self.forms = [
                self._compared(TextForm(c.type, dialect).sql(alias + quote(c.name)), dialect.name)
                for c in prepared.plain
            ]

    def _compared(self, form: str, dialect_name: str) -> str:
        if dialect_name == "postgresql":
            return f"sha256({form})"
        return f"UNHEX(SHA2({form}, 256))" if dialect_name in MYSQL_NAMES else form

    def expected(self, plain: Sequence[bytes | None] | None) -> list[bytes | None]:
        """What each of a row's plaintexts is compared with; ``None`` for one that is not."""
        if plain is None:
            return [None] * len(self.forms)
        return [
            hashlib.sha256(one).digest() if self._hashes and one is not None else one
            for one in plain
        ]
