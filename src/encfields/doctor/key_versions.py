"""Whether the key versions that stored values name are there."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.census import Census, census
from encfields.bulk.survey.headers import DESTROYED, KeyVersions
from encfields.doctor.finding import Finding
from encfields.errors import EncFieldsError
from encfields.keys.store import KeyVersion

SAMPLE_ROWS = 10_000
"""Rows of each table that are drawn."""


def check_key_versions(
    engine: Engine, specs: Sequence[TableSpec], listed: Sequence[KeyVersion]
) -> list[Finding]:
    """Whether the values of some tables name key versions that there are.

    :param listed: the versions that the key store has.
    """
    known = KeyVersions(listed)
    found: list[Finding] = []
    for spec in specs:
        name = f"key versions of {spec.table}"
        try:
            found += _findings(name, census(engine, spec, sample=SAMPLE_ROWS), known)
        except EncFieldsError as error:
            found.append(Finding(name, "skipped", error.message))
    return found


def _findings(name: str, counted: Census, known: KeyVersions) -> list[Finding]:
    gone: list[Finding] = []
    for column in counted.columns:
        for (key_id, version), values in sorted(column.versions.items()):
            state = known.state(key_id, version)
            if known.opens(key_id, version):
                continue
            detail = f"{column.column}: {values:,} values do not open, {state}: {key_id} {version}"
            if state == DESTROYED:
                gone.append(Finding(name, "warning", detail))
                continue
            detail += "; is the key table of an older backup than they are?"
            gone.append(Finding(name, "problem", detail))
    rows = f"{counted.rows:,} rows looked at"
    return gone or [Finding(name, "ok", f"all are in the key store ({rows})")]
