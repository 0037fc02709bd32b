"""Names of other things in raw SQL that are those of encrypted columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    column,
    func,
    literal_column,
    select,
    table,
    text,
    update,
)

from encfields import EncryptedType
from encfields.errors import UnsupportedOperationError
from encfields.orm.query.refused_usage import refuse_usage

person: Any = Table(
    "person",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String),
    *(Column(name, EncryptedType(String)) for name in ("ssn", "desc", "date", "no")),
    Column("sealed", EncryptedType(String), key="rank"),
    Column("rank", Integer, key="place"),
)
doctor: Any = Table("doctor", MetaData(), *(Column(n, String) for n in ("id", "ssn", "person_ssn")))
both: Any = select(person.c.id, person.c.ssn, doctor.c.id).where(person.c.id == doctor.c.id)
first_of: Any = select(text("id")).select_from(doctor).where(text("ssn = 'x'"))

OF_OTHERS: dict[str, Callable[[], Any]] = {
    "of another table": lambda: both.order_by(text("doctor.ssn DESC")),
    "of another alias": lambda: select(person.c.id, (d := doctor.alias("d")).c.id).group_by(
        literal_column("d.ssn"), d.c.id
    ),
    "numbered": lambda: both.add_columns(func.rank().over(order_by=column("person_ssn"))),
    "of a view": lambda: (
        select(person.c.id).join(table("seen"), text("seen.id = 1")).order_by(text("seen.ssn"))
    ),
    "as a table and a column": lambda: select(person.c.id, doctor.c.id).order_by(
        text("person_ssn")
    ),
    "as a key of SQLAlchemy's": lambda: select(person.c.id).order_by(text("rank")),
    "as a label": lambda: select(func.lower(person.c.name).label("ssn")).order_by(text("ssn DESC")),
    "as a column that is selected first": lambda: (
        select(doctor.c.ssn, person.c.id, person.c.ssn)
        .join(person, person.c.id == doctor.c.id)
        .order_by(text("ssn DESC"))
    ),
    "as a bind": lambda: both.order_by(
        text("CASE person.id WHEN :ssn THEN 0 ELSE 1 END").bindparams(ssn=1)
    ),
    "as a function": lambda: select(person.c.id).group_by(text("date(name)")),
    "as a function, but for its end": lambda: select(person.c.id).where(text("not(id = 1)")),
    "as a direction": lambda: select(person.c.id).order_by(text("name DESC, (id) desc NULLS LAST")),
    "as an argument": lambda: both.order_by(text("field(person.id, 3, 2, 1)")),
    "as a position after raw SQL": lambda: select(
        text("name, id"), person.c.id, person.c.ssn
    ).order_by(text("3")),
    "as an item": lambda: both.order_by(text("array_position(ARRAY[3,2,1], person.id)")),
    "as a limit": lambda: both.suffix_with("ORDER BY person.id LIMIT 0, 2"),
    "as a lock": lambda: both.suffix_with(
        text("LIMIT :n FOR UPDATE OF person SKIP LOCKED").bindparams(n=1)
    ),
    "as a text": lambda: select(literal_column("'max(ssn)'")).select_from(person),
    "counted": lambda: select(person.c.name).order_by(text("count(person.ssn) DESC")),
    "after a window": lambda: select(text("rank() OVER (ORDER BY id), ssn")).select_from(person),
    "in a word that SQLAlchemy takes for another's": lambda: (
        select(person.c.id).join(doctor, person.c.id == doctor.c.id).order_by("ssn")
    ),
    "in a subquery of another": lambda: select(person.c.id).where(
        text("id IN (SELECT count(DISTINCT ssn) FROM doctor ORDER BY ssn LIMIT 1)")
    ),
    "in a subquery of another, sorted by": lambda: select(person.c.id).order_by(
        text("(SELECT max(ssn) FROM doctor WHERE doctor.id = person.id)")
    ),
    "in what sorts": lambda: select(person.c.id).order_by(first_of.scalar_subquery()),
    "given to a column": lambda: update(person).values(
        name=select(text("ssn")).select_from(doctor).scalar_subquery()
    ),
}


@pytest.mark.parametrize("name", OF_OTHERS)
def test_what_only_has_the_name_of_an_encrypted_column_may_stand_in_raw_sql(name: str) -> None:
    refuse_usage(OF_OTHERS[name]().compile())


OF_ITS_OWN: dict[str, Callable[[], Any]] = {
    "a label that GROUP BY does not mean": lambda: select(
        func.lower(person.c.name).label("ssn")
    ).group_by(text("ssn")),
    "a label within an expression": lambda: select(func.lower(person.c.name).label("ssn")).order_by(
        text("lower(ssn)")
    ),
    "selected, with another of its name": lambda: both.order_by(text("ssn")),
    "a column of a direction's name": lambda: select(person.c.id).order_by(text("id, desc DESC")),
    "the last of a window": lambda: select(
        text("rank() OVER (PARTITION BY (name), ssn), id")
    ).select_from(person),
    "a position": lambda: both.order_by(text("1, 2 DESC")),
    "a position after raw SQL": lambda: select(
        text("name, ',' AS x"), person.c.id, person.c.ssn
    ).group_by(text("4")),
    "a position in raw SQL": lambda: (
        select(text("id, ssn AS n")).select_from(person).order_by(text("2"))
    ),
    "a position of a raw name": lambda: select(person.c.id, column("ssn").label("n")).order_by(
        text("2")
    ),
    "its row's": lambda: select(person.c.id).order_by(text("(person).ssn")),
    "in a subquery of its table": lambda: select(person.c.id).where(
        text("id = (SELECT p.id FROM doctor, person p ORDER BY p.ssn LIMIT 1)")
    ),
    "around a subquery": lambda: select(person.c.id).order_by(
        text("(SELECT person.ssn FROM doctor)")
    ),
    "in what a subquery gives": lambda: select(person.c.id).order_by(
        select(text("person.ssn")).select_from(doctor).correlate(person).scalar_subquery()
    ),
}


@pytest.mark.parametrize("name", OF_ITS_OWN)
def test_raw_sql_that_sorts_by_it_is_refused_beside_another_of_its_name(name: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=r"person\.\w+: .* ORDER BY, GROUP BY or"):
        refuse_usage(OF_ITS_OWN[name]().compile())


@pytest.mark.parametrize("place", ["order_by", "group_by"])
def test_a_word_that_sqlalchemy_takes_for_an_encrypted_column_is_refused(place: str) -> None:
    """Of the columns with that name it takes the last table's, even where another is selected."""
    selected = select(doctor.c.ssn).join(person, person.c.id == doctor.c.id)
    of_a_word, of_a_column = (getattr(selected, place)(by) for by in ("ssn", doctor.c.ssn))
    with pytest.raises(
        UnsupportedOperationError, match=r"person\.ssn: .* another table's column, give the column"
    ):
        refuse_usage(of_a_word.compile())
    refuse_usage(of_a_column.compile())
