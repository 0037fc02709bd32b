"""What a type checker knows of a lazy column; mypy checks this file with all the others."""

from __future__ import annotations

from typing import Any, assert_type

from encfields import Sealed
from tests.lazy.model import Member, Person


def revealed(member: Member) -> str:
    assert_type(member.code, Sealed[str])
    member.code = Sealed.of("code")
    return member.code.reveal(purpose="a test")


async def awaited(person: Person) -> dict[str, Any] | None:
    return None if person.notes is None else await person.notes.areveal()


def test_a_revealed_value_is_of_the_inner_type():
    assert revealed(Member(id=1, tenant=1)) == "code"
