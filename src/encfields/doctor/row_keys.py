"""What values are bound to: whether the database itself changes it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from encfields.bulk.rows.changed_keys import changes_of_keys
from encfields.bulk.rows.spec import TableSpec
from encfields.doctor import Finding
from encfields.doctor.database import asked_of_table
from encfields.errors import EncFieldsError


def check_row_keys(engine: Engine, specs: Sequence[TableSpec]) -> list[Finding]:
    """What the database changes by itself of what the values of each table are bound to."""
    findings: list[Finding] = []
    for spec in specs:
        check = f"row key of {spec.full_name}"
        try:
            changes = asked_of_table(engine, spec, _changes)
        except EncFieldsError as error:
            findings.append(Finding(check, "skipped", error.message))
            continue
        if changes is None:
            continue  # reported already
        findings += [Finding(check, "problem", change) for change in changes]
        if not changes:
            findings.append(Finding(check, "ok", "nothing that the database changes by itself"))
    return findings


def _changes(connection: Connection, spec: TableSpec) -> list[str]:
    return list(changes_of_keys(connection, spec))
