"""What the functions of this folder take: see :mod:`encfields.expected_arguments`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlalchemy.orm import QueryableAttribute

from encfields.bulk.options import Options
from encfields.bulk.rows.spec_base import SealedColumn, TableSpecBase
from encfields.expected_arguments import Expected, Kinds
from encfields.orm.declare.columns import is_encrypted


def _encryption() -> Kinds:
    from encfields.engine import Encryption  # a program that only describes tables has no engine

    return Encryption


def _is_of_a_table(column: Any) -> bool:
    return is_encrypted(column) and getattr(column, "table", None) is not None


ENCRYPTION = Expected("the Encryption that attach() returned", _encryption)
COLUMN = Expected(
    "an encrypted column, such as Patient.__table__.c.ssn",
    lambda: (Column, QueryableAttribute),
    _is_of_a_table,
)
SPEC = Expected(
    "a TableSpec, such as TableSpec.from_table(Patient.__table__)", lambda: TableSpecBase
)
SEALED_COLUMN = Expected('a SealedColumn("name", ...)', lambda: SealedColumn)
OPTIONS = Expected("Options(...)", lambda: Options)
