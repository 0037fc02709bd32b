"""Bulk work on the values of a live table: re-encrypt, rebind, count, verify.

::

    from encfields.bulk import Options, Reencryption, TableSpec

    spec = TableSpec.from_table(Patient.__table__)
    report = Reencryption(engine, encryption, spec, options=Options(workers=2)).run()

What it is made of:

=================  ======================================================================
``reencryption``   ``Reencryption``: the run that callers start
``column_runs``    ``rebinding()`` and ``conversion()``
``recorded_runs``  ``work()``, ``pause()``, ``abandon()``: runs by their ids
``options``        how a run works
``expected``       what the functions take
``rows``           reading a table's rows and changing a batch of them
``runs``           a run's records in the database, and its worker processes
``writers``        storing a batch, for each database
``survey``         ``census()``, ``verify()`` and dry runs, which change nothing
``connections``    a run's own connections
``failures``       what a database's error means to a run
``row_refusals``   why a database refused a row
``error_codes``    what databases' codes of errors mean
``errors``         what a run raises
=================  ======================================================================
"""

from __future__ import annotations

from encfields.bulk.column_runs import conversion, rebinding
from encfields.bulk.errors import (
    ConflictingRunError,
    DatabaseUnavailableError,
    ReencryptionError,
    RunRefusedError,
    TooManyQuarantinedError,
    UnfinishedError,
)
from encfields.bulk.options import Options
from encfields.bulk.recorded_runs import abandon, pause, report_of, work
from encfields.bulk.reencryption import Reencryption
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.runs.progress import ProgressState
from encfields.bulk.runs.progress_display import ProgressBar, ProgressLog
from encfields.bulk.runs.report import DryRun, Quarantined, Report, Summary
from encfields.bulk.survey.census import Census, census
from encfields.bulk.survey.column_census import ColumnCensus
from encfields.bulk.survey.index_check import IndexCensus
from encfields.bulk.survey.scan import Sample
from encfields.bulk.survey.verify import Failure, Verification, verify

__all__ = [
    # runs
    "Reencryption",
    "Options",
    "ProgressBar",
    "ProgressLog",
    "ProgressState",
    "abandon",
    "conversion",
    "pause",
    "rebinding",
    "report_of",
    "work",
    # what they work on
    "SealedColumn",
    "TableSpec",
    # what they report
    "DryRun",
    "Quarantined",
    "Report",
    "Summary",
    # looking without writing
    "Census",
    "ColumnCensus",
    "Failure",
    "IndexCensus",
    "Sample",
    "Verification",
    "census",
    "verify",
    # errors
    "ConflictingRunError",
    "DatabaseUnavailableError",
    "ReencryptionError",
    "RunRefusedError",
    "TooManyQuarantinedError",
    "UnfinishedError",
]
