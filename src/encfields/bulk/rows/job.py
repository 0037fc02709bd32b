"""A job: what a run does to a table."""

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
"""By column, the inner type that wrote its values and the one that will read them, as data."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A plaintext column that an encrypted column replaces.

    :param plain: its name.
    :param type: the values' inner type, from
        :func:`~encfields.bulk.rows.types_as_data.declared_to_data`.
    :param refill: go back: write the plaintext of sealed values into the column.
    :param plain_type: the type that reads the plaintext column, likewise; ``None`` if it is `type`.
    """

    plain: str
    type: Mapping[str, Any]
    refill: bool = False
    plain_type: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The description of a run, which its row holds sealed.

    :param spec: how values will be bound; for a run to plaintext, how they are bound.
    :param source: how they are bound now, if different.
    :param to_plaintext: encrypted column to the column that receives its plaintext.
    :param conversions: encrypted column to the inner type that wrote its values and the one that
        will read them, from :func:`encfields.bulk.rows.types_as_data.type_to_data`.
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
                f"the source describes {_listed(was)}, and the spec {_listed(names)}: give each "
                "column its present name in both, and its former name as logical_name="
            )
        if source is not None and (source.table, source.schema) != (
            self.spec.table,
            self.spec.schema,
        ):
            raise self._refusal(
                "the source names another table: give it the table's present name, and put the "
                "former name in the columns' logical_name="
            )
        if self.to_plaintext is not None and set(self.to_plaintext) != names:
            raise self._refusal(
                f"to_plaintext= names a plaintext column for {_listed(self.to_plaintext)}: name "
                f"one for each of {_listed(names)}"
            )
        if self.to_plaintext is not None and source is not None:
            raise self._refusal(
                "a run to plaintext takes no source: its spec says how values are bound"
            )

        self._require_adopted()
        self._require_conversions()
        if self.spec.indexes and self.to_plaintext is not None:
            raise self._refusal("a run to plaintext computes no blind indexes")
        for index in self.spec.indexes:
            if not index.columns or not names.issuperset(index.columns):
                raise self._refusal(f"{index.name} uses columns that the run does not name")
        if len({index.name for index in self.spec.indexes} | names) < len(names) + len(
            self.spec.indexes
        ):
            raise self._refusal("a column is named twice")

    def _require_adopted(self) -> None:
        adopted = self.adopted
        if adopted is None:
            return
        if not adopted or not {column.name for column in self.spec.columns}.issuperset(adopted):
            raise self._refusal("adopted= names a column that is not in the spec")
        if self.source is not None or self.to_plaintext is not None or self.conversions is not None:
            raise self._refusal("a run that adopts plaintext can do nothing else")
        if len({plaintext.refill for plaintext in adopted.values()}) > 1:
            raise self._refusal("a run either adopts plaintext or refills it, for all its columns")

    def _require_conversions(self) -> None:
        conversions = self.conversions
        if conversions is None:
            return
        if not {column.name for column in self.spec.columns}.issuperset(conversions):
            raise self._refusal("conversions= names a column that is not in the spec")
        if self.to_plaintext is not None:
            raise self._refusal("a run to plaintext takes no conversions")
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
        """What it does to values, in one word."""
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
    def needs_run_id(self) -> bool:
        """Whether workers run it only by its id.

        It writes plaintext, seals what anybody could have written, or accepts values sealed for
        another place or under another key. An attacker who restored the run's row later could
        otherwise have that done to values of theirs.
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
        """64 hexadecimal digits; calls with the same job share one run."""
        return hashlib.sha256(self.to_json().encode("utf-8")).hexdigest()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
