"""SQL elements that the application compiles itself, with ``@compiles``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Executable,
    String,
    column,
    delete,
    exists,
    func,
    literal,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.expression import (
    ClauseElement,
    ClauseList,
    ColumnClause,
    ColumnElement,
    FunctionElement,
)

from encfields.errors import UnsupportedOperationError
from encfields.testing import assert_absent
from tests.database import CANARY, Database
from tests.index.clinic import Patient, claim, patient, sent

Written = Callable[[Any, Any], str]
"""Gives the SQL of a column, and has a compiler."""


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


class Writes(ColumnElement[Any]):
    """What is compiled by a function that it is given."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: Any, sql: Written) -> None:
        self.column, self.sql = column, sql


class Spelled(ColumnClause[str]):
    """A column of no table, whose SQL is what it is called, in whichever way."""

    inherit_cache = True


class Made(Executable, ClauseElement):
    """Another one, which is compiled by a function that it is given."""

    inherit_cache = False

    def __init__(self, sql: Callable[[Any], str]) -> None:
        self.sql = sql


class Filled(Executable, ClauseElement):
    """A statement of the application's own: ``INSERT INTO``, with what follows."""

    inherit_cache = False

    def __init__(self, table: Any, columns: str, source: Any) -> None:
        self.table, self.columns, self.source = table, columns, source


@compiles(Writes)
def _writes(element: Writes, compiler: Any, **kw: Any) -> str:
    return element.sql(element.column, compiler)


@compiles(Spelled)
def _spelled(element: Spelled, compiler: Any, **kw: Any) -> str:
    return {"number": "ssn", "lowered": "lower(patient.ssn)"}.get(element.name, element.name)


@compiles(Made)
def _made(element: Made, compiler: Any, **kw: Any) -> str:
    return element.sql(compiler)


@compiles(Filled)
def _filled(element: Filled, compiler: Any, **kw: Any) -> str:
    table = compiler.process(element.table, asfrom=True)
    return f"INSERT INTO {table} ({element.columns}) {compiler.process(element.source)}"


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


