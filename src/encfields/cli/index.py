"""``encfields index``: what concerns blind indexes."""

from __future__ import annotations

from typing import Any

from encfields.cli import index_plan

VERBS = (index_plan,)
"""Modules with ``add_verb(verbs)``."""


def register(subparsers: Any) -> None:
    """Add the subcommand with its own verbs."""
    index = subparsers.add_parser("index", help="plan blind indexes: what they cost and give away")
    verbs = index.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_verb(verbs)
