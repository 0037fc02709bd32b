"""Finds plaintext columns that ignore the case of letters, which an exact blind index does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import column, func, inspect, literal_column, select, table, text, union_all

from encfields.databases import MYSQL_NAMES
from encfields.orm.declare.table_indexes import indexes_of

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnClause, Connection


@dataclass(frozen=True, slots=True)
class IgnoredCase:
    """How a plaintext column ignores case.

    :ivar by: what ignores the case, in words.
    :ivar is_unique: whether two rows cannot have values that differ only in case.
    """

    by: str
    is_unique: bool


def ignored_case(
    connection: Connection, table_name: str, schema: str | None, name: str
) -> IgnoredCase | None:
    """How a plaintext column ignores the case of its values; ``None`` if it does not."""
    indexes = list(_indexes(connection, table_name, schema, name))
    by = _collation(connection, table_name, schema, name)
    if by is not None:
        return IgnoredCase(by, any(index.is_unique for index in indexes))
    folding = [index for index in indexes if index.folds]
    if not folding:
        return None
    first = next((index for index in folding if index.is_unique), folding[0])
    return IgnoredCase(f"its index {first.name}", any(index.is_unique for index in folding))


@dataclass(frozen=True, slots=True)
class _Index:
    """An index of the plaintext column; `folds`: by ``lower()`` or its own collation."""

    name: str
    is_unique: bool
    folds: bool = False


def _indexes(
    connection: Connection, table_name: str, schema: str | None, name: str
) -> Iterator[_Index]:
    if connection.dialect.name == "sqlite":
        yield from _indexes_of_sqlite(connection, table_name, schema, name)
        return
    inspector = inspect(connection)
    folded = re.compile(rf"\b(lower|upper)\(+[`\"]?{re.escape(name)}\b", re.IGNORECASE)
    for constraint in inspector.get_unique_constraints(table_name, schema=schema):
        yield from [_Index(str(constraint["name"]), True)] * (constraint["column_names"] == [name])
    for index in inspector.get_indexes(table_name, schema=schema):
        expressions = index.get("expressions") or index["column_names"]
        if len(expressions) == 1 and expressions[0] is not None:
            folds = folded.search(expressions[0]) is not None
            if folds or expressions[0] == name:
                yield _Index(str(index["name"]), bool(index["unique"]), folds)


def _indexes_of_sqlite(
    connection: Connection, table_name: str, schema: str | None, name: str
) -> Iterator[_Index]:
    """SQLite's indexes with their collations, and the SQL of expressions."""
    quote = connection.dialect.identifier_preparer.quote
    place = f"{quote(schema)}." if schema else ""
    listed = connection.exec_driver_sql(f"PRAGMA {place}index_list({quote(table_name)})").all()
    made = f"SELECT sql FROM {place}sqlite_master WHERE name = ?"  # noqa: S608 - quoted
    folded = re.compile(rf"\b(lower|upper)\(\s*[`\"\[]?{re.escape(name)}\b", re.IGNORECASE)
    for _, index, is_unique, *_ in listed:
        info = connection.exec_driver_sql(f"PRAGMA {place}index_xinfo({quote(index)})").all()
        keys = [row for row in info if row[5]]
        if len(keys) != 1:
            continue
        _, _, of, _, collation, _ = keys[0]
        if of == name:
            yield _Index(index, bool(is_unique), collation.lower() == "nocase")
        elif of is None:
            sql = connection.exec_driver_sql(made, (index,)).scalar() or ""
            if folded.search(sql):
                yield _Index(index, bool(is_unique), True)


def _collation(
    connection: Connection, table_name: str, schema: str | None, name: str
) -> str | None:
    """How the column itself ignores the case, in words."""
    if connection.dialect.name == "sqlite":
        return _collation_of_sqlite(connection, table_name, schema, name)
    if connection.dialect.name in MYSQL_NAMES:
        collation = connection.execute(
            _OF_MYSQL, {"s": schema, "t": table_name, "c": name}
        ).scalar()
        return f"its collation {collation}" if collation and "_ci" in collation else None
    if connection.dialect.name != "postgresql":
        return None
    place = connection.dialect.identifier_preparer.format_table(table(table_name, schema=schema))
    row = connection.execute(_OF_POSTGRESQL, {"t": place, "c": name}).first()
    if row is None:
        return None
    if row.typname == "citext":
        return "its type citext"
    if row.collation is None:
        return None
    alike = connection.exec_driver_sql(f"SELECT 'A' = 'a' COLLATE {row.collation}").scalar()
    return f"its collation {row.collation}" if alike else None


def _collation_of_sqlite(
    connection: Connection, table_name: str, schema: str | None, name: str
) -> str | None:
    """In a compound SELECT the first column's collation counts."""
    stored: ColumnClause[Any] = column(name)
    none = select(stored).select_from(table(table_name, stored, schema=schema)).where(text("0"))
    both = union_all(none, select(literal_column("'A'"))).subquery()
    alike = connection.scalar(select(func.max(both.c[0] == literal_column("'a'"))))
    return "its collation NOCASE" if alike else None


_OF_MYSQL = text(
    "SELECT collation_name FROM information_schema.columns WHERE table_schema = "
    "COALESCE(:s, DATABASE()) AND table_name = :t AND column_name = :c"
)
_OF_POSTGRESQL = text(
    "SELECT t.typname, CASE WHEN NOT c.collisdeterministic THEN "
    "quote_ident(n.nspname) || '.' || quote_ident(c.collname) END AS collation "
    "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
    "LEFT JOIN pg_collation c ON c.oid = a.attcollation "
    "LEFT JOIN pg_namespace n ON n.oid = c.collnamespace "
    "WHERE a.attrelid = CAST(:t AS regclass) AND a.attname = :c AND NOT a.attisdropped"
)


def advice_on_case(connection: Connection, sealed: Column[Any], plain: str) -> tuple[str, ...]:
    """What to declare if a plaintext column ignores the case and its blind indexes do not.

    :param sealed: the encrypted column that adopts it.
    :returns: sentences; empty if there is nothing to say.
    """
    of_column = [index for index in indexes_of(sealed.table) if index.sources[0].column is sealed]
    if not of_column or any("casefold" in index.definition.derivation for index in of_column):
        return ()
    ignored = ignored_case(connection, sealed.table.name, sealed.table.schema, plain)
    if ignored is None:
        return ()
    index = "BlindIndex(casefold, unique=True)" if ignored.is_unique else "BlindIndex(casefold)"
    unique = "be equal and unique" if ignored.is_unique else "be equal"
    return (
        f"{sealed.table.name}.{plain} ignores the case of letters ({ignored.by}), and its blind "
        "index does not: from the phase write-sealed on, values that differ only in case would no "
        f"longer {unique}.",
        f"To keep that, declare {index} (from encfields.index import casefold) in place of "
        'BlindIndex(...), and query .blind("casefold") == ... from then on.',
    )