SECRET = literal(CANARY)
WRITTEN: dict[str, Written] = {
    "dispatched": lambda c, k: f"lower({c._compiler_dispatch(k)}) = {k.process(SECRET)}",
    "visited": lambda c, k: f"lower({k.visit_column(patient.c.ssn)}) = {k.process(SECRET)}",
    "a function dispatched": lambda c, k: (
        f"{func.lower(c)._compiler_dispatch(k)} = {k.process(SECRET)}"
    ),
    "compiled apart": lambda c, k: f"{c.compile(dialect=k.dialect)} = {k.process(SECRET)}",
    "named by the preparer": lambda c, k: (
        f"{k.preparer.format_column(patient.c.ssn)} = {k.process(SECRET)}"
    ),
    "as a text": lambda c, k: f"patient.ssn = {k.process(SECRET)}",
    "as a bare name": lambda c, k: f'{k.process(SECRET)} = lower("ssn")',
    "by column()": lambda c, k: k.process(column("ssn") == SECRET),
    "by literal_column()": lambda c, k: k.process(literal_column("patient.ssn") == SECRET),
    "by text()": lambda c, k: f"{k.process(text('ssn'))} = {k.process(SECRET)}",
    "in a subquery": lambda c, k: (
        f"{k.process(SECRET)} = {k.process(select(c).where(Patient.id == 1).scalar_subquery())}"
    ),
    "within a subquery": lambda c, k: k.process(exists().where(func.lower(c) == SECRET)),
    "its hash": lambda c, k: f"lower({k.process(c.blind())}) = {k.process(SECRET)}",
    "wanting a statement around it": lambda c, k: (
        f"{k.stack[0] and k.process(c)} = {k.process(SECRET)}"
    ),
    "in a condition that ends in IS NULL": lambda c, k: (
        f"{k.process(SECRET)} = {k.process(c)} IS NULL"
    ),
    "in a function that may give NULL": lambda c, k: (
        f"nullif({k.process(SECRET)}, {k.process(c)}) IS NULL"
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_whichever_way_it_gets_at_a_column_no_value_is_sent_beside_ciphertext(
    sqlite_clinic: Database, name: str
) -> None:
    condition = Writes(Patient.ssn, WRITTEN[name])
    asked: Any
    for asked in (
        select(Patient.id).where(condition),
        update(Patient).where(condition).values(name="x"),
        delete(Patient).where(condition),
    ):
        refused = pytest.raises(UnsupportedOperationError, match=r"patient\.ssn: .*would")
        with sqlite_clinic.statements() as seen, sqlite_clinic.session() as session:
            with refused as caught:
                session.execute(asked)
            assert_absent(CANARY, caught.value)
        assert seen == []


def test_a_statement_of_its_own_writes_no_value_into_the_column(sqlite_clinic: Database) -> None:
    row = select(literal(9), literal(CANARY))
    refused = pytest.raises(UnsupportedOperationError, match="own Filled")
    with sqlite_clinic.statements() as seen, sqlite_clinic.session() as session, refused:
        session.execute(Filled(patient, "id, ssn", row))
    assert seen == []
    with sqlite_clinic.session() as session:
        session.execute(Filled(patient, "id, name", select(literal(9), literal("ssn-9"))))
        assert session.get_one(Patient, 9).name == "ssn-9"


def test_what_a_statement_of_its_own_makes_may_be_named_as_the_column(
    sqlite_clinic: Database,
) -> None:
    rows = select(Patient.id, Patient.notes).where(Patient.id == 2)
    made = Made(lambda k: f"CREATE TEMP VIEW notes AS {k.process(rows, literal_binds=True)}")
    with sqlite_clinic.session() as session:
        session.execute(made)
        assert session.scalars(text("SELECT id FROM temp.notes")).all() == [2]
        session.execute(text("DROP VIEW temp.notes"))


def test_a_column_that_is_compiled_by_the_application_is_looked_at(
    sqlite_clinic: Database,
) -> None:
    for name in ("lowered", "number", "ssn"):
        refused = pytest.raises(UnsupportedOperationError, match=r"patient\.ssn: ")
        with sqlite_clinic.statements() as seen, sqlite_clinic.session() as session, refused:
            session.execute(select(Patient.id).where(Spelled(name) == CANARY))
        assert seen == []
    with sqlite_clinic.session() as session:
        asked = select(Patient.id, Spelled("ssn")).where(Spelled("name") == "name-2")
        assert [row.id for row in session.execute(asked)] == [2]


ALLOWED: dict[str, tuple[Written, list[int]]] = {
    "IS NULL": (lambda c, k: f"({k.process(c)}) IS NULL", [4]),
    "IS NOT NULL": (lambda c, k: f"{c._compiler_dispatch(k)} is not null AND 1 = 1", [1, 2, 3]),
    "IS NULL of its name": (lambda c, k: "NOT (patient.ssn IS NULL)", [1, 2, 3]),
    "is_(None)": (lambda c, k: k.process(c.is_(None)), [4]),
    "EXISTS": (lambda c, k: k.process(exists(select(c))), [1, 2, 3, 4]),
    "a look-up": (lambda c, k: k.process(c == "ssn-2"), [2]),
    "a look-up in a subquery": (
        lambda c, k: k.process(Patient.id.in_(select(Patient.id).where(c == "ssn-2"))),
        [2],
    ),
    "another table's namesake": (lambda c, k: "claim.amount + 1 = 11 AND 'ssn' <> 'x'", [1]),
    "its size": (lambda c, k: "length(patient.ssn) > 200 AND patient.id = 3", [3]),
    "a bind of its name": (lambda c, k: f"patient.id = {k.process(literal(3))} /* ssn */", [3]),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_ciphertext_answers_it_may_ask(clinic: Database, name: str) -> None:
    sql, expected = ALLOWED[name]
    asked = select(Patient.id, Patient.ssn).where(Writes(Patient.ssn, sql))
    if "table" in name:
        asked = asked.join(claim, claim.c.id == Patient.id)
    with sent(clinic), clinic.session() as session:
        found = session.execute(asked.order_by(Patient.id)).all()
    assert [row.id for row in found] == expected


def test_the_column_of_an_alias_is_one(sqlite_clinic: Database) -> None:
    other = aliased(Patient)
    condition = Writes(other.ssn, lambda c, k: f"lower({k.process(c)}) = {k.process(SECRET)}")
    with sqlite_clinic.session() as session, pytest.raises(UnsupportedOperationError):
        session.execute(select(other.id).where(condition))
