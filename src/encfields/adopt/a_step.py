"""What the steps of an adoption have in common: how they are called, and what they raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from encfields.adopt.adoption import Adoption
from encfields.bulk.expected import ENCRYPTION, OPTIONS
from encfields.bulk.failures import raises_no_drivers_errors
from encfields.expected_arguments import CALLABLE, STOP, Expected, takes

ADOPTION = Expected(
    "an Adoption, such as Adoption.of(Customer.__table__.c.email_enc)", lambda: Adoption
)

_P = ParamSpec("_P")
_R = TypeVar("_R")

_ARGUMENTS = {
    "encryption": ENCRYPTION,
    "adoption": ADOPTION,
    "options": OPTIONS.or_none,
    "progress": CALLABLE.or_none,
    "stop": STOP.or_none,
}
"""Each step takes some of these."""


def a_step(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator of a step: arguments are checked, and it raises errors of this library alone."""
    checked: Callable[[Callable[_P, _R]], Callable[_P, _R]] = takes(**_ARGUMENTS)
    return checked(raises_no_drivers_errors(function))
