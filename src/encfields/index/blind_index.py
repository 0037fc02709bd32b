"""``BlindIndex``, the declaration of a blind index, and what ``CompoundBlindIndex`` shares."""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from encfields.arguments import check_flag, check_text
from encfields.errors import DeclarationError
from encfields.index.hashing import FULL_BITS, check_bits
from encfields.index.transforms import Transform, exact

_NAME = r"[A-Za-z][A-Za-z0-9_]*"


class DeclaredIndex:
    """Options common to all blind indexes; :class:`BlindIndex` documents them."""

    bits: int
    unique: bool
    key: str | None
    domain: str | None
    versions: tuple[int, ...]
    accept_leakage: str | None

    def _set_options(
        self,
        *,
        bits: int,
        unique: bool,
        key: str | None,
        domain: str | None,
        versions: Sequence[int],
        accept_leakage: str | None,
    ) -> None:
        check_flag("unique", unique)
        check_text("key", key)
        check_text("domain", domain)
        check_text("accept_leakage", accept_leakage, may_be_blank=True)
        set_ = functools.partial(object.__setattr__, self)  # BlindIndex is frozen
        set_("bits", check_bits(bits))
        set_("unique", unique)
        set_("key", key)
        set_("domain", domain)
        set_("versions", check_versions(versions))
        set_("accept_leakage", accept_leakage)
        if unique and not self.is_full:
            raise DeclarationError(
                f"a unique index of {bits} bits would refuse different values with the same hash: "
                "leave bits= out",
                reason="unique",
            )

    @property
    def is_full(self) -> bool:
        """Whether equal hashes mean equal (transformed) values."""
        return self.bits >= FULL_BITS

    @property
    def accepts_leakage(self) -> bool:
        """Whether the declaration accepts the leakage of a column of few values."""
        return bool((self.accept_leakage or "").strip())


@dataclass(frozen=True)
class BlindIndex(DeclaredIndex):
    """Makes an encrypted column answer ``==``, ``in_`` and uniqueness.

    Beside each value the database stores a keyed hash of it (HMAC-SHA256; bytes in
    ``docs/blind-indexes.md``), in a column of its own. Anybody who reads the database sees which
    rows have equal values, and how often each occurs; read ``docs/blind-indexes.md`` before you
    index a column with few values.

    :param transform: the part of the value to index: ``exact``, ``casefold``, ``digits``,
        ``first(n)``, ``last(n)``, ``first_letter``, ``year``, or one after another with
        ``digits.then(last(4))``. Default: the whole value.
    :param bits: length of the hash in bits. From 128 bits on different values have different
        hashes. Fewer bits make values share hashes on purpose: a query's rows are compared again
        after decryption.
    :param name: the index's name, for ``column.blind(name)`` and for the name of its column.
        Default: the transform's.
    :param unique: make the database refuse a second row with the same value. With a key per tenant
        (``key="tenant/{tenant_id}"``) that means: of the same tenant.
    :param key: id, or template, of the branch key whose beacon key is used. Default: the column's.
        A query must state the values of the template's columns.
    :param domain: name under which the index key is derived. Default: the column's logical name.
        Columns with the same domain, transform, length and key can be joined, and show anybody who
        reads the database which of their rows are equal.
    :param versions: versions of the beacon key to write. Two during a rotation: queries use the
        first for rows that have it, and the second otherwise.
    :param accept_leakage: why a column of few values (a boolean, an enumeration) may be indexed
        although that gives most of its content away. A note for reviewers.
    :raises DeclarationError: an argument is not usable.
    """

    transform: Transform = exact
    bits: int = FULL_BITS
    name: str | None = None
    unique: bool = False
    key: str | None = None
    domain: str | None = None
    versions: tuple[int, ...] = (1,)
    accept_leakage: str | None = None

    def __init__(
        self,
        transform: Transform | None = None,
        *,
        bits: int = FULL_BITS,
        name: str | None = None,
        unique: bool = False,
        key: str | None = None,
        domain: str | None = None,
        versions: Sequence[int] = (1,),
        accept_leakage: str | None = None,
    ) -> None:
        chosen = exact if transform is None else transform
        if not isinstance(chosen, Transform):
            raise DeclarationError(
                "a blind index takes a transform of encfields.index.transforms, such as "
                "casefold or last(4)",
                reason="transform",
            )
        set_ = functools.partial(object.__setattr__, self)  # the class is frozen
        set_("transform", chosen)
        set_("name", name if name is None else check_name(name))
        self._set_options(
            bits=bits,
            unique=unique,
            key=key,
            domain=domain,
            versions=versions,
            accept_leakage=accept_leakage,
        )

    @property
    def label(self) -> str:
        """The name by which queries choose the index."""
        return self.name or self.transform.name

    def index_column_name(self, column: str, version: int) -> str:
        """Name of the index's database column; **frozen**, since migrations contain it."""
        parts = [column]
        if self.label != exact.name:
            parts.append(self.label.replace(".", "_"))
        return index_column_name(*parts, version=version)

    def check_type(self, python_type: type[Any]) -> None:
        """Refuse types that the transform does not support, or whose values an index would reveal.

        :param python_type: of the column's values.
        :raises DeclarationError: says which.
        """
        if not self.transform.accepts(python_type):
            raise DeclarationError(
                f"the transform {self.transform.name!r} cannot be applied to "
                f"{python_type.__name__} values",
                reason="transform",
            )
        has_few = issubclass(python_type, bool | enum.Enum)
        if has_few and not self.accepts_leakage:
            raise DeclarationError(
                "a column of so few values gives nearly all of them away to whoever reads its "
                "index: counting the rows of each hash tells which value it is. If that is "
                "acceptable, say why in BlindIndex(accept_leakage=...)",
                reason="leakage",
            )


def index_column_name(*parts: str, version: int) -> str:
    """``ssn_bidx``, and ``ssn_bidx_v2`` for the second version of the beacon key."""
    return "_".join([*parts, "bidx"]) + (f"_v{version}" if version > 1 else "")


def check_name(name: str) -> str:
    """Check an index's name, which becomes part of a column's name.

    :raises DeclarationError: it cannot.
    """
    check_text("name", name)
    if name is None or not re.fullmatch(_NAME, name):
        raise DeclarationError(
            "the name of a blind index is made of letters, digits and underscores", reason="name"
        )
    return name


def check_versions(versions: Sequence[int]) -> tuple[int, ...]:
    """Check ``versions=``: one version of the beacon key, or two during a rotation.

    :raises DeclarationError: there are others.
    """
    given = tuple(versions) if isinstance(versions, list | tuple) else ()
    good = all(isinstance(v, int) and v > 0 for v in given) and len(set(given)) == len(given)
    if not good or len(given) not in (1, 2):
        raise DeclarationError(
            "versions= takes one version of the beacon key, or two during a rotation, the one "
            "that queries use first, as in versions=(1, 2)",
            reason="versions",
        )
    return given
