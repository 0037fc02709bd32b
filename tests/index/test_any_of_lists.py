"""``any_([...]) == column``, PostgreSQL's IN, answers what it answers of a plain column."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    String,
    all_,
    and_,
    any_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from encfields import BlindIndex, EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.index import last
from encfields.testing import attach_locally
from tests.servers.backends import Backend


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    plain: Mapped[str | None] = mapped_column(String(9))
    sealed: Mapped[str | None] = mapped_column(
        EncryptedType(String(9), index=[BlindIndex(), BlindIndex(last(1))])
    )
    bare: Mapped[str | None] = mapped_column(EncryptedType())


def _any(items: list[str]) -> Any:
    """What SQLAlchemy documents and does not declare."""
    return any_(items)  # type: ignore[arg-type]


def _session(backend: Backend) -> Iterator[Session]:
    engine = backend.create_engine()
    Base.metadata.create_all(engine)
    attach_locally(engine)
    with Session(engine) as session:
        session.add_all([Person(plain=one, sealed=one, bare=one) for one in ["a", "b", "c", None]])
        session.commit()
        yield session


@pytest.fixture
def session(postgresql: Backend) -> Iterator[Session]:
    yield from _session(postgresql)


@pytest.fixture(params=["postgresql", "mariadb", "mysql"])
def people(request: pytest.FixtureRequest) -> Iterator[Session]:
    """The same on each database that has ANY of a query."""
    yield from _session(request.getfixturevalue(request.param))


LISTS: dict[str, list[Any]] = {
    "several": ["a", "c", "z"],
    "one": ["a"],
    "twice": ["a", "a"],
    "none of them": ["z"],
    "empty": [],
    "with NULL": ["a", None],
}
FORMS = {
    "a list": lambda items: literal(items, ARRAY(String)),
    "an array": lambda items: array(items, type_=String),
}


def _ids(session: Session, criterion: Any) -> list[int]:
    return list(session.scalars(select(Person.id).where(criterion).order_by(Person.id)))


CASES = [
    pytest.param(items, form, id=f"{form} of {name}")
    for name, items in LISTS.items()
    for form in FORMS
    if items or form == "a list"  # SQLAlchemy 2.0 has no empty array()
]


@pytest.mark.parametrize("items, form", CASES)
def test_any_and_all_answer_as_of_a_plain_column(session: Session, items: Any, form: str) -> None:
    for aggregate in (any_, all_):
        for compare in (operator.eq, operator.ne):
            listed = aggregate(FORMS[form](items))
            expected = _ids(session, compare(listed, Person.plain))
            assert _ids(session, compare(listed, Person.sealed)) == expected
            assert _ids(session, compare(Person.sealed, listed)) == expected
            excluded = _ids(session, ~compare(listed, Person.plain))
            assert _ids(session, ~compare(listed, Person.sealed)) == excluded
            assert _ids(session, ~compare(Person.sealed, listed)) == excluded


def test_a_python_list_is_taken_as_it_is(session: Session) -> None:
    assert _ids(session, _any(["a", "c"]) == Person.sealed) == [1, 3]
    assert _ids(session, Person.sealed == _any(["a", "c"])) == [1, 3]
    assert _ids(session, _any(["a", "c"]) == Person.sealed.blind("last1")) == [1, 3]


def test_the_list_is_not_left_in_the_statement(session: Session) -> None:
    listed: Any = _any(["a", "c"])
    statement = select(Person.id).where(listed == Person.sealed).order_by(Person.id)
    for _ in range(2):
        assert session.scalars(statement).all() == [1, 3]
        assert vars(listed.element.element)["value"] is None


def test_it_stands_among_other_conditions(session: Session) -> None:
    for column in (Person.plain, Person.sealed):
        listed = _any(["a", "b"]) == column
        assert _ids(session, or_(and_(listed, Person.id > 1), Person.id == 4)) == [2, 4]
        assert _ids(session, ~or_(listed, Person.id == 3)) == _ids(
            session, ~or_(_any(["a", "b"]) == Person.plain, Person.id == 3)
        )


def test_the_entity_is_delivered_and_the_statement_cached(session: Session) -> None:
    for letter in "abc":
        found = session.scalars(select(Person).where(_any([letter]) == Person.sealed)).all()
        assert [(one.sealed, one.bare) for one in found] == [(letter, letter)]
    count = select(func.count()).select_from(Person).where(_any(["a", "b"]) == Person.sealed)
    assert session.scalar(count) == 2


def test_rows_are_changed_and_deleted_by_it(session: Session) -> None:
    changed = update(Person).where(_any(["a", "b"]) == Person.sealed).values(plain="x")
    assert session.execute(changed).rowcount == 2  # type: ignore[attr-defined]
    assert session.execute(delete(Person).where(_any(["c"]) == Person.sealed)).rowcount == 1  # type: ignore[attr-defined]
    assert session.scalars(select(Person.plain).order_by(Person.id)).all() == ["x", "x", None]


def test_without_an_index_it_is_refused_by_name(session: Session) -> None:
    with pytest.raises(UnsupportedOperationError, match="in Python after loading") as caught:
        _ids(session, _any(["a"]) == Person.bare)
    assert caught.value.column == "bare"


@pytest.mark.parametrize("name, fix", [("any", r"column\.in_"), ("ALL", "and_")])
def test_the_function_of_that_name_says_what_to_write(
    session: Session, name: str, fix: str
) -> None:
    listed = getattr(func, name)(["a"])
    with pytest.raises(UnsupportedOperationError, match=rf"write {fix}\("):
        _ids(session, Person.sealed == listed)


def _other_rows(column: Any) -> dict[str, Any]:
    other = aliased(Person)
    asked = select(column(other)).where(other.id.in_([1, 3]))
    either = union_all(asked, select(column(other)).where(other.id == 2)).scalar_subquery()
    with_null = select(column(other)).where(other.id.in_([1, 4])).scalar_subquery()
    of_row = select(column(other)).where(other.id == Person.id).scalar_subquery()
    return {"a query": asked.scalar_subquery(), "a UNION": either, "NULL": with_null, "its": of_row}


@pytest.mark.parametrize("name", ["a query", "a UNION", "NULL", "its"])
def test_any_and_all_of_a_query_answer_as_of_a_plain_column(people: Any, name: str) -> None:
    def forms(column: Any) -> list[Any]:
        of = column(Person)
        query = _other_rows(column)[name]
        return [
            of == any_(query),
            any_(query) == of,
            query.any_() == of,
            ~(of == any_(query)),
            of != all_(query),
            all_(query) != of,
            ~(of != all_(query)),
        ]

    for plain, sealed in zip(*map(forms, (lambda p: p.plain, lambda p: p.sealed)), strict=True):
        assert _ids(people, sealed) == _ids(people, plain)


def test_what_no_list_can_answer_says_what_to_write(session: Session) -> None:
    for listed in (
        bindparam("listed", ["a"], ARRAY(String)),
        select(Person.sealed).scalar_subquery(),
    ):
        for asked, fix in (
            (lambda listed=listed: Person.sealed != any_(listed), "or_"),
            (lambda listed=listed: Person.sealed == all_(listed), "and_"),
        ):
            with pytest.raises(
                UnsupportedOperationError, match=rf"write {fix}\(\) of a comparison"
            ):
                _ids(session, asked())


def _places(column: Any, listed: Any) -> dict[str, Any]:
    """Statements with a comparison where only the compiler meets it."""
    other = aliased(Person)
    found = column(other) == listed
    within = select(other.id).where(found)
    cte = select(other.id.label("key")).where(found).cte()
    branches = union_all(within, select(other.id).where(other.id == 4)).subquery()
    return {
        "a subquery": select(Person.id).where(Person.id.in_(within)),
        "a CTE": select(Person.id).where(Person.id.in_(select(cte.c.key))),
        "a UNION": select(branches.c.id),
        "ON": select(Person.id).join(other, and_(Person.id == other.id, found)),
        "a CASE": select(case((column(Person) == listed, 1), else_=0)),
        "the list": select(column(Person) == listed),
        "the negation": select(~(column(Person) == listed)),
        "all of them": select(column(Person) != all_(listed.element)),
        "exists": select(Person.id).where(exists(within.where(other.id == Person.id))),
        "of an UPDATE": update(Person)
        .where(Person.id.in_(select(cte.c.key)))
        .values(plain=Person.plain)
        .returning(Person.id),
    }


@pytest.mark.parametrize("place", list(_places(lambda person: person.plain, _any(["a"]))))
@pytest.mark.parametrize("is_named", [False, True], ids=["a list", "a bind"])
def test_it_answers_wherever_it_stands(session: Session, place: str, is_named: bool) -> None:
    for items in (["a", "c"], ["b", "c", "z"], ["a", None], []):
        if is_named:
            listed, given = any_(bindparam("listed", type_=ARRAY(String))), {"listed": items}
        else:
            listed, given = any_(literal(items, ARRAY(String))), {}
        plain, sealed = (
            session.execute(_places(column, listed)[place], given).all()
            for column in (lambda person: person.plain, lambda person: person.sealed)
        )
        assert sorted(sealed, key=repr) == sorted(plain, key=repr)
