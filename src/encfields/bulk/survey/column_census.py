"""The census of one encrypted column.

Anybody with write access can invent names in stored values. To bound memory, only so many names are
counted separately and the rest together; a name asked for beforehand is always counted separately.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from encfields.bulk.survey.scan import Sample
from encfields.keys.versions import MAX_KEY_ID_CHARS

if TYPE_CHECKING:
    from encfields.message.header import Header

MAX_VERSIONS = 100_000
"""Key versions counted separately, per column and state."""

MAX_NAMES = 1_000
"""Logical names counted separately."""

OTHERS = "*"
"""The name under which further names, and overlong ones, are counted."""

KeyVersionName = tuple[str, str]
"""Branch key id, and version as UUID text."""


class VersionCounts(Counter[KeyVersionName]):
    """Values by key id and version.

    :ivar asked: key ids counted exactly, each as the sum of its versions.
    :ivar asked_version: a version of them counted exactly, too; ``None`` for none.
    """

    asked: frozenset[str] = frozenset()
    asked_version: str | None = None

    def add(self, header: Header) -> None:
        """Count one value by its header."""
        name = header.key_id, header.version
        is_asked = header.key_id in self.asked
        if name not in self and not (is_asked and header.version == self.asked_version):
            if is_asked:
                name = name if len(self) < MAX_VERSIONS else (header.key_id, OTHERS)
            elif len(self) >= MAX_VERSIONS or len(header.key_id) > MAX_KEY_ID_CHARS:
                name = OTHERS, OTHERS
        self[name] += 1

    def under(self, key_id: str, version: str | None) -> int:
        """Values under a key, or one of its versions.

        Includes all that were not counted separately, unless the key was asked for beforehand.
        """
        if version is None:
            known = sum(count for (id_, _), count in self.items() if id_ == key_id)
            return known + (0 if key_id in self.asked else self[OTHERS, OTHERS])
        if key_id in self.asked and version == self.asked_version:
            return self[key_id, version]
        return self[key_id, version] + self[key_id, OTHERS] + self[OTHERS, OTHERS]


def count_name(counts: Counter[str], name: str) -> None:
    """Count the logical name in a value."""
    is_kept = name in counts or (len(counts) < MAX_NAMES and len(name) <= MAX_KEY_ID_CHARS)
    counts[name if is_kept else OTHERS] += 1


MAX_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Example:
    """One faulty value: where it is, never what it holds.

    :param row: identity of its row as canonical text; ``None`` for a part that is NULL.
    :param reason: ``"misplaced"``, ``"key-id"``, or the reason why it is not a valid message.
    :param belongs_to: the encryption context of a misplaced value.
    """

    row: Mapping[str, str | None]
    reason: str
    belongs_to: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """The example as plain data."""
        document: dict[str, Any] = {"row": dict(self.row), "reason": self.reason}
        if self.belongs_to is not None:
            document["belongs_to"] = dict(self.belongs_to)
        return document


@dataclass(slots=True)
class ColumnCensus:
    """The values of one column by what they are. Each value is counted once.

    :ivar column: name in the database.
    :ivar logical_name: name in the encryption context.
    :ivar nulls: NULLs.
    :ivar versions: values in their place under their row's key, by key id and version.
    :ivar former_key: values in their place under a former key of the column, to be moved.
    :ivar other_key: values in their place under another key id, which do not open there.
    :ivar misplaced: values bound to another row or column, by key id and version.
    :ivar bound_to: misplaced values by the logical column that they are bound to; names beyond a
        limit are counted as ``"*"``.
    :ivar other_format: messages of another suite or keyring, or stored as text, by reason.
    :ivar plaintext: values that are not messages.
    :ivar damaged: messages cut short or altered, by reason; ``"no-identity"`` is a row whose
        identity is NULL.
    :ivar examples: at most :data:`MAX_EXAMPLES` places for each of ``"misplaced"``,
        ``"other_key"``, ``"plaintext"``, ``"damaged"`` and ``"other_format"``.
    """

    column: str
    logical_name: str
    nulls: int = 0
    versions: VersionCounts = field(default_factory=VersionCounts)
    former_key: VersionCounts = field(default_factory=VersionCounts)
    other_key: VersionCounts = field(default_factory=VersionCounts)
    misplaced: VersionCounts = field(default_factory=VersionCounts)
    bound_to: Counter[str] = field(default_factory=Counter)
    other_format: Counter[str] = field(default_factory=Counter)
    plaintext: int = 0
    damaged: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows looked at."""
        return self.nulls + self.values

    @property
    def values(self) -> int:
        """Values that are not NULL."""
        messages = sum(kind.total() for kind in self.by_version)
        return messages + self.other_format.total() + self.damaged.total() + self.plaintext

    @property
    def by_version(self) -> tuple[VersionCounts, ...]:
        """The counts of messages by key id and version, wherever they are."""
        return self.versions, self.former_key, self.other_key, self.misplaced

    @property
    def faults(self) -> int:
        """Values that do not open where they are: misplaced, another key's, damaged, plaintext."""
        strange = self.misplaced.total() + self.other_key.total()
        return strange + self.damaged.total() + self.plaintext

    def current(self, active: Mapping[str, str]) -> int:
        """Values in their place, under the active version of their row's key.

        :param active: active version by branch key id.
        """
        return sum(self.versions[key_id, version] for key_id, version in active.items())

    def under(self, key_id: str, version: str | None = None) -> int:
        """Values that claim to be under a key, or one of its versions, wherever they are.

        Includes all that were not counted separately, unless the key was asked for beforehand.

        :param key_id: the branch key id.
        :param version: default all versions.
        """
        return sum(kind.under(key_id, version) for kind in self.by_version)

    def to_json(self, sample: Sample | None = None) -> dict[str, Any]:
        """The column as plain data.

        :param sample: what was drawn; totals are then extrapolated beside the counts.
        """
        document: dict[str, Any] = {
            "column": self.column,
            "logical_name": self.logical_name,
            "rows": self.rows,
            "nulls": self.nulls,
            "versions": _versions_json(self.versions, sample),
            "former_key": _versions_json(self.former_key, sample),
            "other_key": _versions_json(self.other_key, sample),
            "misplaced": self.misplaced.total(),
            "misplaced_versions": _versions_json(self.misplaced, sample),
            "misplaced_bound_to": dict(sorted(self.bound_to.items())),
            "other_format": dict(sorted(self.other_format.items())),
            "plaintext": self.plaintext,
            "damaged": dict(sorted(self.damaged.items())),
            "examples": {k: [e.to_json() for e in v] for k, v in sorted(self.examples.items())},
        }
        if sample is not None:
            document["estimated"] = {
                "nulls": sample.extrapolate(self.nulls),
                "misplaced": sample.extrapolate(self.misplaced.total()),
                "other_format": sample.extrapolate(self.other_format.total()),
                "plaintext": sample.extrapolate(self.plaintext),
                "damaged": sample.extrapolate(self.damaged.total()),
            }
        return document


def _versions_json(counts: Counter[KeyVersionName], sample: Sample | None) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = []
    for (key_id, version), count in sorted(counts.items()):
        entry: dict[str, Any] = {"key_id": key_id, "version": version, "values": count}
        if sample is not None:
            entry["estimated"] = sample.extrapolate(count)
        document.append(entry)
    return document


def ask_for(column: ColumnCensus, key_ids: Collection[str], version: str | None) -> None:
    """Count keys, and one of their versions, exactly, however many other names there are."""
    for kind in column.by_version:
        kind.asked, kind.asked_version = frozenset(key_ids), version


def under_each(column: ColumnCensus) -> Counter[str]:
    """Values under each key asked for, wherever they are; keys without values are left out."""
    counts: Counter[str] = Counter()
    for kind in column.by_version:
        for (key_id, _), count in kind.items():
            if key_id in kind.asked:
                counts[key_id] += count
    return counts


def keep_example(column: ColumnCensus, kind: str, example: Example) -> None:
    """Keep an example, unless there are enough of its kind."""
    kept = column.examples.setdefault(kind, [])
    if len(kept) < MAX_EXAMPLES:
        kept.append(example)
