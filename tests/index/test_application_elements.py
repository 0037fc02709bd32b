"""SQL elements that the application compiles itself, with ``@compiles``."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Boolean, String, func, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseList, ColumnElement, FunctionElement

from encfields.errors import UnsupportedOperationError
from tests.database import CANARY, Database
from tests.index.clinic import Patient


class Lower(ColumnElement[str]):
    """An element whose column SQLAlchemy does not see."""

    inherit_cache = False
    type = String()

    def __init__(self, column: Any) -> None:
        self.column = column


class Same(ColumnElement[bool]):
    """As it is compiled, it compares what it has."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, *sides: Any) -> None:
        self.sides = sides


class Folded(Lower):
    """As it is compiled, it puts its column into an expression of its own."""

    inherit_cache = False


class Named(ColumnElement[str]):
    """What it has stands in a dictionary."""

    inherit_cache = False
    type = String()

    def __init__(self, **columns: Any) -> None:
        self.columns = columns


class Initial(FunctionElement[str]):
    """A function with an argument beside those that SQLAlchemy sees."""

    inherit_cache = True
    name = "initial"
    type = String()

    def __init__(self, column: Any) -> None:
        self.column = column
        super().__init__(literal(1))


@compiles(Folded)
def _folded(element: Folded, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(func.lower(element.column), **kw))


@compiles(Named)
def _named(element: Named, compiler: Any, **kw: Any) -> str:
    listed = ClauseList(*element.columns.values(), literal(""))
    return f"coalesce({compiler.process(listed, **kw)})"


@compiles(Initial)
def _initial(element: Initial, compiler: Any, **kw: Any) -> str:
    return f"substr({compiler.process(element.column, **kw)}, 1, 1)"


@compiles(Lower)
def _lower(element: Lower, compiler: Any, **kw: Any) -> str:
    return f"lower({compiler.process(element.column, **kw)})"


@compiles(Same)
def _same(element: Same, compiler: Any, **kw: Any) -> str:
    left, right = element.sides
    return str(compiler.process(left == right, **kw))


REFUSED: dict[str, Any] = {
    "in a comparison": Lower(Patient.ssn) == CANARY,
    "from the other side": literal(CANARY) == Lower(Patient.ssn),
    "under a label": Lower(Patient.ssn.label("number")) == CANARY,
    "in another one": Lower(Lower(Patient.ssn)) == CANARY,
    "in a function in it": Lower(func.trim(Patient.ssn)) == CANARY,
    "of a column without an index": Lower(Patient.notes) == CANARY,
    "in an expression made as it is compiled": Folded(Patient.ssn) == CANARY,
    "in a dictionary": Named(number=Patient.ssn) == CANARY,
    "beside the arguments of a function": Initial(Patient.ssn) == CANARY,
}


@pytest.mark.parametrize("condition", REFUSED.values(), ids=REFUSED)
def test_ciphertext_is_not_given_to_an_element_of_the_application(
    sqlite_clinic: Database, condition: Any
) -> None:
    for asked in (select(Patient.id).where(condition), select(Patient, condition)):
        with sqlite_clinic.session() as session, pytest.raises(UnsupportedOperationError) as caught:
            session.execute(asked)
        assert caught.value.table == "patient"
        assert caught.value.column in ("ssn", "notes")
        assert CANARY not in str(caught.value)


def test_the_element_is_named(sqlite_clinic: Database) -> None:
    refused = pytest.raises(UnsupportedOperationError, match="own Lower would")
    with sqlite_clinic.session() as session, refused:
        session.execute(select(Lower(Patient.ssn)))


@pytest.mark.parametrize("sides", [(Patient.ssn, "ssn-2"), (literal("ssn-2"), Patient.ssn)])
def test_such_an_element_looks_up_what_it_compares_as_it_is_compiled(
    sqlite_clinic: Database, sides: Any
) -> None:
    with sqlite_clinic.session() as session:
        found = session.execute(select(Patient.id, Patient.ssn).where(Same(*sides)))
        assert [tuple(row) for row in found] == [(2, "ssn-2")]
        for of_name in (Lower(Patient.name), Folded(Patient.name), Named(name=Patient.name)):
            asked = select(Patient.id).where(of_name == "name-2", Same(*sides))
            assert session.scalars(asked).all() == [2]
        asked = select(Patient.id).where(Initial(Patient.name) == "n", Same(*sides))
        assert session.scalars(asked).all() == [2]
