"""What to know of a plaintext column before its adoption begins, though nothing prevents it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encfields.adopt.catalog_column import CatalogColumn
from encfields.adopt.demanding_checks import demanding_checks
from encfields.adopt.letter_case import advice_on_case

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection


def advice_before(connection: Connection, sealed: Column[Any], plain: str) -> tuple[str, ...]:
    """What to change in the declaration or the table, in sentences; empty if nothing.

    :param connection: to the table's database. :param sealed: the encrypted column.
    :param plain: name of the plaintext column that it adopts.
    """
    table = sealed.table
    of_case = advice_on_case(connection, sealed, plain)
    column = CatalogColumn(connection, table.name, table.schema, plain)
    of_checks = (
        f"{table.fullname}.{plain}: {check}, before ensure."
        for check in demanding_checks(column, sealed.name)
    )
    return (*of_case, *of_checks)
