"""Bulk work over the values of a live table: re-encrypt, rebind, census, verification.

::

    from encfields.reencrypt import Options, Reencryption, TableSpec

    spec = TableSpec.from_table(Patient.__table__)
    report = Reencryption(engine, encryption, spec, options=Options(workers=2)).run()
"""

from __future__ import annotations

from encfields.reencrypt.census import Census, census
from encfields.reencrypt.column_census import ColumnCensus
from encfields.reencrypt.engine import Reencryption, abandon, pause, report_of, work
from encfields.reencrypt.errors import (
    ConflictingRunError,
    DatabaseUnavailableError,
    ReencryptionError,
    RunRefusedError,
    TooManyQuarantinedError,
    UnfinishedError,
)
from encfields.reencrypt.index_census import IndexCensus
from encfields.reencrypt.options import Options
from encfields.reencrypt.progress import ProgressBar, ProgressState
from encfields.reencrypt.report import DryRun, Quarantined, Report, Summary
from encfields.reencrypt.sampling import Sample
from encfields.reencrypt.spec import SealedColumn, TableSpec
from encfields.reencrypt.verify import Failure, Verification, verify

__all__ = [
    # runs
    "Reencryption",
    "Options",
    "ProgressBar",
    "ProgressState",
    "abandon",
    "pause",
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
