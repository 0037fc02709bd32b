"""Triggers that write a row for each row inserted, updated or deleted: nobody else may notice."""

from __future__ import annotations

import sqlalchemy as sa


def create_triggers(connection: sa.Connection, table: str, audit: str) -> None:
    """Let every change of `table` be written to `audit`."""
    for verb in ("INSERT", "UPDATE", "DELETE"):
        row = "OLD" if verb == "DELETE" else "NEW"
        write = f"INSERT INTO {audit} (verb, tag) VALUES ('{verb}', {row}.tag)"
        head = f"CREATE TRIGGER {audit}_{verb.lower()} AFTER {verb} ON {table} FOR EACH ROW"
        match connection.dialect.name:
            case "postgresql":
                function = f"{audit}_{verb.lower()}_f"
                connection.exec_driver_sql(
                    f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql "
                    f"AS $$ BEGIN {write}; RETURN NULL; END $$"
                )
                connection.exec_driver_sql(f"{head} EXECUTE FUNCTION {function}()")
            case "sqlite":
                connection.exec_driver_sql(f"{head} BEGIN {write}; END")
            case _:
                connection.exec_driver_sql(f"{head} {write}")
