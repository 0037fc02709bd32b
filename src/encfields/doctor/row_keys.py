"""What values are bound to: whether the database itself changes it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import NoSuchTableError

from encfields.bulk.rows.changed_keys import changes_of_keys
from encfields.bulk.rows.spec import TableSpec
from encfields.doctor import Finding


def check_row_keys(engine: Engine, specs: Sequence[TableSpec]) -> list[Finding]:
    """What the database changes by itself of what the values of each table are bound to."""
    findings = []
    for spec in specs:
        check = f"row key of {spec.full_name}"
        try:
            with engine.connect() as connection:
                changes = changes_of_keys(connection, spec)
        except NoSuchTableError:
            continue  # reported already
        findings += [Finding(check, "problem", change) for change in changes]
        if not changes:
            findings.append(Finding(check, "ok", "nothing that the database changes by itself"))
    return findings
