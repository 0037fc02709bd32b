"""Columns with ``formerly=``, and what commands say about them.

The commands that count and verify check values against the way they are written now; the
application also reads the other way that ``formerly=`` describes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from encfields.bulk.column_runs import conversion
from encfields.bulk.errors import UnfinishedError
from encfields.cli.application import metadata_named
from encfields.orm.declare.columns import SealedColumnType, is_encrypted

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Column, Engine

    from encfields.bulk.rows.spec import TableSpec
    from encfields.cli.output import Output
    from encfields.cli.settings import Settings
    from encfields.engine import Encryption
    from encfields.orm.declare.formerly import Formerly


def says_formerly(column: Column[Any]) -> bool:
    """Whether the models declare ``formerly=``."""
    return cast("SealedColumnType", column.type).formerly is not None


def changing_columns(settings: Settings, specs: Iterable[TableSpec]) -> list[Column[Any]]:
    """The columns of these tables that the models declare with ``formerly=``."""
    models = settings.models()
    if models is None:
        return []
    named = {(spec.schema, spec.table) for spec in specs}
    return [
        column
        for table in metadata_named(models).sorted_tables
        if (table.schema, table.name) in named
        for column in table.columns
        if is_encrypted(column) and says_formerly(column)
    ]


def print_changes(columns: Iterable[Column[Any]], output: Output) -> None:
    """Explain for each why values that the application reads may count as faults."""
    for column in columns:
        formerly = _formerly(column)
        written, other = "new", "former"
        until = f" until `encfields {_command(formerly)} {_name(column)}` has moved them"
        if formerly.writes_former:
            written, other, until = "former", "new", ""
        output.line(
            f"{_name(column)} is being changed (formerly=), and is checked against the way it is "
            f"written, the {written} one. The application also reads values stored the {other} "
            f"way; here they count as misplaced, or their blind index as wrong{until}.",
            style="yellow",
        )


def unconverted(
    columns: Iterable[Column[Any]], engine: Engine, encryption: Encryption
) -> Mapping[str, str]:
    """How many values are left to convert, by column; verification cannot tell, as they open.

    :raises KeyStoreError: a key cannot be fetched.
    """
    return dict(_unconverted(columns, engine, encryption))


def _unconverted(
    columns: Iterable[Column[Any]], engine: Engine, encryption: Encryption
) -> Iterator[tuple[str, str]]:
    for column in columns:
        formerly = _formerly(column)
        if formerly.inner is None or formerly.writes_former:
            continue
        try:
            conversion(engine, encryption, column).ensure()
        except UnfinishedError as error:
            yield _name(column), error.message


def _formerly(column: Column[Any]) -> Formerly:
    return cast("Formerly", cast("SealedColumnType", column.type).formerly)


def _command(formerly: Formerly) -> str:
    return "rebind" if formerly.inner is None else "convert"


def _name(column: Column[Any]) -> str:
    return f"{column.table.fullname}.{column.name}"
