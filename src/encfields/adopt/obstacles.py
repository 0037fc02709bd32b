"""Finds what prevents adopting a column, or dropping its plaintext.

Operations check this before they change anything: a foreign key would become NULL with the
plaintext, a view or trigger would fail once the column is gone, and rows hidden by a policy would
be overlooked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sqlalchemy import inspect

from encfields.adopt.catalog_column import CatalogColumn
from encfields.adopt.column_definitions import (
    columns_of,
    covered,
    defines_column,
    definitions,
    names_any,
)
from encfields.adopt.demanding_checks import demanding_checks
from encfields.adopt.own_triggers import may_assign, own_triggers
from encfields.adopt.sqlite_schema import table_sql
from encfields.bulk.rows.catalog import computed_names
from encfields.databases import MYSQL_NAMES

# -- before an adoption begins -----------------------------------------------------------------


def before_the_first_step(plain: CatalogColumn) -> list[str]:
    """What prevents adopting the column, in words."""
    return [*_of_column(plain), *_references(plain), *_of_table(plain)]


def _of_column(plain: CatalogColumn) -> Iterator[str]:
    """What the column is that no row can be without."""
    inspector = inspect(plain.connection)
    key = inspector.get_pk_constraint(plain.table, schema=plain.schema)
    if plain.name in key["constrained_columns"]:
        yield (
            "it is part of the primary key, by which rows are found and to which values are bound: "
            "give the table another primary key first"
        )
    if plain.name in computed_names(inspector.get_columns(plain.table, schema=plain.schema)):
        yield "the database computes it, and nobody can write it: adopt what it is computed from"
    if plain.connection.dialect.name == "postgresql":
        domains = plain.ask(
            "SELECT t.typname FROM pg_type t JOIN pg_attribute a ON a.atttypid = t.oid "  # noqa: S608
            f"JOIN {_PG_TABLE} AND a.attrelid = c.oid WHERE a.attname = :name AND t.typnotnull"
        )
        yield from (
            f"its domain {d} allows no NULL: give it another type first" for (d,) in domains
        )


def _references(plain: CatalogColumn) -> Iterator[str]:
    if plain.connection.dialect.name == "postgresql":
        references = plain.ask(
            "SELECT f.conname, f.conrelid::regclass::text FROM pg_constraint f "  # noqa: S608
            f"JOIN {_PG_TABLE} AND f.confrelid = c.oid JOIN pg_attribute a ON a.attrelid = c.oid "
            "AND a.attnum = ANY (f.confkey) WHERE f.contype = 'f' AND a.attname = :name"
        )
    elif plain.connection.dialect.name in MYSQL_NAMES:
        references = plain.ask(
            "SELECT CONSTRAINT_NAME, TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE "
            "WHERE REFERENCED_TABLE_SCHEMA = COALESCE(:schema, DATABASE()) "
            "AND REFERENCED_TABLE_NAME = :table AND REFERENCED_COLUMN_NAME = :name"
        )
    else:
        references = list(_references_in_sqlite(plain))
    for name, table in references:
        yield (
            f"the foreign key {name} of {table} refers to it, and would become NULL with it or "
            "block it: make it refer to another column first"
        )


def _references_in_sqlite(plain: CatalogColumn) -> Iterator[tuple[str, str]]:
    quote = plain.connection.dialect.identifier_preparer.quote
    for (table,) in plain.ask("SELECT name FROM sqlite_master WHERE type = 'table'"):
        keys = plain.connection.exec_driver_sql(f"PRAGMA foreign_key_list({quote(table)})").all()
        for number, _, parent, _, to, *_ in keys:
            if parent.lower() == plain.table.lower() and (to or "").lower() == plain.name.lower():
                yield str(number), table


def _of_table(plain: CatalogColumn) -> Iterator[str]:
    """Obstacles of the whole table."""
    if plain.connection.dialect.name == "postgresql":
        heirs = plain.ask(
            "SELECT i.inhrelid::regclass::text FROM pg_inherits i "  # noqa: S608
            f"JOIN {_PG_TABLE} AND i.inhparent = c.oid WHERE c.relkind = 'r'"
        )
        for (heir,) in heirs:
            yield (
                f"{heir} inherits from the table, and would not inherit the triggers of the "
                "adoption"
            )
    if plain.connection.dialect.name in MYSQL_NAMES:
        kind = plain.ask(
            "SELECT TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = "
            "COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table"
        )
        if kind == [("SYSTEM VERSIONED",)]:
            yield (
                "the table is system-versioned, and its history would keep every plaintext: "
                "ALTER TABLE ... DROP SYSTEM VERSIONING first"
            )


# -- before rows may have no plaintext ---------------------------------------------------------


def before_rows_without_plaintext(plain: CatalogColumn, sealed: str) -> list[str]:
    """The table's own triggers that assign the column, and its CHECKs that demand it, in words.

    A trigger that fills an empty column, or keeps what it held, would take the place of a sealed
    value.

    :param sealed: name of the encrypted column.
    """
    assigning = (
        f"the trigger {name} may assign it, and would find NULL there from now on: do in the "
        "application what it does to the column, and drop it"
        for name, body in own_triggers(plain)
        if may_assign(body, plain.name)
    )
    return [*assigning, *demanding_checks(plain, sealed)]


# -- before the plaintext column is dropped ----------------------------------------------------


def before_the_last_step(plain: CatalogColumn) -> list[str]:
    """What still depends on the column, in words."""
    name = plain.connection.dialect.name
    if name == "postgresql":
        needs: Iterable[str] = _needed_in_postgresql(plain)
    elif name in MYSQL_NAMES:
        needs = _needed_in_mysql(plain)
    else:
        needs = _needed_in_sqlite(plain)
    return [*_references(plain), *needs]


# -- before what an adoption has added is dropped ----------------------------------------------


def before_the_withdrawal(columns: Iterable[CatalogColumn], guard: str) -> list[str]:
    """What still depends on one of the columns, in words.

    :param columns: the encrypted column, and those of its blind indexes.
    :param guard: name of the encrypted column's own CHECK, which goes with it.
    """
    return [
        f"{column.name}: {need}"
        for column in columns
        for need in before_the_last_step(column)
        if need != _named_by_check(guard)
    ]


_PG_TABLE = (
    "pg_class c ON c.relname = :table AND c.relnamespace = (SELECT oid FROM pg_namespace "
    "WHERE nspname = COALESCE(:schema, current_schema()))"
)
"""Behind JOIN, to be followed by AND."""


def _needed_in_postgresql(plain: CatalogColumn) -> Iterator[str]:
    of_column = (
        f"FROM pg_depend d JOIN {_PG_TABLE} AND d.refclassid = 'pg_class'::regclass "
        "AND d.refobjid = c.oid JOIN pg_attribute a ON a.attrelid = c.oid "
        "AND a.attnum = d.refobjsubid AND a.attname = :name"
    )
    # A foreign key that refers to the column was reported before, and a CHECK of the column alone
    # goes with it.
    needs = plain.ask(
        f"SELECT pg_describe_object(d.classid, d.objid, d.objsubid) {of_column} "  # noqa: S608
        "WHERE d.deptype = 'n' AND NOT EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' "
        "AND d.classid = 'pg_constraint'::regclass AND f.oid = d.objid) AND NOT EXISTS (SELECT "
        "FROM pg_constraint k WHERE k.contype = 'c' AND d.classid = 'pg_constraint'::regclass AND "
        "k.oid = d.objid AND k.conrelid = c.oid AND cardinality(k.conkey) = 1)"
    )
    yield from (f"{what} depends on it" for (what,) in needs)
    # It would go with the column without a word. A CHECK depends on its columns.
    references = plain.ask(
        "SELECT r.conname FROM pg_constraint r "  # noqa: S608
        f"JOIN {_PG_TABLE} AND r.conrelid = c.oid JOIN pg_attribute a ON a.attrelid = c.oid "
        "AND a.attnum = ANY (r.conkey) AND a.attname = :name WHERE r.contype = 'f' "
        "AND cardinality(r.conkey) > 1"
    )
    yield from (f"the foreign key {name} is on it and other columns" for (name,) in references)
    unique = plain.ask(
        "SELECT i.indexrelid::regclass::text FROM pg_index i "  # noqa: S608
        f"JOIN {_PG_TABLE} AND i.indrelid = c.oid JOIN pg_attribute a ON a.attrelid = c.oid "
        "AND a.attname = :name WHERE (i.indisunique OR i.indisexclusion) "
        "AND (a.attnum = ANY (i.indkey) OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = "
        "'pg_class'::regclass AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass "
        "AND d.refobjid = c.oid AND d.refobjsubid = a.attnum)) "
        "AND (i.indnkeyatts > 1 OR i.indkey[0] NOT IN (0, a.attnum))"
    )
    yield from (_unique_with_others(index) for (index,) in unique)
    yield from _triggers(plain)


def _needed_in_mysql(plain: CatalogColumn) -> Iterator[str]:
    at = "TABLE_SCHEMA = COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table"
    keys = plain.ask(
        "SELECT CONSTRAINT_NAME FROM information_schema.KEY_COLUMN_USAGE "  # noqa: S608
        f"WHERE {at} AND COLUMN_NAME = :name AND REFERENCED_TABLE_NAME IS NOT NULL"
    )
    yield from (f"the foreign key {key} is on it" for (key,) in keys)
    generated = plain.ask(
        f"SELECT COLUMN_NAME, GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE {at}"  # noqa: S608
    )
    yield from (f"the column {c} is computed from it" for c, e in generated if plain.is_used_in(e))
    unique = plain.ask(
        "SELECT INDEX_NAME FROM information_schema.STATISTICS "  # noqa: S608
        f"WHERE {at} AND NON_UNIQUE = 0 GROUP BY INDEX_NAME HAVING COUNT(*) > 1 "
        "AND SUM(COLUMN_NAME = :name) > 0"
    )
    yield from (_unique_with_others(index) for (index,) in unique)
    yield from _rules_of_mysql(plain)
    yield from _triggers(plain)
    views = plain.ask(
        "SELECT TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS "
        "WHERE TABLE_SCHEMA = COALESCE(:schema, DATABASE())"
    )
    yield from _views(plain, views)


def _rules_of_mysql(plain: CatalogColumn) -> Iterator[str]:
    """CHECK constraints of the table, and on MySQL indexes over expressions."""
    is_mariadb = getattr(plain.connection.dialect, "is_mariadb", False)
    at = "c.CONSTRAINT_SCHEMA = COALESCE(:schema, DATABASE())"
    if is_mariadb:
        checks = plain.ask(
            "SELECT c.CONSTRAINT_NAME, c.CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS c "  # noqa: S608
            f"WHERE {at} AND c.TABLE_NAME = :table AND NOT (c.LEVEL = 'Column' "
            "AND c.CONSTRAINT_NAME = :name)"
        )
    else:
        checks = plain.ask(
            "SELECT CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS c JOIN "  # noqa: S608
            "information_schema.TABLE_CONSTRAINTS t USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME) "
            f"WHERE {at} AND t.TABLE_NAME = :table"
        )
        folded = plain.ask(
            "SELECT INDEX_NAME, EXPRESSION FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = "
            "COALESCE(:schema, DATABASE()) AND TABLE_NAME = :table AND EXPRESSION IS NOT NULL"
        )
        yield from (
            f"the index {i} is on an expression over it" for i, e in folded if plain.is_used_in(e)
        )
    yield from (_named_by_check(name) for name, sql in checks if plain.is_used_in(sql))


def _named_by_check(name: str) -> str:
    return f"the CHECK {name} names it"


def _needed_in_sqlite(plain: CatalogColumn) -> Iterator[str]:
    connection = plain.connection
    quote = connection.dialect.identifier_preparer.quote
    _, parts, _ = definitions(table_sql(connection, plain.table))
    yield from _rules_of_sqlite(plain, parts)
    listed = connection.exec_driver_sql(f"PRAGMA index_list({quote(plain.table)})").all()
    indexes = plain.ask("SELECT name, sql FROM sqlite_master WHERE type = 'index'")
    made = {row[0]: row[1] for row in indexes}
    for _, index, is_unique, *_ in listed:
        columns = connection.exec_driver_sql(f"PRAGMA index_info({quote(index)})").all()
        names = [str(row[2]).lower() for row in columns]  # "none" for an expression
        is_about = plain.name.lower() in names or (
            bool(made[index]) and names_any(covered(made[index]), plain.name)
        )
        is_alone = len(names) == 1 and names[0] in ("none", plain.name.lower())
        if is_unique and is_about and not is_alone:
            yield _unique_with_others(index)
    yield from _triggers(plain)
    views = plain.ask("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
    yield from _views(plain, views)


def _rules_of_sqlite(plain: CatalogColumn, parts: list[str]) -> Iterator[str]:
    """What parts of a CREATE TABLE say of the column together with others."""
    others = [name for name in columns_of(parts) if name.lower() != plain.name.lower()]
    for part in parts:
        about = covered(part)
        if defines_column(part, plain.name) or not names_any(about, plain.name):
            continue
        defined = columns_of([part])
        if defined and re.search(r"\bAS\s*\(", part, re.IGNORECASE):
            yield f"the column {defined[0]} is computed from it"
        elif defined or names_any(about, *others):
            yield f"the constraint {about}) is on it and other columns"


def _unique_with_others(index: str) -> str:
    return (
        f"the unique index {index} covers it and other columns, which would no longer be unique: "
        "replace it with a unique CompoundBlindIndex or another constraint, and drop it"
    )


def _triggers(plain: CatalogColumn) -> Iterator[str]:
    for name, body in own_triggers(plain):
        if plain.is_named_in(body):
            yield f"the trigger {name} names it, and every write would fail"


def _views(plain: CatalogColumn, views: Iterable[tuple[str, ...]]) -> Iterator[str]:
    of_table = CatalogColumn(plain.connection, plain.table, plain.schema, plain.table)
    for name, sql in views:
        if plain.is_used_in(sql) and of_table.is_used_in(sql):
            yield f"the view {name} names it"
