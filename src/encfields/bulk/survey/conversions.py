"""A table's values by opening them: what a dry run and ``ensure()`` know of a conversion.

No header tells which inner type wrote a value. So each is dealt with as the run would, in memory,
and nothing is written.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from encfields.bulk.connections import Connections
from encfields.bulk.options import Options
from encfields.bulk.rows.cells import columns_of
from encfields.bulk.rows.changes import ABSENT, Change
from encfields.bulk.rows.convert import Convert
from encfields.bulk.rows.indexes import IndexPlaces
from encfields.bulk.rows.job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.survey.headers import Survey, batches
from encfields.message import read_header

if TYPE_CHECKING:
    from encfields.engine import Encryption


class ConversionSurveyor:
    """Opens every value of a table.

    :param prepared: the job, which converts. :param encryption: gives the keys.
    """

    def __init__(self, prepared: PreparedJob, encryption: Encryption) -> None:
        self._columns = columns_of(prepared)
        self._reader = BatchReader(prepared)
        self._indexes = IndexPlaces(prepared)
        self._values = Convert(prepared, encryption)
        self.survey = Survey()

    def run(self, connections: Connections, options: Options) -> Survey:
        """Look at the whole table, in batches.

        :raises KeyStoreError: a key cannot be fetched just now.
        """
        began = time.monotonic()
        for rows in batches(self._reader, connections, options):
            outcome = self._values.work(rows, self._reader)
            for row in rows:
                self._row(row)
            for change in outcome.changes:
                self._change(change)
            self.survey.unreadable += len(outcome.refused)
        survey = self.survey
        values = survey.rows * len(self._columns) - survey.null
        survey.current = values - survey.not_current - survey.unreadable
        survey.seconds = time.monotonic() - began
        return survey

    def _row(self, row: Any) -> None:
        self.survey.rows += 1
        self.survey.null += sum(row[target.value_at] is None for target, _ in self._columns)
        self.survey.unindexed += self._indexes.are_missing(row)

    def _change(self, change: Change) -> None:
        self.survey.rows_to_rewrite += 1
        for old, new in zip(change.old, change.new, strict=True):
            if new is None or not old or old == ABSENT:
                continue
            header = read_header(old)
            self.survey.not_current += 1
            self.survey.stored_bytes += len(old)
            self.survey.versions[(header.key_id, header.version)] += 1
            self.survey.keys.add(read_header(new).key_id)
