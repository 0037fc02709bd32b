"""Turns live plaintext columns into encrypted ones, and back.

The steps, and what they check:

=====================  =================================================================
``adoption``           an adoption as data: which plaintext column becomes which encrypted one
``operations``         the steps, each refused out of order
``a_step``             what the steps have in common
``places``             the schema in which its table is
``stages``             how far an adoption is, as the database's triggers record it
``next_step``          how far a declared adoption is, and what comes next
``obstacles``          what in a database prevents an adoption
``own_triggers``       what a table's own triggers may do to the plaintext column
``demanding_checks``   the CHECKs of a table that demand the plaintext
``catalog_column``     a plaintext column in a database's catalog
``advice``             what to change beforehand, though nothing prevents the adoption
``letter_case``        plaintext whose database ignores the case of letters
``comparison``         compares sealed values with plaintext
``plaintext_removal``  sets plaintext to NULL that equals its sealed value
=====================  =================================================================

Changes in the database:

=======================  ================================================================
``schema``               columns, triggers and indexes of the table
``schema_transactions``  its transactions, beside the application and other hosts
``column_changes``       changes of columns, in each database's SQL
``column_definitions``   edits column definitions as text
``sqlite_schema``        changes that SQLite's ALTER TABLE lacks
=======================  ================================================================
"""

from __future__ import annotations

from encfields.adopt.adoption import Adoption, AdoptionError
from encfields.adopt.comparison import Comparison, Fault
from encfields.adopt.operations import (
    adopt,
    adopting_run,
    begin_adoption,
    close_plaintext,
    compare_adopted,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    reopen_plaintext,
    withdraw_adoption,
)

__all__ = [
    "Adoption",
    "AdoptionError",
    "Comparison",
    "Fault",
    "adopt",
    "adopting_run",
    "begin_adoption",
    "close_plaintext",
    "compare_adopted",
    "end_adoption",
    "ensure_adopted",
    "refill_plaintext",
    "reopen_plaintext",
    "withdraw_adoption",
]
