"""What a run does to a table: from which binding to which, or back to plaintext."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.rows.types_as_data import store_differently
from encfields.errors import DeclarationError

REENCRYPT, FILL_INDEX, ROTATE_INDEX, REBIND, DECRYPT, CONVERT, ADOPT, REFILL = (
    "reencrypt",
    "fill-index",
    "rotate-index",
    "rebind",
    "decrypt",
    "convert",
    "adopt",
    "refill",
)
"""Kinds of jobs."""

Conversions = Mapping[str, Sequence[dict[str, Any]]]
"""By column, the type that wrote its values and the one that is to read them, as data."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A plaintext column beside an encrypted one that takes its place.

    :param plain: its name. :param type: of the values, as
        :func:`~encfields.bulk.rows.types_as_data.declared_to_data` tells it.
    :param refill: write the plaintext of sealed values into it, the way back.
    :param plain_type: through which the column is read, likewise; ``None`` if that is `type`.
    """

    plain: str
    type: Mapping[str, Any]
    refill: bool = False
    plain_type: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The description of a run, as its row keeps it sealed.

    :param spec: how values are to be bound; of a run to plaintext, how they are bound.
    :param source: how they are bound now, where that differs.
    :param to_plaintext: encrypted column to the column that takes its plaintext.
    :param conversions: encrypted column to the inner type that wrote its values and the one that
        is to read them, as :func:`encfields.bulk.rows.types_as_data.type_to_data` tells them.
    :param adopted: encrypted column to the plaintext that is sealed into it.
    """

    spec: TableSpec
    source: TableSpec | None = None
    to_plaintext: Mapping[str, str] | None = field(default=None)
    conversions: Conversions | None = field(default=None)
    adopted: Mapping[str, Adopted] | None = field(default=None)

    def __post_init__(self) -> None:
        names = {column.name for column in self.spec.columns}
        if not names:
            raise self._refusal("no column is named")
        source = self.source
        if source is not None and (was := {column.name for column in source.columns}) != names:
            raise self._refusal(
                f"what was is told of {_listed(was)}, and what is to be of {_listed(names)}: name "
                "each column as it is called now, and what it was called in its logical name"
            )
        if source is not None and (source.table, source.schema) != (
            self.spec.table,
            self.spec.schema,
        ):
            raise self._refusal(
                "the source names another table; give it the table's present name, and what it "
                "was called in the columns' logical names"
            )
        if self.to_plaintext is not None and set(self.to_plaintext) != names:
            raise self._refusal(
                f"columns for the plaintext are named for {_listed(self.to_plaintext)}: name one "
                f"for each of {_listed(names)}"
            )
        if self.to_plaintext is not None and source is not None:
            raise self._refusal("a run to plaintext has no source: its spec says how to open")

        self._require_adopted()
        self._require_conversions()
        if self.spec.indexes and self.to_plaintext is not None:
            raise self._refusal("a run to plaintext computes no blind indexes")
        for index in self.spec.indexes:
            if not index.columns or not names.issuperset(index.columns):
                raise self._refusal(f"{index.name} is over columns that the run does not name")
        if len({index.name for index in self.spec.indexes} | names) < len(names) + len(
            self.spec.indexes
        ):
            raise self._refusal("a column is named twice")

    def _require_adopted(self) -> None:
        adopted = self.adopted
        if adopted is None:
            return
        if not adopted or not {column.name for column in self.spec.columns}.issuperset(adopted):
            raise self._refusal("adopted= may name only columns of the spec")
        if self.source is not None or self.to_plaintext is not None or self.conversions is not None:
            raise self._refusal("a run that adopts plaintext does nothing else")
        if len({plaintext.refill for plaintext in adopted.values()}) > 1:
            raise self._refusal("a run adopts plaintext or refills it, not both")

    def _require_conversions(self) -> None:
        conversions = self.conversions
        if conversions is None:
            return
        if not {column.name for column in self.spec.columns}.issuperset(conversions):
            raise self._refusal("conversions= names a column that the run does not")
        if self.to_plaintext is not None:
            raise self._refusal("a run to plaintext converts nothing")
        if self.source is None and not all(
            store_differently(*conversion) for conversion in conversions.values()
        ):
            raise self._refusal(
                "stored JSON and stored text, or bytes, look alike. Give the new declaration a "
                "name of its own, EncryptedType(..., name='table.column.2'), and the former one "
                "in was_bound=: then the name shows what was converted"
            )

    def _refusal(self, message: str) -> DeclarationError:
        return DeclarationError(message, table=self.table_name, reason="job")

    @property
    def kind(self) -> str:
        """What it does to values, in a word."""
        if self.to_plaintext is not None:
            return DECRYPT
        if self.adopted is not None:
            return REFILL if any(plaintext.refill for plaintext in self.adopted.values()) else ADOPT
        if self.conversions is not None:
            return CONVERT
        if self.source is not None:
            return REBIND
        if self.spec.reindex:
            return ROTATE_INDEX
        return FILL_INDEX if self.spec.indexes else REENCRYPT

    @property
    def is_asked_by_id(self) -> bool:
        """Whether a worker does it only when it is given the run's id.

        It writes plaintext, seals what anybody could have written, or takes in what was sealed
        for another place or under another key. Somebody who put the run's row back long after
        would have that done to values of their own.
        """
        has_former = any(column.former_keys for column in self.spec.columns)
        return self.kind in (REBIND, DECRYPT, CONVERT, ADOPT, REFILL) or has_former

    @property
    def table_name(self) -> str:
        """The table's name, with its schema where the spec has one."""
        return self.spec.full_name

    def to_json(self) -> str:
        """The job as canonical JSON; :meth:`from_json` is the inverse."""
        data: dict[str, Any] = {
            "spec": self.spec.to_json(),
            "source": self.source and self.source.to_json(),
            "to_plaintext": self.to_plaintext and dict(self.to_plaintext),
        }
        if self.conversions is not None:
            data["conversions"] = {name: list(one) for name, one in self.conversions.items()}
        if self.adopted is not None:
            data["adopted"] = {name: asdict(one) for name, one in self.adopted.items()}
        return json.dumps(data, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that :meth:`to_json` wrote."""
        data = json.loads(text)
        source, adopted = data["source"], data.get("adopted")
        return cls(
            TableSpec.from_json(data["spec"]),
            TableSpec.from_json(source) if source else None,
            data["to_plaintext"],
            data.get("conversions"),
            adopted and {name: Adopted(**one) for name, one in adopted.items()},
        )

    def fingerprint(self) -> str:
        """64 hexadecimal digits: two calls with the same job share one run."""
        return hashlib.sha256(self.to_json().encode("utf-8")).hexdigest()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
