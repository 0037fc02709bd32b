"""What the statements of a bulk run's batches read, as the database itself tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, event


class Read(NamedTuple):
    """What a statement reads from a table.

    :ivar rows: how many. :ivar whole: whether any scan goes over the whole table.
    """

    rows: int
    whole: bool


@contextmanager
def watched(connection: Connection, table: str) -> Iterator[list[Read]]:
    """What the statements that mention a table read, those that run inside.

    On PostgreSQL it is the plan that was executed, with the rows that it read, so that a plan
    which is kept for later executions shows (needs the right to load auto_explain). On MariaDB,
    which keeps no plans, the statement is explained before it runs; its rows are estimates.
    """
    if connection.dialect.name == "postgresql":
        with _postgresql(connection, table) as found:
            yield found
    else:
        with _mariadb(connection, table) as found:
            yield found


@contextmanager
def _postgresql(connection: Connection, table: str) -> Iterator[list[Read]]:
    found: list[Read] = []

    def note(diagnostic: Any) -> None:
        _, _, plan = diagnostic.message_primary.partition("plan:\n")
        if plan and table in plan:
            found.append(_read(json.loads(plan)["Plan"], table))

    driver: Any = connection.connection.driver_connection
    for statement in (
        "LOAD 'auto_explain'",
        "SET auto_explain.log_min_duration = 0",
        "SET auto_explain.log_analyze = on",
        "SET auto_explain.log_format = json",
        "SET client_min_messages = log",
    ):
        connection.exec_driver_sql(statement)
    connection.commit()  # a rollback would undo the settings
    driver.add_notice_handler(note)
    try:
        yield found
    finally:
        driver.remove_notice_handler(note)


def _read(plan: dict[str, Any], table: str) -> Read:
    rows, whole = 0, False
    if plan.get("Relation Name") == table and "Scan" in plan["Node Type"]:
        each = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        rows, whole = round(each * plan["Actual Loops"]), plan["Node Type"] == "Seq Scan"
    for child in plan.get("Plans", ()):
        more = _read(child, table)
        rows, whole = rows + more.rows, whole or more.whole
    return Read(rows, whole)


@contextmanager
def _mariadb(connection: Connection, table: str) -> Iterator[list[Read]]:
    found: list[Read] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if table not in statement or statement.startswith("EXPLAIN"):
            return
        told = connection.exec_driver_sql(f"EXPLAIN FORMAT=JSON {statement}", parameters).scalar()
        # Not those that a long list of keys is made into.
        read = [one for one in _tables(json.loads(told)) if one["table_name"] == table]
        whole = any(one["access_type"] == "ALL" for one in read)
        found.append(Read(sum(int(one["rows"]) for one in read), whole))

    event.listen(connection, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(connection, "before_cursor_execute", explain)


def _tables(plan: Any) -> Iterator[dict[str, Any]]:
    """Every table of a MariaDB plan."""
    if isinstance(plan, dict) and "access_type" in plan:
        yield plan
    elif isinstance(plan, dict | list):
        for part in plan.values() if isinstance(plan, dict) else plan:
            yield from _tables(part)
