"""PostgreSQL: numbers of a sequence, or values of another default, taken before the INSERT.

One query finds the sequence that this connection would use now (its ``search_path``, its role and
the table's present definition decide, and each may change from one statement to the next) and
takes as many numbers as there are rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, Sequence, column, func, literal_column, select, text

from encfields.orm.internals import UNTRANSLATED

if TYPE_CHECKING:
    from sqlalchemy import Connection

_TAKE = text(r"""
SELECT s.always, s.may_change, s.is_followed,
  CASE WHEN has_sequence_privilege(s.sequence, 'USAGE, UPDATE') THEN
    ARRAY(SELECT nextval(s.sequence) FROM generate_series(1, CAST(:n AS integer)))
  END AS numbers
FROM (
  SELECT a.attidentity = 'a' AS always,
    t.relkind <> 'r' OR t.relhasrules OR EXISTS (
      SELECT FROM pg_catalog.pg_trigger g
      WHERE g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgtype & 7 = 7
    ) AS may_change,
    EXISTS (
      SELECT FROM pg_catalog.pg_trigger g
      WHERE g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgtype & 4 = 4
    ) AS is_followed,
    CASE
      WHEN CAST(:named AS text) IS NOT NULL THEN CAST(CAST(:named AS text) AS regclass)
      WHEN a.attidentity <> '' THEN (
        SELECT CAST(d.objid AS regclass) FROM pg_catalog.pg_depend d
        WHERE d.refclassid = CAST('pg_catalog.pg_class' AS regclass) AND d.refobjid = t.oid
          AND d.refobjsubid = a.attnum AND d.deptype = 'i'
          AND d.classid = CAST('pg_catalog.pg_class' AS regclass)
      )
      ELSE CAST(replace(substring(
          pg_catalog.pg_get_expr(e.adbin, e.adrelid) FROM '^nextval\(''(.*)''\:\:regclass\)$'
        ), '''''', '''') AS regclass)
    END AS sequence
  FROM pg_catalog.pg_class t
  JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname = CAST(:column AS text)
  LEFT JOIN pg_catalog.pg_attrdef e ON e.adrelid = t.oid AND e.adnum = a.attnum
  WHERE t.oid = CAST(CAST(:table AS text) AS regclass)
  OFFSET 0
) s
""").columns(column("always"), column("may_change"), column("is_followed"), column("numbers"))
# tgtype: 1 each row, 2 before, 4 insert. With OFFSET 0 the sequence is looked up once.


class Taken(NamedTuple):
    """What a sequence returned.

    :ivar numbers: one for each row; ``None`` if none can be taken.
    :ivar always: whether it is ``GENERATED ALWAYS``, which the INSERT must override.
    :ivar may_change: whether a trigger or rule may store the row under another key.
    :ivar is_followed: whether a trigger may give the row another key after it is stored.
    """

    numbers: list[int] | None
    always: bool
    may_change: bool
    is_followed: bool


NOTHING_TAKEN = Taken(None, always=False, may_change=True, is_followed=True)


def take_numbers(connection: Connection, column: Column[Any], count: int) -> Taken:
    """New numbers of the sequence that generates `column`, in one round trip."""
    default = column.default
    named = None
    # An optional one is not made where the database counts by itself.
    if isinstance(default, Sequence) and not default.optional:
        named = _qualified(connection.schema_for_object(default), default.name)
    table = _qualified(connection.schema_for_object(column.table), column.table.name)
    parameters = {"table": table, "column": column.name, "named": named, "n": count}
    row = connection.execute(_TAKE, parameters, execution_options=UNTRANSLATED).first()
    if row is None:
        return NOTHING_TAKEN
    return Taken(
        row.numbers,
        always=bool(row.always),
        may_change=bool(row.may_change),
        is_followed=bool(row.is_followed),
    )


_DEFAULT = text("""
SELECT pg_catalog.pg_get_expr(e.adbin, e.adrelid) FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
WHERE a.attrelid = CAST(CAST(:table AS text) AS regclass) AND a.attname = CAST(:column AS text)
  AND a.attidentity = ''
""")


def take_defaults(connection: Connection, column: Column[Any], count: int) -> list[Any] | None:
    """New values of the default of `column`, such as ``gen_random_uuid()``.

    :returns: as Python sees them; ``None`` if it has none.
    """
    table = _qualified(connection.schema_for_object(column.table), column.table.name)
    parameters = {"table": table, "column": column.name}
    default = connection.execute(_DEFAULT, parameters, execution_options=UNTRANSLATED).scalar()
    if default is None:
        return None
    # What the database itself would compute; it may refer to no column.
    value = literal_column(f"({default})", column.type)
    rows = func.generate_series(1, count).table_valued("n")
    return [*connection.scalars(select(value).select_from(rows))]


def _qualified(schema: str | None, name: str) -> str:
    """The name as PostgreSQL reads it in a value.

    SQLAlchemy's own quoting is for the text of a statement: it doubles percent signs too.
    """
    parts = [part.replace('"', '""') for part in (schema, name) if part]
    return ".".join(f'"{part}"' for part in parts)
