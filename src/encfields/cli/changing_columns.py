"""Columns whose declaration is being changed, ``formerly=``, and what commands say of them.

The commands that count and verify look at values as they are written; the application also reads
those that ``formerly=`` says.
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
    """Whether the models tell how the values were kept before."""
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
    """Say of each why values may be counted as faults that the application reads."""
    for column in columns:
        formerly = _formerly(column)
        written, other = "new", "former"
        until = f" until `encfields {_command(formerly)} {_name(column)}` has moved them"
        if formerly.writes_former:
            written, other, until = "former", "new", ""
        output.line(
            f"{_name(column)} is being changed (formerly=), and is looked at as it is written, the "
            f"{written} way. The application reads what is kept the {other} way too; here it "
            f"counts as misplaced, or its blind index as wrong{until}.",
            style="yellow",
        )


def unconverted(
    columns: Iterable[Column[Any]], engine: Engine, encryption: Encryption
) -> Mapping[str, str]:
    """What is left to convert, by column: values of a former inner type open as all others do.

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
