"""``coalesce(excluded.ssn, table.ssn)`` in an upsert's SET: one of two values, as it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.sql.elements import Case, Grouping
from sqlalchemy.sql.functions import coalesce


class ChosenValue(Grouping[Any]):
    """An expression that gives one of the values that it is made of, unchanged.

    It stands for a ``coalesce()`` or a CASE of which it was found out that each of its values
    belongs in the row.
    """

    inherit_cache = True


def chosen_from(element: Any) -> list[Any]:
    """The values that a ``coalesce()`` or a CASE gives one of; else the element itself."""
    if isinstance(element, coalesce):
        return list(element.clauses)
    if isinstance(element, Case) and element.value is None:
        return [result for _, result in element.whens] + [
            value for value in (element.else_,) if value is not None
        ]
    return [element]


def parts_of_choice(chosen: ChosenValue) -> Iterator[Any]:
    """The values that may be chosen, and the conditions that decide."""
    yield from chosen_from(chosen.element)
    if isinstance(chosen.element, Case):
        yield from (condition for condition, _ in chosen.element.whens)
