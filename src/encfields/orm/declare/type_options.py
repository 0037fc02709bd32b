"""Checks the options of ``EncryptedType``, with errors that name the option."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import LargeBinary
from sqlalchemy.types import TypeEngine

from encfields.errors import DeclarationError
from encfields.index.blind_index import BlindIndex
from encfields.orm.adoption.plaintext import Plaintext
from encfields.orm.declare.formerly import Formerly
from encfields.orm.declare.table_indexes import indexed_type


def check_storage(storage: object) -> None:
    """Refuse a storage type that does not store bytes, or pads them.

    :raises DeclarationError: says what ``storage=`` takes.
    """
    if storage is not None and not isinstance(storage, LargeBinary):
        raise DeclarationError(
            "storage= is a LargeBinary, with or without a length: ciphertext is bytes, and "
            "must not be padded",
            reason="storage",
        )


def check_adopts(adopts: object, *, lazy: bool) -> None:
    """Refuse an invalid adoption, or one of a lazy column.

    :raises DeclarationError: says what ``adopts=`` takes, or excludes.
    """
    if adopts is None:
        return
    if not isinstance(adopts, Plaintext):
        raise DeclarationError(
            'adopts= takes a Plaintext("column", phase="write-both")', reason="adopts"
        )
    if lazy:
        raise DeclarationError(
            "lazy=True has to wait until adopts= is gone: while a column is adopted, what is "
            "written goes into two columns",
            reason="adopts",
        )


def check_formerly(formerly: object, *, adopts: bool, lazy: bool) -> None:
    """Refuse an invalid ``formerly=``, or a second change at the same time.

    :raises DeclarationError: says what ``formerly=`` takes, or excludes.
    """
    if formerly is None:
        return
    if not isinstance(formerly, Formerly):
        raise DeclarationError(
            'formerly= takes a Formerly(bind_to="id", phase="write-former")', reason="formerly"
        )
    if adopts or lazy:
        raise DeclarationError(
            "formerly= cannot be combined with adopts= or lazy=True: finish one change before the "
            "other",
            reason="formerly",
        )


def blind_indexes(
    inner: TypeEngine[object], index: BlindIndex | Sequence[BlindIndex] | None
) -> tuple[BlindIndex, ...]:
    """The blind indexes that ``index=`` declares.

    :param inner: the type of the values that are indexed.
    :raises DeclarationError: one of them is invalid, does not suit the type, or has the name of
        another.
    """
    given = () if index is None else tuple(index) if isinstance(index, list | tuple) else (index,)
    for declared in given:
        if not isinstance(declared, BlindIndex):
            raise DeclarationError(
                "index= takes a BlindIndex(...), or a list of them", reason="index"
            )
        declared.check_type(indexed_type(inner))
    if len({declared.label for declared in given}) < len(given):
        raise DeclarationError(
            "two blind indexes of one column have the same name: give each a name= of its own",
            reason="index",
        )
    return given
