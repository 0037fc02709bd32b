"""Live plaintext columns that become encrypted ones, and the way back."""

from __future__ import annotations

from encfields.adopt.adoption import Adoption, AdoptionError
from encfields.adopt.check import Comparison, Fault
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
