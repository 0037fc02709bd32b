"""Live plaintext columns that become encrypted ones, and the way back.

The steps, and what each has to know first:

===============  =======================================================================
``adoption``     an adoption as data: which plaintext column becomes which encrypted one
``operations``   the steps, each refused before its time
``stages``       how far an adoption is, as the database's triggers record it
``obstacles``    what in a database keeps a column from being adopted
``letter_case``  plaintext whose database ignores the case of letters
``comparison``   sealed values compared with the plaintext beside them
===============  =======================================================================

What they change in the database:

======================  =================================================================
``schema``              columns, triggers and indexes of the table, in short transactions
``column_changes``      the columns, in each database's words
``column_definitions``  definitions of columns as text
``sqlite_schema``       what SQLite's ALTER TABLE has no words for
======================  =================================================================
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
