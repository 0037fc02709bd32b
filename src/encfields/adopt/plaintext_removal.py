"""Sets plaintext of an adopted column to NULL, row by row, where the sealed value equals it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, bindparam, null, type_coerce, update
from sqlalchemy.exc import DBAPIError

from encfields.adopt.adoption import Adoption, AdoptionError
from encfields.adopt.comparison import Comparer, Comparison
from encfields.bulk.row_refusals import refusal_of, refuses_row
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.orm.adoption.text_form import ExactForm

if TYPE_CHECKING:
    from encfields.bulk.connections import Connections
    from encfields.engine import Encryption


def remove_plaintext(
    connections: Connections, encryption: Encryption, adoption: Adoption
) -> Comparison:
    """Compare every row, and set its plaintext to NULL if the sealed value opens and equals it.

    :param connections: to the database that is worked on.
    :param encryption: opens the sealed values.
    :param adoption: which column becomes which.
    :returns: the comparison; ``both`` is the number of values set to NULL.
    :raises AdoptionError: the database refuses to set a row's plaintext to NULL.
    """
    prepared = PreparedJob(adoption.job(), connections.reading(), adoption.declared_types)
    comparer = Comparer(prepared, encryption)
    statement = _update_of_one_row(prepared)
    comparison = Comparison()
    for rows in comparer.batches(connections):
        equal = [row for row in rows if comparer.compare_row(row, comparison)]
        if not equal:
            continue
        with connections.writing().begin() as begun:
            for row in equal:
                values = {f"k_{i}": part for i, part in enumerate(comparer.reader.key_of(row))}
                values["of_sealed"] = bytes(row[comparer.value_at])
                values["of_plain"] = bytes(row[comparer.plain_at])
                _remove_from_row(begun.connection, adoption, statement, values)
    return comparison


def _remove_from_row(connection: Any, adoption: Adoption, statement: Any, values: Any) -> None:
    """:raises AdoptionError: the database refuses to set the plaintext to NULL."""
    try:
        connection.execute(statement, values)
        return
    except DBAPIError as error:
        if not refuses_row(error):
            raise
        words = refusal_of(error).words  # the driver's text quotes the row
    raise AdoptionError(
        f"the plaintext of a row cannot be set to NULL: {words}. Change that, and run "
        "close_plaintext again",
        table=adoption.table_name,
        column=adoption.plain,
        reason="plaintext-required",
    )


def _update_of_one_row(prepared: PreparedJob) -> Any:
    """The UPDATE of one row, if both values are still those that were compared. Its parameters are
    named as no column is: SQLAlchemy keeps columns' names for itself."""
    plain, (sealed, *_) = prepared.plain[0], prepared.columns
    same = [c == bindparam(f"k_{i}", type_=c.type) for i, c in enumerate(prepared.key)]
    return (
        update(prepared.table)
        .where(
            *same,
            type_coerce(sealed, LargeBinary) == bindparam("of_sealed", type_=LargeBinary),
            ExactForm(plain, plain.type) == bindparam("of_plain", type_=LargeBinary),
        )
        .values({plain: null(), **prepared.kept_unchanged})
    )
